/* block.c - one layer, forward beside backward. */
#include "worker/engine/nn/block.h"

#include "worker/engine/nn/mlp.h"
#include "worker/engine/nn/self_attention.h"

static bool is_parallel(const struct model *model)
{
    return model_family(model)->residual == RESIDUAL_PARALLEL;
}

/* The norm before the mlp; MODEL_NO_PARAM where attention's serves both. */
static ptrdiff_t mlp_norm_of(const struct model *model, size_t layer)
{
    return model_param_index(model, MODEL_MLP_NORM, layer);
}

/* Whether a family keeps `attended` and `fed`. */
static bool norms_branches(const struct model *model)
{
    return model_family(model)->residual == RESIDUAL_SANDWICH;
}

bool block_splits_gradient(const struct model *model)
{
    return norms_branches(model) || (is_parallel(model) && mlp_norm_of(model, 0) != MODEL_NO_PARAM);
}

/* ---- forward ---- */

/* saved->middle = x + attention */
static void attend(const struct pass *pass, size_t layer, const float *x,
                   const struct block_saved *saved)
{
    size_t T = pass->batch->token_count, C = model_shape(pass->model)->width;
    norm_forward(pass, pass_param(pass, MODEL_ATTENTION_NORM, layer), T, 1, x, saved->normed,
                 saved->norm_stats);
    if (!norms_branches(pass->model)) {
        kernel_copy(pass->kernel, T * C, x, saved->middle);
        self_attention_forward(pass, layer, saved, saved->middle, true);
        return;
    }
    self_attention_forward(pass, layer, saved, saved->attended, false);
    norm_forward(pass, pass_param(pass, MODEL_POST_ATTENTION_NORM, layer), T, 1, saved->attended,
                 saved->middle, saved->attended_stats);
    kernel_add(pass->kernel, T * C, x, saved->middle);
}

void block_forward(const struct pass *pass, size_t layer, const float *x,
                   const struct block_saved *saved, const struct block_work *work, float *out)
{
    size_t T = pass->batch->token_count, C = model_shape(pass->model)->width;
    ptrdiff_t mlp_norm = mlp_norm_of(pass->model, layer);
    attend(pass, layer, x, saved);
    if (mlp_norm != MODEL_NO_PARAM)
        norm_forward(pass, (size_t)mlp_norm, T, 1, is_parallel(pass->model) ? x : saved->middle,
                     saved->mlp_normed, saved->mlp_norm_stats);
    if (!norms_branches(pass->model)) {
        kernel_copy(pass->kernel, T * C, saved->middle, out);
        mlp_forward(pass, layer, saved, work, out, true);
        return;
    }
    mlp_forward(pass, layer, saved, work, saved->fed, false);
    norm_forward(pass, pass_param(pass, MODEL_POST_MLP_NORM, layer), T, 1, saved->fed, out,
                 saved->fed_stats);
    kernel_add(pass->kernel, T * C, saved->middle, out);
}

/* ---- backward ---- */

/* Both branches have the gradient at the layer's output; so it is kept until both have used it. */
static void parallel_backward(const struct pass *pass, size_t layer, const float *x,
                              const struct block_saved *saved, const struct block_work *work,
                              bool skip, float *d)
{
    size_t count = pass->batch->token_count * model_shape(pass->model)->width;
    size_t norm = pass_param(pass, MODEL_ATTENTION_NORM, layer);
    ptrdiff_t mlp_norm = mlp_norm_of(pass->model, layer);
    const float *dout = d;
    mlp_backward(pass, layer, saved, work, d);
    if (mlp_norm != MODEL_NO_PARAM) {
        kernel_copy(pass->kernel, count, d, work->dbranch);
        dout = work->dbranch;
        norm_backward(pass, (size_t)mlp_norm, work->spans, 1, x, saved->mlp_norm_stats,
                      work->dnormed, d, true);
    }
    self_attention_backward(pass, layer, saved, work, skip, dout, mlp_norm == MODEL_NO_PARAM);
    if (!skip)
        norm_backward(pass, norm, work->spans, 1, x, saved->norm_stats, work->dnormed, d, true);
}

/* The gradient at a branch's output: d itself, or work->dbranch below the norm behind the branch.
 */
static const float *branch_backward(const struct pass *pass, enum model_role role, size_t layer,
                                    const struct block_work *work, const float *x,
                                    const float *stats, const float *d)
{
    if (!norms_branches(pass->model))
        return d;
    norm_backward(pass, pass_param(pass, role, layer), work->spans, 1, x, stats, d, work->dbranch,
                  false);
    return work->dbranch;
}

static void sequential_backward(const struct pass *pass, size_t layer, const float *x,
                                const struct block_saved *saved, const struct block_work *work,
                                bool skip, float *d)
{
    const float *dout =
        branch_backward(pass, MODEL_POST_MLP_NORM, layer, work, saved->fed, saved->fed_stats, d);
    mlp_backward(pass, layer, saved, work, dout);
    norm_backward(pass, pass_param(pass, MODEL_MLP_NORM, layer), work->spans, 1, saved->middle,
                  saved->mlp_norm_stats, work->dnormed, d, true);
    dout = branch_backward(pass, MODEL_POST_ATTENTION_NORM, layer, work, saved->attended,
                           saved->attended_stats, d);
    self_attention_backward(pass, layer, saved, work, skip, dout, false);
    if (!skip)
        norm_backward(pass, pass_param(pass, MODEL_ATTENTION_NORM, layer), work->spans, 1, x,
                      saved->norm_stats, work->dnormed, d, true);
}

void block_backward(const struct pass *pass, size_t layer, const float *x,
                    const struct block_saved *saved, const struct block_work *work, bool last,
                    float *d)
{
    /* The gain of the first norm that trains needs the gradient below attention. */
    bool skip = last && !pass_trains(pass, pass_param(pass, MODEL_ATTENTION_NORM, layer));
    if (is_parallel(pass->model))
        parallel_backward(pass, layer, x, saved, work, skip, d);
    else
        sequential_backward(pass, layer, x, saved, work, skip, d);
}

/* ---- what went wrong ---- */

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
                 {MODEL_ATTENTION_SUB_NORM, Q, saved->heads_normed},
                 {MODEL_OUTPUT, s->width, saved->attended},
                 {MODEL_OUTPUT, s->width, saved->middle},
                 {MODEL_MLP_NORM, s->width, saved->mlp_normed},
                 {MODEL_GATE, s->mlp_width, saved->gate},
                 {MODEL_UP, s->mlp_width, saved->up},
                 {MODEL_DOWN, s->width, saved->fed},
                 {MODEL_DOWN, s->width, out}};
    size_t T = pass->batch->token_count;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        size_t count = parts[i].x != NULL ? T * parts[i].width : 0;
        size_t bad = kernel_first_not_finite(pass->kernel, count, parts[i].x);
        ptrdiff_t param = model_param_index(pass->model, parts[i].role, layer);
        if (bad == count || param == MODEL_NO_PARAM)
            continue;
        fault->module = model_param(pass->model, (size_t)param)->name;
        fault->token = bad / parts[i].width;
        return true;
    }
    return false;
}
