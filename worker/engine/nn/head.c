/* head.c - the end of the network, forward beside backward. */
#include "worker/engine/nn/head.h"

#include "common/base/check.h"
#include "worker/engine/kernel/cross_entropy.h"
#include "worker/engine/nn/linear.h"

size_t head_block(size_t vocabulary, size_t T)
{
    size_t block = MAX((size_t)HEAD_BLOCK_FLOATS / vocabulary, (size_t)HEAD_POSITIONS_MIN);
    return MIN(block, MAX(T, (size_t)1));
}

/* The pass over targets [first, first + m) as if they were all of its tokens: what linear.h runs.
 */
struct narrow {
    struct pass pass;
    struct batch batch;
};

static void narrow_to(struct narrow *narrow, const struct pass *pass, const struct head_work *work,
                      size_t first, size_t m)
{
    narrow->batch = (struct batch){.token_count = m,
                                   .row_count = pass->batch->row_count,
                                   .places = work->places + first,
                                   .rows = work->rows};
    for (size_t r = 0; r < pass->batch->row_count; r++) {
        const struct batch_row *row = &pass->batch->rows[r];
        size_t begin = MAX(row->target_start, first);
        size_t end = MIN(row->target_start + row->target_count, first + m);
        work->rows[r] = (struct batch_row){.index = row->index};
        if (begin < end)
            work->rows[r] = (struct batch_row){
                .index = row->index, .start = begin - first, .count = end - begin};
    }
    narrow->pass = *pass;
    narrow->pass.batch = &narrow->batch;
    narrow->pass.observer = NULL; /* head_observe shows it all tokens */
    narrow->pass.scratch_magnitude = work->dplain;
}

/* logits (m, V) = normed (m, C) W^T + b, capped */
static void project(const struct pass *pass, const struct head_work *work, const float *normed,
                    float *logits)
{
    const struct model_shape *shape = model_shape(pass->model);
    linear_forward(pass, pass_param(pass, MODEL_HEAD, 0), normed, work->mid, logits, false);
    if (shape->logit_cap > 0)
        kernel_soft_cap(pass->kernel, pass->batch->token_count * shape->vocabulary,
                        shape->logit_cap, logits, logits);
}

/* The targets' rows of x through the final norm. */
static void norm_targets(const struct pass *pass, const struct head_work *work, const float *x)
{
    size_t C = model_shape(pass->model)->width, N = pass->batch->target_count;
    kernel_gather(pass->kernel, N, C, pass->batch->targets, x, DTYPE_F32, work->x);
    for (size_t i = 0; i < N; i++)
        work->places[i] = pass->batch->places[pass->batch->targets[i]];
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
        struct narrow narrow;
        narrow_to(&narrow, pass, work, first, m);
        project(&narrow.pass, work, work->normed + first * C, work->logits);
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
        struct narrow narrow;
        narrow_to(&narrow, pass, work, first, m);
        project(&narrow.pass, work, work->normed + first * C, work->logits);
        if (shape->logit_cap > 0)
            kernel_copy(pass->kernel, m * V, work->logits, work->capped);
        cross_entropy(pass->kernel, m, V, work->logits, batch->labels + first, work->losses + first,
                      true);
        if (weights != NULL)
            cross_entropy_weigh(pass->kernel, m, V, weights + first, work->logits);
        if (shape->logit_cap > 0)
            kernel_soft_cap_backward(pass->kernel, m * V, shape->logit_cap, work->capped,
                                     work->logits, work->logits);
        linear_backward(&narrow.pass, pass_param(pass, MODEL_HEAD, 0), work->normed + first * C,
                        work->mid, work->logits, work->dnormed + first * C, false);
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
        struct batch batch = {.token_count = m};
        struct pass narrow = *pass;
        narrow.batch = &batch;
        narrow.observer = NULL;
        norm_forward(pass, gain, m, 1, x + (first + done) * C, work->normed, work->stats);
        project(&narrow, work, work->normed, logits + done * shape->vocabulary);
    }
}
