/* test_transport.c - sockets: delivery, refusals, keys and roles, one story a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/transport/transport.h"

enum { WAIT_MS = 5000, FRAME_MAX = 1 << 16 };

struct place {
    char folder[64];
    char endpoint[128];
};

static int set_up(void **state)
{
    static struct place place; /* one test at a time */
    snprintf(place.folder, sizeof place.folder, "/tmp/qfleet-transport-XXXXXX");
    assert_non_null(mkdtemp(place.folder));
    snprintf(place.endpoint, sizeof place.endpoint, "ipc://%s/control.sock", place.folder);
    *state = &place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    static const char *const names[] = {"control.sock", "keys", "a", "a.pub", "b", "b.pub"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", place->folder, names[i]);
        unlink(path);
    }
    rmdir(place->folder);
    return 0;
}

static struct transport_options plain(void)
{
    return (struct transport_options){.frame_bytes_max = FRAME_MAX};
}

static struct span bytes_of(const char *text)
{
    return (struct span){(const uint8_t *)text, strlen(text)};
}

/* A DEALER refuses to send before it is connected: tries until it is. */
static void send_soon(struct transport *t, const char *text)
{
    enum err err = ERR_BUSY;
    for (int i = 0; i < 500 && err == ERR_BUSY; i++) {
        err = transport_send(t, NULL, bytes_of(text));
        if (err == ERR_BUSY)
            usleep(10000);
    }
    assert_int_equal(err, ERR_OK);
}

static void test_transport__a_frame_goes_there_and_back(void **state)
{
    struct place *place = *state;
    struct transport_options options = plain();
    struct transport *server = NULL, *client = NULL;
    struct transport_frame frame;
    struct err_text et = {""};
    assert_int_equal(transport_listen(place->endpoint, &options, &server, &et), ERR_OK);
    assert_int_equal(transport_connect(place->endpoint, &options, &client, &et), ERR_OK);
    assert_int_equal(transport_receive(server, 0, &frame), ERR_TIMEOUT);
    send_soon(client, "hello");
    assert_int_equal(transport_receive(server, WAIT_MS, &frame), ERR_OK);
    assert_true(span_equal(frame.body, bytes_of("hello")));
    assert_int_equal(frame.role, TRANSPORT_ADMIN);
    assert_string_equal(frame.user, "local");
    struct transport_id id = frame.id;
    assert_int_equal(transport_send(server, &id, bytes_of("welcome")), ERR_OK);
    assert_int_equal(transport_receive(client, WAIT_MS, &frame), ERR_OK);
    assert_true(span_equal(frame.body, bytes_of("welcome")));
    transport_close(&client);
    transport_close(&server);
    assert_null(server);
}

static void test_transport__a_frame_to_nobody_is_unreachable(void **state)
{
    struct place *place = *state;
    struct transport_options options = plain();
    struct transport *server = NULL;
    assert_int_equal(transport_listen(place->endpoint, &options, &server, NULL), ERR_OK);
    struct transport_id nobody = {{1, 2, 3}};
    assert_int_equal(transport_send(server, &nobody, bytes_of("x")), ERR_UNREACHABLE);
    transport_close(&server);
}

static void test_transport__a_frame_above_the_maximum_is_refused(void **state)
{
    struct place *place = *state;
    struct transport_options options = plain();
    struct transport *server = NULL, *client = NULL;
    struct transport_frame frame;
    static uint8_t big[FRAME_MAX + 1];
    assert_int_equal(transport_listen(place->endpoint, &options, &server, NULL), ERR_OK);
    struct transport_options greedy = {.frame_bytes_max = sizeof big};
    assert_int_equal(transport_connect(place->endpoint, &greedy, &client, NULL), ERR_OK);
    struct transport_id nobody = {{1}};
    assert_int_equal(transport_send(server, &nobody, (struct span){big, sizeof big}), ERR_LIMIT);
    send_soon(client, "small");
    assert_int_equal(transport_receive(server, WAIT_MS, &frame), ERR_OK);
    assert_int_equal(transport_send(client, NULL, (struct span){big, sizeof big}), ERR_OK);
    assert_int_equal(transport_receive(server, 300, &frame), ERR_TIMEOUT);
    transport_close(&client);
    transport_close(&server);
}

