/* inspect_tensors.h - the tensors of a file, whatever its format: names, types, shapes, sizes. */
#ifndef CLI_COMMAND_INSPECT_TENSORS_H
#define CLI_COMMAND_INSPECT_TENSORS_H

#include <stdint.h>

#include "cli/command/command.h"
#include "common/formats/gguf/gguf.h"
#include "common/formats/safetensors/safetensors.h"

struct inspect_tensor {
    struct text name; /* borrowed from the file */
    const char *type; /* "BF16", "Q4_K"; static */
    uint32_t rank;
    const uint64_t *shape; /* [rank] outermost first, borrowed from the file */
    uint64_t element_count;
    uint64_t size_bytes;
};

struct inspect_tensors {
    struct inspect_tensor *rows; /* owned: in the order of the file */
    size_t count;
    uint64_t element_count;
    uint64_t size_bytes;
};

/* The file is borrowed and must outlive *out. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err inspect_tensors_of_safetensors(const struct safetensors *file,
                                                   struct inspect_tensors *out);
MUST_CHECK enum err inspect_tensors_of_gguf(const struct gguf *file, struct inspect_tensors *out);
void inspect_tensors_fini(struct inspect_tensors *tensors);

/* A line a type, largest first; a line a tensor. */
MUST_CHECK enum err inspect_tensors_print_types(const struct inspect_tensors *tensors,
                                                struct invocation *invocation);
MUST_CHECK enum err inspect_tensors_print_all(const struct inspect_tensors *tensors,
                                              struct invocation *invocation);

/* Members "types" and, with `all`, "tensors". */
void inspect_tensors_write(const struct inspect_tensors *tensors, bool all, struct json_write *w);

#endif
