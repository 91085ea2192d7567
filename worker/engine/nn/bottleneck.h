/* bottleneck.h - a small network of two linear layers at a place of a layer: bottleneck adapters.
 *
 *   y += scale * (act(x D^T + d) U^T + u)         D: (N, C), U: (C, N)
 *
 * Houlsby et al. 2019 put one behind attention and one behind the mlp, where each sees what that
 * branch adds to x; Pfeiffer et al. 2021 one behind the layer, where it sees the sum; He et al.
 * 2022 one beside the mlp. Which there are is the binding's to say, what they see is block.c's.
 *
 * Refuses to know: what is around the place, and the formats in which others keep adapters.
 */
#ifndef WORKER_ENGINE_NN_BOTTLENECK_H
#define WORKER_ENGINE_NN_BOTTLENECK_H

#include "worker/engine/nn/pass.h"

/* Working memory, enough for the widest one. */
struct bottleneck_work {
    float *hidden;  /* (T, N) */
    float *dhidden; /* (T, N) backward */
    float *dy;      /* (T, C) backward */
    float *bias;    /* (C) */
};

/* The bottleneck that this pass has at a place, NULL when there is none. Borrowed. */
const struct binding_bottleneck *bottleneck_of(const struct pass *pass, size_t layer,
                                               enum binding_place place);

/* x, y: (T, C), not the same. plain: (T, N) receives x D^T + d for the backward pass. */
void bottleneck_forward(const struct pass *pass, const struct binding_bottleneck *b,
                        const struct bottleneck_work *work, const float *x, float *plain, float *y);

/* Gradients of D, d, U, u go to the rows' vectors, one chain over the row's tokens each; dx: (T, C)
 * continues the gradient at x, from dy: (T, C) at y. dx may be dy. */
void bottleneck_backward(const struct pass *pass, const struct binding_bottleneck *b,
                         const struct bottleneck_work *work, const float *x, const float *plain,
                         const float *dy, float *dx);

#endif
