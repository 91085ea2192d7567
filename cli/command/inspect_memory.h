/* inspect_memory.h - what recipes over a model would need in memory, from its shapes alone. */
#ifndef CLI_COMMAND_INSPECT_MEMORY_H
#define CLI_COMMAND_INSPECT_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "cli/command/command.h"
#include "worker/engine/nn/model.h"

enum { INSPECT_MEMORY_LENGTHS = 2, INSPECT_MEMORY_ROWS = 6 };

/* One way to run a model. */
struct inspect_memory_row {
    const char *name;           /* "LoRA r=8"; static */
    uint64_t trained_count;     /* elements that train */
    uint64_t coordinator_bytes; /* trained values, their two moments, a round's gradient sum */
    uint64_t worker_bytes[INSPECT_MEMORY_LENGTHS]; /* as task_memory_of has it */
};

struct inspect_memory {
    uint64_t weight_bytes; /* as in the files, mapped: all workers of a machine share them */
    uint32_t lengths[INSPECT_MEMORY_LENGTHS]; /* sequence_len */
    size_t length_count;
    struct inspect_memory_row rows[INSPECT_MEMORY_ROWS];
    size_t row_count;
    bool every_module; /* LoRA sits on all linear modules: the model has no default targets */
};

/* Plans evaluation, LoRA on `targets` (names separated by commas; "" or NULL: every linear module)
 * and full training of a model; a way that the engine would refuse is left out. ERR_OUT_OF_MEMORY.
 */
MUST_CHECK enum err inspect_memory_plan(const struct model *model, const char *targets,
                                        uint64_t weight_bytes, struct inspect_memory *out,
                                        struct err_text *et);

MUST_CHECK enum err inspect_memory_print(const struct inspect_memory *memory,
                                         struct invocation *invocation);

/* Member "memory". */
void inspect_memory_write(const struct inspect_memory *memory, struct json_write *w);

#endif
