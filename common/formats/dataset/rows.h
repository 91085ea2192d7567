/* rows.h - the prepared rows of a job, read from a blob that is mapped or fetched.
 *
 * A rows blob is a safetensors file:
 *
 *   tokens        U32 [T]     all rows, one after the other
 *   loss          U8  [T]     1 where the prediction *of this token* counts
 *   row_offsets   U64 [R+1]   row i is tokens[row_offsets[i] .. row_offsets[i+1])
 *   row_segments  U64 [R+1]   row i holds segments [row_segments[i] .. row_segments[i+1])
 *   segments      U32 [S]     where each packed sample starts, counted from its row's start
 *
 * The first token of a segment is predicted by nothing, so its loss is 0.
 */
#ifndef COMMON_FORMATS_DATASET_ROWS_H
#define COMMON_FORMATS_DATASET_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"

struct rows {
    const uint32_t *tokens; /* borrowed from the blob, as all below */
    const uint8_t *loss;
    const uint64_t *row_offsets;
    const uint64_t *row_segments;
    const uint32_t *segments;
    uint64_t token_count;
    uint64_t row_count;
    uint64_t segment_count;
    uint64_t supervised_count; /* tokens with loss 1, over all rows */
    uint32_t token_id_max;     /* largest id: must lie below the model's vocabulary size */
    uint32_t row_tokens_max;   /* longest row */
};

struct row {
    const uint32_t *tokens; /* [count] */
    const uint8_t *loss;    /* [count] */
    size_t count;
    const uint32_t *segment_starts; /* [segment_count], ascending, the first is 0 */
    size_t segment_count;
    uint64_t supervised_count;
};

/* Checks everything that the accessors rely on. `blob` must be aligned to 8 (mapped files and
 * struct bytes are) and stay valid while *out is used. ERR_FORMAT, ERR_TRUNCATED with `et`. */
MUST_CHECK enum err rows_open(struct span blob, struct rows *out, struct err_text *et);

/* Row `index` < row_count. */
struct row rows_at(const struct rows *rows, uint64_t index);

/* The row that stands at `position` of the training order: epoch position / row_count, every epoch
 * its own seeded permutation. row_count > 0. */
uint64_t rows_order(uint64_t seed, uint64_t row_count, uint64_t position);

#endif
