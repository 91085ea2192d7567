/* test_wire.c - round trips of every message and record, frames as they must lie on the wire for
 * ever, and hostile ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/mem/mem.h"
#include "common/message/message_copy.h"
#include "common/message/message_equal.h"
#include "common/wire/wire.h"
#include "tests/lib/random_message.h"

enum { SEEDS = 200, NUMBERS = 256 };

struct memory {
    struct arena in, out;
    struct bytes frame, again;
};

static void memory_init(struct memory *m)
{
    arena_init(&m->in, 64 << 20);
    arena_init(&m->out, 64 << 20);
    bytes_init(&m->frame, 64 << 20);
    bytes_init(&m->again, 64 << 20);
}

static void memory_clear(struct memory *m)
{
    arena_reset(&m->in);
    arena_reset(&m->out);
    bytes_clear(&m->frame);
    bytes_clear(&m->again);
}

static void memory_fini(struct memory *m)
{
    arena_fini(&m->in);
    arena_fini(&m->out);
    bytes_fini(&m->frame);
    bytes_fini(&m->again);
}

static void test_wire__every_message_comes_back_equal_and_has_one_frame(void **state)
{
    (void)state;
    struct memory m;
    memory_init(&m);
    unsigned types = 0;
    for (uint32_t number = 0; number < NUMBERS; number++) {
        const struct message_type *type = message_type_of(number), *found = NULL;
        types += type != NULL;
        for (uint64_t seed = 0; type != NULL && seed < SEEDS; seed++) {
            union message_any in, out;
            memory_clear(&m);
            random_message(type, seed << 8 | number, &m.in, &in);
            assert_int_equal(wire_encode(type, &in, &m.frame), ERR_OK);
            assert_int_equal(wire_decode(bytes_span(&m.frame), &m.out, &found, &out), ERR_OK);
            assert_ptr_equal(found, type);
            assert_true(message_equal(type, &in, &out));
            assert_int_equal(wire_encode(type, &out, &m.again), ERR_OK);
            assert_true(span_equal(bytes_span(&m.frame), bytes_span(&m.again)));
        }
    }
    assert_true(types > 30);
    memory_fini(&m);
}

static void test_wire__every_record_comes_back_equal(void **state)
{
    (void)state;
    struct memory m;
    memory_init(&m);
    unsigned types = 0;
    for (uint32_t number = 0; number < NUMBERS; number++) {
        const struct message_type *type = message_record_type_of(number);
        types += type != NULL;
        for (uint64_t seed = 0; type != NULL && seed < SEEDS; seed++) {
            union message_record in, out, copy;
            memory_clear(&m);
            random_message(type, seed << 8 | number, &m.in, &in);
            assert_int_equal(wire_encode_fields(type, &in, &m.frame), ERR_OK);
            assert_int_equal(wire_decode_fields(type, bytes_span(&m.frame), &m.out, &out), ERR_OK);
            assert_true(message_equal(type, &in, &out));
            assert_int_equal(message_copy(type, &in, &m.out, &copy), ERR_OK);
            assert_true(message_equal(type, &in, &copy));
        }
    }
    assert_true(types > 5);
    memory_fini(&m);
}

/* Every prefix is refused, and so is every frame with a byte more. */
static void test_wire__a_cut_or_extended_frame_is_refused(void **state)
{
    (void)state;
    struct memory m;
    memory_init(&m);
    for (uint32_t number = 0; number < NUMBERS; number++) {
        const struct message_type *type = message_type_of(number), *found = NULL;
        union message_any in, out;
        if (type == NULL)
            continue;
        memory_clear(&m);
        random_message(type, number, &m.in, &in);
        assert_int_equal(wire_encode(type, &in, &m.frame), ERR_OK);
        for (size_t size = 0; size < m.frame.size; size++) {
            uint8_t *cut = mem_alloc(size, 1); /* its own block: a read beyond it is seen */
            assert_non_null(cut);
            memcpy(cut, m.frame.data, size);
            assert_int_not_equal(wire_decode((struct span){cut, size}, &m.out, &found, &out),
                                 ERR_OK);
            mem_free(cut);
        }
        bytes_append(&m.frame, "\xc2", 1);
        assert_int_equal(wire_decode(bytes_span(&m.frame), &m.out, &found, &out), ERR_PROTOCOL);
        assert_null(found);
    }
    memory_fini(&m);
}

