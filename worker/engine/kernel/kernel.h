/* kernel.h - what the engine may ask of a device: memory, copies and kernels as rows of one table.
 *
 * Outside kernels the engine never touches a tensor's data. A backend (`cpu` with its instruction-set
 * rows; later `cuda`) fills the table; a GPU worker is a second table and not a second engine.
 *
 * Profile f32/1 (ARCHITECTURE.md, "numerics contract"): every output element of a matrix product is
 * one chain of fused multiply-adds over k, ascending, starting from +0 or from the loaded C element;
 * sums over rows use 16 fixed lanes and a fixed tree; threads split independent outputs and never a
 * sum. All rows of the cpu backend therefore agree in every bit.
 *
 * Dimension letters: T tokens, C width, H heads, G kv heads, D head width, V vocabulary, F MLP width,
 * R LoRA rank. Matrices are row-major; strides count elements.
 */
#ifndef WORKER_ENGINE_KERNEL_KERNEL_H
#define WORKER_ENGINE_KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "worker/engine/tensor/dtype.h"

enum kernel_profile { KERNEL_PROFILE_F32, KERNEL_PROFILE_BLAS };
enum kernel_isa { KERNEL_ISA_BEST, KERNEL_ISA_PORTABLE, KERNEL_ISA_AVX2, KERNEL_ISA_AVX512 };

/* A product C (m, n) = [C +] A (m, k) · B (k, n). A and C are f32, B is read through the tile decoder
 * of its type and is never expanded as a whole. Any operand may be transposed through its strides:
 * element (i, p) of A is a[i * a_row_stride + p * a_col_stride]. For f16 and bf16, b is one contiguous
 * matrix whose unit stride is b_row_stride or b_col_stride. */
struct kernel_gemm {
    size_t m, n, k;
    const float *a;
    size_t a_row_stride, a_col_stride;
    const void *b;
    enum dtype b_dtype;
    size_t b_row_stride, b_col_stride;
    float *c;
    size_t c_row_stride;
    bool accumulate; /* start each chain from C instead of +0 */
};

struct kernel; /* a backend with its profile, its rows and its thread pool */

#endif
