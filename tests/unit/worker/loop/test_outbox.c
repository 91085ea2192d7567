/* test_outbox.c - what a worker says when there is no frame for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/limits.h"
#include "common/wire/wire.h"
#include "worker/loop/outbox.h"

static const struct msg_lease_result *decode(const struct outbox *outbox, struct arena *arena,
                                             union message_any *out)
{
    const struct message_type *type;
    const struct bytes *frame = &outbox->frames[outbox->first];
    assert_int_equal(outbox->count, 1);
    assert_int_equal(wire_decode(bytes_span(frame), arena, &type, out), ERR_OK);
    assert_int_equal(type->number, MSG_LEASE_RESULT);
    return &out->lease_result;
}

static void test_outbox__a_result_that_no_frame_holds_is_a_failure(void **state)
{
    static char words[LIMIT_TEXT_BYTES + 1];
    union message_any message = {.lease_result = {.fence = 7}}, heard;
    struct outbox outbox;
    struct arena arena;
    (void)state;
    memset(words, 'x', sizeof words);
    outbox_init(&outbox);
    arena_init(&arena, WIRE_ARENA_BYTES);
    message.lease_result.detail = (struct text){words, sizeof words - 1};
    outbox_put(&outbox, MSG_LEASE_RESULT, &message);
    assert_int_equal(decode(&outbox, &arena, &heard)->detail.size, LIMIT_TEXT_BYTES);
    outbox_clear(&outbox);
    message.lease_result.detail.size++;
    outbox_put(&outbox, MSG_LEASE_RESULT, &message);
    assert_int_equal(decode(&outbox, &arena, &heard)->fence, 7);
    assert_int_equal(heard.lease_result.error, ERR_LIMIT);
    assert_true(heard.lease_result.detail.size > 0);
    arena_fini(&arena);
    outbox_fini(&outbox);
}

static void test_outbox__other_messages_that_no_frame_holds_are_left_out(void **state)
{
    static char words[LIMIT_TEXT_BYTES + 1];
    union message_any message = {.leave = {.reason = {words, sizeof words}}};
    struct outbox outbox;
    (void)state;
    memset(words, 'x', sizeof words);
    outbox_init(&outbox);
    outbox_put(&outbox, MSG_LEAVE, &message);
    assert_int_equal(outbox.count, 0);
    outbox_fini(&outbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outbox__a_result_that_no_frame_holds_is_a_failure),
        cmocka_unit_test(test_outbox__other_messages_that_no_frame_holds_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
