/* test_server_bulk.c - what one connection of the bulk socket holds, frame by frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/limits.h"
#include "common/message/message.h"
#include "common/wire/wire.h"
#include "coordinator/loop/server_bulk_reply.h"

enum { ROOM = 2 * DIGEST_CHUNK_BYTES, SESSIONS = 2 };

struct yard {
    char folder[64];
    struct artifact_store *store;
    struct server_bulk_session sessions[SESSIONS];
    uint8_t *content; /* ROOM bytes */
};

static int set_up(void **state)
{
    struct yard *yard = test_calloc(1, sizeof *yard);
    (void)snprintf(yard->folder, sizeof yard->folder, "/tmp/qfleet-bulk-XXXXXX");
    if (mkdtemp(yard->folder) == NULL)
        return -1;
    const struct artifact_options options = {yard->folder, ROOM};
    assert_int_equal(artifact_store_open(&options, &yard->store, NULL), ERR_OK);
    for (size_t i = 0; i < SESSIONS; i++)
        yard->sessions[i] =
            (struct server_bulk_session){.artifacts = yard->store, .role = TRANSPORT_WORKER};
    yard->content = test_calloc(1, ROOM);
    *state = yard;
    return 0;
}

static int tear_down(void **state)
{
    struct yard *yard = *state;
    char command[128];
    for (size_t i = 0; i < SESSIONS; i++)
        server_bulk_reply_end(&yard->sessions[i]);
    artifact_store_close(&yard->store);
    (void)snprintf(command, sizeof command, "rm -r %s", yard->folder);
    test_free(yard->content);
    test_free(yard);
    return system(command);
}

/* The error of the answer; *present as it says. */
static enum err ask(struct yard *yard, size_t session, uint32_t number, const void *request,
                    bool *present)
{
    const struct message_type *type;
    union message_any reply;
    struct bytes frame, out;
    struct arena arena;
    bytes_init(&frame, LIMIT_FRAME_BYTES);
    bytes_init(&out, LIMIT_FRAME_BYTES);
    arena_init(&arena, WIRE_ARENA_BYTES);
    assert_int_equal(wire_encode(message_type_of(number), request, &frame), ERR_OK);
    assert_int_equal(server_bulk_reply(&yard->sessions[session], bytes_span(&frame), &out), ERR_OK);
    assert_int_equal(wire_decode(bytes_span(&out), &arena, &type, &reply), ERR_OK);
    assert_int_equal(type->number, MSG_PUT_REPLY);
    enum err err = (enum err)reply.put_reply.error;
    *present = reply.put_reply.present;
    arena_fini(&arena);
    bytes_fini(&frame);
    bytes_fini(&out);
    return err;
}

/* Different for every `mark`. */
static struct digest mark(struct yard *yard, uint8_t mark)
{
    struct digest digest;
    yard->content[0] = mark;
    assert_int_equal(digest_of_artifact((struct span){yard->content, ROOM}, &digest), ERR_OK);
    return digest;
}

/* Of all the room that there is for round traffic. */
static enum err begin(struct yard *yard, size_t session, struct digest digest)
{
    bool present;
    const struct msg_put_begin request = {.digest = digest, .size_bytes = ROOM, .ephemeral = true};
    return ask(yard, session, MSG_PUT_BEGIN, &request, &present);
}

static enum err chunk(struct yard *yard, size_t session, struct digest digest, uint64_t index)
{
    bool present;
    const struct msg_put_chunk request = {
        .digest = digest,
        .index = index,
        .data = {yard->content + index * DIGEST_CHUNK_BYTES, DIGEST_CHUNK_BYTES}};
    return ask(yard, session, MSG_PUT_CHUNK, &request, &present);
}

static enum err end(struct yard *yard, size_t session, struct digest digest, bool *present)
{
    const struct msg_put_end request = {.digest = digest};
    return ask(yard, session, MSG_PUT_END, &request, present);
}

static void test_server_bulk__a_put_repeats_what_was_not_answered(void **state)
{
    struct yard *yard = *state;
    bool present;
    struct digest digest = mark(yard, 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(begin(yard, 0, digest), ERR_OK);
    for (uint64_t index = 0; index < ROOM / DIGEST_CHUNK_BYTES; index++)
        for (int i = 0; i < 2; i++)
            assert_int_equal(chunk(yard, 0, digest, index), ERR_OK);
    assert_int_equal(end(yard, 0, digest, &present), ERR_OK);
    assert_true(present);
    assert_int_equal(end(yard, 0, digest, &present), ERR_STATE);
    assert_true(artifact_is_present(yard->store, digest, ROOM, true));
}

/* A worker whose leases are cancelled leaves one put after the other. */
static void test_server_bulk__what_is_begun_takes_the_place_of_what_was_left(void **state)
{
    struct yard *yard = *state;
    for (uint8_t i = 1; i <= 20; i++) {
        struct digest digest = mark(yard, i);
        assert_int_equal(begin(yard, 0, digest), ERR_OK);
        assert_int_equal(chunk(yard, 0, digest, 0), ERR_OK);
    }
}

static void test_server_bulk__a_chunk_that_fails_gives_the_room_back(void **state)
{
    struct yard *yard = *state;
    struct digest digest = mark(yard, 1);
    assert_int_equal(begin(yard, 0, digest), ERR_OK);
    assert_int_equal(begin(yard, 1, digest), ERR_BUSY);
    assert_int_equal(chunk(yard, 0, digest, 1), ERR_PROTOCOL);
    assert_int_equal(begin(yard, 1, digest), ERR_OK);
}

static void test_server_bulk__an_end_before_the_last_chunk_gives_the_room_back(void **state)
{
    struct yard *yard = *state;
    bool present;
    struct digest digest = mark(yard, 1);
    assert_int_equal(begin(yard, 0, digest), ERR_OK);
    assert_int_equal(chunk(yard, 0, digest, 0), ERR_OK);
    assert_int_equal(end(yard, 0, digest, &present), ERR_DIGEST);
    assert_false(present);
    assert_int_equal(begin(yard, 1, digest), ERR_OK);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_server_bulk__a_put_repeats_what_was_not_answered),
        TEST(test_server_bulk__what_is_begun_takes_the_place_of_what_was_left),
        TEST(test_server_bulk__a_chunk_that_fails_gives_the_room_back),
        TEST(test_server_bulk__an_end_before_the_last_chunk_gives_the_room_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
