/* dtype.h - element types of tensors as files and the engine name them.
 *
 * The rows of block_format.def: plain numbers and numbers in blocks, of which only whole blocks can
 * be addressed; those of files first, then those of the engine alone. Refuses to know: what the
 * bytes of a block mean (worker/engine/quant).
 */
#ifndef WORKER_ENGINE_TENSOR_DTYPE_H
#define WORKER_ENGINE_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "schemas/block_format.def"

enum dtype {
#define DTYPE_ENUM(id, number, elements, bytes) DTYPE_##id,
    BLOCK_FORMAT_ROWS(DTYPE_ENUM)
#undef DTYPE_ENUM
        DTYPE_FILE_COUNT,
    DTYPE_FILE_LAST = DTYPE_FILE_COUNT - 1, /* so that the next has the number of the count */
#define DTYPE_ENUM(id, elements, bytes) DTYPE_##id,
    BLOCK_FORMAT_ENGINE_ROWS(DTYPE_ENUM)
#undef DTYPE_ENUM
        DTYPE_COUNT
};

enum { DTYPE_BLOCK_ELEMENTS_MAX = 256 };

/* Elements of one block, a power of two: 1 for plain numbers. */
size_t dtype_block_elements(enum dtype dtype);

/* Bytes of one block: of one element for plain numbers. */
size_t dtype_block_bytes(enum dtype dtype);

/* Bytes of `count` elements, which are whole blocks. */
size_t dtype_span_bytes(enum dtype dtype, size_t count);

/* One element a block. */
bool dtype_is_plain(enum dtype dtype);

/* The spelling of GGUF, and of safetensors for plain types ("F32", "Q4_K"). Static string. */
const char *dtype_name(enum dtype dtype);

/* out[i] = the exact f32 value of element i of a plain type; `from` may have any alignment. For
 * small tensors outside kernels; kernel_decode is the fast one and takes every type. */
void dtype_decode(enum dtype dtype, size_t count, const void *from, float *out);

#endif
