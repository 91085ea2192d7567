/* norm.h - RMSNorm with its gain. */
#ifndef WORKER_ENGINE_NN_NORM_H
#define WORKER_ENGINE_NN_NORM_H

#include "worker/engine/nn/pass.h"

/* A run of tokens that belongs to one row of the batch: whose gradient a norm's gain goes to. */
struct norm_span {
    size_t start, count;
};

/* x, y: (T, C); inv_rms: (T) is kept for the backward pass. */
void norm_forward(const struct pass *pass, size_t param, size_t T, const float *x, float *y,
                  float *inv_rms);

/* dx = or += (`accumulate`) the gradient at x; NULL when nobody below wants it. spans: one for each
 * row of the batch, in the T tokens at hand. */
void norm_backward(const struct pass *pass, size_t param, const struct norm_span *spans,
                   const float *x, const float *inv_rms, const float *dy, float *dx,
                   bool accumulate);

#endif
