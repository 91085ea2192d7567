/* linear.h - the one place where a weight in some format meets its adapter.
 *
 *   y = x W^T + b + mid B^T       mid = scale * dropout(x) A^T      (Hu et al. 2021, equation 3)
 *
 * W: (out, in) in the file's type, the trainables, or what the pass has instead of them: codes of
 * weights that a quantizer made in this round (train/fake_quant.h). Where these hold W + scale B A
 * the product is theirs alone, and gradients are those of the sum. A: (R, in), B: (out, R). The
 * transformer
 * around it does not know whether an adapter is there, nor what the weight is: plain, stored the
 * other way round, or ternary (then the product sees x rounded to 8 bits a token, and gradients
 * pass both roundings as if they were not there: Ma et al. 2024).
 *
 * With an anchor the adapter adds less of what it was at first; with a magnitude (nn/binding.h) the
 * sum of both products is scaled row by row before the bias comes.
 *
 * A fused module is one linear layer whose output lands in several places, its parts. An adapter
 * may sit on the module, on its parts, or on both; the base product is the same.
 */
#ifndef WORKER_ENGINE_NN_LINEAR_H
#define WORKER_ENGINE_NN_LINEAR_H

#include "worker/engine/nn/pass.h"

/* What an adapter keeps of T tokens: (T, R), and with a magnitude (T, out) behind it. */
size_t linear_mid_count(const struct binding *binding, const struct model *model, size_t param,
                        size_t T);

/* x: (T, in), y: (T, out); `accumulate` adds to y. mid: linear_mid_count floats, kept for
 * the backward pass, unused without an adapter. */
void linear_forward(const struct pass *pass, size_t param, const float *x, float *mid, float *y,
                    bool accumulate);

/* dx: (T, in) receives or, with `accumulate`, continues the gradient; NULL when nobody below wants
 * it. Gradients of what trains go to the rows' vectors, one chain over the row's tokens each. */
void linear_backward(const struct pass *pass, size_t param, const float *x, const float *mid,
                     const float *dy, float *dx, bool accumulate);

enum { LINEAR_PARTS_MAX = 3 };

/* A part of a fused module and the place of its output, or of the gradient at it. */
struct linear_part {
    size_t param; /* of the part */
    float *y;     /* (T, rows of the part) */
    float *mid;   /* (T, R) of the part's own adapter */
};

/* The same for a fused module; the parts are all of its rows. */
void linear_forward_parts(const struct pass *pass, size_t param, const float *x, float *mid,
                          const struct linear_part *parts, size_t count);
void linear_backward_parts(const struct pass *pass, size_t param, const float *x, const float *mid,
                           const struct linear_part *parts, size_t count, float *dx,
                           bool accumulate);

#endif
