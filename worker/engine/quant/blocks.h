/* blocks.h - decoders and encoders of block formats, one table an instruction set.
 *
 *   block formats: a row of a matrix is cut into blocks of 32 or 256 elements; a block holds small
 *   integers and the scales that make them numbers again
 *
 * An element is one product of a small integer with a scale, or that product less (plus) a minimum.
 * Scales have 11 significant bits and multipliers at most 7, so every product is exact in f32 and
 * only the last addition rounds: the order of operations cannot matter, and the values are those of
 * ggml (ggml-quants.c, dequantize_row_*), bit by bit. (A NaN is a NaN.)
 *
 * An encoder gives the bytes of ggml's reference encoders, on every instruction set and however the
 * rows are cut: their searches and the order of their sums are part of the format here.
 *
 * One body, block_body.inc, is compiled once an instruction set; the decoders of a family of
 * formats stand in block_<family>.inc beside the drawing of their bytes, its encoders in
 * encode_<family>.inc and what these search for in encode_fit.inc.
 * Refuses to know: matrices, threads, which table fits the processor (kernel/kernel.c).
 */
#ifndef WORKER_ENGINE_QUANT_BLOCK_H
#define WORKER_ENGINE_QUANT_BLOCK_H

#include <stddef.h>

#include "worker/engine/tensor/dtype.h"

/* Decodes `count` blocks, of any alignment, to count * elements floats. */
typedef void (*block_decode_f)(size_t count, const void *from, float *out);

/* Encodes a matrix of finite numbers, (rows, columns), row by row in whole blocks. importance:
 * (columns), mean squares of what a weight is multiplied with, each finite and >= 0, or NULL; Q8_0,
 * TQ1_0, TQ2_0 and plain types make no use of it. A scale beyond f16's range becomes infinite. */
typedef void (*block_encode_f)(size_t rows, size_t columns, const float *x, const float *importance,
                               void *out);

/* Decoders are NULL for plain types, encoders for F32 and the engine's own types. */
struct block_table {
    block_decode_f decode[DTYPE_COUNT];
    block_encode_f encode[DTYPE_COUNT];
};

extern const struct block_table block_portable;
#if defined(__x86_64__)
extern const struct block_table block_avx2;
extern const struct block_table block_avx512;
#endif

/* out[i] = the value of element i of any type; `count` is whole blocks, `from` may have any
 * alignment. For code outside kernels; kernel_decode is the fast one. */
void block_decode(enum dtype dtype, size_t count, const void *from, float *out);

/* As block_encode_f, for any type of files; kernel_encode is the fast one. */
void block_encode(enum dtype dtype, size_t rows, size_t columns, const float *x,
                  const float *importance, void *out);

#endif
