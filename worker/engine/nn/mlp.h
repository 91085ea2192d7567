/* mlp.h - the gated feed-forward part of one layer: down(silu(gate(x)) * up(x)). */
#ifndef WORKER_ENGINE_NN_MLP_H
#define WORKER_ENGINE_NN_MLP_H

#include "worker/engine/nn/block.h"

/* x += mlp(saved->mlp_normed). */
void mlp_forward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                 const struct block_work *work, float *x);

/* d: (T, C) gradient at the output; work->dnormed receives that at saved->mlp_normed. */
void mlp_backward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                  const struct block_work *work, const float *d);

#endif
