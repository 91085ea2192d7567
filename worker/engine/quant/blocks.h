/* blocks.h - decoders of block formats, one table an instruction set.
 *
 *   block formats: a row of a matrix is cut into blocks of 32 or 256 elements; a block holds small
 *   integers and the scales that make them numbers again
 *
 * An element is one product of a small integer with a scale, or that product less (plus) a minimum.
 * Scales have 11 significant bits and multipliers at most 7, so every product is exact in f32 and
 * only the last addition rounds: the order of operations cannot matter, and the values are those of
 * ggml (ggml-quants.c, dequantize_row_*), bit by bit. (A NaN is a NaN.)
 *
 * One body, block_body.inc, is compiled once an instruction set; the decoders of a family of
 * formats stand in block_<family>.inc beside the drawing of their bytes.
 * Refuses to know: matrices, threads, which table fits the processor (kernel/kernel.c).
 */
#ifndef WORKER_ENGINE_QUANT_BLOCK_H
#define WORKER_ENGINE_QUANT_BLOCK_H

#include <stddef.h>

#include "worker/engine/tensor/dtype.h"

/* Decodes `count` blocks, of any alignment, to count * elements floats. */
typedef void (*block_decode_f)(size_t count, const void *from, float *out);

/* NULL for plain types. */
struct block_table {
    block_decode_f decode[DTYPE_COUNT];
};

extern const struct block_table block_portable;
#if defined(__x86_64__)
extern const struct block_table block_avx2;
extern const struct block_table block_avx512;
#endif

/* out[i] = the value of element i of any type; `count` is whole blocks, `from` may have any
 * alignment. For code outside kernels; kernel_decode is the fast one. */
void block_decode(enum dtype dtype, size_t count, const void *from, float *out);

#endif
