/* self_attention.h - projections, norms of heads, rotation, attention, output projection of one
 * layer. */
#ifndef WORKER_ENGINE_NN_SELF_ATTENTION_H
#define WORKER_ENGINE_NN_SELF_ATTENTION_H

#include "worker/engine/nn/block.h"

/* x: (T, C) = or += (`accumulate`) attention(saved->normed). With a cache in the pass, keys and
 * values go there. */
void self_attention_forward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                            float *x, bool accumulate);

/* d: (T, C) gradient at the output; work->dnormed receives or, with `accumulate`, continues that at
 * saved->normed unless `last`. */
void self_attention_backward(const struct pass *pass, size_t layer, const struct block_saved *saved,
                             const struct block_work *work, bool last, const float *d,
                             bool accumulate);

#endif
