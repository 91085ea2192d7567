/* test_envelope.c - the bytes of a record on disk, fixed for ever, and what breaks a chain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "coordinator/store/envelope.h"
#include "coordinator/store/record_codec.h"

static void test_envelope__bytes_are_the_golden_ones(void **state)
{
    /* [7] as a record of kind 1 at 1000 ms: head, link, payload. */
    static const char golden[] = "0100010002000000e803000000000000";
    (void)state;
    struct bytes out;
    struct bytes payload;
    struct digest link = envelope_genesis();
    bytes_init(&out, 4096);
    bytes_init(&payload, 4096);
    union message_record record = {.coordinator_started = {.incarnation = 7}};
    assert_int_equal(record_codec_write(REC_COORDINATOR_STARTED, &record, &payload), ERR_OK);
    assert_int_equal(payload.size, 2); /* fixarray 1, fixint 7 */
    assert_int_equal(payload.data[0], 0x91);
    assert_int_equal(payload.data[1], 0x07);
    struct store_record r = {REC_COORDINATOR_STARTED, 1000, bytes_span(&payload)};
    assert_int_equal(envelope_write(&r, &link, &out), ERR_OK);
    assert_int_equal(out.size, ENVELOPE_BYTES + 2);
    char hex[2 * ENVELOPE_HEAD_BYTES + 1];
    for (size_t i = 0; i < ENVELOPE_HEAD_BYTES; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", out.data[i]);
    assert_string_equal(hex, golden);
    char link_hex[DIGEST_HEX_BYTES];
    digest_hex(link, link_hex);
    assert_string_equal(link_hex,
                        "fc69fe0d6d73aa960a2d08d867d0166680be2fa7d0d6b525d2e14c62b94c3c3c");
    assert_memory_equal(out.data + ENVELOPE_HEAD_BYTES, link.v, DIGEST_BYTES);
    bytes_fini(&out);
    bytes_fini(&payload);
}

static void test_envelope__every_changed_byte_breaks_the_chain(void **state)
{
    (void)state;
    struct bytes out;
    struct digest link = envelope_genesis();
    bytes_init(&out, 4096);
    struct store_record r = {3, 12345, span_of_text(TEXT("payload"))};
    assert_int_equal(envelope_write(&r, &link, &out), ERR_OK);
    for (size_t i = 0; i < out.size; i++) {
        struct digest from = envelope_genesis();
        struct store_record read;
        struct err_text et = {""};
        out.data[i] ^= 0x40;
        assert_int_equal(envelope_read(bytes_span(&out), 1, &from, &read, &et), ERR_STORE);
        assert_true(digest_equal(from, envelope_genesis()));
        assert_true(strstr(et.text, "record 1") != NULL);
        out.data[i] ^= 0x40;
    }
    bytes_fini(&out);
}

static void test_envelope__every_cut_is_refused(void **state)
{
    (void)state;
    struct bytes out;
    struct digest link = envelope_genesis();
    bytes_init(&out, 4096);
    struct store_record r = {3, 12345, span_of_text(TEXT("payload"))};
    assert_int_equal(envelope_write(&r, &link, &out), ERR_OK);
    for (size_t size = 0; size < out.size; size++) {
        struct digest from = envelope_genesis();
        struct store_record read;
        assert_int_equal(envelope_read((struct span){out.data, size}, 1, &from, &read, NULL),
                         ERR_STORE);
    }
    bytes_fini(&out);
}

static void test_record_codec__another_kind_or_garbage_is_a_store_error(void **state)
{
    (void)state;
    struct arena arena;
    union message_record out;
    const uint8_t garbage[] = {0x93, 0xc1, 0x01};
    arena_init(&arena, 1 << 20);
    assert_int_equal(record_codec_read(9999, (struct span){garbage, 3}, &arena, &out), ERR_STORE);
    assert_int_equal(record_codec_read(REC_JOB_STATE, (struct span){garbage, 3}, &arena, &out),
                     ERR_STORE);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_envelope__bytes_are_the_golden_ones),
        cmocka_unit_test(test_envelope__every_changed_byte_breaks_the_chain),
        cmocka_unit_test(test_envelope__every_cut_is_refused),
        cmocka_unit_test(test_record_codec__another_kind_or_garbage_is_a_store_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
