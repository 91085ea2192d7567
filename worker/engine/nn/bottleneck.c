/* bottleneck.c - forward beside backward. What comes out of the activation is made again. */
#include "worker/engine/nn/bottleneck.h"

const struct binding_bottleneck *bottleneck_of(const struct pass *pass, size_t layer,
                                               enum binding_place place)
{
    return pass->values != NULL ? binding_bottleneck(pass->binding, layer, place) : NULL;
}

/* y (T, out) = or += x (T, in) W^T, W: (out, in) */
static void multiply(const struct pass *pass, const float *x, size_t offset, size_t out, size_t in,
                     float *y, bool accumulate)
{
    struct kernel_gemm gemm = {.m = pass->batch->token_count,
                               .n = out,
                               .k = in,
                               .a = x,
                               .a_row_stride = in,
                               .a_col_stride = 1,
                               .b = pass->values + offset,
                               .b_dtype = DTYPE_F32,
                               .b_row_stride = 1,
                               .b_col_stride = in,
                               .c = y,
                               .c_row_stride = out,
                               .accumulate = accumulate};
    kernel_gemm(pass->kernel, &gemm);
}

/* dx (T, in) = or += dy (T, out) W */
static void multiply_back(const struct pass *pass, const float *dy, size_t offset, size_t out,
                          size_t in, float *dx, bool accumulate)
{
    struct kernel_gemm gemm = {.m = pass->batch->token_count,
                               .n = in,
                               .k = out,
                               .a = dy,
                               .a_row_stride = out,
                               .a_col_stride = 1,
                               .b = pass->values + offset,
                               .b_dtype = DTYPE_F32,
                               .b_row_stride = in,
                               .b_col_stride = 1,
                               .c = dx,
                               .c_row_stride = in,
                               .accumulate = accumulate};
    kernel_gemm(pass->kernel, &gemm);
}

/* For each row of the batch: the gradients of W += dy^T x and of its bias += the sum of dy. */
static void gradient_rows(const struct pass *pass, const float *dy, const float *x, size_t offset,
                          size_t bias_offset, size_t out, size_t in)
{
    for (size_t r = 0; r < pass->batch->row_count; r++) {
        const struct batch_row *row = &pass->batch->rows[r];
        const float *dy_row = dy + row->start * out;
        struct kernel_gemm gemm = {.m = out,
                                   .n = in,
                                   .k = row->count,
                                   .a = dy_row,
                                   .a_row_stride = 1,
                                   .a_col_stride = out,
                                   .b = x + row->start * in,
                                   .b_dtype = DTYPE_F32,
                                   .b_row_stride = in,
                                   .b_col_stride = 1,
                                   .c = pass->gradients[r] + offset,
                                   .c_row_stride = in,
                                   .accumulate = true};
        kernel_gemm(pass->kernel, &gemm);
        kernel_bias_gradient(pass->kernel, row->count, out, dy_row,
                             pass->gradients[r] + bias_offset);
    }
}

static bool is_scaled(const struct binding_bottleneck *b)
{
    return b->scale < 1 || b->scale > 1;
}

void bottleneck_forward(const struct pass *pass, const struct binding_bottleneck *b,
                        const struct bottleneck_work *work, const float *x, float *plain, float *y)
{
    size_t T = pass->batch->token_count, C = model_shape(pass->model)->width, N = b->width;
    const float *bias = pass->values + b->up_bias_offset;
    multiply(pass, x, b->down_offset, N, C, plain, false);
    kernel_add_bias(pass->kernel, T, N, pass->values + b->down_bias_offset, plain);
    kernel_activate(pass->kernel, b->act, T * N, plain, work->hidden);
    if (is_scaled(b)) {
        kernel_scale(pass->kernel, T * N, b->scale, work->hidden);
        kernel_copy(pass->kernel, C, bias, work->bias);
        kernel_scale(pass->kernel, C, b->scale, work->bias);
        bias = work->bias;
    }
    multiply(pass, work->hidden, b->up_offset, C, N, y, true);
    kernel_add_bias(pass->kernel, T, C, bias, y);
}

void bottleneck_backward(const struct pass *pass, const struct binding_bottleneck *b,
                         const struct bottleneck_work *work, const float *x, const float *plain,
                         const float *dy, float *dx)
{
    size_t T = pass->batch->token_count, C = model_shape(pass->model)->width, N = b->width;
    if (is_scaled(b)) {
        kernel_copy(pass->kernel, T * C, dy, work->dy);
        kernel_scale(pass->kernel, T * C, b->scale, work->dy);
        dy = work->dy;
    }
    kernel_activate(pass->kernel, b->act, T * N, plain, work->hidden);
    gradient_rows(pass, dy, work->hidden, b->up_offset, b->up_bias_offset, C, N);
    multiply_back(pass, dy, b->up_offset, C, N, work->dhidden, false);
    kernel_activate_backward(pass->kernel, b->act, T * N, plain, work->dhidden, work->dhidden);
    gradient_rows(pass, work->dhidden, x, b->down_offset, b->down_bias_offset, N, C);
    multiply_back(pass, work->dhidden, b->down_offset, N, C, dx, true);
}
