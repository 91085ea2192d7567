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

bool block_keeps_added(const struct binding *binding, size_t layer, enum binding_place place)
{
    return place != BINDING_BESIDE_MLP && binding_bottleneck(binding, layer, place) != NULL;
}

bool block_splits_gradient(const struct model *model, const struct binding *binding)
{
    return norms_branches(model) ||
           (is_parallel(model) && mlp_norm_of(model, 0) != MODEL_NO_PARAM) ||
           block_keeps_added(binding, 0, BINDING_AFTER_ATTENTION) ||
           block_keeps_added(binding, 0, BINDING_AFTER_MLP);
}

/* ---- forward ---- */

/* The bottleneck of a place, if there is one: y += what it makes of x. */
static void squeeze(const struct pass *pass, size_t layer, enum binding_place place,
                    const struct block_saved *saved, const struct block_work *work, const float *x,
                    float *y)
{
    const struct binding_bottleneck *b = bottleneck_of(pass, layer, place);
    if (b != NULL)
        bottleneck_forward(pass, b, &work->bottleneck, x, saved->plain[place], y);
}

/* Adds what a branch came to, with the bottleneck behind it, to y. */
static void join(const struct pass *pass, size_t layer, enum binding_place place,
                 const struct block_saved *saved, const struct block_work *work, float *y)
{
    size_t count = pass->batch->token_count * model_shape(pass->model)->width;
    kernel_add(pass->kernel, count, saved->added[place], y);
    squeeze(pass, layer, place, saved, work, saved->added[place], y);
}

/* saved->middle = x + attention */
static void attend(const struct pass *pass, size_t layer, const float *x,
                   const struct block_saved *saved, const struct block_work *work)
{
    size_t T = pass->batch->token_count, C = model_shape(pass->model)->width;
    bool joins = bottleneck_of(pass, layer, BINDING_AFTER_ATTENTION) != NULL;
    float *to = joins ? saved->added[BINDING_AFTER_ATTENTION] : saved->middle;
    norm_forward(pass, pass_param(pass, MODEL_ATTENTION_NORM, layer), T, 1, x, saved->normed,
                 saved->norm_stats);
    if (norms_branches(pass->model)) {
        self_attention_forward(pass, layer, saved, saved->attended, false);
        norm_forward(pass, pass_param(pass, MODEL_POST_ATTENTION_NORM, layer), T, 1,
                     saved->attended, to, saved->attended_stats);
    } else if (joins) {
        self_attention_forward(pass, layer, saved, to, false);
    } else {
        kernel_copy(pass->kernel, T * C, x, to);
        self_attention_forward(pass, layer, saved, to, true);
        return;
    }
    if (!joins) {
        kernel_add(pass->kernel, T * C, x, to);
        return;
    }
    kernel_copy(pass->kernel, T * C, x, saved->middle);
    join(pass, layer, BINDING_AFTER_ATTENTION, saved, work, saved->middle);
}

/* out = saved->middle + mlp */
static void feed(const struct pass *pass, size_t layer, const struct block_saved *saved,
                 const struct block_work *work, float *out)
{
    size_t T = pass->batch->token_count, C = model_shape(pass->model)->width;
    bool joins = bottleneck_of(pass, layer, BINDING_AFTER_MLP) != NULL;
    float *to = joins ? saved->added[BINDING_AFTER_MLP] : out;
    if (norms_branches(pass->model)) {
        mlp_forward(pass, layer, saved, work, saved->fed, false);
        norm_forward(pass, pass_param(pass, MODEL_POST_MLP_NORM, layer), T, 1, saved->fed, to,
                     saved->fed_stats);
    } else if (joins) {
        mlp_forward(pass, layer, saved, work, to, false);
    } else {
        kernel_copy(pass->kernel, T * C, saved->middle, to);
        mlp_forward(pass, layer, saved, work, to, true);
        return;
    }
    if (!joins) {
        kernel_add(pass->kernel, T * C, saved->middle, to);
        return;
    }
    kernel_copy(pass->kernel, T * C, saved->middle, out);
    join(pass, layer, BINDING_AFTER_MLP, saved, work, out);
}

void block_forward(const struct pass *pass, size_t layer, const float *x,
                   const struct block_saved *saved, const struct block_work *work, float *out)
{
    size_t T = pass->batch->token_count, C = model_shape(pass->model)->width;
    ptrdiff_t mlp_norm = mlp_norm_of(pass->model, layer);
    attend(pass, layer, x, saved, work);
    if (mlp_norm != MODEL_NO_PARAM)
        norm_forward(pass, (size_t)mlp_norm, T, 1, is_parallel(pass->model) ? x : saved->middle,
                     saved->mlp_normed, saved->mlp_norm_stats);
    feed(pass, layer, saved, work, out);
    squeeze(pass, layer, BINDING_BESIDE_MLP, saved, work, saved->mlp_normed, out);
    if (bottleneck_of(pass, layer, BINDING_AFTER_LAYER) == NULL)
        return;
    kernel_copy(pass->kernel, T * C, out, saved->added[BINDING_AFTER_LAYER]);
    squeeze(pass, layer, BINDING_AFTER_LAYER, saved, work, saved->added[BINDING_AFTER_LAYER], out);
}

