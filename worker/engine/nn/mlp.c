/* mlp.c - forward beside backward. What comes out of the activation is not kept but made again. */
#include "worker/engine/nn/mlp.h"

#include "worker/engine/nn/linear.h"

static bool is_gated(const struct pass *pass)
{
    return model_family(pass->model)->mlp != MLP_PLAIN;
}

/* work->act = the input of down, or of the norm before it. */
static void activate(const struct pass *pass, const struct block_saved *saved,
                     const struct block_work *work)
{
    const struct model_shape *s = model_shape(pass->model);
    size_t count = pass->batch->token_count * s->mlp_width;
    if (is_gated(pass))
        kernel_gated(pass->kernel, s->act, count, saved->gate, saved->up, work->act);
    else
        kernel_activate(pass->kernel, s->act, count, saved->up, work->act);
}

/* The norm before down, where there is one; returns the input of down. */
static const float *sub_norm(const struct pass *pass, size_t layer, const struct block_saved *saved,
                             const struct block_work *work)
{
    ptrdiff_t norm = model_param_index(pass->model, MODEL_MLP_SUB_NORM, layer);
    if (norm == MODEL_NO_PARAM)
        return work->act;
    norm_forward(pass, (size_t)norm, pass->batch->token_count, 1, work->act, work->act_normed,
                 saved->act_stats);
    return work->act_normed;
}

static void parts_of(const struct pass *pass, size_t layer, float *gate, float *up,
                     const struct block_mids *mids, struct linear_part parts[2])
{
    parts[0] = (struct linear_part){pass_param(pass, MODEL_GATE, layer), gate, mids->gate};
    parts[1] = (struct linear_part){pass_param(pass, MODEL_UP, layer), up, mids->up};
}

void mlp_forward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                 const struct block_work *work, float *x, bool accumulate)
{
    ptrdiff_t fused = model_param_index(pass->model, MODEL_GATE_UP, layer);
    if (fused != MODEL_NO_PARAM) {
        struct linear_part parts[2];
        parts_of(pass, layer, saved->gate, saved->up, &saved->mids, parts);
        linear_forward_parts(pass, (size_t)fused, saved->mlp_normed, saved->mids.gate_up, parts, 2);
    } else {
        if (is_gated(pass))
            linear_forward(pass, pass_param(pass, MODEL_GATE, layer), saved->mlp_normed,
                           saved->mids.gate, saved->gate, false);
        linear_forward(pass, pass_param(pass, MODEL_UP, layer), saved->mlp_normed, saved->mids.up,
                       saved->up, false);
    }
    activate(pass, saved, work);
    linear_forward(pass, pass_param(pass, MODEL_DOWN, layer), sub_norm(pass, layer, saved, work),
                   saved->mids.down, x, accumulate);
}

/* work->dact: from the gradient at down's output to that at the activation's output. */
static void backward_down(const struct pass *pass, size_t layer, const struct block_saved *saved,
                          const struct block_work *work, const float *d)
{
    size_t down = pass_param(pass, MODEL_DOWN, layer);
    ptrdiff_t norm = model_param_index(pass->model, MODEL_MLP_SUB_NORM, layer);
    const float *input = work->act;
    if (pass_trains(pass, down) || norm != MODEL_NO_PARAM)
        activate(pass, saved, work);
    if (pass_trains(pass, down))
        input = sub_norm(pass, layer, saved, work);
    linear_backward(pass, down, input, saved->mids.down, d, work->dact, false);
    if (norm != MODEL_NO_PARAM)
        norm_backward(pass, (size_t)norm, work->spans, 1, work->act, saved->act_stats, work->dact,
                      work->dact, false);
}

void mlp_backward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                  const struct block_work *work, const float *d)
{
    const struct model_shape *s = model_shape(pass->model);
    size_t count = pass->batch->token_count * s->mlp_width;
    size_t up = pass_param(pass, MODEL_UP, layer);
    ptrdiff_t fused = model_param_index(pass->model, MODEL_GATE_UP, layer);
    backward_down(pass, layer, saved, work, d);
    if (!is_gated(pass)) {
        kernel_activate_backward(pass->kernel, s->act, count, saved->up, work->dact, work->dact);
        linear_backward(pass, up, saved->mlp_normed, saved->mids.up, work->dact, work->dnormed,
                        false);
        return;
    }
    kernel_gated_backward(pass->kernel, s->act, count, saved->gate, saved->up, work->dact,
                          work->act, work->dact);
    if (fused != MODEL_NO_PARAM) {
        struct linear_part parts[2];
        parts_of(pass, layer, work->act, work->dact, &saved->mids, parts);
        linear_backward_parts(pass, (size_t)fused, saved->mlp_normed, saved->mids.gate_up, parts, 2,
                              work->dnormed, false);
        return;
    }
    linear_backward(pass, pass_param(pass, MODEL_GATE, layer), saved->mlp_normed, saved->mids.gate,
                    work->act, work->dnormed, false);
    linear_backward(pass, up, saved->mlp_normed, saved->mids.up, work->dact, work->dnormed, true);
}
