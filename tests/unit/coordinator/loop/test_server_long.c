/* test_server_long.c - requests that take long are out once, wait without a thread, and end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/ds/container.h"
#include "coordinator/loop/server_long.h"
#include "coordinator/loop/server_work.h"

/* Finds what it needs taken `busy_count` times. */
struct request {
    struct server_long request;
    int busy_count, run_count, done_count;
    enum err err;
};

static enum err run(struct server_long *l)
{
    struct request *r = CONTAINER_OF(l, struct request, request);
    return r->run_count++ < r->busy_count ? ERR_BUSY : ERR_DIGEST;
}

static void done(struct server_long *l, enum err err)
{
    struct request *r = CONTAINER_OF(l, struct request, request);
    r->done_count++;
    r->err = err;
}

static void start(struct server *server, struct request *r, uint64_t peer, uint64_t ticket)
{
    r->request = (struct server_long){
        .server = server, .peer = peer, .ticket = ticket, .run = run, .done = done};
    server_long_start(&r->request);
}

static int set_up(void **state)
{
    struct server *server = test_calloc(1, sizeof *server);
    list_init(&server->longs);
    *state = server;
    return uv_loop_init(&server->loop);
}

static int tear_down(void **state)
{
    struct server *server = *state;
    assert_int_equal(server->works_out, 0);
    assert_int_equal(server->long_count, 0);
    int rc = uv_loop_close(&server->loop);
    test_free(server);
    return rc;
}

/* All that is on the pool comes back. */
static void settle(struct server *server)
{
    assert_int_equal(uv_run(&server->loop, UV_RUN_DEFAULT), 0);
}

static void test_server_long__is_known_by_peer_and_ticket_until_its_end(void **state)
{
    struct server *server = *state;
    struct request r = {.busy_count = 0};
    start(server, &r, 7, 3);
    assert_true(server_long_is_out(server, 7, 3));
    assert_false(server_long_is_out(server, 7, 4)); /* another question */
    assert_false(server_long_is_out(server, 8, 3)); /* another who asks */
    settle(server);
    assert_false(server_long_is_out(server, 7, 3));
    assert_int_equal(r.done_count, 1);
    assert_int_equal(r.err, ERR_DIGEST);
}

static void test_server_long__who_has_to_wait_holds_no_thread_and_looks_again(void **state)
{
    struct server *server = *state;
    struct request r = {.busy_count = 2};
    start(server, &r, 7, 3);
    for (int looks = 1; looks <= 3; looks++) {
        assert_int_equal(server->works_out, 1);
        settle(server); /* returns: nothing is on the pool */
        assert_int_equal(r.run_count, looks);
        assert_int_equal(r.done_count, looks == 3);
        assert_int_equal(server_long_is_out(server, 7, 3), looks < 3);
        server_long_watch(server);
    }
}

static void test_server_long__a_stop_ends_those_that_wait_and_those_at_work(void **state)
{
    struct server *server = *state;
    struct request waiting = {.busy_count = 1}, working = {.busy_count = 1};
    start(server, &waiting, 7, 3);
    settle(server);
    start(server, &working, 7, 4);
    server->is_stopping = true;
    settle(server);
    server_long_cancel(server);
    assert_int_equal(waiting.done_count, 1);
    assert_int_equal(waiting.err, ERR_CANCELLED);
    assert_int_equal(working.done_count, 1);
    assert_int_equal(working.err, ERR_CANCELLED);
}

static void test_server_long__there_is_a_limit(void **state)
{
    struct server *server = *state;
    static struct request all[LIMIT_CLIENTS];
    struct request more = {.busy_count = 0};
    for (uint64_t i = 0; i < LIMIT_CLIENTS; i++)
        start(server, &all[i], 7, i);
    start(server, &more, 7, LIMIT_CLIENTS);
    assert_int_equal(more.done_count, 1);
    assert_int_equal(more.err, ERR_BUSY);
    settle(server);
    assert_int_equal(all[0].err, ERR_DIGEST);
}

static void test_server_work__a_server_that_stops_starts_none(void **state)
{
    struct server *server = *state;
    struct sched_work work = {.kind = SCHED_WORK_LOG};
    struct list works;
    list_init(&works);
    assert_int_equal(server_work_prepare(server, &work, &works), ERR_OK);
    server->is_stopping = true;
    server_work_start(server, &works);
    assert_true(list_is_empty(&works));
    assert_int_equal(server->works_out, 0);
    assert_int_equal(server->namers_out, 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_server_long__is_known_by_peer_and_ticket_until_its_end),
        TEST(test_server_long__who_has_to_wait_holds_no_thread_and_looks_again),
        TEST(test_server_long__a_stop_ends_those_that_wait_and_those_at_work),
        TEST(test_server_long__there_is_a_limit),
        TEST(test_server_work__a_server_that_stops_starts_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
