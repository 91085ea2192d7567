/* block.h - one layer of the transformer: what it keeps for its backward pass, what it needs
 * meanwhile.
 *
 *   SEQUENTIAL   x ──┬─ norm ─ attention ─(+)─┬─ norm ─ mlp ─(+)─▶ x of the next layer
 *                    └────────────────────────┘└──────────────┘
 *   SANDWICH     the same with a norm behind attention and one behind the mlp
 *   PARALLEL     x ──┬─ norm ─┬─ attention ─(+)─(+)─▶   the mlp may have a norm of x of its own
 *                    │        └─ mlp ───────────┘│
 *                    └───────────────────────────┘
 * Bottlenecks (nn/bottleneck.h) may sit behind either branch before its (+), beside the mlp, and
 * behind the layer.
 */
#ifndef WORKER_ENGINE_NN_BLOCK_H
#define WORKER_ENGINE_NN_BLOCK_H

#include "worker/engine/nn/bottleneck.h"
#include "worker/engine/nn/norm.h"
#include "worker/engine/nn/pass.h"

/* The results of an adapter's first product, (T, R) each; NULL where there is no adapter. */
struct block_mids {
    float *query_key_value, *query, *key, *value, *output, *gate_up, *gate, *up, *down;
};

/* Kept from the forward pass of one layer. What a family does not have is NULL. */
struct block_saved {
    float *normed;       /* (T, C) input of attention */
    float *norm_stats;   /* of norm.h, as all stats of norms */
    float *q_plain;      /* (T, H * D) q before the norm of its heads */
    float *k_plain;      /* (T, G * D) */
    float *q_stats;      /* of T * H vectors */
    float *k_stats;      /* of T * G vectors */
    float *q;            /* (T, H * D) rotated */
    float *k, *v;        /* (T, G * D), k rotated; unused with a cache */
    float *heads;        /* (T, H * D) output of attention's heads */
    float *heads_normed; /* (T, H * D) behind the norm of the heads' output */
    float *heads_stats;
    float *stats;    /* (T, H, 2) of kernel/attention.h */
    float *attended; /* (T, C) attention's output before the norm behind it */
    float *attended_stats;
    float *middle;     /* (T, C) x after attention */
    float *mlp_normed; /* (T, C) input of the mlp: `normed` itself where one norm serves both */
    float *mlp_norm_stats;
    float *gate, *up; /* (T, F) */
    float *act_stats; /* of the norm before the mlp's last product */
    float *fed;       /* (T, C) the mlp's output before the norm behind it */
    float *fed_stats;
    struct block_mids mids;
    float *added[BINDING_PLACE_COUNT]; /* (T, C) what the bottleneck behind a place sees; NULL
                                          where there is none, and beside the mlp */
    float *plain[BINDING_PLACE_COUNT]; /* (T, N) of bottleneck.h */
};

/* Working memory of one layer at a time. */
struct block_work {
    float *act;              /* (T, F) also dgate */
    float *act_normed;       /* (T, F) where the mlp has a norm before its last product */
    float *dact;             /* (T, F) also dup; backward */
    float *dnormed;          /* (T, C) backward, as all below */
    float *dbranch;          /* (T, C) gradient at a branch's output, where it is not that at x */
    float *dheads;           /* (T, H * D) */
    float *dq;               /* (T, H * D) */
    float *dk, *dv;          /* (T, G * D) */
    float *delta;            /* (T, H) */
    struct norm_span *spans; /* (rows) tokens of each row */
    struct bottleneck_work bottleneck;
};

/* Whether `dbranch` is needed: by a family, or by bottlenecks. */
bool block_splits_gradient(const struct model *model, const struct binding *binding);

/* Whether the layer keeps what the bottleneck of a place sees. */
bool block_keeps_added(const struct binding *binding, size_t layer, enum binding_place place);

/* x: (T, C), out: (T, C) is the next layer's x; it may be x, which else stays as it is. */
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
