/* kernel_rows.c - the row kernels that families of transformers differ by: norms, activations,
 * biases, caps and the moving of columns, forward beside backward.
 */
#include <string.h>

#include "common/base/check.h"
#include "worker/engine/kernel/kernel_call.h"

/* Columns a part, for chains over T rows: each element's chain stays with one thread. */
static size_t column_grain(size_t T)
{
    return MAX((KERNEL_GRAIN / MAX(T, 1u) + 15) / 16 * 16, 16u);
}

/* ---- norms ---- */

static void rms_norm_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t t = begin; t < end; t++)
        c->x[t] =
            c->rows->rms_norm(c->C, c->scalar, c->offset, c->a + t * c->C, c->b, c->y + t * c->C);
}

void kernel_rms_norm(struct kernel *kernel, size_t T, size_t C, float eps, float offset,
                     const float *x, const float *weight, float *y, float *inv_rms)
{
    struct kernel_call call = {
        .C = C, .scalar = eps, .offset = offset, .a = x, .b = weight, .y = y, .x = inv_rms};
    kernel_call_split(kernel, T, C, &call, rms_norm_part);
}

static void rms_norm_weight_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->rms_norm_weight(c->T, c->C, end - begin, c->a + begin, c->c, c->d + begin,
                             c->x + begin);
}

static void rms_norm_backward_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t t = begin; t < end; t++)
        c->rows->rms_norm_backward(c->C, c->offset, c->a + t * c->C, c->b, c->c[t], c->d + t * c->C,
                                   c->accumulate, c->y + t * c->C);
}

void kernel_rms_norm_backward(struct kernel *kernel, size_t T, size_t C, float offset,
                              const float *x, const float *weight, const float *inv_rms,
                              const float *dy, float *dx, bool accumulate, float *dweight)
{
    struct kernel_call call = {
        .T = T, .C = C, .offset = offset, .a = x, .b = weight, .c = inv_rms, .d = dy};
    if (dweight != NULL) { /* before dx, which may take dy's place */
        call.x = dweight;
        call.grain = column_grain(T);
        kernel_call_split(kernel, C, T, &call, rms_norm_weight_part);
    }
    call.grain = 0;
    call.y = dx;
    call.accumulate = accumulate;
    kernel_call_split(kernel, T, C, &call, rms_norm_backward_part);
}

static void layer_norm_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t t = begin; t < end; t++)
        c->rows->layer_norm(c->C, c->scalar, c->a + t * c->C, c->b, c->c, c->y + t * c->C,
                            c->x + 2 * t);
}

void kernel_layer_norm(struct kernel *kernel, size_t T, size_t C, float eps, const float *x,
                       const float *weight, const float *bias, float *y, float *stats)
{
    struct kernel_call call = {
        .C = C, .scalar = eps, .a = x, .b = weight, .c = bias, .y = y, .x = stats};
    kernel_call_split(kernel, T, C, &call, layer_norm_part);
}

static void layer_norm_weight_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->layer_norm_weight(c->T, c->C, end - begin, c->a + begin, c->c, c->d + begin,
                               c->x + begin);
}

static void layer_norm_backward_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t t = begin; t < end; t++)
        c->rows->layer_norm_backward(c->C, c->a + t * c->C, c->b, c->c + 2 * t, c->d + t * c->C,
                                     c->accumulate, c->y + t * c->C);
}

void kernel_layer_norm_backward(struct kernel *kernel, size_t T, size_t C, const float *x,
                                const float *weight, const float *stats, const float *dy, float *dx,
                                bool accumulate, float *dweight, float *dbias)
{
    struct kernel_call call = {.T = T, .C = C, .a = x, .b = weight, .c = stats, .d = dy};
    if (dweight != NULL) { /* before dx, which may take dy's place */
        call.x = dweight;
        call.grain = column_grain(T);
        kernel_call_split(kernel, C, T, &call, layer_norm_weight_part);
    }
    if (dbias != NULL)
        kernel_bias_gradient(kernel, T, C, dy, dbias);
    call.grain = 0;
    call.y = dx;
    call.accumulate = accumulate;
    kernel_call_split(kernel, T, C, &call, layer_norm_backward_part);
}

/* ---- activations ---- */

static void gated_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->gated(c->act, end - begin, c->a + begin, c->b + begin, c->y + begin);
}

void kernel_gated(struct kernel *kernel, enum kernel_act act, size_t count, const float *gate,
                  const float *up, float *y)
{
    struct kernel_call call = {.act = act, .a = gate, .b = up, .y = y};
    kernel_call_split(kernel, count, 1, &call, gated_part);
}

static void gated_backward_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->gated_backward(c->act, end - begin, c->a + begin, c->b + begin, c->c + begin,
                            c->x + begin, c->y + begin);
}

void kernel_gated_backward(struct kernel *kernel, enum kernel_act act, size_t count,
                           const float *gate, const float *up, const float *dy, float *dgate,
                           float *dup)
{
    struct kernel_call call = {.act = act, .a = gate, .b = up, .c = dy, .x = dgate, .y = dup};
    kernel_call_split(kernel, count, 1, &call, gated_backward_part);
}

