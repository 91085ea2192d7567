/* test_client_bulk.c - uploads that meet a coordinator which was started again, or has no room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/client/client_bulk.h"
#include "common/mem/mem.h"
#include "common/transport/transport.h"
#include "tests/lib/bulk/bulk_server.h"

enum { BIG = DIGEST_CHUNK_BYTES * 5 / 2, WAIT_MS = 10000 };

struct place {
    char folder[64];
    struct bulk_server *server;
    struct client_bulk bulk;
    uint8_t *content; /* BIG bytes */
    struct digest digest;
};

static int set_up(void **state)
{
    struct place *p = mem_alloc(1, sizeof *p);
    struct transport *socket = NULL;
    const struct transport_options options = {.frame_bytes_max = 4 << 20};
    assert_non_null(p);
    (void)snprintf(p->folder, sizeof p->folder, "/tmp/qfleet-client-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    p->server = bulk_server_start(p->folder);
    assert_non_null(p->server);
    assert_int_equal(transport_connect(bulk_server_endpoint(p->server), &options, &socket, NULL),
                     ERR_OK);
    client_bulk_init(&p->bulk, socket, WAIT_MS);
    p->content = mem_alloc(BIG, 1);
    assert_non_null(p->content);
    for (size_t i = 0; i < BIG; i++)
        p->content[i] = (uint8_t)(i * 2654435761u >> 13);
    assert_int_equal(digest_of_artifact((struct span){p->content, BIG}, &p->digest), ERR_OK);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    char command[128];
    client_bulk_fini(&p->bulk);
    bulk_server_stop(&p->server);
    (void)snprintf(command, sizeof command, "rm -rf %s", p->folder);
    assert_int_equal(system(command), 0);
    mem_free(p->content);
    mem_free(p);
    return 0;
}

static enum err upload(struct place *p, struct err_text *et)
{
    return client_bulk_upload(&p->bulk, p->digest, (struct span){p->content, BIG}, et);
}

static void assert_arrived(struct place *p)
{
    assert_true(span_equal(bulk_server_find(p->server, p->digest), (struct span){p->content, BIG}));
}

static void test_client_bulk__an_upload_begins_again_after_a_restart(void **state)
{
    struct place *p = *state;
    struct err_text et = {""};
    bulk_server_misbehave(p->server, BULK_SERVER_FORGETFUL, 1);
    assert_int_equal(upload(p, &et), ERR_OK);
    assert_arrived(p);
}

static void test_client_bulk__an_upload_waits_for_room(void **state)
{
    struct place *p = *state;
    struct err_text et = {""};
    bulk_server_misbehave(p->server, BULK_SERVER_BUSY, 5);
    assert_int_equal(upload(p, &et), ERR_OK);
    assert_arrived(p);
}

static void test_client_bulk__no_room_for_ever_is_told(void **state)
{
    struct place *p = *state;
    struct err_text et = {""};
    bulk_server_misbehave(p->server, BULK_SERVER_BUSY, 1000000);
    assert_int_equal(upload(p, &et), ERR_BUSY);
    assert_non_null(strstr(et.text, "a bounded queue is full"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_client_bulk__##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_upload_begins_again_after_a_restart),
        TEST(an_upload_waits_for_room),
        TEST(no_room_for_ever_is_told),
    };
    if (transport_startup() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    transport_shutdown();
    return failed;
}
