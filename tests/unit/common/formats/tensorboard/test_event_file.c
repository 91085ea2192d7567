/* test_event_file.c - the bytes TensorBoard reads, and what comes back from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/tensorboard/event_file.h"
#include "common/formats/tensorboard/event_reader.h"

enum { FILE_BYTES_MAX = 1 << 20 };

static const double limits[] = {-1, 0, 0.5, 2};
static const double counts[] = {0, 3, 4, 1};

/* A version, two scalars at step 300, a histogram. */
static void write_sample(struct bytes *out)
{
    const struct event_file_scalar scalars[] = {{"train/loss", 2.5}, {"eval/loss", 0.1}};
    const struct event_file_histogram histogram = {
        .tag = "calibration/x",
        .min = -1,
        .max = 1.5,
        .total = 8,
        .sum = 3,
        .sum_squares = 4.25,
        .limits = limits,
        .counts = counts,
        .count = COUNT_OF(counts),
    };
    event_file_begin(1000.5, out);
    event_file_scalars(1001.25, 300, scalars, COUNT_OF(scalars), out);
    event_file_histogram(1002, 0, &histogram, out);
    assert_int_equal(bytes_status(out), ERR_OK);
}

static void test_event_file__check_is_the_masked_crc_of_castagnoli(void **state)
{
    (void)state;
    const uint32_t crc = 0xe3069283; /* of RFC 3720's test string */
    assert_int_equal(event_file_check(span_of_text(TEXT("123456789"))),
                     (uint32_t)((crc >> 15 | crc << 17) + 0xa282ead8u));
}

/* Read by TensorBoard's own reader once (tests/e2e/looking.py does it again where Python has it).
 */
static void test_event_file__bytes_are_those_of_the_format(void **state)
{
    (void)state;
    static const uint8_t expected[] = {
        0x22, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x78, 0x11, 0x3d, 0xfd, 0x09, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x44, 0x8f, 0x40, 0x1a, 0x0d, 0x62, 0x72, 0x61, 0x69, 0x6e, 0x2e, 0x45,
        0x76, 0x65, 0x6e, 0x74, 0x3a, 0x32, 0x52, 0x08, 0x0a, 0x06, 0x71, 0x66, 0x6c, 0x65, 0x65,
        0x74, 0x07, 0x92, 0x37, 0xa7, 0x33, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0xa7,
        0x20, 0x56, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x4a, 0x8f, 0x40, 0x10, 0xac, 0x02, 0x2a,
        0x25, 0x0a, 0x11, 0x0a, 0x0a, 0x74, 0x72, 0x61, 0x69, 0x6e, 0x2f, 0x6c, 0x6f, 0x73, 0x73,
        0x15, 0x00, 0x00, 0x20, 0x40, 0x0a, 0x10, 0x0a, 0x09, 0x65, 0x76, 0x61, 0x6c, 0x2f, 0x6c,
        0x6f, 0x73, 0x73, 0x15, 0xcd, 0xcc, 0xcc, 0x3d, 0x93, 0x67, 0x5b, 0x18, 0x93, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x0f, 0xb9, 0xea, 0xf6, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x50, 0x8f, 0x40, 0x10, 0x00, 0x2a, 0x85, 0x01, 0x0a, 0x82, 0x01, 0x0a, 0x0d, 0x63, 0x61,
        0x6c, 0x69, 0x62, 0x72, 0x61, 0x74, 0x69, 0x6f, 0x6e, 0x2f, 0x78, 0x2a, 0x71, 0x09, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0xf0, 0xbf, 0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf8,
        0x3f, 0x19, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x20, 0x40, 0x21, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x08, 0x40, 0x29, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x11, 0x40, 0x32, 0x20,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf0, 0xbf, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe0, 0x3f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x40, 0x3a, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x08, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x40, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0xf0, 0x3f, 0x76, 0x87, 0x68, 0x89,
    };
    struct bytes out;
    bytes_init(&out, FILE_BYTES_MAX);
    write_sample(&out);
    assert_int_equal(out.size, sizeof expected);
    assert_memory_equal(out.data, expected, sizeof expected);
    bytes_fini(&out);
}

static void test_event_file__reads_back_what_was_written(void **state)
{
    (void)state;
    struct bytes out;
    struct event_reader_event event;
    struct event_reader_value value;
    bool is_end;
    bytes_init(&out, FILE_BYTES_MAX);
    write_sample(&out);
    struct event_reader reader = event_reader_of(bytes_span(&out));
    assert_int_equal(event_reader_next(&reader, &event, &is_end, NULL), ERR_OK);
    assert_false(is_end);
    assert_true(text_is(event.file_version, "brain.Event:2"));
    assert_true(event.wall_s == 1000.5);
    assert_int_equal(event_reader_next(&reader, &event, &is_end, NULL), ERR_OK);
    assert_int_equal(event.step, 300);
    assert_true(event_reader_value(&event.summary, &value));
    assert_true(text_is(value.tag, "train/loss"));
    assert_int_equal(value.kind, EVENT_READER_SCALAR);
    assert_true(value.scalar == 2.5);
    assert_true(event_reader_value(&event.summary, &value));
    assert_true(value.scalar == (double)0.1f);
    assert_false(event_reader_value(&event.summary, &value));
    assert_int_equal(event_reader_next(&reader, &event, &is_end, NULL), ERR_OK);
    assert_true(event_reader_value(&event.summary, &value));
    assert_int_equal(value.kind, EVENT_READER_HISTOGRAM);
    assert_true(value.min == -1 && value.max == 1.5 && value.total == 8 && value.sum == 3 &&
                value.sum_squares == 4.25);
    assert_int_equal(value.counts.size, sizeof counts);
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        assert_true(event_reader_f64(value.limits, i) == limits[i]);
        assert_true(event_reader_f64(value.counts, i) == counts[i]);
    }
    assert_int_equal(event_reader_next(&reader, &event, &is_end, NULL), ERR_OK);
    assert_true(is_end && !reader.is_torn);
    assert_int_equal(reader.good_bytes, out.size);
    bytes_fini(&out);
}

