/* convert_tensor.c - rows looked up, decoded, changed, encoded. */
#include "common/formats/convert/convert_tensor.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum { CODES_A_BYTE = 4, BATCH = 1024 };

/* Working memory of one tensor. */
struct buffers {
    float *values; /* owned: a row */
    uint8_t *out;  /* owned: a row */
};

static size_t element_bytes(enum block_format format)
{
    return format == BLOCK_FORMAT_COUNT ? 1 : block_format_bytes(format);
}

uint64_t convert_tensor_size_bytes(const struct convert_tensor *t)
{
    uint64_t elements = (uint64_t)t->rows * t->columns;
    return elements * element_bytes(t->out);
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
    size_t packed_rows = t->rows / CODES_A_BYTE;
    const uint8_t *codes = t->data.data + row % packed_rows * t->columns;
    for (size_t i = 0; i < t->columns; i++) {
        int code = codes[i] >> (2 * (int)(row / packed_rows)) & 3;
        out[i] = (float)(code - 1) * t->scale;
    }
}

/* Codes of the rows r, r + R, r + 2R, r + 3R of the source, R being the rows of the result. */
static void pack_row(const struct convert_tensor *t, size_t row, struct buffers *b)
{
    size_t row_bytes = t->columns * element_bytes(t->in);
    memset(b->out, 0, t->columns);
    for (size_t k = 0; k < CODES_A_BYTE; k++) {
        decode(t, t->columns, t->data.data + (row + k * t->rows) * row_bytes, b->values);
        for (size_t i = 0; i < t->columns; i++) {
            float value = b->values[i];
            unsigned code = value > 0.0f ? 2u : value < 0.0f ? 0u : 1u;
            b->out[i] = (uint8_t)(b->out[i] | code << (2 * k));
        }
    }
}

static void turned_row(const struct convert_tensor *t, size_t row, float *out)
{
    size_t size = element_bytes(t->in);
    for (size_t i = 0; i < t->columns; i++)
        convert_float_decode(t->in, 1, t->data.data + (i * t->rows + row) * size, &out[i]);
}

static void change_row(const struct convert_tensor *t, float *values)
{
    for (size_t i = 0; i < t->columns; i++) {
        if (t->change == CONVERT_CHANGE_ADD)
            values[i] += t->addend;
        if (t->change == CONVERT_CHANGE_SCALE)
            values[i] *= t->scale;
        if (t->change == CONVERT_CHANGE_TERNARY) {
            float code = rintf(values[i] * (1.0f / t->scale)); /* ties to even */
            values[i] = (code > 1.0f ? 1.0f : code < -1.0f ? -1.0f : code) * t->scale;
        }
    }
}

static size_t row_bytes_in(const struct convert_tensor *t)
{
    return t->columns / block_format_elements(t->in) * block_format_bytes(t->in);
}

static enum err write_row(const struct convert_tensor *t, size_t row, struct buffers *b,
                          file_sink_f sink, void *context)
{
    struct span piece = {b->out, t->columns * element_bytes(t->out)};
    if (t->change == CONVERT_CHANGE_PACK) {
        pack_row(t, row, b);
        return sink(context, piece);
    }
    if (t->change == CONVERT_CHANGE_UNPACK) {
        unpack_row(t, row_of_source(t, row), b->values);
    } else if (t->order == CONVERT_ORDER_TURNED) {
        turned_row(t, row, b->values);
    } else {
        const uint8_t *from = t->data.data + row_of_source(t, row) * row_bytes_in(t);
        if (t->in == t->out && t->change == CONVERT_CHANGE_NONE)
            return sink(context, (struct span){from, piece.size});
        decode(t, t->columns, from, b->values);
    }
    change_row(t, b->values);
    convert_float_encode(t->out, t->columns, b->values, b->out);
    return sink(context, piece);
}

enum err convert_tensor_write(const struct convert_tensor *t, file_sink_f sink, void *context)
{
    if (t->in == t->out && t->order == CONVERT_ORDER_SAME && t->change == CONVERT_CHANGE_NONE)
        return sink(context, t->data);
    struct buffers b = {
        .values = mem_alloc(t->columns, sizeof *b.values),
        .out = mem_alloc(t->columns, sizeof(float)),
    };
    enum err err = b.values != NULL && b.out != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
    for (size_t row = 0; row < t->rows && err == ERR_OK; row++)
        err = write_row(t, row, &b, sink, context);
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
