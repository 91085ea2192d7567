/* test_server_roles.c - a fleet over TCP: what a key may do follows from its role, and a key that
 * is not on the list gets no answer at all. */
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/coordinator/loop/server_fixture.h"

enum { ROLES = 5, SILENCE_MS = 700, PATH = 128 };

/* admin, submit, worker, view, and one that is not on the list */
static const char *const names[ROLES] = {"admin", "submit", "worker", "view", "nobody"};
enum who { ADMIN, SUBMIT, WORKER, VIEW, NOBODY };

struct fleet {
    struct server_fixture *f;
    struct transport_keys server, keys[ROLES];
    char list_path[PATH], secret_path[PATH];
};

static void write_list(struct fleet *fleet, size_t count)
{
    FILE *file = fopen(fleet->list_path, "w");
    assert_non_null(file);
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(file, "%s %s-key ", i < NOBODY ? names[i] : "view", names[i]);
        for (size_t j = 0; j < TRANSPORT_KEY_BYTES; j++)
            (void)fprintf(file, "%02x", fleet->keys[i].public_key[j]);
        (void)fprintf(file, "\n");
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(fleet->list_path, 0600), 0);
}

static int set_up(void **state)
{
    static char endpoint[] = "tcp://127.0.0.1:*";
    static char words[][16] = {"--control", "--bulk", "--keys", "--secret"};
    struct fleet *fleet = test_calloc(1, sizeof *fleet);
    struct server_fixture *f = server_fixture_create();
    struct err_text et = {""};
    fleet->f = f;
    (void)snprintf(fleet->list_path, PATH, "%s/keys", f->folder);
    (void)snprintf(fleet->secret_path, PATH, "%s/secret", f->folder);
    assert_int_equal(transport_keys_generate(&fleet->server), ERR_OK);
    for (size_t i = 0; i < ROLES; i++)
        assert_int_equal(transport_keys_generate(&fleet->keys[i]), ERR_OK);
    if (transport_keys_write(&fleet->server, fleet->secret_path, &et) != ERR_OK)
        fail_msg("%s", et.text);
    write_list(fleet, NOBODY);
    char *arguments[] = {words[0], endpoint,         words[1], endpoint,
                         words[2], fleet->list_path, words[3], fleet->secret_path};
    memcpy(f->arguments + 7, arguments, sizeof arguments); /* in the place of --embedded */
    server_fixture_start(f);
    *state = fleet;
    return 0;
}

static int tear_down(void **state)
{
    struct fleet *fleet = *state;
    void *f = fleet->f;
    int rc = server_fixture_tear_down(&f);
    test_free(fleet);
    return rc;
}

/* Connects all sockets of the fixture with one key. */
static void join_as(struct fleet *fleet, enum who who)
{
    struct server_fixture *f = fleet->f;
    struct err_text et = {""};
    struct transport_options options = {.frame_bytes_max = LIMIT_FRAME_BYTES,
                                        .own = &fleet->keys[who],
                                        .server_public = fleet->server.public_key};
    server_fixture_leave(f);
    if (transport_connect(f->control, &options, &f->client_socket, &et) != ERR_OK ||
        transport_connect(f->control, &options, &f->worker_socket, &et) != ERR_OK ||
        transport_connect(f->bulk, &options, &f->bulk_socket, &et) != ERR_OK)
        fail_msg("%s", et.text);
}

static uint32_t status_of(struct server_fixture *f, uint32_t number, const void *request)
{
    server_fixture_say(f, f->client_socket, number, request);
    return server_fixture_hear(f, f->client_socket, MSG_STATUS)->status.error;
}

static uint32_t put_begin(struct server_fixture *f, bool ephemeral)
{
    struct msg_put_begin begin = {1, {{7}}, 10, ephemeral};
    server_fixture_say(f, f->bulk_socket, MSG_PUT_BEGIN, &begin);
    return server_fixture_hear(f, f->bulk_socket, MSG_PUT_REPLY)->put_reply.error;
}

static void test_server__a_worker_key_works_and_neither_looks_nor_submits(void **state)
{
    struct fleet *fleet = *state;
    join_as(fleet, WORKER);
    assert_int_equal(server_fixture_hello(fleet->f, PEER_CLIENT)->error, ERR_DENIED);
    assert_int_equal(server_fixture_hello(fleet->f, PEER_WORKER)->error, ERR_OK);
    assert_int_equal(put_begin(fleet->f, true), ERR_OK);
}

