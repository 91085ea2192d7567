/* attention.h - causal attention over packed samples, in the order of summation of f32/1.
 *
 * A head's scores are never stored as a whole: keys are taken in blocks of ATTENTION_KEY_BLOCK,
 * counted from the start of the segment, in ascending order (Milakov & Gimelshein 2018; Dao et al.
 * 2022, algorithm 1). Block size and order are part of the contract:
 *
 *   score(t, j) = (chain over D of q k) * scale, one rounding each; with a soft cap then
 *                 cap * tanh(score / cap) as kernel_soft_cap; -inf for keys t does not see
 *   m' = max(m, max of the block);  p(j) = exp(score - m')
 *   l  = fma(l, exp(m - m'), sum of p in 16 lanes counted from the block's start)
 *   o  = o * exp(m - m'), then one chain of fma over the block's keys, ascending
 *   output = o * (1 / l) + 0, once after the last block
 *
 * So an output depends on its query and the keys of its segment before it, not on the batch, the
 * number of threads, or whether the keys come from this call or from a cache.
 *
 * Backward: dQ of a query is one chain over its keys; dK and dV of a key are one chain over (head
 * of its group, query), both ascending.
 */
#ifndef WORKER_ENGINE_KERNEL_ATTENTION_H
#define WORKER_ENGINE_KERNEL_ATTENTION_H

#include <stddef.h>

#include "worker/engine/kernel/kernel.h"

enum { ATTENTION_KEY_BLOCK = 64, ATTENTION_HEAD_WIDTH_MAX = 256 };

/* Queries of one sample. Its key j lies in row key_row + j of k and v; query i in row query_row + i
 * of q stands at position past + i and sees the keys up to that position, at most `window` of them.
 */
struct attention_segment {
    size_t query_row, key_row;
    size_t count; /* queries */
    size_t past;  /* keys before the first query */
};

struct attention {
    size_t heads, kv_heads, head_width; /* H, G, D; H is a multiple of G, D at most the maximum */
    size_t window;                      /* 0: no limit */
    float scale;
    float soft_cap; /* of scores; 0: none */
    const struct attention_segment *segments;
    size_t segment_count;
    const float *q; /* (T, H * D) */
    const float *k; /* (rows, G * D) */
    const float *v; /* (rows, G * D) */
};

/* out: (T, H * D), stats: (T, H, 2) receives m and 1 / l for the backward pass. */
void attention_forward(struct kernel *kernel, const struct attention *attention, float *out,
                       float *stats);

/* Gradients for segments without past. delta: (T, H) is overwritten; dq: (T, H * D), dk and dv:
 * (T, G * D) are overwritten at the rows of the segments. */
void attention_backward(struct kernel *kernel, const struct attention *attention, const float *out,
                        const float *stats, const float *dout, float *delta, float *dq, float *dk,
                        float *dv);

#endif
