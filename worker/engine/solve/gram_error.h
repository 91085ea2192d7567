/* gram_error.h - what a changed matrix does to the outputs of its layer.
 *
 *   sum over the calibration tokens x of |(V - W) x|^2 = sum over rows d of V - W of d G d^T
 *
 * with G = sum of x x^T, the Gram matrix of the layer's input: the activations themselves need not
 * be kept. Refuses to know: how V came about, and models.
 */
#ifndef WORKER_ENGINE_SOLVE_GRAM_ERROR_H
#define WORKER_ENGINE_SOLVE_GRAM_ERROR_H

#include <stddef.h>

#include "common/base/error.h"
#include "worker/engine/kernel/kernel.h"

/* w, values: (rows, columns), finite. gram: (columns, columns); only what is on and below its
 * diagonal is read, the rest counts as its mirror image. row_errors: (rows) receives each row's
 * share, or NULL; error receives their sum, rows ascending. Either is +0 or above except for
 * rounding. Doubles in fixed order: the bits depend on neither threads nor instruction set. Costs
 * rows * columns^2 operations. ERR_OUT_OF_MEMORY: nothing was written. */
MUST_CHECK enum err gram_error(struct kernel *kernel, size_t rows, size_t columns, const float *w,
                               const float *values, const double *gram, double *row_errors,
                               double *error);

#endif