static void test_server__a_submit_key_brings_inputs_and_no_round_traffic(void **state)
{
    struct fleet *fleet = *state;
    join_as(fleet, SUBMIT);
    assert_int_equal(server_fixture_hello(fleet->f, PEER_WORKER)->error, ERR_DENIED);
    assert_int_equal(server_fixture_hello(fleet->f, PEER_CLIENT)->error, ERR_OK);
    assert_int_equal(put_begin(fleet->f, true), ERR_DENIED);
    assert_true(server_fixture_submit_all(fleet->f, 1) != 0);
    struct msg_worker_drain drain = {.ticket = 1, .name = TEXT("all")};
    assert_int_equal(status_of(fleet->f, MSG_WORKER_DRAIN, &drain), ERR_DENIED);
}

static void test_server__a_view_key_looks_only(void **state)
{
    struct fleet *fleet = *state;
    struct server_fixture *f = fleet->f;
    join_as(fleet, VIEW);
    assert_int_equal(server_fixture_hello(f, PEER_CLIENT)->error, ERR_OK);
    struct msg_submit submit = {.ticket = 1, .recipe = bytes_span(&f->recipe)};
    server_fixture_say(f, f->client_socket, MSG_SUBMIT, &submit);
    const struct msg_status *status = &server_fixture_hear(f, f->client_socket, MSG_STATUS)->status;
    assert_int_equal(status->error, ERR_DENIED);
    assert_true(
        text_is(status->detail, "not allowed for this role: the key's is view, it takes submit"));
    struct msg_job_control control = {.ticket = 2, .prefix = TEXT("last")};
    assert_int_equal(status_of(f, MSG_JOB_CONTROL, &control), ERR_DENIED);
    assert_int_equal(put_begin(f, false), ERR_DENIED);
    struct msg_workers_get get = {.ticket = 3};
    server_fixture_say(f, f->client_socket, MSG_WORKERS_GET, &get);
    assert_int_equal(server_fixture_hear(f, f->client_socket, MSG_WORKERS)->workers.ticket, 3);
}

static void test_server__a_job_is_ruled_by_its_owner_and_admins(void **state)
{
    struct fleet *fleet = *state;
    struct server_fixture *f = fleet->f;
    struct msg_job_control control = {
        .ticket = 2, .prefix = TEXT("last"), .action = JOB_ACTION_PAUSE};
    join_as(fleet, ADMIN);
    (void)server_fixture_hello(f, PEER_CLIENT);
    (void)server_fixture_submit_all(f, 1);
    join_as(fleet, SUBMIT);
    (void)server_fixture_hello(f, PEER_CLIENT);
    assert_int_equal(status_of(f, MSG_JOB_CONTROL, &control), ERR_DENIED);
    join_as(fleet, ADMIN);
    (void)server_fixture_hello(f, PEER_CLIENT);
    assert_int_equal(status_of(f, MSG_JOB_CONTROL, &control), ERR_OK);
    struct msg_stop stop = {.ticket = 3}; /* a fleet is not ended by a message */
    assert_int_equal(status_of(f, MSG_STOP, &stop), ERR_DENIED);
}

static void test_server__an_unknown_key_is_not_heard_until_the_list_has_it(void **state)
{
    struct fleet *fleet = *state;
    struct server_fixture *f = fleet->f;
    uint32_t number;
    join_as(fleet, NOBODY);
    struct msg_hello hello = {.protocol = MESSAGE_PROTOCOL, .role = PEER_CLIENT};
    bytes_clear(&f->frame);
    assert_null(server_fixture_hear_any(f, f->client_socket, SILENCE_MS, &number));
    assert_int_equal(transport_send(f->client_socket, NULL, span_of_text(TEXT("x"))), ERR_BUSY);
    write_list(fleet, ROLES);
    assert_int_equal(kill(f->pid, SIGHUP), 0);
    (void)usleep(200000);
    join_as(fleet, NOBODY);
    server_fixture_say(f, f->client_socket, MSG_HELLO, &hello);
    assert_int_equal(server_fixture_hear(f, f->client_socket, MSG_WELCOME)->welcome.error, ERR_OK);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_server__a_worker_key_works_and_neither_looks_nor_submits),
        TEST(test_server__a_submit_key_brings_inputs_and_no_round_traffic),
        TEST(test_server__a_view_key_looks_only),
        TEST(test_server__a_job_is_ruled_by_its_owner_and_admins),
        TEST(test_server__an_unknown_key_is_not_heard_until_the_list_has_it),
    };
    if (transport_startup() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    transport_shutdown();
    return failed;
}
