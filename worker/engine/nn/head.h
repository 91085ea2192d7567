/* head.h - final norm, projection on the vocabulary, loss: over a few positions at a time.
 *
 * Positions whose prediction does not count are dropped before the projection, and logits exist for
 * one block of positions only, at most HEAD_BLOCK_FLOATS of them (or HEAD_POSITIONS_MIN positions).
 * Neither choice changes a bit.
 */
#ifndef WORKER_ENGINE_NN_HEAD_H
#define WORKER_ENGINE_NN_HEAD_H

#include "worker/engine/nn/norm.h"
#include "worker/engine/nn/pass.h"

enum { HEAD_BLOCK_FLOATS = 8 << 20, HEAD_POSITIONS_MIN = 16 };

/* Working memory; N is the number of targets, at most T. */
struct head_work {
    size_t block;            /* positions a block: head_block() */
    float *x;                /* (N, C) the targets' rows of the last layer's output */
    float *normed;           /* (N, C) */
    float *stats;            /* of norm.h for N */
    float *logits;           /* (block, V) */
    float *capped;           /* (block, V) backward, where logits are capped */
    float *dnormed;          /* (N, C) backward */
    float *dx;               /* (N, C) backward */
    float *mid;              /* of linear.h, for a block */
    float *dplain;           /* (block, V) backward, where the head's adapter has a magnitude */
    struct norm_span *spans; /* (rows) targets of each row */
    struct batch_row *rows;  /* (rows) the part of each that lies in a block */
    uint64_t *places;        /* (N) of the targets' tokens */
    double *losses;          /* (N) */
};

/* Positions a block for a vocabulary and at most T targets. */
size_t head_block(size_t vocabulary, size_t T);

/* Losses of all targets into work->losses. x: (T, C). */
void head_loss(const struct pass *pass, const struct head_work *work, const float *x);

/* The same with the gradient of their sum, each loss times its weight (N; NULL: 1): into what
 * trains here, and d: (T, C) receives that at x. */
void head_gradient(const struct pass *pass, const struct head_work *work, const float *x,
                   const float *weights, float *d);

/* Shows the observer of the pass, if there is one, the input of the head for all tokens. x: (T, C).
 */
void head_observe(const struct pass *pass, const struct head_work *work, const float *x);

/* Logits of `count` tokens from `first` on, (count, V). work->x and so on need room for one block.
 */
void head_logits(const struct pass *pass, const struct head_work *work, const float *x,
                 size_t first, size_t count, float *logits);

#endif
