/* binding.h - which parameters a call reads from the trainable vector, and which adapters it adds.
 *
 * An adapter is an argument of the call and never a state of the model: the same model runs with
 * one binding, with another, or with none (the reference pass). Offsets count f32 elements of the
 * flat vector of trainables; a row's gradient has the same layout.
 */
#ifndef WORKER_ENGINE_NN_BINDING_H
#define WORKER_ENGINE_NN_BINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/nn/model.h"

#define BINDING_NONE SIZE_MAX

/* y = x W^T + scale * dropout(x) A^T B^T  (Hu et al. 2021, equation 3). With a magnitude m each
 * column of that y is multiplied by m / |W + scale * B A|, the norm of its row, before the bias is
 * added (Liu et al. 2024, equation 5, whose norm is a constant for the gradient). */
struct binding_adapter {
    size_t a_offset; /* A: (rank, in) */
    size_t b_offset; /* B: (out, rank) */
    size_t rank;     /* 0: no adapter */
    float scale;     /* alpha / rank, or alpha / sqrt(rank) */
    float dropout;   /* probability that an element of the adapter's input is dropped */
    bool has_magnitude;
    size_t magnitude_offset; /* m: (out) */
    size_t norm_offset;      /* of its rows in the pass's norms: (out) */
};

struct binding_slot {
    size_t weight_offset; /* BINDING_NONE: frozen, read from the model */
    struct binding_adapter adapter;
};

/* Where a layer may have a bottleneck: what it sees and adds to (nn/bottleneck.h). */
enum binding_place {
    BINDING_AFTER_ATTENTION, /* what attention adds to x */
    BINDING_AFTER_MLP,       /* what the mlp adds to x */
    BINDING_BESIDE_MLP,      /* the mlp's input; adds to what the mlp adds */
    BINDING_AFTER_LAYER,     /* the layer's output, the sum of all */
    BINDING_PLACE_COUNT
};

/* y = x + scale * (act(x D^T + d) U^T + u), without the x beside the mlp. */
struct binding_bottleneck {
    size_t width;                         /* 0: none */
    size_t down_offset, down_bias_offset; /* D: (width, C), d: (width) */
    size_t up_offset, up_bias_offset;     /* U: (C, width), u: (C) */
    enum kernel_act act;
    float scale;
};

struct binding {
    size_t count;      /* f32 elements of the vector */
    size_t norm_count; /* of rows of all modules with a magnitude */
    /* Of the embedding's lookup, x += scale * A^T[token] B^T with A: (rank, V), B: (C, rank). Where
     * the head is the same matrix, an adapter in its slot is the head's alone. */
    struct binding_adapter lookup;
    size_t slot_count;          /* parameters of the model */
    struct binding_slot *slots; /* owned; index is the model's parameter index */
    /* owned: (layers, BINDING_PLACE_COUNT) */
    struct binding_bottleneck *bottlenecks;
    /* Trained vectors before the first token of every sample: (prompt_count, C). */
    size_t prompt_count, prompt_offset;
};

/* All slots frozen and without adapter, no bottleneck, no prompt. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err binding_init(struct binding *binding, const struct model *model);
void binding_fini(struct binding *binding);

/* Whether the parameter's adapter has a magnitude; `binding` may be NULL. */
bool binding_has_magnitude(const struct binding *binding, size_t param);

/* The bottleneck of a place, NULL when there is none; `binding` may be NULL. Borrowed. */
const struct binding_bottleneck *binding_bottleneck(const struct binding *binding, size_t layer,
                                                    enum binding_place place);

#endif
