/* batch.c - filling the flat lists from rows that were checked first. */
#include "worker/engine/nn/batch.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum err batch_init(struct batch *batch, size_t token_capacity, size_t row_capacity)
{
    *batch = (struct batch){.token_capacity = token_capacity, .row_capacity = row_capacity};
    batch->tokens = mem_alloc(token_capacity, sizeof *batch->tokens);
    batch->positions = mem_alloc(token_capacity, sizeof *batch->positions);
    batch->rotations = mem_alloc(token_capacity, sizeof *batch->rotations);
    batch->places = mem_alloc(token_capacity, sizeof *batch->places);
    batch->rows = mem_alloc(row_capacity, sizeof *batch->rows);
    batch->segments = mem_alloc(token_capacity, sizeof *batch->segments);
    batch->targets = mem_alloc(token_capacity, sizeof *batch->targets);
    batch->labels = mem_alloc(token_capacity, sizeof *batch->labels);
    if (batch->tokens == NULL || batch->positions == NULL || batch->rotations == NULL ||
        batch->places == NULL || batch->rows == NULL || batch->segments == NULL ||
        batch->targets == NULL || batch->labels == NULL) {
        batch_fini(batch);
        return ERR_OUT_OF_MEMORY;
    }
    return ERR_OK;
}

void batch_fini(struct batch *batch)
{
    mem_free(batch->tokens);
    mem_free(batch->positions);
    mem_free(batch->rotations);
    mem_free(batch->places);
    mem_free(batch->rows);
    mem_free(batch->segments);
    mem_free(batch->targets);
    mem_free(batch->labels);
    *batch = (struct batch){0};
}

void batch_clear(struct batch *batch)
{
    batch->token_count = batch->row_count = batch->segment_count = batch->target_count = 0;
    batch->prompt_count = 0;
}

static enum err check_tokens(const struct batch_input *in, const struct batch_limits *limits,
                             struct err_text *et)
{
    if (in->token_count == 0)
        return error_set(et, ERR_DATA, "row %" PRIu64 ": expected tokens, found none", in->index);
    for (size_t i = 0; i < in->token_count; i++) {
        if (in->tokens[i] >= limits->vocabulary)
            return error_set(et, ERR_DATA,
                             "row %" PRIu64 ", token %zu: id %" PRIu32
                             " is outside the vocabulary of %zu; were the rows prepared with "
                             "another tokenizer?",
                             in->index, i, in->tokens[i], limits->vocabulary);
    }
    return ERR_OK;
}

static enum err check_segments(const struct batch_input *in, const struct batch_limits *limits,
                               struct err_text *et)
{
    if (in->segment_count == 0 || in->segment_starts[0] != 0)
        return error_set(et, ERR_DATA, "row %" PRIu64 ": expected a first segment at token 0",
                         in->index);
    for (size_t s = 0; s < in->segment_count; s++) {
        size_t start = in->segment_starts[s];
        size_t end = s + 1 < in->segment_count ? in->segment_starts[s + 1] : in->token_count;
        if (end <= start || end > in->token_count)
            return error_set(et, ERR_DATA,
                             "row %" PRIu64 ", segment %zu: starts at token %zu and ends at %zu of "
                             "%zu",
                             in->index, s, start, end, in->token_count);
        if (end - start + limits->prompt_count > limits->positions)
            return error_set(et, ERR_LIMIT,
                             "row %" PRIu64 ", segment %zu: %zu tokens, but the model has %zu "
                             "positions; lower sequence_len",
                             in->index, s, end - start + limits->prompt_count, limits->positions);
    }
    return ERR_OK;
}

uint32_t batch_rotation(size_t positions_short, size_t position, size_t count)
{
    if (positions_short == 0)
        return (uint32_t)position;
    return (uint32_t)(2 * position + (count > positions_short ? 1 : 0));
}

/* Appends one token of a segment of `count`, or with `token` NULL a place of its prompt. */
static void add_token(struct batch *batch, const struct batch_row *row,
                      const struct batch_limits *limits, const uint32_t *token, size_t position,
                      size_t count)
{
    size_t at = batch->token_count++;
    batch->tokens[at] = token != NULL ? *token : 0;
    batch->positions[at] = (uint32_t)position;
    batch->rotations[at] = batch_rotation(limits->positions_short, position, count);
    batch->places[at] = row->index << 32 | (at - row->start);
}

static void add_segment(struct batch *batch, const struct batch_input *in,
                        const struct batch_limits *limits, const struct batch_row *row,
                        size_t start, size_t end)
{
    size_t first = batch->token_count, prompt = limits->prompt_count, count = prompt + end - start;
    batch->segments[batch->segment_count++] =
        (struct attention_segment){.query_row = first, .key_row = first, .count = count};
    for (size_t i = 0; i < prompt; i++)
        add_token(batch, row, limits, NULL, i, count);
    for (size_t i = start; i < end; i++) {
        if (i + 1 < end && in->loss != NULL && in->loss[i + 1] != 0) {
            batch->targets[batch->target_count] = (uint32_t)batch->token_count;
            batch->labels[batch->target_count++] = in->tokens[i + 1];
        }
        add_token(batch, row, limits, &in->tokens[i], prompt + i - start, count);
    }
}

enum err batch_add(struct batch *batch, const struct batch_input *input,
                   const struct batch_limits *limits, struct err_text *et)
{
    size_t count;
    TRY(check_tokens(input, limits, et));
    TRY(check_segments(input, limits, et));
    if (input->index > UINT32_MAX || batch->row_count == batch->row_capacity ||
        !check_mul(input->segment_count, limits->prompt_count, &count) ||
        !check_add(count, input->token_count, &count) ||
        count > batch->token_capacity - batch->token_count)
        return error_set(et, ERR_LIMIT, "row %" PRIu64 ": %zu tokens do not fit the batch",
                         input->index, input->token_count);
    struct batch_row *row = &batch->rows[batch->row_count++];
    *row = (struct batch_row){.index = input->index,
                              .start = batch->token_count,
                              .count = count,
                              .target_start = batch->target_count};
    for (size_t s = 0; s < input->segment_count; s++) {
        bool last = s + 1 == input->segment_count;
        add_segment(batch, input, limits, row, input->segment_starts[s],
                    last ? input->token_count : input->segment_starts[s + 1]);
    }
    row->target_count = batch->target_count - row->target_start;
    batch->prompt_count = limits->prompt_count;
    return ERR_OK;
}

const struct batch_row *batch_row_of_token(const struct batch *batch, size_t token)
{
    ASSERT(token < batch->token_count);
    const struct batch_row *row = batch->rows;
    while (token >= row->start + row->count)
        row++;
    return row;
}
