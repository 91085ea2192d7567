/* block.c - one layer, forward beside backward. */
#include "worker/engine/nn/block.h"

#include "worker/engine/nn/mlp.h"
#include "worker/engine/nn/self_attention.h"

void block_forward(const struct pass *pass, size_t layer, const float *x,
                   const struct block_saved *saved, const struct block_work *work, float *out)
{
    size_t T = pass->batch->token_count, C = model_shape(pass->model)->width;
    norm_forward(pass, pass_param(pass, MODEL_ATTENTION_NORM, layer), T, x, saved->normed,
                 saved->inv_rms);
    kernel_copy(pass->kernel, T * C, x, saved->middle);
    self_attention_forward(pass, layer, saved, saved->middle);
    norm_forward(pass, pass_param(pass, MODEL_MLP_NORM, layer), T, saved->middle, saved->mlp_normed,
                 saved->mlp_inv_rms);
    kernel_copy(pass->kernel, T * C, saved->middle, out);
    mlp_forward(pass, layer, saved, work, out);
}

void block_backward(const struct pass *pass, size_t layer, const float *x,
                    const struct block_saved *saved, const struct block_work *work, bool last,
                    float *d)
{
    size_t attention_norm = pass_param(pass, MODEL_ATTENTION_NORM, layer);
    mlp_backward(pass, layer, saved, work, d);
    norm_backward(pass, pass_param(pass, MODEL_MLP_NORM, layer), work->spans, saved->middle,
                  saved->mlp_inv_rms, work->dnormed, d, true);
    /* The gain of the first norm that trains needs the gradient below attention. */
    bool skip = last && !pass_trains(pass, attention_norm);
    self_attention_backward(pass, layer, saved, work, skip, d);
    if (!skip)
        norm_backward(pass, attention_norm, work->spans, x, saved->inv_rms, work->dnormed, d, true);
}

bool block_find_fault(const struct pass *pass, size_t layer, const struct block_saved *saved,
                      const float *out, struct block_fault *fault)
{
    const struct model_shape *s = model_shape(pass->model);
    size_t Q = s->heads * s->head_width, K = s->kv_heads * s->head_width;
    bool cached = pass->cache_keys != NULL;
    const struct {
        enum model_role role;
        size_t width;
        const float *x;
    } parts[] = {{MODEL_ATTENTION_NORM, s->width, saved->normed},
                 {MODEL_QUERY, Q, saved->q},
                 {MODEL_KEY, K, cached ? NULL : saved->k},
                 {MODEL_VALUE, K, cached ? NULL : saved->v},
                 {MODEL_OUTPUT, Q, saved->heads},
                 {MODEL_OUTPUT, s->width, saved->middle},
                 {MODEL_MLP_NORM, s->width, saved->mlp_normed},
                 {MODEL_GATE, s->mlp_width, saved->gate},
                 {MODEL_UP, s->mlp_width, saved->up},
                 {MODEL_DOWN, s->width, out}};
    size_t T = pass->batch->token_count;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        size_t count = parts[i].x != NULL ? T * parts[i].width : 0;
        size_t bad = kernel_first_not_finite(pass->kernel, count, parts[i].x);
        if (bad == count)
            continue;
        fault->module = model_param(pass->model, pass_param(pass, parts[i].role, layer))->name;
        fault->token = bad / parts[i].width;
        return true;
    }
    return false;
}
