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
    size_t norm_offset;      /* the rows' norms: (out), from the start of the pass's norms */
};

struct binding_slot {
    size_t weight_offset; /* BINDING_NONE: frozen, read from the model */
    struct binding_adapter adapter;
};

struct binding {
    size_t count;      /* f32 elements of the vector */
    size_t norm_count; /* of rows of all modules with a magnitude */
    /* Of the embedding's lookup, x += scale * A^T[token] B^T with A: (rank, V), B: (C, rank). Where
     * the head is the same matrix, an adapter in its slot is the head's alone. */
    struct binding_adapter lookup;
    size_t slot_count;          /* parameters of the model */
    struct binding_slot *slots; /* owned; index is the model's parameter index */
};

/* All slots frozen and without adapter. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err binding_init(struct binding *binding, const struct model *model);
void binding_fini(struct binding *binding);

#endif
