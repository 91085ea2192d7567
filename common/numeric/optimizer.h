/* optimizer.h - AdamW (Loshchilov & Hutter 2019, algorithm 2) as PyTorch computes it, and the
 * global norm that clipping needs.
 *
 * All functions work on ranges of the flat trainable vector, so that threads may share the work;
 * the bits do not depend on how it is cut. Plain f32 arithmetic, one rounding an operator.
 */
#ifndef COMMON_NUMERIC_OPTIMIZER_H
#define COMMON_NUMERIC_OPTIMIZER_H

#include <stddef.h>
#include <stdint.h>

struct optimizer_adamw {
    double beta1, beta2;
    double eps;
    double weight_decay;
};

/* What one step needs at each element, rounded once from f64. */
struct optimizer_step {
    float gradient_scale; /* 1 / weight of the batch, times the clipping factor */
    float keep;           /* 1 - rate * weight_decay */
    float beta1, beta2;
    float one_minus_beta1, one_minus_beta2;
    float step_size;       /* rate / (1 - beta1^t) */
    float inverse_root_v2; /* 1 / sqrt(1 - beta2^t) */
    float eps;
};

/* `step` counts from 1. `gradient_scale` multiplies every gradient element first. */
struct optimizer_step optimizer_plan(const struct optimizer_adamw *adamw, uint64_t step,
                                     double rate, double gradient_scale);

/* Updates value, m and v of `count` elements; the four spans do not overlap.
 *   g = gradient * gradient_scale;  m = m + (g - m)(1 - b1);  v = v b2 + (1 - b2) g g
 *   value = value * keep - step_size * m / (sqrt(v) * inverse_root_v2 + eps) */
void optimizer_apply(const struct optimizer_step *step, size_t count, float *value, float *m,
                     float *v, const float *gradient);

/* Factor that brings a gradient of norm `norm` to at most `max_norm`: min(1, max_norm / (norm +
 * 1e-6)). max_norm <= 0 means no clipping: 1. */
double optimizer_clip(double norm, double max_norm);

/* Sum of squares in f64: chunks of OPTIMIZER_CHUNK elements in 16 lanes each, folded over the chunk
 * index in the tree of fold.h. */
enum { OPTIMIZER_CHUNK = 4096 };
double optimizer_sum_squares(size_t count, const float *x);

/* The sum of one chunk (count <= OPTIMIZER_CHUNK), for who splits the work. */
double optimizer_chunk_squares(size_t count, const float *x);

#endif
