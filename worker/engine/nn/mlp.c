/* mlp.c - SwiGLU, forward beside backward. The product of gate and up is not kept but made again.
 */
#include "worker/engine/nn/mlp.h"

#include "worker/engine/nn/linear.h"

void mlp_forward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                 const struct block_work *work, float *x)
{
    size_t count = pass->batch->token_count * model_shape(pass->model)->mlp_width;
    linear_forward(pass, pass_param(pass, MODEL_GATE, layer), saved->mlp_normed, saved->mids.gate,
                   saved->gate, false);
    linear_forward(pass, pass_param(pass, MODEL_UP, layer), saved->mlp_normed, saved->mids.up,
                   saved->up, false);
    kernel_gated(pass->kernel, KERNEL_ACT_SILU, count, saved->gate, saved->up, work->act);
    linear_forward(pass, pass_param(pass, MODEL_DOWN, layer), work->act, saved->mids.down, x, true);
}

void mlp_backward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                  const struct block_work *work, const float *d)
{
    size_t count = pass->batch->token_count * model_shape(pass->model)->mlp_width;
    size_t gate = pass_param(pass, MODEL_GATE, layer), up = pass_param(pass, MODEL_UP, layer);
    size_t down = pass_param(pass, MODEL_DOWN, layer);
    if (pass_trains(pass, down))
        kernel_gated(pass->kernel, KERNEL_ACT_SILU, count, saved->gate, saved->up, work->act);
    linear_backward(pass, down, work->act, saved->mids.down, d, work->dact, false);
    kernel_gated_backward(pass->kernel, KERNEL_ACT_SILU, count, saved->gate, saved->up, work->dact,
                          work->act, work->dact);
    linear_backward(pass, gate, saved->mlp_normed, saved->mids.gate, work->act, work->dnormed,
                    false);
    linear_backward(pass, up, saved->mlp_normed, saved->mids.up, work->dact, work->dnormed, true);
}
