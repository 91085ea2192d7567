/* test_server_peer.c - who counts as a worker: whoever speaks, once, wherever it speaks from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/loop/server_peer.h"

static struct server *make_server(void)
{
    struct server *server = test_calloc(1, sizeof *server);
    list_init(&server->peers);
    map_init(&server->peers_by_id);
    map_init(&server->peers_by_address);
    map_init(&server->workers_by_session);
    return server;
}

static void free_server(struct server *server)
{
    server_peer_remove_all(server);
    map_fini(&server->peers_by_id);
    map_fini(&server->peers_by_address);
    map_fini(&server->workers_by_session);
    test_free(server);
}

/* Each call comes from an address of its own. */
static enum err greet(struct server *server, enum peer_role role, uint64_t session,
                      struct server_peer **peer)
{
    static uint64_t address = 0;
    struct transport_frame frame = {.role = TRANSPORT_ADMIN, .user = "local"};
    struct msg_hello hello = {.role = role, .name = TEXT("w"), .session = session};
    address++;
    memcpy(frame.id.v, &address, sizeof address);
    return server_peer_add(server, &frame, &hello, peer);
}

/* A fleet as large as it may be loses its network for a moment, again and again. */
static void test_server_peer__a_fleet_that_comes_again_finds_its_places(void **state)
{
    (void)state;
    struct server *server = make_server();
    struct server_peer *peer;
    uint64_t first = 0;
    for (int breaks = 0; breaks < 3; breaks++) {
        for (uint64_t session = 0; session < LIMIT_WORKERS; session++) {
            assert_int_equal(greet(server, PEER_WORKER, session, &peer), ERR_OK);
            first = first == 0 ? peer->id : first;
        }
        assert_int_equal(server->worker_count, LIMIT_WORKERS);
    }
    assert_null(server_peer_by_id(server, first)); /* what is said to it would reach nobody */
    assert_int_equal(greet(server, PEER_WORKER, LIMIT_WORKERS, &peer), ERR_LIMIT);
    assert_int_equal(greet(server, PEER_CLIENT, 0, &peer), ERR_OK); /* whose session is nobody's */
    assert_int_equal(server->worker_count, LIMIT_WORKERS);
    free_server(server);
}

static void test_server_peer__a_silent_worker_is_forgotten_before_a_silent_client(void **state)
{
    (void)state;
    struct server *server = make_server();
    struct server_peer *worker, *client;
    assert_int_equal(greet(server, PEER_WORKER, 1, &worker), ERR_OK);
    assert_int_equal(greet(server, PEER_CLIENT, 0, &client), ERR_OK);
    server_peer_forget(server);
    assert_false(worker->is_gone);
    worker->heard_ns -= (SERVER_WORKER_SILENT_S + 1) * NS_PER_S;
    client->heard_ns -= (SERVER_WORKER_SILENT_S + 1) * NS_PER_S;
    server_peer_forget(server);
    assert_true(worker->is_gone);
    assert_false(client->is_gone);
    client->heard_ns -= SERVER_CLIENT_SILENT_S * NS_PER_S;
    server_peer_forget(server);
    assert_true(client->is_gone);
    free_server(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_peer__a_fleet_that_comes_again_finds_its_places),
        cmocka_unit_test(test_server_peer__a_silent_worker_is_forgotten_before_a_silent_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