static size_t records_of(struct span file, size_t *good_bytes, bool *is_torn)
{
    struct event_reader reader = event_reader_of(file);
    struct event_reader_event event;
    for (bool is_end = false; !is_end;)
        assert_int_equal(event_reader_next(&reader, &event, &is_end, NULL), ERR_OK);
    *good_bytes = reader.good_bytes;
    *is_torn = reader.is_torn;
    return reader.record_count;
}

static void test_event_reader__a_torn_end_is_no_damage_and_its_place_is_told(void **state)
{
    (void)state;
    struct bytes out;
    size_t good, whole[4] = {0}, count = 1;
    bool is_torn;
    bytes_init(&out, FILE_BYTES_MAX);
    write_sample(&out);
    for (size_t size = 0; size <= out.size; size++) {
        size_t records = records_of((struct span){out.data, size}, &good, &is_torn);
        if (!is_torn && size > 0) {
            assert_int_equal(good, size);
            whole[count++] = size;
        }
        assert_int_equal(records, count - 1);
        assert_int_equal(good, whole[count - 1]);
    }
    assert_int_equal(count, 4);
    bytes_fini(&out);
}

static void test_event_reader__every_flipped_bit_is_found(void **state)
{
    (void)state;
    struct bytes out;
    struct event_reader_event event;
    bytes_init(&out, FILE_BYTES_MAX);
    write_sample(&out);
    for (size_t bit = 0; bit < 8 * out.size; bit++) {
        struct err_text et = {{0}};
        enum err err = ERR_OK;
        out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct event_reader reader = event_reader_of(bytes_span(&out));
        for (bool is_end = false; !is_end && err == ERR_OK;)
            err = event_reader_next(&reader, &event, &is_end, &et);
        assert_int_equal(err, ERR_DIGEST);
        assert_non_null(strstr(et.text, "the check of its"));
        out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    bytes_fini(&out);
}

static void test_event_reader__messages_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const payloads[] = {
        "\x09\x01",                                     /* a time of one byte */
        "\x2a\x05\x0a\x02",                             /* a summary that ends beyond the message */
        "\x2a\x02\x0a\x09",                             /* a value that ends beyond the summary */
        "\x0b",                                         /* a wire type that there is not any more */
        "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", /* a step of more than 64 bits */
        "\x2a\x06\x0a\x04\x2a\x02\x32\x01",             /* limits that end beyond it */
        "\x2a\x07\x0a\x05\x2a\x03\x32\x01\x07",         /* limits of one byte */
    };
    for (size_t i = 0; i < COUNT_OF(payloads); i++) {
        struct bytes out;
        struct event_reader_event event;
        struct err_text et = {{0}};
        bool is_end;
        bytes_init(&out, FILE_BYTES_MAX);
        event_file_record(span_of_text(text_of(payloads[i])), &out);
        struct event_reader reader = event_reader_of(bytes_span(&out));
        assert_int_equal(event_reader_next(&reader, &event, &is_end, &et), ERR_FORMAT);
        assert_string_equal(et.text, "record 0 at byte 0: expected a message Event");
        assert_int_equal(reader.good_bytes, 0);
        bytes_fini(&out);
    }
}

static void test_event_file__a_full_buffer_is_told(void **state)
{
    (void)state;
    for (size_t limit = 0; limit < 300; limit++) {
        struct bytes out;
        bytes_init(&out, limit);
        event_file_begin(1, &out);
        event_file_scalars(1, 2, &(struct event_file_scalar){"train/a_long_tag", 3}, 1, &out);
        if (bytes_status(&out) == ERR_OK)
            assert_true(limit >= 100);
        else
            assert_int_equal(bytes_status(&out), ERR_LIMIT);
        bytes_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event_file__check_is_the_masked_crc_of_castagnoli),
        cmocka_unit_test(test_event_file__bytes_are_those_of_the_format),
        cmocka_unit_test(test_event_file__reads_back_what_was_written),
        cmocka_unit_test(test_event_reader__a_torn_end_is_no_damage_and_its_place_is_told),
        cmocka_unit_test(test_event_reader__every_flipped_bit_is_found),
        cmocka_unit_test(test_event_reader__messages_that_are_none_are_refused),
        cmocka_unit_test(test_event_file__a_full_buffer_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
