/* transformer_memory.h - what a transformer is made of, and the plan of its one allocation.
 *
 * For transformer.c alone; others read transformer.h.
 */
#ifndef WORKER_ENGINE_NN_TRANSFORMER_MEMORY_H
#define WORKER_ENGINE_NN_TRANSFORMER_MEMORY_H

#include "worker/engine/nn/block.h"
#include "worker/engine/nn/head.h"
#include "worker/engine/nn/transformer.h"

struct transformer {
    struct pass pass;
    enum transformer_mode mode;
    float *memory; /* owned, of the kernel: all buffers below point into it */
    float *ropes[MODEL_ROPE_LOCAL + 1];
    float **x;                 /* owned: (layers + 1) inputs of the layers and the last output */
    struct block_saved *saved; /* owned: (layers); the same buffers for all unless mode TRAIN */
    struct norm_span *spans;   /* owned: (rows) */
    struct batch_row *rows;    /* owned: (rows) */
    uint64_t *places;          /* owned: (tokens) */
    double *losses;            /* owned: (tokens) */
    struct block_work block_work;
    struct head_work head_work;
    float *d;      /* (T, C) gradient of x on its way down */
    float *remade; /* (T, C) output of a layer that is made again */
};

/* Lays out every buffer from `base` on (NULL: only counts) and returns the floats needed, SIZE_MAX
 * when no memory has so many; t->x and t->saved are filled when they are there. Of *t, mode and the
 * pass's model and binding are set. */
size_t transformer_memory_plan(struct transformer *t, const struct transformer_plan *plan,
                               float *base);

/* Fills the tables of cosine and sine. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err transformer_memory_fill_ropes(struct transformer *t, size_t positions);

#endif