static void test_wire__changed_bytes_never_do_more_than_fail(void **state)
{
    (void)state;
    struct memory m;
    memory_init(&m);
    for (uint32_t number = 0; number < NUMBERS; number++) {
        const struct message_type *type = message_type_of(number), *found = NULL;
        union message_any in, out;
        if (type == NULL)
            continue;
        memory_clear(&m);
        random_message(type, number + 1, &m.in, &in);
        assert_int_equal(wire_encode(type, &in, &m.frame), ERR_OK);
        for (size_t i = 0; i < m.frame.size; i++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                m.frame.data[i] ^= (uint8_t)(1u << bit);
                arena_reset(&m.out);
                enum err err = wire_decode(bytes_span(&m.frame), &m.out, &found, &out);
                if (err == ERR_OK) { /* then it says exactly that */
                    bytes_clear(&m.again);
                    assert_int_equal(wire_encode(found, &out, &m.again), ERR_OK);
                    assert_true(span_equal(bytes_span(&m.frame), bytes_span(&m.again)));
                }
                m.frame.data[i] ^= (uint8_t)(1u << bit);
            }
        }
    }
    memory_fini(&m);
}

static void test_wire__hostile_frames_are_refused_before_memory_is_asked_for(void **state)
{
    (void)state;
    static const struct {
        const char *what, *bytes;
        size_t size;
        enum err expected;
    } cases[] = {
        {"nothing", "", 0, ERR_TRUNCATED},
        {"array of 4 billion in five bytes", "\xdd\xff\xff\xff\xff", 5, ERR_TRUNCATED},
        {"string of 4 billion", "\x91\xdb\xff\xff\xff\xff", 6, ERR_TRUNCATED},
        {"blob of 4 billion", "\x91\xc6\xff\xff\xff\xff", 6, ERR_TRUNCATED},
        {"nine levels", "\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01", 10, ERR_LIMIT},
        {"a map", "\x81\x01\x02", 3, ERR_PROTOCOL},
        {"nil", "\xc0", 1, ERR_PROTOCOL},
        {"the byte that is never used", "\xc1", 1, ERR_PROTOCOL},
        {"a float", "\x91\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", 10, ERR_PROTOCOL},
        {"an extension", "\x91\xd4\x01\x02", 4, ERR_PROTOCOL},
        {"7 in two bytes", "\x91\xcc\x07", 3, ERR_PROTOCOL},
        {"255 in three bytes", "\x91\xcd\x00\xff", 4, ERR_PROTOCOL},
        {"-1 in two bytes", "\x91\xd0\xff", 3, ERR_PROTOCOL},
        {"5 as a signed number", "\x91\xd0\x05", 3, ERR_PROTOCOL},
        {"a short string with a long head", "\x91\xd9\x01x", 4, ERR_PROTOCOL},
        {"a short array with a long head", "\xdc\x00\x01\x01", 4, ERR_PROTOCOL},
        {"two objects", "\x01\x02", 2, ERR_PROTOCOL},
        {"not an array", "\x01", 1, ERR_PROTOCOL},
        {"an empty array", "\x90", 1, ERR_PROTOCOL},
        {"an unknown number", "\x91\xcc\xff", 3, ERR_VERSION},
        {"number 0", "\x91\x00", 2, ERR_PROTOCOL},
        {"an accept without its fence", "\x91\x11", 2, ERR_PROTOCOL},
        {"an accept with two fences", "\x93\x11\x01\x02", 4, ERR_VERSION},
        {"an accept whose fence is text", "\x92\x11\xa1x", 4, ERR_PROTOCOL},
        {"an accept whose fence is negative", "\x92\x11\xff", 3, ERR_PROTOCOL},
        {"a reason with a NUL", "\x92\x05\xa1\x00", 4, ERR_PROTOCOL},
    };
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct message_type *type = NULL;
        union message_any out;
        struct span frame = {(const uint8_t *)cases[i].bytes, cases[i].size};
        enum err err = wire_decode(frame, &arena, &type, &out);
        if (err != cases[i].expected)
            fail_msg("%s: %s", cases[i].what, error_name(err));
        assert_null(type);
    }
    arena_fini(&arena);
}

