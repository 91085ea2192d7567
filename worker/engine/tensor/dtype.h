/* dtype.h - element types of tensors as files and the engine name them.
 *
 * Refuses to know: how elements are stored in blocks (block formats come with their own rows).
 */
#ifndef WORKER_ENGINE_TENSOR_DTYPE_H
#define WORKER_ENGINE_TENSOR_DTYPE_H

#include <stddef.h>
#include <stdint.h>

enum dtype { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_COUNT };

/* Bytes of one element. */
size_t dtype_size_bytes(enum dtype dtype);

/* The safetensors spelling ("F32", "F16", "BF16"). Static string. */
const char *dtype_name(enum dtype dtype);

/* out[i] = the exact f32 value of element i; `from` may have any alignment. For small tensors
 * outside kernels; kernel_decode is the fast one. */
void dtype_decode(enum dtype dtype, size_t count, const void *from, float *out);

#endif
