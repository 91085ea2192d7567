/* safetensors.h - tensors of a safetensors file, or of a folder with a sharded set, by name.
 *
 *   | u64 little-endian: header bytes | JSON header, space-padded | data block |
 *   header: { "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end)}, ...,
 *             "__metadata__": {"key": "text"} }          offsets count from the data block
 *
 * Everything is checked before the first tensor is handed out: the header starts with '{' and fits
 * file and ceiling, types and shapes are known, sizes are exact without overflow, no name occurs
 * twice, and the tensors cover the data block without overlap or hole. The data stays mapped.
 * Refuses to know: what tensors mean; transposes, conversions.
 */
#ifndef COMMON_FORMATS_SAFETENSORS_SAFETENSORS_H
#define COMMON_FORMATS_SAFETENSORS_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/safetensors/safetensors_dtype.h"
#include "common/formats/source/source.h"
#include "common/mem/arena.h"

enum {
    SAFETENSORS_PREFIX_BYTES = 8,
    SAFETENSORS_HEADER_BYTES_MAX = 100 * 1000 * 1000, /* the format's own ceiling */
    SAFETENSORS_TENSORS_MAX = 1 << 20,
    SAFETENSORS_SHARDS_MAX = 4096,
    SAFETENSORS_RANK_MAX = 8
};

struct safetensor {
    struct text name; /* terminated */
    enum safetensors_dtype dtype;
    uint32_t rank;
    uint64_t shape[SAFETENSORS_RANK_MAX]; /* outermost first; rank 0 is one element */
    struct span data;                     /* row-major, little-endian, any alignment */
};

/* An entry of __metadata__. */
struct safetensors_note {
    struct text key;
    struct text value;
};

/* Read-only for callers; everything in it is valid until safetensors_close. */
struct safetensors {
    struct safetensor *tensors; /* sorted by bytes of the name */
    size_t count;
    uint64_t *begins; /* of a single file only: where the data of each is, from the file's start */
    struct safetensors_note *notes; /* sorted by key; of a single file only */
    size_t note_count;
    struct arena arena;         /* owned: names, tables */
    struct source source;       /* owned: the file */
    struct safetensors *shards; /* owned: the files of a sharded set */
    size_t shard_count;
};

/* One file. ERR_NOT_FOUND, ERR_DENIED, ERR_IO; ERR_TRUNCATED when the file ends before its header
 * says; ERR_FORMAT, ERR_UNSUPPORTED (element type), ERR_LIMIT with the file and the tensor in
 * `et`. On failure *st is untouched. */
MUST_CHECK enum err safetensors_open(struct safetensors *st, const char *path, struct err_text *et);

/* Content in memory, which must outlive *st; `name` is for messages. */
MUST_CHECK enum err safetensors_parse(struct safetensors *st, struct span content, const char *name,
                                      struct err_text *et);

/* A file of `size_bytes` of which only the head is at hand: prefix and header, as many bytes as
 * safetensors_head_bytes says of the prefix. Tensors have no data, only `begins`. */
MUST_CHECK enum err safetensors_parse_head(struct safetensors *st, struct span head,
                                           uint64_t size_bytes, const char *name,
                                           struct err_text *et);
uint64_t safetensors_head_bytes(const uint8_t prefix[SAFETENSORS_PREFIX_BYTES]);

/* Gives back the memory of a tensor's data for now: source_drop of the file that has it. */
void safetensors_drop(const struct safetensors *st, struct span data);

/* A zeroed or closed object is allowed. */
void safetensors_close(struct safetensors *st);

/* NULL when there is none. */
const struct safetensor *safetensors_find(const struct safetensors *st, struct text name);

/* The note's text; data is NULL when there is none. */
struct text safetensors_note_of(const struct safetensors *st, const char *key);

/* Number of elements: the product of the shape. */
uint64_t safetensors_element_count(const struct safetensor *tensor);

#endif
