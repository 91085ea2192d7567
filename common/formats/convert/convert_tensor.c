/* convert_tensor.c - rows looked up, decoded, changed, encoded. */
#include "common/formats/convert/convert_tensor.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum { BATCH = 1024, BATCH_ELEMENTS = 1 << 16 };

/* Working memory of one tensor: a batch of its rows. */
struct buffers {
    float *values; /* owned */
    uint8_t *out;  /* owned */
    size_t rows;   /* of a batch */
};

static size_t element_bytes(enum block_format format)
{
    return format == BLOCK_FORMAT_COUNT ? 1 : block_format_bytes(format);
}

uint64_t convert_tensor_size_bytes(const struct convert_tensor *t)
{
    uint64_t elements = (uint64_t)t->rows * t->columns;
    if (t->out == BLOCK_FORMAT_COUNT)
        return elements;
    return elements / block_format_elements(t->out) * block_format_bytes(t->out);
}

/* Row of the source that is row `row` of the result. */
static size_t row_of_source(const struct convert_tensor *t, size_t row)
{
    size_t heads = t->heads;
    size_t groups = t->kv_heads;
    if (t->order == CONVERT_ORDER_PAIRS || t->order == CONVERT_ORDER_HALVES) {
        size_t size = t->rows / heads;
        size_t head = row / size;
        size_t at = row % size;
        at = t->order == CONVERT_ORDER_PAIRS ? at % 2 * (size / 2) + at / 2
                                             : at % (size / 2) * 2 + at / (size / 2);
        return head * size + at;
    }
    if (t->order != CONVERT_ORDER_SPLIT && t->order != CONVERT_ORDER_GROUPS)
        return row;
    size_t size = t->rows / (heads + 2 * groups);
    size_t queries = heads / groups; /* of a group */
    size_t head = row / size;
    if (t->order == CONVERT_ORDER_GROUPS) {
        size_t group = head / (queries + 2);
        size_t part = head % (queries + 2);
        head = part < queries    ? group * queries + part
               : part == queries ? heads + group
                                 : heads + groups + group;
    } else if (head < heads) {
        head = head / queries * (queries + 2) + head % queries;
    } else {
        size_t group = (head - heads) % groups;
        head = group * (queries + 2) + queries + (head - heads) / groups;
    }
    return head * size + row % size;
}

static void decode(const struct convert_tensor *t, size_t count, const uint8_t *from, float *out)
{
    if (convert_float_is_plain(t->in))
        convert_float_decode(t->in, count, from, out);
    else
        t->decode(t->in, count, from, out);
}

/* Row `row` of 2-bit codes as -scale, 0, scale. */
static void unpack_row(const struct convert_tensor *t, size_t row, float *out)
{
    size_t packed_rows = t->rows / CONVERT_CODES_A_BYTE;
    const uint8_t *codes = t->data.data + row % packed_rows * t->columns;
    for (size_t i = 0; i < t->columns; i++) {
        int code = codes[i] >> (2 * (int)(row / packed_rows)) & 3;
        out[i] = (float)(code - 1) * t->scale;
    }
}

/* Codes of the rows r, r + R, r + 2R, r + 3R of the source, R being the rows of the result. */
static void pack_row(const struct convert_tensor *t, size_t row, float *values, uint8_t *out)
{
    size_t row_bytes = t->columns * element_bytes(t->in);
    memset(out, 0, t->columns);
    for (size_t k = 0; k < CONVERT_CODES_A_BYTE; k++) {
        decode(t, t->columns, t->data.data + (row + k * t->rows) * row_bytes, values);
        for (size_t i = 0; i < t->columns; i++) {
            unsigned code = values[i] > 0.0f ? 2u : values[i] < 0.0f ? 0u : 1u;
            out[i] = (uint8_t)(out[i] | code << (2 * k));
        }
    }
}

static void turned_row(const struct convert_tensor *t, size_t row, float *out)
{
    size_t size = element_bytes(t->in);
    for (size_t i = 0; i < t->columns; i++)
        convert_float_decode(t->in, 1, t->data.data + (i * t->rows + row) * size, &out[i]);
}

static float ternary_of(float value, float scale, float inverse)
{
    float code = rintf(value * inverse); /* ties to even */
    return (code > 1.0f ? 1.0f : code < -1.0f ? -1.0f : code) * scale;
}

