/* cholesky.h - the Cholesky factor of a symmetric positive definite matrix, in doubles.
 *
 *   A = U^T U      U upper triangular with a positive diagonal, A and U (n, n) row-major
 *
 *   U_ij = (A_ij - sum over k < i of U_ki U_kj) / U_ii      U_ii = sqrt(A_ii - sum of U_ki^2)
 *
 * The bracket is one chain of fused multiply-adds that starts from A_ij, k ascending, continued
 * across blocks; the root and the quotient are IEEE's. Threads split independent elements, so the
 * bits depend on the matrix alone, where LAPACK's depend on the processor and on the threads.
 */
#ifndef WORKER_ENGINE_SOLVE_CHOLESKY_H
#define WORKER_ENGINE_SOLVE_CHOLESKY_H

#include <stddef.h>

#include "common/base/error.h"
#include "worker/engine/kernel/kernel.h"

/* a: (n, n), of which only what is on and above the diagonal is read and written: A becomes U.
 * ERR_NOT_POSITIVE: the square of pivot *pivot would not be a finite number above 0; rows of U
 * before it are done and the others are spoiled. ERR_OUT_OF_MEMORY: a is as it was. pivot may be
 * NULL. Costs n^3 / 3 operations. */
MUST_CHECK enum err cholesky_factor(struct kernel *kernel, size_t n, double *a, size_t *pivot);

#endif
