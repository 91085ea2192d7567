/* head.c - the end of the network, forward beside backward. */
#include "worker/engine/nn/head.h"

#include "common/base/check.h"
#include "worker/engine/kernel/cross_entropy.h"

size_t head_block(size_t vocabulary, size_t T)
{
    size_t block = MAX((size_t)HEAD_BLOCK_FLOATS / vocabulary, (size_t)HEAD_POSITIONS_MIN);
    return MIN(block, MAX(T, (size_t)1));
}

/* logits (m, V) = normed (m, C) W^T + b, capped */
static void project(const struct pass *pass, size_t m, const float *normed, float *logits)
{
    const struct model_shape *shape = model_shape(pass->model);
    size_t head = pass_param(pass, MODEL_HEAD, 0);
    struct pass_weight w = pass_weight(pass, head);
    struct kernel_gemm gemm = {.m = m,
                               .n = shape->vocabulary,
                               .k = shape->width,
                               .a = normed,
                               .a_row_stride = shape->width,
                               .a_col_stride = 1,
                               .b = w.data,
                               .b_dtype = w.dtype,
                               .b_row_stride = 1,
                               .b_col_stride = shape->width,
                               .c = logits,
                               .c_row_stride = shape->vocabulary};
    kernel_gemm(pass->kernel, &gemm);
    ptrdiff_t bias = model_param(pass->model, head)->bias;
    if (bias != MODEL_NO_PARAM)
        kernel_add_bias(pass->kernel, m, shape->vocabulary, pass_weight(pass, (size_t)bias).data,
                        logits);
    if (shape->logit_cap > 0)
        kernel_soft_cap(pass->kernel, m * shape->vocabulary, shape->logit_cap, logits, logits);
}

/* dnormed (m, C) = dlogits (m, V) W */
static void project_backward(const struct pass *pass, size_t m, const float *dlogits,
                             float *dnormed)
{
    const struct model_shape *shape = model_shape(pass->model);
    struct pass_weight w = pass_weight(pass, pass_param(pass, MODEL_HEAD, 0));
    struct kernel_gemm gemm = {.m = m,
                               .n = shape->width,
                               .k = shape->vocabulary,
                               .a = dlogits,
                               .a_row_stride = shape->vocabulary,
                               .a_col_stride = 1,
                               .b = w.data,
                               .b_dtype = w.dtype,
                               .b_row_stride = shape->width,
                               .b_col_stride = 1,
                               .c = dnormed,
                               .c_row_stride = shape->width};
    kernel_gemm(pass->kernel, &gemm);
}

/* Gradients of W (V, C) and b (V): the part of each row's chain that lies in targets [first,
 * first + m). */
static void gradient_block(const struct pass *pass, size_t first, size_t m, const float *dlogits,
                           const float *normed)
{
    const struct model_shape *shape = model_shape(pass->model);
    size_t head = pass_param(pass, MODEL_HEAD, 0), offset = pass_offset(pass, head);
    ptrdiff_t bias = model_param(pass->model, head)->bias;
    size_t bias_offset = bias != MODEL_NO_PARAM ? pass_offset(pass, (size_t)bias) : BINDING_NONE;
    for (size_t r = 0; r < pass->batch->row_count; r++) {
        const struct batch_row *row = &pass->batch->rows[r];
        size_t begin = MAX(row->target_start, first);
        size_t end = MIN(row->target_start + row->target_count, first + m);
        if (begin >= end)
            continue;
        if (bias_offset != BINDING_NONE)
            kernel_bias_gradient(pass->kernel, end - begin, shape->vocabulary,
                                 dlogits + (begin - first) * shape->vocabulary,
                                 pass->gradients[r] + bias_offset);
        if (offset == BINDING_NONE)
            continue;
        struct kernel_gemm gemm = {.m = shape->vocabulary,
                                   .n = shape->width,
                                   .k = end - begin,
                                   .a = dlogits + (begin - first) * shape->vocabulary,
                                   .a_row_stride = 1,
                                   .a_col_stride = shape->vocabulary,
                                   .b = normed + begin * shape->width,
                                   .b_dtype = DTYPE_F32,
                                   .b_row_stride = shape->width,
                                   .b_col_stride = 1,
                                   .c = pass->gradients[r] + offset,
                                   .c_row_stride = shape->width,
                                   .accumulate = true};
        kernel_gemm(pass->kernel, &gemm);
    }
}

