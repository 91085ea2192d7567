/* block.h - one layer of the transformer: what it keeps for its backward pass, what it needs
 * meanwhile.
 *
 *   x ──┬─ norm ─ attention ─(+)─┬─ norm ─ mlp ─(+)─▶ x of the next layer
 *       └────────────────────────┘└──────────────┘
 */
#ifndef WORKER_ENGINE_NN_BLOCK_H
#define WORKER_ENGINE_NN_BLOCK_H

#include "worker/engine/nn/norm.h"
#include "worker/engine/nn/pass.h"

/* The results of an adapter's first product, (T, R) each; NULL where there is no adapter. */
struct block_mids {
    float *query, *key, *value, *output, *gate, *up, *down;
};

/* Kept from the forward pass of one layer. */
struct block_saved {
    float *normed;     /* (T, C) input of attention */
    float *inv_rms;    /* (T) */
    float *q;          /* (T, H * D) rotated */
    float *k, *v;      /* (T, G * D), k rotated; unused with a cache */
    float *heads;      /* (T, H * D) output of attention's heads */
    float *stats;      /* (T, H, 2) of kernel/attention.h */
    float *middle;     /* (T, C) x after attention */
    float *mlp_normed; /* (T, C) input of the mlp */
    float *mlp_inv_rms;
    float *gate, *up; /* (T, F) */
    struct block_mids mids;
};

/* Working memory of one layer at a time. */
struct block_work {
    float *act;              /* (T, F) also dgate */
    float *dact;             /* (T, F) also dup; backward */
    float *dnormed;          /* (T, C) backward, as all below */
    float *dheads;           /* (T, H * D) */
    float *dq;               /* (T, H * D) */
    float *dk, *dv;          /* (T, G * D) */
    float *delta;            /* (T, H) */
    struct norm_span *spans; /* (rows) tokens of each row */
};

/* x: (T, C) stays as it is, out: (T, C) is the next layer's x. */
void block_forward(const struct pass *pass, size_t layer, const float *x,
                   const struct block_saved *saved, const struct block_work *work, float *out);

/* d: (T, C) comes in as the gradient at the layer's output and leaves as that at its input, unless
 * `last` (nothing below trains): then its value is not defined. */
void block_backward(const struct pass *pass, size_t layer, const float *x,
                    const struct block_saved *saved, const struct block_work *work, bool last,
                    float *d);

/* Name of the first part of the layer whose kept output is not finite, with the token; false when
 * all are. `out` is the layer's output. */
struct block_fault {
    const char *module;
    size_t token;
};
bool block_find_fault(const struct pass *pass, size_t layer, const struct block_saved *saved,
                      const float *out, struct block_fault *fault);

#endif
