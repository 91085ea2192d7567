/* rows.c - a rows blob is checked once and then read in place. */
#include "common/formats/dataset/rows.h"

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/numeric/permute.h"
#include "common/numeric/random.h"

static enum err column(const struct safetensors *st, const char *name, enum safetensors_dtype dtype,
                       const void **data, uint64_t *count, struct err_text *et)
{
    const struct safetensor *tensor = safetensors_find(st, text_of(name));
    if (tensor == NULL || tensor->dtype != dtype || tensor->rank != 1)
        return error_set(et, ERR_FORMAT, "rows: expected tensor '%s' of type %s and rank 1", name,
                         safetensors_dtype_name(dtype));
    if ((uintptr_t)tensor->data.data % safetensors_dtype_size_bytes(dtype) != 0)
        return error_set(et, ERR_FORMAT, "rows: tensor '%s' is not aligned", name);
    *data = tensor->data.data;
    *count = tensor->shape[0];
    return ERR_OK;
}

/* One row: its segments are ascending starts inside it, each of them without loss. */
static bool check_row(struct rows *rows, uint64_t index)
{
    uint64_t begin = rows->row_offsets[index];
    uint64_t end = rows->row_offsets[index + 1];
    uint64_t first = rows->row_segments[index];
    uint64_t last = rows->row_segments[index + 1];
    if (begin >= end || end > rows->token_count || end - begin > UINT32_MAX || first >= last ||
        last > rows->segment_count || rows->segments[first] != 0)
        return false;
    for (uint64_t s = first; s < last; s++) {
        bool ascends = s == first || rows->segments[s] > rows->segments[s - 1];
        if (!ascends || rows->segments[s] >= end - begin ||
            rows->loss[begin + rows->segments[s]] != 0)
            return false;
    }
    rows->row_tokens_max = MAX(rows->row_tokens_max, (uint32_t)(end - begin));
    return true;
}

static bool check(struct rows *rows)
{
    uint64_t n = rows->row_count;
    if (rows->row_offsets[0] != 0 || rows->row_offsets[n] != rows->token_count ||
        rows->row_segments[0] != 0 || rows->row_segments[n] != rows->segment_count)
        return false;
    for (uint64_t i = 0; i < n; i++)
        if (!check_row(rows, i))
            return false;
    for (uint64_t i = 0; i < rows->token_count; i++) {
        if (rows->loss[i] > 1)
            return false;
        rows->supervised_count += rows->loss[i];
        rows->token_id_max = MAX(rows->token_id_max, rows->tokens[i]);
    }
    return true;
}

enum err rows_open(struct span blob, struct rows *out, struct err_text *et)
{
    struct safetensors st = {0};
    struct rows rows = {0};
    const void *tokens, *loss, *offsets, *row_segments, *segments;
    uint64_t loss_count, offset_count, row_segment_count;
    enum err err;
    TRY(safetensors_parse(&st, blob, "rows", et));
    TRY_OUT(column(&st, "tokens", SAFETENSORS_U32, &tokens, &rows.token_count, et));
    TRY_OUT(column(&st, "loss", SAFETENSORS_U8, &loss, &loss_count, et));
    TRY_OUT(column(&st, "row_offsets", SAFETENSORS_U64, &offsets, &offset_count, et));
    TRY_OUT(column(&st, "row_segments", SAFETENSORS_U64, &row_segments, &row_segment_count, et));
    TRY_OUT(column(&st, "segments", SAFETENSORS_U32, &segments, &rows.segment_count, et));
    rows.tokens = tokens;
    rows.loss = loss;
    rows.row_offsets = offsets;
    rows.row_segments = row_segments;
    rows.segments = segments;
    rows.row_count = offset_count - 1;
    if (loss_count != rows.token_count || offset_count == 0 || offset_count != row_segment_count)
        err = error_set(et, ERR_FORMAT, "rows: lengths of the tensors do not agree");
    else if (!check(&rows))
        err = error_set(et, ERR_FORMAT, "rows: offsets, segments or loss are out of order");
    else
        *out = rows;
out:
    safetensors_close(&st);
    return err;
}

struct row rows_at(const struct rows *rows, uint64_t index)
{
    ASSERT(index < rows->row_count);
    uint64_t first = rows->row_offsets[index];
    uint64_t segment = rows->row_segments[index];
    struct row row = {
        .tokens = rows->tokens + first,
        .loss = rows->loss + first,
        .count = rows->row_offsets[index + 1] - first,
        .segment_starts = rows->segments + segment,
        .segment_count = rows->row_segments[index + 1] - segment,
    };
    for (size_t i = 0; i < row.count; i++)
        row.supervised_count += row.loss[i];
    return row;
}

uint64_t rows_order(uint64_t seed, uint64_t row_count, uint64_t position)
{
    ASSERT(row_count > 0);
    uint64_t epoch = position / row_count;
    uint64_t key = random_key(seed, RANDOM_ORDER, random_name(TEXT("rows")), 0, epoch);
    return permute_index(key, row_count, position % row_count);
}
