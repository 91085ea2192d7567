/* columns.h - statistics of the columns of a matrix, over its rows: what calibration measures.
 *
 * Every column is one chain over t ascending that continues from what is there; threads split
 * columns. x: (T, C).
 */
#ifndef WORKER_ENGINE_KERNEL_COLUMNS_H
#define WORKER_ENGINE_KERNEL_COLUMNS_H

#include <stddef.h>

struct kernel;

/* sums (C) += x^2 or |x| in f64, where the square of an f32 is exact. */
void columns_add_squares(struct kernel *kernel, size_t T, size_t C, const float *x, double *sums);
void columns_add_sizes(struct kernel *kernel, size_t T, size_t C, const float *x, double *sums);

/* least, most (C) become the smaller and the larger of themselves and the column's elements. NaN
 * elements are passed over; of equal ones the first stays. */
void columns_widen_range(struct kernel *kernel, size_t T, size_t C, const float *x, float *least,
                         float *most);

#endif
