/* event_reader.c - fields of messages, bounds first. */
#include "common/formats/tensorboard/event_reader.h"

#include <string.h>

#include "common/formats/tensorboard/event_file.h"

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* A field: a number for the first three, a span for bytes. */
struct field {
    uint64_t number;
    enum wire wire;
    uint64_t value;
    struct span content;
};

static uint64_t load(const uint8_t *data, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)data[i] << 8 * i;
    return value;
}

static bool take(struct span *rest, uint64_t size, struct span *out)
{
    if (size > rest->size)
        return false;
    *out = (struct span){rest->data, (size_t)size};
    *rest = (struct span){rest->data + size, rest->size - (size_t)size};
    return true;
}

static bool take_varint(struct span *rest, uint64_t *out)
{
    struct span byte;
    *out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (!take(rest, 1, &byte) || (shift == 63 && byte.data[0] > 1))
            return false;
        *out |= (uint64_t)(byte.data[0] & 0x7f) << shift;
        if (byte.data[0] < 0x80)
            return true;
    }
    return false;
}

static bool take_fixed(struct span *rest, size_t size, uint64_t *out)
{
    struct span bytes;
    if (!take(rest, size, &bytes))
        return false;
    *out = load(bytes.data, size);
    return true;
}

static bool take_field(struct span *rest, struct field *out)
{
    uint64_t key;
    *out = (struct field){0};
    if (!take_varint(rest, &key) || key >> 3 == 0)
        return false;
    out->number = key >> 3;
    out->wire = (enum wire)(key & 7);
    switch (out->wire) {
    case WIRE_VARINT:
        return take_varint(rest, &out->value);
    case WIRE_FIXED64:
        return take_fixed(rest, sizeof(uint64_t), &out->value);
    case WIRE_FIXED32:
        return take_fixed(rest, sizeof(uint32_t), &out->value);
    case WIRE_BYTES:
        return take_varint(rest, &out->value) && take(rest, out->value, &out->content);
    }
    return false;
}

static bool is_field(const struct field *f, uint64_t number, enum wire wire)
{
    return f->number == number && f->wire == wire;
}

static double f64_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double f32_of(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float value;
    memcpy(&value, &low, sizeof value);
    return (double)value;
}

static bool read_histogram(struct span rest, struct event_reader_value *out)
{
    struct field f;
    double *const numbers[] = {&out->min, &out->max, &out->total, &out->sum, &out->sum_squares};
    while (rest.size > 0) {
        if (!take_field(&rest, &f))
            return false;
        if (f.wire == WIRE_FIXED64 && f.number <= sizeof numbers / sizeof numbers[0])
            *numbers[f.number - 1] = f64_of(f.value);
        else if (is_field(&f, 6, WIRE_BYTES))
            out->limits = f.content;
        else if (is_field(&f, 7, WIRE_BYTES))
            out->counts = f.content;
    }
    return out->limits.size == out->counts.size && out->limits.size % sizeof(double) == 0;
}

static bool read_value(struct span rest, struct event_reader_value *out)
{
    struct field f;
    *out = (struct event_reader_value){.kind = EVENT_READER_OTHER};
    while (rest.size > 0) {
        if (!take_field(&rest, &f))
            return false;
        if (is_field(&f, 1, WIRE_BYTES)) {
            out->tag = (struct text){(const char *)f.content.data, f.content.size};
        } else if (is_field(&f, 2, WIRE_FIXED32)) {
            out->kind = EVENT_READER_SCALAR;
            out->scalar = f32_of(f.value);
        } else if (is_field(&f, 5, WIRE_BYTES)) {
            out->kind = EVENT_READER_HISTOGRAM;
            if (!read_histogram(f.content, out))
                return false;
        }
    }
    return true;
}

static bool is_summary(struct span rest)
{
    struct field f;
    struct event_reader_value value;
    while (rest.size > 0) {
        if (!take_field(&rest, &f) ||
            (is_field(&f, 1, WIRE_BYTES) && !read_value(f.content, &value)))
            return false;
    }
    return true;
}

static bool read_event(struct span rest, struct event_reader_event *out)
{
    struct field f;
    *out = (struct event_reader_event){.step = 0};
    while (rest.size > 0) {
        if (!take_field(&rest, &f))
            return false;
        if (is_field(&f, 1, WIRE_FIXED64))
            out->wall_s = f64_of(f.value);
        else if (is_field(&f, 2, WIRE_VARINT))
            out->step = f.value;
        else if (is_field(&f, 3, WIRE_BYTES))
            out->file_version = (struct text){(const char *)f.content.data, f.content.size};
        else if (is_field(&f, 5, WIRE_BYTES))
            out->summary = f.content;
    }
    return is_summary(out->summary);
}

bool event_reader_value(struct span *summary, struct event_reader_value *out)
{
    struct field f;
    while (summary->size > 0 && take_field(summary, &f)) {
        if (is_field(&f, 1, WIRE_BYTES))
            return read_value(f.content, out);
    }
    return false;
}

double event_reader_f64(struct span list, size_t index)
{
    return f64_of(load(list.data + index * sizeof(double), sizeof(double)));
}

static enum err fail(const struct event_reader *r, enum err code, const char *what,
                     struct err_text *et)
{
    return error_set(et, code, "record %zu at byte %zu: %s", r->record_count, r->good_bytes, what);
}

enum err event_reader_next(struct event_reader *reader, struct event_reader_event *out,
                           bool *is_end, struct err_text *et)
{
    struct span rest = {NULL, reader->file.size - reader->good_bytes}, head, payload, check;
    struct event_reader_event event;
    reader->is_torn = false;
    *is_end = rest.size == 0;
    if (*is_end)
        return ERR_OK;
    rest.data = reader->file.data + reader->good_bytes;
    *is_end = reader->is_torn = !take(&rest, EVENT_FILE_HEAD_BYTES, &head);
    if (reader->is_torn)
        return ERR_OK;
    uint64_t size = load(head.data, sizeof(uint64_t));
    if (load(head.data + sizeof(uint64_t), sizeof(uint32_t)) !=
        event_file_check((struct span){head.data, sizeof(uint64_t)}))
        return fail(reader, ERR_DIGEST, "the check of its length is wrong", et);
    if (size > EVENT_FILE_RECORD_BYTES_MAX)
        return fail(reader, ERR_LIMIT, "it is longer than 64 MiB", et);
    *is_end = reader->is_torn =
        !take(&rest, size, &payload) || !take(&rest, sizeof(uint32_t), &check);
    if (reader->is_torn)
        return ERR_OK;
    if (load(check.data, sizeof(uint32_t)) != event_file_check(payload))
        return fail(reader, ERR_DIGEST, "the check of its content is wrong", et);
    if (!read_event(payload, &event))
        return fail(reader, ERR_FORMAT, "expected a message Event", et);
    *out = event;
    reader->good_bytes = reader->file.size - rest.size;
    reader->record_count++;
    return ERR_OK;
}