static void test_transport__an_open_folder_is_refused(void **state)
{
    struct place *place = *state;
    struct transport_options options = plain();
    struct transport *server = NULL;
    struct err_text et = {""};
    assert_int_equal(chmod(place->folder, 0755), 0);
    assert_int_equal(transport_listen(place->endpoint, &options, &server, &et), ERR_DENIED);
    assert_non_null(strstr(et.text, "0700"));
    assert_null(server);
}

static void test_transport__tcp_without_keys_is_refused(void **state)
{
    (void)state;
    struct transport_options options = plain();
    struct transport *t = NULL;
    struct err_text et = {""};
    assert_int_equal(transport_listen("tcp://127.0.0.1:*", &options, &t, &et), ERR_DENIED);
    assert_int_equal(transport_connect("tcp://127.0.0.1:1", &options, &t, &et), ERR_DENIED);
    struct transport_keys keys;
    assert_int_equal(transport_keys_generate(&keys), ERR_OK);
    options.own = &keys;
    assert_int_equal(transport_listen("tcp://127.0.0.1:*", &options, &t, &et), ERR_DENIED);
    assert_non_null(strstr(et.text, "known keys"));
    assert_int_equal(transport_listen("nonsense", &options, &t, &et), ERR_USAGE);
}

static void write_list(const struct place *place, const char *user,
                       const struct transport_keys *keys, char path[128])
{
    snprintf(path, 128, "%s/keys", place->folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "# role name key\n\n  worker\t%s ", user);
    for (size_t i = 0; i < TRANSPORT_KEY_BYTES; i++)
        fprintf(file, "%02x", keys->public_key[i]);
    fprintf(file, "\n");
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void test_transport__a_listed_key_enters_and_an_unknown_one_does_not(void **state)
{
    struct place *place = *state;
    char path[128];
    struct transport_keys server_keys, known, unknown;
    assert_int_equal(transport_keys_generate(&server_keys), ERR_OK);
    assert_int_equal(transport_keys_generate(&known), ERR_OK);
    assert_int_equal(transport_keys_generate(&unknown), ERR_OK);
    write_list(place, "node07", &known, path);
    struct transport_key_list list = {NULL, 0};
    struct transport_zap *zap = NULL;
    assert_int_equal(transport_keys_read_list(path, &list, NULL), ERR_OK);
    assert_int_equal(transport_zap_start(&list, &zap), ERR_OK);
    struct transport_options options = plain();
    struct transport *server = NULL, *client = NULL, *stranger = NULL;
    struct transport_frame frame;
    options.own = &server_keys;
    options.zap = zap;
    assert_int_equal(transport_listen("tcp://127.0.0.1:*", &options, &server, NULL), ERR_OK);
    options.server_public = server_keys.public_key;
    options.own = &known;
    assert_int_equal(transport_connect(transport_endpoint(server), &options, &client, NULL),
                     ERR_OK);
    options.own = &unknown;
    assert_int_equal(transport_connect(transport_endpoint(server), &options, &stranger, NULL),
                     ERR_OK);
    send_soon(client, "hello");
    assert_int_equal(transport_receive(server, WAIT_MS, &frame), ERR_OK);
    assert_int_equal(frame.role, TRANSPORT_WORKER);
    assert_string_equal(frame.user, "node07");
    for (int i = 0; i < 30; i++) {
        (void)!transport_send(stranger, NULL, bytes_of("let me in"));
        usleep(10000);
    }
    assert_int_equal(transport_receive(server, 0, &frame), ERR_TIMEOUT);

    /* The list is replaced: now the stranger is known. */
    write_list(place, "stranger", &unknown, path);
    assert_int_equal(transport_keys_read_list(path, &list, NULL), ERR_OK);
    assert_int_equal(transport_zap_replace(zap, &list), ERR_OK);
    transport_close(&stranger);
    assert_int_equal(transport_connect(transport_endpoint(server), &options, &stranger, NULL),
                     ERR_OK);
    send_soon(stranger, "again");
    assert_int_equal(transport_receive(server, WAIT_MS, &frame), ERR_OK);
    assert_string_equal(frame.user, "stranger");
    transport_close(&client);
    transport_close(&stranger);
    transport_close(&server);
    transport_zap_stop(&zap);
}

static void test_transport_keys__files_are_guarded(void **state)
{
    struct place *place = *state;
    char path[128], path_public[160];
    struct transport_keys keys, back;
    uint8_t public_key[TRANSPORT_KEY_BYTES];
    struct err_text et = {""};
    snprintf(path, sizeof path, "%s/a", place->folder);
    snprintf(path_public, sizeof path_public, "%s.pub", path);
    assert_int_equal(transport_keys_generate(&keys), ERR_OK);
    assert_int_equal(transport_keys_write(&keys, path, &et), ERR_OK);
    assert_int_equal(transport_keys_write(&keys, path, &et), ERR_EXISTS);
    assert_int_equal(transport_keys_read(path, &back, &et), ERR_OK);
    assert_memory_equal(&keys, &back, sizeof keys);
    assert_int_equal(transport_keys_read_public(path_public, public_key, &et), ERR_OK);
    assert_memory_equal(public_key, keys.public_key, sizeof public_key);
    assert_int_equal(transport_keys_read(path_public, &back, &et), ERR_DENIED);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(transport_keys_read(path, &back, &et), ERR_DENIED);
    assert_non_null(strstr(et.text, "too open"));
}

static void test_transport_keys__a_bad_list_is_named(void **state)
{
    static const struct {
        const char *content, *expected;
    } cases[] = {
        {"", "no key is listed"},
        {"# only words\n", "no key is listed"},
        {"root x 00\n", ":1: expected a role"},
        {"\nworker x 00\n", ":2: expected a public key of 64 hex digits, found \"00\""},
        {"worker\n", ":1: expected a name"},
        {"view a 0000000000000000000000000000000000000000000000000000000000000000 more\n",
         ":1: expected the end of the line"},
        {"view a 0000000000000000000000000000000000000000000000000000000000000000\n"
         "view b 0000000000000000000000000000000000000000000000000000000000000000\n",
         ":2: this key is already listed for \"a\""},
    };
    struct place *place = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/keys", place->folder);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(cases[i].content, file);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(chmod(path, 0600), 0);
        struct transport_key_list list = {NULL, 0};
        struct err_text et = {""};
        assert_int_equal(transport_keys_read_list(path, &list, &et), ERR_FORMAT);
        if (strstr(et.text, cases[i].expected) == NULL)
            fail_msg("found \"%s\", expected \"%s\"", et.text, cases[i].expected);
        assert_null(list.rows);
    }
    struct transport_key_list list = {NULL, 0};
    struct err_text et = {""};
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes into it */
    assert_int_equal(transport_keys_read_list(path, &list, &et), ERR_FORMAT);
    assert_non_null(strstr(et.text, "expected a file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_transport__a_frame_goes_there_and_back, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_transport__a_frame_to_nobody_is_unreachable, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_transport__a_frame_above_the_maximum_is_refused,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_transport__an_open_folder_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test(test_transport__tcp_without_keys_is_refused),
        cmocka_unit_test_setup_teardown(
            test_transport__a_listed_key_enters_and_an_unknown_one_does_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_transport_keys__files_are_guarded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_transport_keys__a_bad_list_is_named, set_up,
                                        tear_down),
    };
    if (transport_startup() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    transport_shutdown();
    return failed;
}
