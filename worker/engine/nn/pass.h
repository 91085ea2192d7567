/* pass.h - what every layer is given: the model, the trainables, the batch, and where gradients go.
 *
 * One struct pass lives for one forward or one forward and backward. Layers keep nothing.
 * Dimension letters as in kernel.h.
 */
#ifndef WORKER_ENGINE_NN_PASS_H
#define WORKER_ENGINE_NN_PASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/engine/kernel/kernel.h"
#include "worker/engine/nn/batch.h"
#include "worker/engine/nn/binding.h"
#include "worker/engine/nn/model.h"

struct pass;

/* Sees what linear modules are given: called once a site of the model (nn/model_site.h) in their
 * order, with the site's first parameter and the input x, (T, columns), before an adapter's dropout
 * and before the rounding of ternary modules. x is borrowed for the call; the tokens of each row
 * are told by the pass's batch. */
struct pass_observer {
    void *context;
    void (*observe)(void *context, const struct pass *pass, size_t param, const float *x);
};

struct pass {
    const struct model *model;
    struct kernel *kernel;
    const struct binding *binding;     /* NULL: the model alone */
    const float *values;               /* trainables, (binding->count) */
    const float *anchor;               /* what values were at first, or NULL: adapters then add what
                                          they have become beyond it, s (B A - B0 A0) x */
    const float *norms;                /* of nn/adapter_norm.h, where adapters have magnitudes */
    const struct pass_weight *weights; /* (parameters): what is multiplied by instead where data is
                                          not NULL; or NULL. Trainables are then what it came of */
    const struct batch *batch;
    const float *ropes[MODEL_ROPE_LOCAL + 1]; /* tables of kernel/rope.h */
    uint64_t seed, round;
    bool dropout;             /* training; off, adapters see their whole input */
    float *const *gradients;  /* (rows): each (binding->count), backward only */
    float *const *cache_keys; /* (layers): each (positions, G * D); NULL without a cache */
    float *const *cache_values;
    const struct pass_observer *observer; /* of forward passes; NULL: none */
    float *scratch;           /* (T, widest input or output of a linear layer) for linear.c */
    float *scratch_mid;       /* (T, largest rank) for linear.c */
    float *scratch_magnitude; /* (T, widest output of a module with a magnitude) for linear.c */
};

/* What a product sees of its input; gradients pass as if it were all of it. */
enum pass_rounding {
    PASS_ROUNDING_NONE,
    PASS_ROUNDING_INT8,  /* kernel_round_int8: BitNet's */
    PASS_ROUNDING_GRID8, /* kernel_round_grid8 with input_scale */
};

/* A parameter as this pass reads it: what the pass's weights have instead, else the trainables
 * when it is bound there, else the model. */
struct pass_weight {
    const void *data;
    enum dtype dtype;
    size_t pairs; /* kernel_gemm.b_pairs */
    bool turned;  /* the data is (columns, rows) */
    bool apart;   /* rows of the data lie as MODEL_ROWS_APART says */
    bool merged;  /* the module's adapters are in the data */
    float scale;  /* the values are data * scale */
    enum pass_rounding rounding;
    float input_scale;  /* of GRID8 */
    float rounded_part; /* of the product's input, 0..1; the rest is the input as it came */
};
struct pass_weight pass_weight(const struct pass *pass, size_t param);

/* Offset of the parameter in the trainables, BINDING_NONE when it is frozen. */
size_t pass_offset(const struct pass *pass, size_t param);

/* The adapter at a linear layer, NULL when there is none. Borrowed from the binding. */
const struct binding_adapter *pass_adapter(const struct pass *pass, size_t param);

/* Whether anything at the parameter trains. */
bool pass_trains(const struct pass *pass, size_t param);

/* Tells the observer, if there is one, where `param` is the first of its site. */
void pass_observe(const struct pass *pass, size_t param, const float *x);

/* Index of a parameter that the model is known to have. */
size_t pass_param(const struct pass *pass, enum model_role role, size_t layer);

#endif
