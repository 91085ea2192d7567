/* linear.h - the one place where a weight in some format meets its adapter.
 *
 *   y = x W^T + mid B^T       mid = scale * dropout(x) A^T      (Hu et al. 2021, equation 3)
 *
 * W: (out, in) in the file's type or the trainables, A: (R, in), B: (out, R). The transformer
 * around it does not know whether an adapter is there.
 */
#ifndef WORKER_ENGINE_NN_LINEAR_H
#define WORKER_ENGINE_NN_LINEAR_H

#include "worker/engine/nn/pass.h"

/* x: (T, in), y: (T, out); `accumulate` adds to y. mid: (T, R) is kept for the backward pass,
 * unused without an adapter. */
void linear_forward(const struct pass *pass, size_t param, const float *x, float *mid, float *y,
                    bool accumulate);

/* dx: (T, in) receives or, with `accumulate`, continues the gradient; NULL when nobody below wants
 * it. Gradients of what trains go to the rows' vectors, one chain over the row's tokens each. */
void linear_backward(const struct pass *pass, size_t param, const float *x, const float *mid,
                     const float *dy, float *dx, bool accumulate);

#endif
