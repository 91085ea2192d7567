/* event_file.c - records around messages of protocol buffers, written field by field.
 *
 * A field is a key (number << 3 | wire type) and its content; a message within a message begins
 * with its length, which is put in front once the content is there.
 */
#include "common/formats/tensorboard/event_file.h"

#include <string.h>

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

enum { VARINT_BYTES_MAX = 10, CHECK_ADDEND = 0xa282ead8u };

/* ---- checks ---- */

/* CRC32C by half bytes: remainders of the 16 of them. */
static uint32_t crc32c(struct span content)
{
    static const uint32_t remainders[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                            0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                            0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                            0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    uint32_t sum = UINT32_MAX;
    for (size_t i = 0; i < content.size; i++) {
        sum ^= content.data[i];
        sum = sum >> 4 ^ remainders[sum & 15];
        sum = sum >> 4 ^ remainders[sum & 15];
    }
    return ~sum;
}

uint32_t event_file_check(struct span content)
{
    uint32_t sum = crc32c(content);
    return (sum >> 15 | sum << 17) + CHECK_ADDEND;
}

/* ---- fields ---- */

static void store(uint64_t value, size_t size, uint8_t *out)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static size_t varint(uint64_t value, uint8_t out[VARINT_BYTES_MAX])
{
    size_t size = 0;
    for (; value >= 0x80; value >>= 7)
        out[size++] = (uint8_t)(value | 0x80);
    out[size++] = (uint8_t)value;
    return size;
}

static void put_varint(uint64_t value, struct bytes *out)
{
    uint8_t bytes[VARINT_BYTES_MAX];
    bytes_append(out, bytes, varint(value, bytes));
}

static void put_key(unsigned field, enum wire wire, struct bytes *out)
{
    put_varint((uint64_t)field << 3 | wire, out);
}

static void put_text(unsigned field, const char *text, struct bytes *out)
{
    put_key(field, WIRE_BYTES, out);
    put_varint(strlen(text), out);
    bytes_append_text(out, text_of(text));
}

static void put_bare_f64(double value, struct bytes *out)
{
    uint64_t bits;
    uint8_t bytes[sizeof bits];
    memcpy(&bits, &value, sizeof bits);
    store(bits, sizeof bits, bytes);
    bytes_append(out, bytes, sizeof bytes);
}

static void put_f64(unsigned field, double value, struct bytes *out)
{
    put_key(field, WIRE_FIXED64, out);
    put_bare_f64(value, out);
}

static void put_f32(unsigned field, float value, struct bytes *out)
{
    uint32_t bits;
    uint8_t bytes[sizeof bits];
    memcpy(&bits, &value, sizeof bits);
    store(bits, sizeof bits, bytes);
    put_key(field, WIRE_FIXED32, out);
    bytes_append(out, bytes, sizeof bytes);
}

static void put_f64_list(unsigned field, const double *values, size_t count, struct bytes *out)
{
    put_key(field, WIRE_BYTES, out);
    put_varint(count * sizeof *values, out);
    for (size_t i = 0; i < count; i++)
        put_bare_f64(values[i], out);
}

/* Makes everything from `start` on the content of a message in `field`. */
static void wrap(unsigned field, size_t start, struct bytes *out)
{
    uint8_t head[2 * VARINT_BYTES_MAX];
    if (bytes_status(out) != ERR_OK)
        return;
    size_t content = out->size - start;
    size_t size = varint((uint64_t)field << 3 | WIRE_BYTES, head);
    size += varint(content, head + size);
    if (bytes_extend(out, size) == NULL)
        return;
    memmove(out->data + start + size, out->data + start, content);
    memcpy(out->data + start, head, size);
}

/* ---- records ---- */

/* Room for the head of a record. Returns where it starts. */
static size_t open_record(struct bytes *out)
{
    size_t start = out->size;
    (void)bytes_extend(out, EVENT_FILE_HEAD_BYTES);
    return start;
}

static void close_record(size_t start, struct bytes *out)
{
    uint8_t check[sizeof(uint32_t)];
    if (bytes_status(out) != ERR_OK)
        return;
    size_t size = out->size - start - EVENT_FILE_HEAD_BYTES;
    uint8_t *head = out->data + start;
    store(size, sizeof(uint64_t), head);
    store(event_file_check((struct span){head, sizeof(uint64_t)}), sizeof check,
          head + sizeof(uint64_t));
    store(event_file_check((struct span){head + EVENT_FILE_HEAD_BYTES, size}), sizeof check, check);
    bytes_append(out, check, sizeof check);
}

void event_file_record(struct span payload, struct bytes *out)
{
    size_t start = open_record(out);
    bytes_append(out, payload.data, payload.size);
    close_record(start, out);
}

/* Event: wall_time 1, step 2, file_version 3, summary 5, source_metadata 10 (writer 1). */
void event_file_begin(double wall_s, struct bytes *out)
{
    size_t record = open_record(out);
    put_f64(1, wall_s, out);
    put_text(3, "brain.Event:2", out);
    size_t source = out->size;
    put_text(1, "qfleet", out);
    wrap(10, source, out);
    close_record(record, out);
}

static void put_when(double wall_s, uint64_t step, struct bytes *out)
{
    put_f64(1, wall_s, out);
    put_key(2, WIRE_VARINT, out);
    put_varint(step, out);
}

/* Summary: value 1 (tag 1, simple_value 2, histo 5). */
void event_file_scalars(double wall_s, uint64_t step, const struct event_file_scalar *scalars,
                        size_t count, struct bytes *out)
{
    size_t record = open_record(out);
    put_when(wall_s, step, out);
    size_t summary = out->size;
    for (size_t i = 0; i < count; i++) {
        size_t value = out->size;
        put_text(1, scalars[i].tag, out);
        put_f32(2, (float)scalars[i].value, out);
        wrap(1, value, out);
    }
    wrap(5, summary, out);
    close_record(record, out);
}

/* HistogramProto: min 1, max 2, num 3, sum 4, sum_squares 5, bucket_limit 6, bucket 7. */
void event_file_histogram(double wall_s, uint64_t step,
                          const struct event_file_histogram *histogram, struct bytes *out)
{
    size_t record = open_record(out);
    put_when(wall_s, step, out);
    size_t summary = out->size;
    put_text(1, histogram->tag, out);
    size_t content = out->size;
    put_f64(1, histogram->min, out);
    put_f64(2, histogram->max, out);
    put_f64(3, histogram->total, out);
    put_f64(4, histogram->sum, out);
    put_f64(5, histogram->sum_squares, out);
    put_f64_list(6, histogram->limits, histogram->count, out);
    put_f64_list(7, histogram->counts, histogram->count, out);
    wrap(5, content, out);
    wrap(1, summary, out);
    wrap(5, summary, out);
    close_record(record, out);
}
