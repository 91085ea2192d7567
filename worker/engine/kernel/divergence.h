/* divergence.h - how far two next-token distributions are apart, from their logits.
 *
 * Refuses to know: where logits come from; the caller gives as many positions at once as it likes.
 */
#ifndef WORKER_ENGINE_KERNEL_DIVERGENCE_H
#define WORKER_ENGINE_KERNEL_DIVERGENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "worker/engine/kernel/kernel.h"

struct divergence {
    double kl;  /* KL(P || Q) = sum P log(P / Q) in nats, not below 0; NaN where logits are not
                   finite */
    bool agree; /* P and Q are largest at the same index, the first of equals */
};

/* out[t] of P = softmax(base[t]), Q = softmax(result[t]); base, result: (T, V). In f64, one chain
 * over V ascending, so the bits depend on the logits alone. */
void divergence(struct kernel *kernel, size_t T, size_t V, const float *base, const float *result,
                struct divergence *out);

#endif