static void test_wire__too_many_objects_are_refused(void **state)
{
    (void)state;
    struct bytes frame;
    struct arena arena;
    const struct message_type *type = NULL;
    union message_any out;
    bytes_init(&frame, LIMIT_FRAME_BYTES);
    arena_init(&arena, 1 << 20);
    uint32_t count = LIMIT_FRAME_OBJECTS + 1;
    const uint8_t head[] = {0xdd, (uint8_t)(count >> 24), (uint8_t)(count >> 16),
                            (uint8_t)(count >> 8), (uint8_t)count};
    bytes_append(&frame, head, sizeof head);
    memset(bytes_extend(&frame, count), 1, count);
    assert_int_equal(wire_decode(bytes_span(&frame), &arena, &type, &out), ERR_LIMIT);
    bytes_fini(&frame);
    arena_fini(&arena);
}

/* These bytes are what peers of every later version must still read. */
static void test_wire__golden_frames_stay_as_they_are(void **state)
{
    (void)state;
    struct bytes frame;
    bytes_init(&frame, LIMIT_FRAME_BYTES);
    const struct msg_lease_accept accept = {.fence = 0x100000002};
    assert_int_equal(wire_encode(&message_type_msg_lease_accept, &accept, &frame), ERR_OK);
    static const uint8_t accept_frame[] = {0x92, 0x11, 0xcf, 0, 0, 0, 1, 0, 0, 0, 2};
    assert_int_equal(frame.size, sizeof accept_frame);
    assert_memory_equal(frame.data, accept_frame, sizeof accept_frame);

    bytes_clear(&frame);
    struct lease_status lease = {.fence = 1, .finished = true, .done = 200, .total = 65536};
    const struct msg_heartbeat heartbeat = {
        .seq = 7, .rss_bytes = 0, .leases = &lease, .leases_count = 1};
    assert_int_equal(wire_encode(&message_type_msg_heartbeat, &heartbeat, &frame), ERR_OK);
    static const uint8_t heartbeat_frame[] = {0x95, 0x03, 0x07, 0x00, 0x91, 0x94, 0x01, 0xc3,
                                              0xcc, 0xc8, 0xce, 0x00, 0x01, 0x00, 0x00, 0xc2};
    assert_int_equal(frame.size, sizeof heartbeat_frame);
    assert_memory_equal(frame.data, heartbeat_frame, sizeof heartbeat_frame);

    bytes_clear(&frame);
    struct log_point point = {.step = 1, .epoch = 0.5};
    assert_int_equal(wire_encode_fields(&message_type_log_point, &point, &frame), ERR_OK);
    static const uint8_t point_head[] = {0x9d, 0x01, 0xc4, 0x08, 0,    0,   0,
                                         0,    0,    0,    0xe0, 0x3f, 0xc2};
    assert_memory_equal(frame.data, point_head, sizeof point_head);
    bytes_fini(&frame);
}

