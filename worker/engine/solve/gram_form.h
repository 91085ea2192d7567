/* gram_form.h - the error of a change of weights at a layer's outputs, from the inputs' products.
 *
 *   sum over tokens |x dw^T|^2 = dw G dw^T        G = sum of x^T x, (columns, columns)
 *
 * Of two ways to take it this is the fast one, for searches that compare many changes: f32
 * products through kernel_gemm. gram_error.h is the one in doubles. G is symmetric, so only blocks
 * on and below the diagonal are kept and multiplied, those below doubled:
 *
 *            J0   J1   J2
 *          +----+              E_r = sum over J of  (dw[J0..] P_J) . dw[J]
 *     J0   | G  |
 *          +----+----+         P_J = the panel of block column J: half the memory, and half the
 *     J1   | 2G | G  |         work of the whole product
 *          +----+----+----+
 *     J2   | 2G | 2G | G  |
 *          +----+----+----+
 *
 * Order: a product's element is one chain of fused multiply-adds over the columns from J on
 * (profile f32/1), the dot product has 16 lanes (kernel/lanes.h), blocks are added in f64, J
 * ascending. Nothing depends on threads.
 */
#ifndef WORKER_ENGINE_SOLVE_GRAM_FORM_H
#define WORKER_ENGINE_SOLVE_GRAM_FORM_H

#include <stdint.h>

#include "common/base/error.h"

struct kernel;

struct gram_form {
    size_t columns;
    float *panels;         /* owned: one after the other, rows of a panel contiguous */
    float *product;        /* owned: (rows_max, block) */
    size_t rows_max;       /* of a change */
    struct kernel *kernel; /* borrowed */
};

/* The form of columns [first, first + count) of the Gram matrix gram (columns, columns), of which
 * only what is on and below the diagonal is read, divided by `tokens`; for changes of at most
 * `rows_max` rows. The kernel must outlive it. ERR_NOT_FINITE: an element is not, or not as f32;
 * ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err gram_form_init(struct gram_form *form, struct kernel *kernel, size_t columns,
                                   const double *gram, uint64_t tokens, size_t first, size_t count,
                                   size_t rows_max);
void gram_form_fini(struct gram_form *form); /* a zeroed object is allowed */

/* errors[r] = the error of row r of delta (rows, count), rows `stride` apart. */
void gram_form_errors(struct gram_form *form, size_t rows, const float *delta, size_t stride,
                      double *errors);

/* Their sum, rows ascending. */
double gram_form_sum(size_t rows, const double *errors);

#endif
