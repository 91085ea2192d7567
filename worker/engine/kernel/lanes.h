/* lanes.h - serial functions over short spans of f32, one table an instruction set.
 *
 * For code that runs inside a kernel_parallel task (attention, cross entropy). Sums use the
 * contract's 16 lanes: lane l takes elements l, l + 16, l + 32, ...; the lanes meet in the tree (l,
 * l + 8), (l, l + 4), (l, l + 2), (l, l + 1). All tables agree in every bit.
 */
#ifndef WORKER_ENGINE_KERNEL_LANES_H
#define WORKER_ENGINE_KERNEL_LANES_H

#include <stdbool.h>
#include <stddef.h>

/* A small product c (m, n) = [c +] a b by the chains of f32/1. Element (i, p) of a is a[i * a_row +
 * p * a_column]; rows of b and of c are contiguous. Nothing is packed: for operands that lie in the
 * nearest caches. */
struct lanes_product {
    size_t m, n, k;
    const float *a;
    size_t a_row, a_column;
    const float *b;
    size_t b_row;
    float *c;
    size_t c_row;
    bool accumulate;
};

struct lanes {
    /* Largest element, -inf for count 0. NaN elements are passed over. */
    float (*max)(size_t count, const float *x);
    /* Sum in 16 lanes from +0. */
    float (*sum)(size_t count, const float *x);
    /* Sum of x * y: each lane one chain of fused multiply-adds from +0. */
    float (*dot)(size_t count, const float *x, const float *y);
    /* y = exp(x - shift), returns the sum of y in 16 lanes. The bits of scalar_exp_f32. y may be x.
     */
    float (*exp_sum)(size_t count, const float *x, float shift, float *y);
    /* y *= scale;  y = fma(scale, x, y);  y += x */
    void (*scale)(size_t count, float scale, float *y);
    void (*add_scaled)(size_t count, float scale, const float *x, float *y);
    void (*add)(size_t count, const float *x, float *y);
    /* y = x * (dy - shift): the backward pass of a softmax row x. y may be x or dy. */
    void (*mul_shifted)(size_t count, const float *x, const float *dy, float shift, float *y);
    /* y = cap * tanh(x / cap), and from that y its gradient dx = dy * (1 - (y / cap)^2). y may be
     * x; dx may be y or dy. */
    void (*soft_cap)(size_t count, float cap, const float *x, float *y);
    void (*soft_cap_backward)(size_t count, float cap, const float *y, const float *dy, float *dx);
    void (*product)(const struct lanes_product *product);
};

#endif