/* A field that came later reads as zero where an older writer knew nothing of it. */
static void test_wire__points_of_older_logs_are_read(void **state)
{
    (void)state;
    struct memory m;
    memory_init(&m);
    const struct log_point old = {.step = 7, .epoch = 0.5, .loss = 2, .unix_ms = 3};
    struct log_point point = {.pairs = 9};
    struct message_type before = message_type_log_point;
    before.field_count = 8;
    assert_int_equal(wire_encode_fields(&before, &old, &m.frame), ERR_OK);
    assert_int_equal(
        wire_decode_fields(&message_type_log_point, bytes_span(&m.frame), &m.out, &point), ERR_OK);
    assert_true(message_equal(&message_type_log_point, &old, &point));
    before.field_count = 7;
    bytes_clear(&m.frame);
    assert_int_equal(wire_encode_fields(&before, &old, &m.frame), ERR_OK);
    assert_int_equal(
        wire_decode_fields(&message_type_log_point, bytes_span(&m.frame), &m.out, &point),
        ERR_PROTOCOL);
    memory_fini(&m);
}

static void test_wire__values_above_their_limits_are_not_encoded(void **state)
{
    (void)state;
    struct bytes frame;
    static char long_text[LIMIT_TEXT_BYTES + 1];
    bytes_init(&frame, LIMIT_FRAME_BYTES);
    bytes_append(&frame, "before", 6);
    memset(long_text, 'x', sizeof long_text);
    const struct msg_drain too_long = {.reason = {long_text, sizeof long_text}};
    assert_int_equal(wire_encode(&message_type_msg_drain, &too_long, &frame), ERR_LIMIT);
    const struct msg_drain with_nul = {.reason = {"a\0b", 3}};
    assert_int_equal(wire_encode(&message_type_msg_drain, &with_nul, &frame), ERR_FORMAT);
    static struct lease_status rows[LIMIT_WORKER_LEASES + 1];
    const struct msg_heartbeat many = {.leases = rows, .leases_count = LIMIT_WORKER_LEASES + 1};
    assert_int_equal(wire_encode(&message_type_msg_heartbeat, &many, &frame), ERR_LIMIT);
    assert_int_equal(frame.size, 6);
    bytes_fini(&frame);
}

static void test_wire__no_memory_is_an_error_and_changes_nothing(void **state)
{
    (void)state;
    struct memory m;
    memory_init(&m);
    union message_any in, out;
    const struct message_type *type = &message_type_msg_lease_grant, *found = NULL;
    random_message(type, 5, &m.in, &in);
    (void)mem_fault_after(0);
    assert_int_equal(wire_encode(type, &in, &m.frame), ERR_OK);
    for (size_t n = 1; n < 8; n++) {
        struct bytes frame;
        bytes_init(&frame, 1 << 20);
        (void)mem_fault_after(n);
        enum err err = wire_encode(type, &in, &frame);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || (err == ERR_OUT_OF_MEMORY && frame.size == 0));
        bytes_fini(&frame);
        struct arena arena;
        arena_init(&arena, 1 << 20);
        (void)mem_fault_after(n);
        err = wire_decode(bytes_span(&m.frame), &arena, &found, &out);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || (err == ERR_OUT_OF_MEMORY && found == NULL));
        arena_fini(&arena);
        found = NULL;
    }
    memory_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire__every_message_comes_back_equal_and_has_one_frame),
        cmocka_unit_test(test_wire__every_record_comes_back_equal),
        cmocka_unit_test(test_wire__a_cut_or_extended_frame_is_refused),
        cmocka_unit_test(test_wire__changed_bytes_never_do_more_than_fail),
        cmocka_unit_test(test_wire__hostile_frames_are_refused_before_memory_is_asked_for),
        cmocka_unit_test(test_wire__too_many_objects_are_refused),
        cmocka_unit_test(test_wire__golden_frames_stay_as_they_are),
        cmocka_unit_test(test_wire__points_of_older_logs_are_read),
        cmocka_unit_test(test_wire__values_above_their_limits_are_not_encoded),
        cmocka_unit_test(test_wire__no_memory_is_an_error_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
