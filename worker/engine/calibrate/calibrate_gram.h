/* calibrate_gram.h - the matrix of products of a site's columns, X^T X, over the rows of a shard.
 *
 * Only the upper triangle is kept, row by row: row i holds the columns i, i + 1, ..., so element
 * (i, j), i <= j, lies at calibrate_gram_at(columns, i, j). Sums of two shards are sums of
 * elements.
 *
 * The order of a shard's sum: of each row of tokens the product in f32, one chain of fused
 * multiply-adds over the tokens ascending (profile f32/1); these are added in f64, row after row.
 */
#ifndef WORKER_ENGINE_CALIBRATE_CALIBRATE_GRAM_H
#define WORKER_ENGINE_CALIBRATE_CALIBRATE_GRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

struct kernel;

struct calibrate_gram {
    size_t columns, count; /* count: elements of the triangle */
    double *sums;          /* owned: (count) */
    uint64_t tokens, rows; /* added so far */
    struct kernel *kernel; /* borrowed */
    float *panel;          /* owned, of the kernel */
};

/* Elements of the triangle; false: their bytes overflow. */
bool calibrate_gram_count(size_t columns, size_t *count);

static inline size_t calibrate_gram_at(size_t columns, size_t i, size_t j)
{
    return i * columns - i * (i + 1) / 2 + j;
}

/* Sums of nothing. The kernel must outlive it. ERR_OVERFLOW, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err calibrate_gram_init(struct calibrate_gram *gram, struct kernel *kernel,
                                        size_t columns);
void calibrate_gram_fini(struct calibrate_gram *gram);

/* Adds one row of tokens: x (tokens, columns), as a leaf of calibrate.h has it. */
void calibrate_gram_add(struct calibrate_gram *gram, size_t tokens, const float *x);

/* The whole symmetric matrix (columns, columns) from a triangle. */
void calibrate_gram_expand(size_t columns, const double *triangle, double *matrix);

#endif
