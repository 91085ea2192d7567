/* self_attention.c - attention of one layer, forward beside backward. */
#include "worker/engine/nn/self_attention.h"

#include "common/base/check.h"
#include "worker/engine/kernel/attention.h"
#include "worker/engine/kernel/rope.h"
#include "worker/engine/nn/linear.h"

static struct attention attention_of(const struct pass *pass, size_t layer,
                                     const struct block_saved *saved)
{
    const struct model_shape *shape = model_shape(pass->model);
    bool cached = pass->cache_keys != NULL;
    return (struct attention){.heads = shape->heads,
                              .kv_heads = shape->kv_heads,
                              .head_width = shape->head_width,
                              .window = model_window(pass->model, layer),
                              .scale = shape->attention_scale,
                              .soft_cap = shape->attention_cap,
                              .segments = pass->batch->segments,
                              .segment_count = pass->batch->segment_count,
                              .q = saved->q,
                              .k = cached ? pass->cache_keys[layer] : saved->k,
                              .v = cached ? pass->cache_values[layer] : saved->v};
}

static void rotate(const struct pass *pass, size_t layer, size_t heads, bool inverse, float *x)
{
    const struct model_shape *s = model_shape(pass->model);
    if (s->rotary_width == 0)
        return;
    rope_apply(pass->kernel, pass->batch->token_count, heads, s->head_width, s->rotary_width,
               pass->batch->rotations, pass->ropes[model_layer_rope(pass->model, layer)], inverse,
               x);
}

/* ---- projections ---- */

/* Where q, k and v of a layer go, or their gradients come from. */
struct projections {
    float *q, *k, *v;
};

static void parts_of(const struct pass *pass, size_t layer, const struct projections *at,
                     const struct block_mids *mids, struct linear_part parts[3])
{
    parts[0] = (struct linear_part){pass_param(pass, MODEL_QUERY, layer), at->q, mids->query};
    parts[1] = (struct linear_part){pass_param(pass, MODEL_KEY, layer), at->k, mids->key};
    parts[2] = (struct linear_part){pass_param(pass, MODEL_VALUE, layer), at->v, mids->value};
}

static void project(const struct pass *pass, size_t layer, const struct block_saved *saved,
                    const struct projections *to)
{
    ptrdiff_t fused = model_param_index(pass->model, MODEL_QUERY_KEY_VALUE, layer);
    const struct block_mids *mids = &saved->mids;
    struct linear_part parts[3];
    parts_of(pass, layer, to, mids, parts);
    if (fused != MODEL_NO_PARAM) {
        linear_forward_parts(pass, (size_t)fused, saved->normed, mids->query_key_value, parts, 3);
        return;
    }
    for (size_t i = 0; i < 3; i++)
        linear_forward(pass, parts[i].param, saved->normed, parts[i].mid, parts[i].y, false);
}

static void project_backward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                             const struct projections *from, float *dx, bool accumulate)
{
    ptrdiff_t fused = model_param_index(pass->model, MODEL_QUERY_KEY_VALUE, layer);
    const struct block_mids *mids = &saved->mids;
    struct linear_part parts[3];
    parts_of(pass, layer, from, mids, parts);
    if (fused != MODEL_NO_PARAM) {
        linear_backward_parts(pass, (size_t)fused, saved->normed, mids->query_key_value, parts, 3,
                              dx, accumulate);
        return;
    }
    for (size_t i = 0; i < 3; i++)
        linear_backward(pass, parts[i].param, saved->normed, parts[i].mid, parts[i].y, dx,
                        accumulate || i != 0);
}

/* Whether any of the modules below the rotation trains. */
static bool projections_train(const struct pass *pass, size_t layer)
{
    static const enum model_role roles[] = {
        MODEL_QUERY_KEY_VALUE, MODEL_QUERY,      MODEL_KEY,
        MODEL_VALUE,           MODEL_QUERY_NORM, MODEL_KEY_NORM};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        ptrdiff_t param = model_param_index(pass->model, roles[i], layer);
        if (param != MODEL_NO_PARAM && pass_trains(pass, (size_t)param))
            return true;
    }
    return false;
}

/* ---- the layer ---- */

