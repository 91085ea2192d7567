/* batch.h - the tokens of several rows as one flat list, with every boundary that matters.
 *
 *   rows      |------------ row 0 -----------|------- row 1 -------|
 *   segments  |-- sample --|---- sample -----|------ sample -------|   positions restart at each
 *   targets        x  x         x  x  x  x              x  x           tokens whose successor
 * counts
 *
 * With a prompt each segment begins with the places of its vectors, which have no token and are no
 * targets; positions count them, and everything here but the input does.
 *
 * Owns: the lists. Refuses to know: weights, products, gradients.
 */
#ifndef WORKER_ENGINE_NN_BATCH_H
#define WORKER_ENGINE_NN_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "worker/engine/kernel/attention.h"

/* One packed sequence, borrowed for the call. The prediction of token i counts when loss[i] is not
 * 0 and it does not start a segment. loss NULL: no token counts. */
struct batch_input {
    uint64_t index; /* of the row, below 2^32: keys dropout and names the row in messages */
    const uint32_t *tokens;
    const uint8_t *loss;
    size_t token_count;
    const uint32_t *segment_starts; /* ascending, the first is 0 */
    size_t segment_count;
};

struct batch_row {
    uint64_t index;
    size_t start, count;               /* tokens */
    size_t target_start, target_count; /* targets */
};

struct batch {
    size_t token_capacity, row_capacity;
    size_t token_count, row_count, segment_count, target_count;
    size_t prompt_count;    /* vectors of the binding's prompt that each segment begins with */
    uint32_t *tokens;       /* owned, as all lists: (token_count); 0 at a prompt's places */
    uint32_t *positions;    /* (token_count) in the segment */
    uint32_t *rotations;    /* (token_count) row of the rope table */
    uint64_t *places;       /* (token_count) row index << 32 | position in the row */
    struct batch_row *rows; /* (row_count) */
    struct attention_segment *segments; /* (segment_count) */
    uint32_t *targets;                  /* (target_count) token whose successor is predicted */
    uint32_t *labels;                   /* (target_count) that successor */
};

/* What inputs are checked against. */
struct batch_limits {
    size_t vocabulary;      /* tokens are below it */
    size_t positions;       /* longest segment, its prompt included */
    size_t positions_short; /* of struct model_shape */
    size_t prompt_count;    /* places before each segment; the same for all rows of a batch */
};

/* Row of the rope table for a position of a sample of `count` tokens: with two sets of frequencies
 * the rows of short and long samples take turns. */
uint32_t batch_rotation(size_t positions_short, size_t position, size_t count);

/* ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err batch_init(struct batch *batch, size_t token_capacity, size_t row_capacity);
void batch_fini(struct batch *batch);
void batch_clear(struct batch *batch);

/* Appends a row. ERR_DATA: a token outside the vocabulary, no token, or segments out of order;
 * ERR_LIMIT: a segment longer than limits->positions, or the capacity is full. On error the batch
 * is as it was; `et` names row and token. */
MUST_CHECK enum err batch_add(struct batch *batch, const struct batch_input *input,
                              const struct batch_limits *limits, struct err_text *et);

/* The row that holds a token. */
const struct batch_row *batch_row_of_token(const struct batch *batch, size_t token);

#endif
