/* lookup.h - the adapter of the embedding's lookup, forward beside backward.
 *
 *   x[t] += mid[t] B^T        mid[t] = scale * A^T[token of t]      (as PEFT adapts embeddings)
 *
 * A: (R, V), B: (C, R). It adds before embeddings are scaled, where a family scales them.
 */
#ifndef WORKER_ENGINE_NN_LOOKUP_H
#define WORKER_ENGINE_NN_LOOKUP_H

#include "worker/engine/nn/pass.h"

/* NULL when the pass has none. Borrowed from the binding. */
const struct binding_adapter *lookup_adapter(const struct pass *pass);

/* x: (T, C). */
void lookup_forward(const struct pass *pass, float *x);

/* dx: (T, C) is the gradient at x; adds those of A and B to the rows' vectors. */
void lookup_backward(const struct pass *pass, const float *dx);

#endif
