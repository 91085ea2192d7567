/* tensor_error.h - how far the stored form of a matrix is from its values: the same figures for
 * every method and format.
 *
 * Sums in f64: a row's is one chain over its columns, rows are added one after the other, so it
 * makes no difference how a matrix is cut into calls. Refuses to know: grids, blocks, files.
 */
#ifndef WORKER_ENGINE_QUANT_TENSOR_ERROR_H
#define WORKER_ENGINE_QUANT_TENSOR_ERROR_H

#include <stddef.h>
#include <stdint.h>

struct tensor_error {
    uint64_t count;        /* weights */
    double power, error;   /* sums of w^2 and of (value - w)^2 */
    double power_weighted; /* the same, each column times its importance; 0 without */
    double error_weighted;
    float largest; /* |value - w| */
};

/* Adds rows to a zeroed, or so far added to, object. w, values: (rows, columns), w finite;
 * importance: (columns), sums or means of squares of what a weight is multiplied with, each finite
 * and >= 0, or NULL (then in all calls). A value that is not finite makes errors infinite. */
void tensor_error_add(struct tensor_error *error, size_t rows, size_t columns, const float *w,
                      const float *values, const float *importance);

/* error / power: 0 for exact values, about 0.01 for four bits in groups and a quarter of that for
 * each bit more; infinite where all weights are 0 and the values are not. */
double tensor_error_relative(const struct tensor_error *error);

/* The same of the weighted sums: the part of the output's power that is error, if input channels
 * had nothing in common. Without importance as tensor_error_relative. */
double tensor_error_relative_weighted(const struct tensor_error *error);

/* Bits a weight of `size_bytes` of storage, scales and all included; 0 without weights. */
double tensor_error_bits(const struct tensor_error *error, uint64_t size_bytes);

#endif
