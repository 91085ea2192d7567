/* svd.h - the largest singular values of a matrix and their vectors, in doubles.
 *
 *   W = U diag(s) V^T + what is left      W (rows, columns) f32, U (rows, rank), V (columns, rank),
 *                                         s descending, columns of U and of V orthonormal
 *
 * Subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4): a random subspace a little
 * wider than the rank goes through W^T and W in turns, orthonormal again after each, and what W
 * does within it is decomposed by one-sided Jacobi rotations (Hestenes 1958). The subspace of a
 * matrix whose smaller side is no wider than it is the whole space: then the result is exact, and
 * no iteration is made.
 *
 * Every sum is a chain of fused multiply-adds in a fixed order, threads split independent elements,
 * so the bits depend on the matrix and the options alone, where LAPACK's depend on the processor.
 * Singular vectors have no sign of their own: here the first of the largest magnitudes of each
 * column of U is positive.
 */
#ifndef WORKER_ENGINE_SOLVE_SVD_H
#define WORKER_ENGINE_SOLVE_SVD_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

struct kernel;

struct svd_options {
    size_t rank;       /* at least 1, at most the smaller side */
    size_t iterations; /* through W^T and W each; more bring close values apart */
    uint64_t key;      /* of the random subspace: random_key() */
};

/* w: finite numbers. u: (rows, rank), s: (rank), v: (columns, rank). ERR_OUT_OF_MEMORY. Takes
 * 4 (iterations + 1) rows * columns * (rank + a few) operations. */
MUST_CHECK enum err svd_truncate(struct kernel *kernel, size_t rows, size_t columns, const float *w,
                                 const struct svd_options *options, double *u, double *s,
                                 double *v);

#endif
