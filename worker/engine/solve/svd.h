/* svd.h - the largest singular values of a matrix and their vectors, in doubles.
 *
 *   W = U diag(s) V^T + what is left      W (rows, columns) f32, U (rows, rank), V (columns, rank),
 *                                         s descending, columns of U and of V orthonormal
 *
 * Subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4): a random subspace a little
 * wider than the rank goes through W^T and W in turns, orthonormal again after each, and what W
 * does within it is decomposed by one-sided Jacobi rotations (Hestenes 1958). A small
 * matrix (its smaller side up to 64, or no wider than the subspace) is decomposed whole: then
 * nothing is left to chance, and iterations and key do not matter.
 *
 * Products with W are chains of fused multiply-adds in order, other sums eight lanes and a tree;
 * threads split independent elements. So the bits depend on the matrix and the options alone, where
 * LAPACK's depend on the processor. Singular vectors have no sign of their own: here the first of
 * the largest magnitudes of each column of U is positive. Where a value is 0, columns of U and of V
 * may be 0.
 */
#ifndef WORKER_ENGINE_SOLVE_SVD_H
#define WORKER_ENGINE_SOLVE_SVD_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

struct kernel;

struct svd_options {
    size_t rank;       /* at least 1, at most the smaller side */
    size_t iterations; /* beyond the first pass; more tell close values apart */
    uint64_t key;      /* of the random subspace: random_key() */
};

/* w: finite numbers. u: (rows, rank), s: (rank), v: (columns, rank). ERR_OUT_OF_MEMORY. Takes
 * 4 (iterations + 2) rows * columns * (rank + a few) operations. */
MUST_CHECK enum err svd_truncate(struct kernel *kernel, size_t rows, size_t columns, const float *w,
                                 const struct svd_options *options, double *u, double *s,
                                 double *v);

#endif
