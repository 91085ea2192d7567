/* mlp.h - the feed-forward part of one layer: down(act(gate(x)) * up(x)) or down(act(up(x))), with
 * a norm before down where the family has one. */
#ifndef WORKER_ENGINE_NN_MLP_H
#define WORKER_ENGINE_NN_MLP_H

#include "worker/engine/nn/block.h"

/* x: (T, C) = or += (`accumulate`) mlp(saved->mlp_normed). */
void mlp_forward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                 const struct block_work *work, float *x, bool accumulate);

/* d: (T, C) gradient at the output; work->dnormed receives that at saved->mlp_normed. */
void mlp_backward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                  const struct block_work *work, const float *d);

#endif