/* ---- backward ---- */

/* d += the gradient at what the bottleneck of a place sees, where there is one behind it. */
static void unsqueeze(const struct pass *pass, size_t layer, enum binding_place place,
                      const struct block_saved *saved, const struct block_work *work, float *d)
{
    const struct binding_bottleneck *b = bottleneck_of(pass, layer, place);
    if (b != NULL)
        bottleneck_backward(pass, b, &work->bottleneck, saved->added[place], saved->plain[place], d,
                            d);
}

/* The gradient at a branch's output, from d below the (+): d itself, or work->dbranch below the
 * bottleneck and the norm behind the branch. */
static const float *branch_backward(const struct pass *pass, enum binding_place place, size_t layer,
                                    const struct block_saved *saved, const struct block_work *work,
                                    const float *d)
{
    bool attention = place == BINDING_AFTER_ATTENTION;
    enum model_role role = attention ? MODEL_POST_ATTENTION_NORM : MODEL_POST_MLP_NORM;
    if (bottleneck_of(pass, layer, place) != NULL) {
        if (d != work->dbranch)
            kernel_copy(pass->kernel, pass->batch->token_count * model_shape(pass->model)->width, d,
                        work->dbranch);
        unsqueeze(pass, layer, place, saved, work, work->dbranch);
        d = work->dbranch;
    }
    if (!norms_branches(pass->model))
        return d;
    norm_backward(pass, pass_param(pass, role, layer), work->spans, 1,
                  attention ? saved->attended : saved->fed,
                  attention ? saved->attended_stats : saved->fed_stats, d, work->dbranch, false);
    return work->dbranch;
}

/* work->dnormed: the gradient at the mlp's input, from d at the layer's output. */
static void feed_backward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                          const struct block_work *work, const float *d)
{
    const struct binding_bottleneck *beside = bottleneck_of(pass, layer, BINDING_BESIDE_MLP);
    mlp_backward(pass, layer, saved, work,
                 branch_backward(pass, BINDING_AFTER_MLP, layer, saved, work, d));
    if (beside != NULL)
        bottleneck_backward(pass, beside, &work->bottleneck, saved->mlp_normed,
                            saved->plain[BINDING_BESIDE_MLP], d, work->dnormed);
}

/* Both branches have the gradient at the layer's output; so it is kept until both have used it. */
static void parallel_backward(const struct pass *pass, size_t layer, const float *x,
                              const struct block_saved *saved, const struct block_work *work,
                              bool skip, float *d)
{
    size_t count = pass->batch->token_count * model_shape(pass->model)->width;
    size_t norm = pass_param(pass, MODEL_ATTENTION_NORM, layer);
    ptrdiff_t mlp_norm = mlp_norm_of(pass->model, layer);
    const float *dout = d;
    feed_backward(pass, layer, saved, work, d);
    if (mlp_norm != MODEL_NO_PARAM) {
        kernel_copy(pass->kernel, count, d, work->dbranch);
        dout = work->dbranch;
        norm_backward(pass, (size_t)mlp_norm, work->spans, 1, x, saved->mlp_norm_stats,
                      work->dnormed, d, true);
    }
    dout = branch_backward(pass, BINDING_AFTER_ATTENTION, layer, saved, work, dout);
    self_attention_backward(pass, layer, saved, work, skip, dout, mlp_norm == MODEL_NO_PARAM);
    if (!skip)
        norm_backward(pass, norm, work->spans, 1, x, saved->norm_stats, work->dnormed, d, true);
}

static void sequential_backward(const struct pass *pass, size_t layer, const float *x,
                                const struct block_saved *saved, const struct block_work *work,
                                bool skip, float *d)
{
    feed_backward(pass, layer, saved, work, d);
    norm_backward(pass, pass_param(pass, MODEL_MLP_NORM, layer), work->spans, 1, saved->middle,
                  saved->mlp_norm_stats, work->dnormed, d, true);
    const float *dout = branch_backward(pass, BINDING_AFTER_ATTENTION, layer, saved, work, d);
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
    unsqueeze(pass, layer, BINDING_AFTER_LAYER, saved, work, d);
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
                 {MODEL_OUTPUT, s->width, saved->added[BINDING_AFTER_ATTENTION]},
                 {MODEL_OUTPUT, s->width, saved->middle},
                 {MODEL_MLP_NORM, s->width, saved->mlp_normed},
                 {MODEL_GATE, s->mlp_width, saved->gate},
                 {MODEL_UP, s->mlp_width, saved->up},
                 {MODEL_DOWN, s->width, saved->fed},
                 {MODEL_DOWN, s->width, saved->added[BINDING_AFTER_MLP]},
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
