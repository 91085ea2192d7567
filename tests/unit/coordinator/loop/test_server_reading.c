/* test_server_reading.c - contents that take a moment to read, wanted by several at once: each of
 * them is answered, whoever else asks, asks again or goes away. */
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/formats/source/file.h"
#include "common/wire/wire.h"
#include "coordinator/loop/server_bulk_reply.h"
#include "tests/unit/coordinator/loop/server_fixture.h"

enum { LARGE = 40 << 20, PEERS = 3, PATH = 200 };

/* A file of zeros and its name. */
static struct digest make_large(const char *path)
{
    struct digest digest;
    struct err_text et = {""};
    uint8_t *zeros = test_calloc(1, LARGE);
    if (file_write_atomic(path, (struct span){zeros, LARGE}, &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(digest_of_artifact((struct span){zeros, LARGE}, &digest), ERR_OK);
    test_free(zeros);
    return digest;
}

/* As one that an earlier life of the coordinator stored: it does not know the leaves. */
static struct digest plant(struct server_fixture *f)
{
    char path[PATH], home[PATH], hex[DIGEST_HEX_BYTES];
    (void)snprintf(path, sizeof path, "%s/large.bin", f->folder);
    struct digest digest = make_large(path);
    digest_hex(digest, hex);
    (void)snprintf(home, sizeof home, "%s/artifacts/%.2s", f->folder, hex);
    (void)mkdir(home, 0700);
    (void)snprintf(home, sizeof home, "%s/artifacts/%.2s/%s", f->folder, hex, hex + 2);
    assert_int_equal(rename(path, home), 0);
    return digest;
}

static void connect_all(const char *endpoint, struct transport **out)
{
    struct transport_options options = {.frame_bytes_max = LIMIT_FRAME_BYTES};
    for (size_t i = 0; i < PEERS; i++)
        assert_int_equal(transport_connect(endpoint, &options, &out[i], NULL), ERR_OK);
}

static void close_all(struct transport **peers)
{
    for (size_t i = 0; i < PEERS; i++)
        transport_close(&peers[i]);
}

static void greet_all(struct server_fixture *f, struct transport **peers)
{
    struct msg_hello hello = {
        .protocol = MESSAGE_PROTOCOL, .role = PEER_CLIENT, .name = TEXT("ada")};
    for (size_t i = 0; i < PEERS; i++) {
        server_fixture_say(f, peers[i], MSG_HELLO, &hello);
        (void)server_fixture_hear(f, peers[i], MSG_WELCOME);
    }
}

/* All submit under a request number of their own; the first goes away at once. */
static void test_server__jobs_of_one_large_file_are_all_submitted(void **state)
{
    struct server_fixture *f = *state;
    struct transport *peers[PEERS];
    uint64_t jobs[PEERS];
    char path[PATH];
    (void)snprintf(path, sizeof path, "%s/large.bin", f->folder);
    f->inputs[1].digest = make_large(path);
    f->inputs[1].size_bytes = LARGE;
    f->inputs[1].path = text_of(path);
    for (size_t i = 0; i < FIXTURE_INPUTS; i++)
        if (i != 1)
            (void)server_fixture_put(f, f->inputs[i].digest, span_of_text(text_of(f->contents[i])),
                                     false);
    connect_all(f->control, peers);
    greet_all(f, peers);
    for (size_t i = 0; i < PEERS; i++) {
        struct msg_submit message = {.ticket = 5,
                                     .request = i,
                                     .name = TEXT("large"),
                                     .recipe = bytes_span(&f->recipe),
                                     .inputs = f->inputs,
                                     .inputs_count = FIXTURE_INPUTS};
        server_fixture_say(f, peers[i], MSG_SUBMIT, &message);
        server_fixture_say(f, peers[i], MSG_SUBMIT, &message);
    }
    transport_close(&peers[0]);
    for (size_t i = 1; i < PEERS; i++) {
        jobs[i] = server_fixture_hear(f, peers[i], MSG_SUBMITTED)->submitted.job;
        assert_true(jobs[i] != 0);
    }
    assert_true(jobs[1] != jobs[2]);
    close_all(peers);
}

static void test_server__leaves_and_verdicts_reach_all_who_want_them(void **state)
{
    struct server_fixture *f = *state;
    struct transport *fetchers[PEERS], *clients[PEERS];
    struct msg_leaves_get get = {.ticket = 2, .digest = plant(f)};
    struct msg_artifact_verify verify = {.ticket = 3, .digest = get.digest};
    connect_all(f->bulk, fetchers);
    connect_all(f->control, clients);
    greet_all(f, clients);
    for (size_t i = 0; i < PEERS; i++) {
        server_fixture_say(f, fetchers[i], MSG_LEAVES_GET, &get);
        server_fixture_say(f, clients[i], MSG_ARTIFACT_VERIFY, &verify);
    }
    for (size_t i = 0; i < PEERS; i++) {
        const union message_any *reply = server_fixture_hear(f, fetchers[i], MSG_LEAVES);
        assert_int_equal(reply->leaves.error, ERR_OK);
        assert_int_equal(reply->leaves.leaves.size, LARGE / DIGEST_CHUNK_BYTES * DIGEST_BYTES);
        reply = server_fixture_hear(f, clients[i], MSG_STATUS);
        assert_int_equal(reply->status.ticket, 3);
        assert_int_equal(reply->status.error, ERR_OK);
    }
    close_all(fetchers);
    close_all(clients);
}

/* The thread is free for other peers meanwhile. */
static void test_server__a_request_for_leaves_waits_while_somebody_reads_the_content(void **state)
{
    struct server_fixture *f = *state;
    char folder[PATH];
    (void)snprintf(folder, sizeof folder, "%s/artifacts", f->folder);
    struct msg_leaves_get get = {.ticket = 2, .digest = plant(f)};
    (void)server_fixture_stop(f, SIGKILL); /* the files are this process's now */
    struct artifact_options options = {.folder = folder};
    struct server_bulk_session session = {.role = TRANSPORT_WORKER};
    struct artifact_reading reading;
    struct bytes out;
    bytes_init(&out, LIMIT_FRAME_BYTES);
    assert_int_equal(artifact_store_open(&options, &session.artifacts, NULL), ERR_OK);
    assert_int_equal(wire_encode(&message_type_msg_leaves_get, &get, &f->frame), ERR_OK);
    assert_int_equal(artifact_reading_begin(session.artifacts, get.digest, LARGE, &reading),
                     ERR_OK);
    assert_int_equal(server_bulk_reply(&session, bytes_span(&f->frame), &out), ERR_BUSY);
    assert_int_equal(out.size, 0);
    artifact_reading_end(session.artifacts, &reading);
    assert_int_equal(server_bulk_reply(&session, bytes_span(&f->frame), &out), ERR_OK);
    assert_true(out.size > LARGE / DIGEST_CHUNK_BYTES * DIGEST_BYTES);
    server_bulk_reply_end(&session);
    artifact_store_close(&session.artifacts);
    bytes_fini(&out);
}

#define TEST(test)                                                                                 \
    cmocka_unit_test_setup_teardown(test, server_fixture_set_up, server_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_server__jobs_of_one_large_file_are_all_submitted),
        TEST(test_server__leaves_and_verdicts_reach_all_who_want_them),
        TEST(test_server__a_request_for_leaves_waits_while_somebody_reads_the_content),
    };
    if (transport_startup() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    transport_shutdown();
    return failed;
}
