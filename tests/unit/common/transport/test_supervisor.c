/* test_supervisor.c - what a service manager hears. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/transport/supervisor.h"

enum { TEXT_BYTES = 512 };

/* The manager's end, in a folder of its own or in the abstract name space. */
struct listener {
    char folder[64];
    char name[96];
    int fd;
};

static void listen_at(struct listener *l, bool is_abstract)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(l->folder, sizeof l->folder, "/tmp/qfleet-supervisor-XXXXXX");
    assert_non_null(mkdtemp(l->folder));
    (void)snprintf(l->name, sizeof l->name, "%s%s/s", is_abstract ? "@" : "", l->folder);
    size_t size = strlen(l->name);
    memcpy(address.sun_path, l->name, size);
    if (is_abstract)
        address.sun_path[0] = '\0';
    l->fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_true(l->fd >= 0);
    assert_int_equal(bind(l->fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)),
                     0);
}

static void leave(struct listener *l)
{
    (void)close(l->fd);
    (void)unlink(l->name);
    assert_int_equal(rmdir(l->folder), 0);
}

/* The next message, or "" when there is none. */
static const char *heard(const struct listener *l, char text[TEXT_BYTES])
{
    ssize_t got = recv(l->fd, text, TEXT_BYTES - 1, MSG_DONTWAIT);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

static void test_supervisor__hears_the_life_of_a_process(void **state)
{
    (void)state;
    for (int is_abstract = 0; is_abstract < 2; is_abstract++) {
        struct listener l;
        struct supervisor s;
        char text[TEXT_BYTES];
        listen_at(&l, is_abstract);
        const struct supervisor_environment environment = {.socket = l.name};
        assert_int_equal(supervisor_open(&environment, &s, NULL), ERR_OK);
        supervisor_ready(&s);
        supervisor_status(&s, "%d workers\nREADY=0", 3);
        supervisor_stopping(&s);
        assert_string_equal(heard(&l, text), "READY=1");
        assert_string_equal(heard(&l, text), "STATUS=3 workers");
        assert_string_equal(heard(&l, text), "STOPPING=1");
        supervisor_close(&s);
        leave(&l);
    }
}

static void test_supervisor__is_beaten_at_half_of_its_patience(void **state)
{
    (void)state;
    struct listener l;
    struct supervisor s;
    char text[TEXT_BYTES];
    listen_at(&l, false);
    const struct supervisor_environment environment = {.socket = l.name, .watchdog_us = "2000000"};
    assert_int_equal(supervisor_open(&environment, &s, NULL), ERR_OK);
    supervisor_beat(&s, (struct instant){5 * NS_PER_S});
    assert_string_equal(heard(&l, text), "WATCHDOG=1");
    supervisor_beat(&s, (struct instant){5 * NS_PER_S + 999 * NS_PER_MS});
    assert_string_equal(heard(&l, text), "");
    supervisor_beat(&s, (struct instant){6 * NS_PER_S});
    assert_string_equal(heard(&l, text), "WATCHDOG=1");
    supervisor_close(&s);
    leave(&l);
}

static void test_supervisor__beats_of_another_process_are_not_ours(void **state)
{
    (void)state;
    struct listener l;
    struct supervisor s;
    char text[TEXT_BYTES];
    listen_at(&l, false);
    const struct supervisor_environment environment = {
        .socket = l.name, .watchdog_us = "2000000", .watchdog_pid = "1"};
    assert_int_equal(supervisor_open(&environment, &s, NULL), ERR_OK);
    supervisor_beat(&s, (struct instant){5 * NS_PER_S});
    assert_string_equal(heard(&l, text), "");
    supervisor_close(&s);
    leave(&l);
}

static void test_supervisor__none_and_one_that_is_gone_change_nothing(void **state)
{
    (void)state;
    static const char *const sockets[] = {NULL, "", "/nowhere/at/all"};
    for (size_t i = 0; i < COUNT_OF(sockets); i++) {
        struct supervisor s;
        const struct supervisor_environment environment = {.socket = sockets[i],
                                                           .watchdog_us = "10"};
        assert_int_equal(supervisor_open(&environment, &s, NULL), ERR_OK);
        supervisor_ready(&s);
        supervisor_beat(&s, (struct instant){NS_PER_S});
        supervisor_close(&s);
    }
}

static void test_supervisor__a_wrong_environment_is_named(void **state)
{
    (void)state;
    static const struct {
        struct supervisor_environment environment;
        const char *message;
    } rows[] = {
        {{.socket = "relative"}, "NOTIFY_SOCKET: /PATH or @NAME expected, found \"relative\""},
        {{.socket = "/"}, "NOTIFY_SOCKET: /PATH or @NAME expected, found \"/\""},
        {{.socket = "/s", .watchdog_us = "soon"},
         "WATCHDOG_USEC: a whole number expected, found \"soon\""},
        {{.socket = "/s", .watchdog_us = "9", .watchdog_pid = "-1"},
         "WATCHDOG_PID: a whole number expected, found \"-1\""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct supervisor s;
        struct err_text et = {""};
        assert_int_equal(supervisor_open(&rows[i].environment, &s, &et), ERR_USAGE);
        assert_string_equal(et.text, rows[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_supervisor__hears_the_life_of_a_process),
        cmocka_unit_test(test_supervisor__is_beaten_at_half_of_its_patience),
        cmocka_unit_test(test_supervisor__beats_of_another_process_are_not_ours),
        cmocka_unit_test(test_supervisor__none_and_one_that_is_gone_change_nothing),
        cmocka_unit_test(test_supervisor__a_wrong_environment_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
