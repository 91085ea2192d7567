/* norm.h - the family's norm with its gain and, where it has one, its bias. */
#ifndef WORKER_ENGINE_NN_NORM_H
#define WORKER_ENGINE_NN_NORM_H

#include "worker/engine/nn/pass.h"

/* A run of tokens that belongs to one row of the batch: whose gradient a norm's gain goes to. */
struct norm_span {
    size_t start, count;
};

/* Floats that a norm of T vectors keeps for its backward pass. */
size_t norm_stats_count(const struct model *model, size_t T);

/* Each of T * `groups` vectors of the gain's width is normed alone: groups is the number of heads
 * for a norm of heads, else 1. x, y: (T, groups * width), y may be x; stats: norm_stats_count of
 * T * groups floats, kept for the backward pass. */
void norm_forward(const struct pass *pass, size_t param, size_t T, size_t groups, const float *x,
                  float *y, float *stats);

/* dx = or += (`accumulate`) the gradient at x; dx may be dy when not accumulating. spans: one for
 * each row of the batch, in the T tokens at hand. */
void norm_backward(const struct pass *pass, size_t param, const struct norm_span *spans,
                   size_t groups, const float *x, const float *stats, const float *dy, float *dx,
                   bool accumulate);

#endif
