/* adapter_norm.h - norms of the rows of weights with their adapters: what DoRA divides by.
 *
 *   |W_i + s (B_i A - B0_i A0)|     of each row i of a module whose adapter has a magnitude
 *
 * Rows are decoded a few at a time, so that W in any format is never there as a whole. They change
 * when the trainables do; for the gradient they are constants (Liu et al. 2024, section 4.3).
 *
 * Refuses to know: passes, gradients.
 */
#ifndef WORKER_ENGINE_NN_ADAPTER_NORM_H
#define WORKER_ENGINE_NN_ADAPTER_NORM_H

#include "worker/engine/nn/binding.h"

/* Floats that adapter_norm_measure writes: for all rows m / norm, then for all rows 1 / norm. */
size_t adapter_norm_count(const struct binding *binding);

/* Measures all modules with magnitudes under `values`; `anchor` may be NULL. norms:
 * (adapter_norm_count), memory of the kernel. A row of nothing counts as one of norm 1.
 * ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err adapter_norm_measure(struct kernel *kernel, const struct model *model,
                                         const struct binding *binding, const float *values,
                                         const float *anchor, float *norms);

#endif