/* The targets' rows of x through the final norm. */
static void norm_targets(const struct pass *pass, const struct head_work *work, const float *x)
{
    size_t C = model_shape(pass->model)->width, N = pass->batch->target_count;
    kernel_gather(pass->kernel, N, C, pass->batch->targets, x, DTYPE_F32, work->x);
    norm_forward(pass, pass_param(pass, MODEL_FINAL_NORM, 0), N, 1, work->x, work->normed,
                 work->stats);
}

void head_loss(const struct pass *pass, const struct head_work *work, const float *x)
{
    const struct batch *batch = pass->batch;
    size_t C = model_shape(pass->model)->width, V = model_shape(pass->model)->vocabulary;
    norm_targets(pass, work, x);
    for (size_t first = 0; first < batch->target_count; first += work->block) {
        size_t m = MIN(work->block, batch->target_count - first);
        project(pass, m, work->normed + first * C, work->logits);
        cross_entropy(pass->kernel, m, V, work->logits, batch->labels + first, work->losses + first,
                      false);
    }
}

void head_gradient(const struct pass *pass, const struct head_work *work, const float *x,
                   const float *weights, float *d)
{
    const struct model_shape *shape = model_shape(pass->model);
    const struct batch *batch = pass->batch;
    size_t C = shape->width, V = shape->vocabulary, N = batch->target_count;
    size_t gain = pass_param(pass, MODEL_FINAL_NORM, 0);
    norm_targets(pass, work, x);
    for (size_t first = 0; first < N; first += work->block) {
        size_t m = MIN(work->block, N - first);
        project(pass, m, work->normed + first * C, work->logits);
        if (shape->logit_cap > 0)
            kernel_copy(pass->kernel, m * V, work->logits, work->capped);
        cross_entropy(pass->kernel, m, V, work->logits, batch->labels + first, work->losses + first,
                      true);
        if (weights != NULL)
            cross_entropy_weigh(pass->kernel, m, V, weights + first, work->logits);
        if (shape->logit_cap > 0)
            kernel_soft_cap_backward(pass->kernel, m * V, shape->logit_cap, work->capped,
                                     work->logits, work->logits);
        project_backward(pass, m, work->logits, work->dnormed + first * C);
        gradient_block(pass, first, m, work->logits, work->normed);
    }
    for (size_t r = 0; r < batch->row_count; r++)
        work->spans[r] =
            (struct norm_span){batch->rows[r].target_start, batch->rows[r].target_count};
    norm_backward(pass, gain, work->spans, 1, work->x, work->stats, work->dnormed, work->dx, false);
    kernel_zero(pass->kernel, batch->token_count * C, d);
    kernel_scatter_add(pass->kernel, N, C, batch->targets, work->dx, d);
}

void head_observe(const struct pass *pass, const struct head_work *work, const float *x)
{
    if (pass->observer == NULL)
        return;
    norm_forward(pass, pass_param(pass, MODEL_FINAL_NORM, 0), pass->batch->token_count, 1, x,
                 work->normed, work->stats);
    pass_observe(pass, pass_param(pass, MODEL_HEAD, 0), work->normed);
}

void head_logits(const struct pass *pass, const struct head_work *work, const float *x,
                 size_t first, size_t count, float *logits)
{
    const struct model_shape *shape = model_shape(pass->model);
    size_t C = shape->width, gain = pass_param(pass, MODEL_FINAL_NORM, 0);
    for (size_t done = 0; done < count; done += work->block) {
        size_t m = MIN(work->block, count - done);
        norm_forward(pass, gain, m, 1, x + (first + done) * C, work->normed, work->stats);
        project(pass, m, work->normed, logits + done * shape->vocabulary);
    }
}
