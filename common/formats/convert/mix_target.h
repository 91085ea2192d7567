/* mix_target.h - which format each tensor gets when the whole must not be larger than so many
 * bytes, or not worse than so much: the multiple-choice knapsack.
 *
 * The search: each tensor's candidates that no mixture of two others beats (the lower convex hull
 * of loss over size), the cheapest first, then step by step what wins most for a byte; then single
 * exchanges and exchanges of two at once until none helps. The result is never worse than the
 * steps' and within the loss of one step of the best there is (Sinha and Zoltners 1979).
 *
 * Pure: equal arguments give equal choices on every machine; equal merits go by order, and sums
 * are made in the order of the tensors. Refuses to know: formats, and how losses were measured.
 */
#ifndef COMMON_FORMATS_CONVERT_MIX_TARGET_H
#define COMMON_FORMATS_CONVERT_MIX_TARGET_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

enum { MIX_TARGET_TENSORS_MAX = 1 << 14, MIX_TARGET_CANDIDATES_MAX = 32 };

struct mix_target_candidate {
    uint64_t size_bytes;
    double loss; /* what the model loses with it, say in KL divergence; may be below 0 */
};

struct mix_target_tensor {
    const struct mix_target_candidate *candidates; /* borrowed: [count], in any order */
    size_t count; /* 1 .. MIX_TARGET_CANDIDATES_MAX; 1: nothing to choose */
};

struct mix_target_total {
    uint64_t size_bytes;
    double loss; /* the sum: tensors are taken to add up */
};

/* chosen[i] = index of tensor i's candidate, so that all sizes together are at most
 * `size_bytes_max` and the loss is least. ERR_NOT_FOUND: not even the smallest fit, *total is
 * theirs; ERR_NOT_FINITE: a loss is none; ERR_LIMIT: no tensors or candidates, or too many;
 * ERR_OUT_OF_MEMORY. On failure `chosen` is untouched. */
MUST_CHECK enum err mix_target_fit(const struct mix_target_tensor *tensors, size_t count,
                                   uint64_t size_bytes_max, size_t *chosen,
                                   struct mix_target_total *total);

/* The other way round: the loss at most `loss_max`, the size least. ERR_NOT_FOUND: not even the
 * best of each reach it, *total is theirs. */
MUST_CHECK enum err mix_target_reach(const struct mix_target_tensor *tensors, size_t count,
                                     double loss_max, size_t *chosen,
                                     struct mix_target_total *total);

/* The largest size for so many bits per weight: target_bpw * weights / 8, rounded down. */
uint64_t mix_target_size_bytes(double target_bpw, uint64_t weights);

#endif