static void activate_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->activate(c->act, end - begin, c->a + begin, c->y + begin);
}

void kernel_activate(struct kernel *kernel, enum kernel_act act, size_t count, const float *x,
                     float *y)
{
    struct kernel_call call = {.act = act, .a = x, .y = y};
    kernel_call_split(kernel, count, 1, &call, activate_part);
}

static void activate_backward_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->activate_backward(c->act, end - begin, c->a + begin, c->b + begin, c->y + begin);
}

void kernel_activate_backward(struct kernel *kernel, enum kernel_act act, size_t count,
                              const float *x, const float *dy, float *dx)
{
    struct kernel_call call = {.act = act, .a = x, .b = dy, .y = dx};
    kernel_call_split(kernel, count, 1, &call, activate_backward_part);
}

static void soft_cap_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->lanes.soft_cap(end - begin, c->scalar, c->a + begin, c->y + begin);
}

void kernel_soft_cap(struct kernel *kernel, size_t count, float cap, const float *x, float *y)
{
    ASSERT(cap > 0);
    struct kernel_call call = {.scalar = cap, .a = x, .y = y};
    kernel_call_split(kernel, count, 1, &call, soft_cap_part);
}

static void soft_cap_backward_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->lanes.soft_cap_backward(end - begin, c->scalar, c->a + begin, c->b + begin,
                                     c->y + begin);
}

void kernel_soft_cap_backward(struct kernel *kernel, size_t count, float cap, const float *y,
                              const float *dy, float *dx)
{
    ASSERT(cap > 0);
    struct kernel_call call = {.scalar = cap, .a = y, .b = dy, .y = dx};
    kernel_call_split(kernel, count, 1, &call, soft_cap_backward_part);
}

static void round_int8_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t t = begin; t < end; t++)
        c->rows->round_int8(c->C, c->a + t * c->C, c->y + t * c->C);
}

void kernel_round_int8(struct kernel *kernel, size_t T, size_t C, const float *x, float *y)
{
    struct kernel_call call = {.C = C, .a = x, .y = y};
    kernel_call_split(kernel, T, C, &call, round_int8_part);
}

static void round_grid8_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t t = begin; t < end; t++)
        c->rows->round_grid8(c->C, c->scalar, c->a + t * c->C, c->y + t * c->C);
}

void kernel_round_grid8(struct kernel *kernel, size_t T, size_t C, float scale, const float *x,
                        float *y)
{
    ASSERT(scale >= 0);
    struct kernel_call call = {.C = C, .scalar = scale, .a = x, .y = y};
    kernel_call_split(kernel, T, C, &call, round_grid8_part);
}

/* ---- biases ---- */

static void add_bias_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t t = begin; t < end; t++)
        c->rows->lanes.add(c->C, c->a, c->y + t * c->C);
}

void kernel_add_bias(struct kernel *kernel, size_t T, size_t N, const float *bias, float *y)
{
    struct kernel_call call = {.C = N, .a = bias, .y = y};
    kernel_call_split(kernel, T, N, &call, add_bias_part);
}

static void bias_gradient_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t t = 0; t < c->T; t++)
        c->rows->lanes.add(end - begin, c->a + t * c->C + begin, c->y + begin);
}

void kernel_bias_gradient(struct kernel *kernel, size_t T, size_t N, const float *dy, float *dbias)
{
    struct kernel_call call = {.T = T, .C = N, .a = dy, .y = dbias, .grain = column_grain(T)};
    kernel_call_split(kernel, N, T, &call, bias_gradient_part);
}

/* ---- columns ---- */

static void columns_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t t = begin; t < end; t++) {
        if (c->accumulate)
            c->rows->lanes.add(c->C, c->a + t * c->a_stride, c->y + t * c->y_stride);
        else
            memcpy(c->y + t * c->y_stride, c->a + t * c->a_stride, c->C * sizeof(float));
    }
}

static void move_columns(struct kernel *kernel, size_t T, struct kernel_call call)
{
    kernel_call_split(kernel, call.C == 0 ? 0 : T, call.C, &call, columns_part);
}

void kernel_copy_columns(struct kernel *kernel, size_t T, size_t width, const float *from,
                         size_t from_stride, float *to, size_t to_stride)
{
    move_columns(
        kernel, T,
        (struct kernel_call){
            .C = width, .a = from, .a_stride = from_stride, .y = to, .y_stride = to_stride});
}

void kernel_add_columns(struct kernel *kernel, size_t T, size_t width, const float *from,
                        size_t from_stride, float *to, size_t to_stride)
{
    move_columns(kernel, T,
                 (struct kernel_call){.C = width,
                                      .a = from,
                                      .a_stride = from_stride,
                                      .y = to,
                                      .y_stride = to_stride,
                                      .accumulate = true});
}
