/* cross_entropy.h - loss of logits against the next token, and its gradient in place.
 *
 * Refuses to know: where logits come from; the caller gives as many rows at once as it likes.
 */
#ifndef WORKER_ENGINE_KERNEL_CROSS_ENTROPY_H
#define WORKER_ENGINE_KERNEL_CROSS_ENTROPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/engine/kernel/kernel.h"

/* losses[t] = log(sum exp(logits[t] - max)) + max - logits[t][labels[t]], the sum in f32 lanes, the
 * rest in f64. With `gradient`, logits become the gradient softmax(logits) - onehot(label).
 * logits: (T, V); labels: (T), each below V. */
void cross_entropy(struct kernel *kernel, size_t T, size_t V, float *logits, const uint32_t *labels,
                   double *losses, bool gradient);

/* logits[t] *= weights[t]: a gradient where each prediction's loss counts for so much. */
void cross_entropy_weigh(struct kernel *kernel, size_t T, size_t V, const float *weights,
                         float *logits);

#endif