/* Where the family norms heads, projections come to saved->q_plain and saved->k_plain first. */
static bool norms_heads(const struct pass *pass, size_t layer)
{
    return model_param_index(pass->model, MODEL_QUERY_NORM, layer) != MODEL_NO_PARAM;
}

void self_attention_forward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                            float *x, bool accumulate)
{
    const struct model_shape *shape = model_shape(pass->model);
    struct attention attention = attention_of(pass, layer, saved);
    struct projections to = {saved->q, saved->k, saved->v};
    size_t T = pass->batch->token_count;
    if (pass->cache_keys != NULL) {
        ASSERT(pass->batch->segment_count == 1);
        size_t at = pass->batch->segments[0].past * shape->kv_heads * shape->head_width;
        to.k = pass->cache_keys[layer] + at;
        to.v = pass->cache_values[layer] + at;
    }
    float *k = to.k;
    if (norms_heads(pass, layer)) {
        to.q = saved->q_plain;
        to.k = saved->k_plain;
    }
    project(pass, layer, saved, &to);
    if (norms_heads(pass, layer)) {
        norm_forward(pass, pass_param(pass, MODEL_QUERY_NORM, layer), T, shape->heads, to.q,
                     saved->q, saved->q_stats);
        norm_forward(pass, pass_param(pass, MODEL_KEY_NORM, layer), T, shape->kv_heads, to.k, k,
                     saved->k_stats);
    }
    rotate(pass, layer, shape->heads, false, saved->q);
    rotate(pass, layer, shape->kv_heads, false, k);
    attention_forward(pass->kernel, &attention, saved->heads, saved->stats);
    const float *heads = saved->heads;
    ptrdiff_t norm = model_param_index(pass->model, MODEL_ATTENTION_SUB_NORM, layer);
    if (norm != MODEL_NO_PARAM) {
        norm_forward(pass, (size_t)norm, T, 1, heads, saved->heads_normed, saved->heads_stats);
        heads = saved->heads_normed;
    }
    linear_forward(pass, pass_param(pass, MODEL_OUTPUT, layer), heads, saved->mids.output, x,
                   accumulate);
}

/* work->dheads: the gradient at the output of attention's heads. */
static void backward_output(const struct pass *pass, size_t layer, const struct block_saved *saved,
                            const struct block_work *work, const float *d, bool wanted)
{
    ptrdiff_t norm = model_param_index(pass->model, MODEL_ATTENTION_SUB_NORM, layer);
    bool norm_wanted = norm != MODEL_NO_PARAM && (wanted || pass_trains(pass, (size_t)norm));
    linear_backward(pass, pass_param(pass, MODEL_OUTPUT, layer),
                    norm != MODEL_NO_PARAM ? saved->heads_normed : saved->heads, saved->mids.output,
                    d, wanted || norm_wanted ? work->dheads : NULL, false);
    if (norm_wanted)
        norm_backward(pass, (size_t)norm, work->spans, 1, saved->heads, saved->heads_stats,
                      work->dheads, work->dheads, false);
}

void self_attention_backward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                             const struct block_work *work, bool last, const float *d,
                             bool accumulate)
{
    const struct model_shape *shape = model_shape(pass->model);
    struct attention attention = attention_of(pass, layer, saved);
    struct projections from = {work->dq, work->dk, work->dv};
    bool wanted = !last || projections_train(pass, layer);
    backward_output(pass, layer, saved, work, d, wanted);
    if (!wanted)
        return;
    attention_backward(pass->kernel, &attention, saved->heads, saved->stats, work->dheads,
                       work->delta, work->dq, work->dk, work->dv);
    rotate(pass, layer, shape->heads, true, work->dq);
    rotate(pass, layer, shape->kv_heads, true, work->dk);
    if (norms_heads(pass, layer)) {
        norm_backward(pass, pass_param(pass, MODEL_QUERY_NORM, layer), work->spans, shape->heads,
                      saved->q_plain, saved->q_stats, work->dq, work->dq, false);
        norm_backward(pass, pass_param(pass, MODEL_KEY_NORM, layer), work->spans, shape->kv_heads,
                      saved->k_plain, saved->k_stats, work->dk, work->dk, false);
    }
    project_backward(pass, layer, saved, &from, last ? NULL : work->dnormed, accumulate);
}
