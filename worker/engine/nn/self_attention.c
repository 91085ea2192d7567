/* self_attention.c - attention of one layer, forward beside backward. */
#include "worker/engine/nn/self_attention.h"

#include "common/base/check.h"
#include "common/numeric/scalar.h"
#include "worker/engine/kernel/attention.h"
#include "worker/engine/kernel/rope.h"
#include "worker/engine/nn/linear.h"

#include <math.h>

static struct attention attention_of(const struct pass *pass, size_t layer,
                                     const struct block_saved *saved)
{
    const struct model_shape *shape = model_shape(pass->model);
    bool cached = pass->cache_keys != NULL;
    return (struct attention){.heads = shape->heads,
                              .kv_heads = shape->kv_heads,
                              .head_width = shape->head_width,
                              .window = shape->window,
                              .scale = (float)(1 / sqrt((double)shape->head_width)),
                              .segments = pass->batch->segments,
                              .segment_count = pass->batch->segment_count,
                              .q = saved->q,
                              .k = cached ? pass->cache_keys[layer] : saved->k,
                              .v = cached ? pass->cache_values[layer] : saved->v};
}

static void rotate(const struct pass *pass, size_t heads, bool inverse, float *x)
{
    size_t D = model_shape(pass->model)->head_width;
    rope_apply(pass->kernel, pass->batch->token_count, heads, D, D, pass->batch->positions,
               pass->rope, inverse, x);
}

void self_attention_forward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                            float *x)
{
    const struct model_shape *shape = model_shape(pass->model);
    struct attention attention = attention_of(pass, layer, saved);
    float *k = saved->k, *v = saved->v;
    if (pass->cache_keys != NULL) {
        ASSERT(pass->batch->segment_count == 1);
        size_t at = pass->batch->segments[0].past * shape->kv_heads * shape->head_width;
        k = pass->cache_keys[layer] + at;
        v = pass->cache_values[layer] + at;
    }
    linear_forward(pass, pass_param(pass, MODEL_QUERY, layer), saved->normed, saved->mids.query,
                   saved->q, false);
    linear_forward(pass, pass_param(pass, MODEL_KEY, layer), saved->normed, saved->mids.key, k,
                   false);
    linear_forward(pass, pass_param(pass, MODEL_VALUE, layer), saved->normed, saved->mids.value, v,
                   false);
    rotate(pass, shape->heads, false, saved->q);
    rotate(pass, shape->kv_heads, false, k);
    attention_forward(pass->kernel, &attention, saved->heads, saved->stats);
    linear_forward(pass, pass_param(pass, MODEL_OUTPUT, layer), saved->heads, saved->mids.output, x,
                   true);
}

void self_attention_backward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                             const struct block_work *work, bool last, const float *d)
{
    const struct model_shape *shape = model_shape(pass->model);
    size_t query = pass_param(pass, MODEL_QUERY, layer), key = pass_param(pass, MODEL_KEY, layer);
    size_t value = pass_param(pass, MODEL_VALUE, layer);
    struct attention attention = attention_of(pass, layer, saved);
    bool wanted =
        !last || pass_trains(pass, query) || pass_trains(pass, key) || pass_trains(pass, value);
    linear_backward(pass, pass_param(pass, MODEL_OUTPUT, layer), saved->heads, saved->mids.output,
                    d, wanted ? work->dheads : NULL, false);
    if (!wanted)
        return;
    attention_backward(pass->kernel, &attention, saved->heads, saved->stats, work->dheads,
                       work->delta, work->dq, work->dk, work->dv);
    rotate(pass, shape->heads, true, work->dq);
    rotate(pass, shape->kv_heads, true, work->dk);
    float *dx = last ? NULL : work->dnormed;
    linear_backward(pass, query, saved->normed, saved->mids.query, work->dq, dx, false);
    linear_backward(pass, key, saved->normed, saved->mids.key, work->dk, dx, true);
    linear_backward(pass, value, saved->normed, saved->mids.value, work->dv, dx, true);
}