static void change_values(const struct convert_tensor *t, float *values, size_t count)
{
    float inverse = 1.0f / t->scale;
    for (size_t i = 0; i < count && t->change == CONVERT_CHANGE_ADD; i++)
        values[i] += t->addend;
    for (size_t i = 0; i < count && t->change == CONVERT_CHANGE_SCALE; i++)
        values[i] *= t->scale;
    for (size_t i = 0; i < count && t->change == CONVERT_CHANGE_TERNARY; i++)
        values[i] = ternary_of(values[i], t->scale, inverse);
}

static size_t row_bytes_in(const struct convert_tensor *t)
{
    return t->columns / block_format_elements(t->in) * block_format_bytes(t->in);
}

static bool is_moved_only(const struct convert_tensor *t)
{
    return t->in == t->out && t->change == CONVERT_CHANGE_NONE && t->order != CONVERT_ORDER_TURNED;
}

/* One row into its place in the batch; `out` NULL: as numbers, whatever happens to it. */
static void take_row(const struct convert_tensor *t, size_t row, float *values, uint8_t *out)
{
    if (t->change == CONVERT_CHANGE_PACK) {
        pack_row(t, row, values, out);
    } else if (t->change == CONVERT_CHANGE_UNPACK) {
        unpack_row(t, row_of_source(t, row), values);
    } else if (t->order == CONVERT_ORDER_TURNED) {
        turned_row(t, row, values);
    } else {
        const uint8_t *from = t->data.data + row_of_source(t, row) * row_bytes_in(t);
        if (out != NULL && is_moved_only(t))
            memcpy(out, from, row_bytes_in(t));
        else
            decode(t, t->columns, from, values);
    }
}

void convert_tensor_row(const struct convert_tensor *t, size_t row, float *out)
{
    take_row(t, row, out, NULL);
    change_values(t, out, t->columns);
}

static enum err write_rows(const struct convert_tensor *t, struct buffers *b, file_sink_f sink,
                           void *context)
{
    size_t row_bytes = is_moved_only(t) ? row_bytes_in(t) : t->columns * element_bytes(t->out);
    for (size_t row = 0; row < t->rows; row += b->rows) {
        size_t rows = MIN(b->rows, t->rows - row);
        for (size_t i = 0; i < rows; i++)
            take_row(t, row + i, b->values + i * t->columns, b->out + i * row_bytes);
        if (t->change != CONVERT_CHANGE_PACK && !is_moved_only(t)) {
            change_values(t, b->values, rows * t->columns);
            convert_float_encode(t->out, rows * t->columns, b->values, b->out);
        }
        TRY(sink(context, (struct span){b->out, rows * row_bytes}));
    }
    return ERR_OK;
}

enum err convert_tensor_write(const struct convert_tensor *t, file_sink_f sink, void *context)
{
    if (is_moved_only(t) && t->order == CONVERT_ORDER_SAME)
        return sink(context, t->data);
    struct buffers b = {.rows = MAX(BATCH_ELEMENTS / MAX(t->columns, 1u), 1u)};
    b.rows = MIN(b.rows, MAX(t->rows, 1u));
    b.values = mem_alloc(b.rows * t->columns, sizeof *b.values);
    b.out = mem_alloc(b.rows * t->columns, sizeof(float));
    enum err err = ERR_OUT_OF_MEMORY;
    if (b.values != NULL && b.out != NULL)
        err = write_rows(t, &b, sink, context);
    mem_free(b.values);
    mem_free(b.out);
    return err;
}

struct convert_range convert_tensor_range(struct span data, enum block_format format)
{
    struct convert_range range = {.is_ternary = true};
    size_t size = block_format_bytes(format);
    size_t count = data.size / size;
    float values[BATCH];
    float first = 0.0f;
    for (size_t at = 0; at < count; at += BATCH) {
        size_t batch = MIN(count - at, (size_t)BATCH);
        convert_float_decode(format, batch, data.data + at * size, values);
        for (size_t i = 0; i < batch; i++) {
            float magnitude = fabsf(values[i]);
            range.sum += (double)magnitude;
            range.max = magnitude > range.max ? magnitude : range.max;
            first = first == 0.0f ? magnitude : first;
            range.is_ternary = range.is_ternary && (magnitude == 0.0f || magnitude == first);
        }
    }
    return range;
}
