/* columns.h - work on the columns of a matrix: statistics over its rows, which calibration
 * measures; a factor for each; columns that are looked up.
 *
 * Every column is one chain over t ascending that continues from what is there; threads split
 * columns. x: (T, C).
 */
#ifndef WORKER_ENGINE_KERNEL_COLUMNS_H
#define WORKER_ENGINE_KERNEL_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kernel;

/* sums (C) += x^2 or |x| in f64, where the square of an f32 is exact. */
void columns_add_squares(struct kernel *kernel, size_t T, size_t C, const float *x, double *sums);
void columns_add_sizes(struct kernel *kernel, size_t T, size_t C, const float *x, double *sums);

/* least, most (C) become the smaller and the larger of themselves and the column's elements. NaN
 * elements are passed over; of equal ones the first stays. */
void columns_widen_range(struct kernel *kernel, size_t T, size_t C, const float *x, float *least,
                         float *most);

/* Columns times a factor each: to = or += (`accumulate`) from * factors, (T, width) with rows that
 * lie from_stride and to_stride apart; factors: (width). No overlap. */
void columns_scale(struct kernel *kernel, size_t T, size_t width, const float *factors,
                   const float *from, size_t from_stride, bool accumulate, float *to,
                   size_t to_stride);

/* sums (width) += a * b * factors over t: the head calls it for some tokens of a row at a time, as
 * many as fit, and how many must not show. Rows lie a_stride and b_stride apart. */
void columns_add_products(struct kernel *kernel, size_t T, size_t width, const float *a,
                          size_t a_stride, const float *b, size_t b_stride, const float *factors,
                          float *sums);

/* y (T, R) = columns ids of table (R, V); and its gradient, dtable's columns ids += dy, tokens in
 * ascending order. Every id is below V. */
void columns_gather(struct kernel *kernel, size_t T, size_t R, size_t V, const uint32_t *ids,
                    const float *table, float *y);
void columns_scatter_add(struct kernel *kernel, size_t T, size_t R, size_t V, const uint32_t *ids,
                         const float *dy, float *dtable);

#endif
