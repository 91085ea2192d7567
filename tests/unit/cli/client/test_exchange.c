/* test_exchange.c - one request, its one reply, and what else may come in between. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/client/exchange.h"
#include "common/base/version.h"
#include "common/message/state.h"
#include "common/wire/wire.h"

enum { WAIT_MS = 20000 };

struct place {
    char folder[64], endpoint[128];
    struct transport *router; /* the coordinator, played by the test */
    struct transport_id client;
    struct exchange exchange;
};

static int set_up(void **state)
{
    static struct place p;
    const struct transport_options options = {.frame_bytes_max = LIMIT_FRAME_BYTES};
    struct transport *socket = NULL;
    struct transport_frame frame;
    p = (struct place){.folder = "/tmp/qfleet-exchange-XXXXXX"};
    assert_non_null(mkdtemp(p.folder));
    (void)snprintf(p.endpoint, sizeof p.endpoint, "ipc://%s/control.sock", p.folder);
    assert_int_equal(transport_listen(p.endpoint, &options, &p.router, NULL), ERR_OK);
    assert_int_equal(transport_connect(p.endpoint, &options, &socket, NULL), ERR_OK);
    exchange_init(&p.exchange, socket, WAIT_MS);
    enum err err = ERR_BUSY;
    for (unsigned i = 0; i < 1000 && err != ERR_OK; i++) { /* until it is connected */
        err = transport_send(socket, NULL, (struct span){(const uint8_t *)"x", 1});
        exchange_pause(10);
    }
    assert_int_equal(err, ERR_OK);
    assert_int_equal(transport_receive(p.router, WAIT_MS, &frame), ERR_OK);
    p.client = frame.id;
    *state = &p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    exchange_fini(&p->exchange);
    transport_close(&p->router);
    (void)unlink(strchr(p->endpoint, '/') + 2);
    return rmdir(p->folder);
}

static void say(struct place *p, const struct message_type *type, const void *value)
{
    struct bytes frame;
    bytes_init(&frame, LIMIT_FRAME_BYTES);
    assert_int_equal(wire_encode(type, value, &frame), ERR_OK);
    assert_int_equal(transport_send(p->router, &p->client, bytes_span(&frame)), ERR_OK);
    bytes_fini(&frame);
}

static enum err ask(struct place *p, struct err_text *et)
{
    struct msg_jobs_get get = {0};
    return exchange_request(&p->exchange, &message_type_msg_jobs_get, &get, &message_type_msg_jobs,
                            et);
}

static void test_exchange__the_words_of_another_version_end_a_request(void **state)
{
    struct place *p = *state;
    struct err_text et = {""};
    const struct msg_welcome refused = {.error = ERR_VERSION, .detail = TEXT("it is qfleet 9")};
    say(p, &message_type_msg_welcome, &refused);
    assert_int_equal(ask(p, &et), ERR_VERSION);
    assert_non_null(strstr(et.text, "it is qfleet 9"));
    assert_non_null(strstr(et.text, version_text())); /* both sides are named */
}

static void test_exchange__words_that_are_not_known_are_those_of_a_newer_one(void **state)
{
    struct place *p = *state;
    struct err_text et = {""};
    struct bytes frame;
    bytes_init(&frame, LIMIT_FRAME_BYTES);
    assert_int_equal(wire_encode(&message_type_msg_jobs, &(struct msg_jobs){.ticket = 1}, &frame),
                     ERR_OK);
    frame.data[0]++; /* a short array of one member more, which is a number */
    bytes_append(&frame, "\x07", 1);
    assert_int_equal(transport_send(p->router, &p->client, bytes_span(&frame)), ERR_OK);
    assert_int_equal(ask(p, &et), ERR_VERSION);
    bytes_fini(&frame);
    assert_non_null(strstr(et.text, version_text()));
    assert_non_null(strstr(et.text, "newer"));
}

/* The signal is blocked, as in whoever follows a job. */
static void test_exchange__a_signal_ends_the_wait_for_an_answer(void **state)
{
    struct place *p = *state;
    struct err_text et = {""};
    sigset_t set, before;
    const struct timespec none = {0};
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, &before), 0);
    assert_int_equal(raise(SIGTERM), 0);
    uint64_t begin_ms = exchange_now_ms();
    assert_int_equal(ask(p, &et), ERR_UNREACHABLE);
    assert_in_range(exchange_now_ms() - begin_ms, 0, WAIT_MS / 2);
    assert_non_null(strstr(et.text, "interrupted"));
    say(p, &message_type_msg_jobs, &(struct msg_jobs){.ticket = 2}); /* one that answers is heard */
    assert_int_equal(ask(p, &et), ERR_OK);
    assert_int_equal(sigtimedwait(&set, NULL, &none), SIGTERM);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
}

static void test_exchange__replies_to_others_and_a_late_welcome_are_passed_over(void **state)
{
    struct place *p = *state;
    struct err_text et = {""};
    say(p, &message_type_msg_welcome, &(struct msg_welcome){0});
    say(p, &message_type_msg_jobs, &(struct msg_jobs){.ticket = 77});
    say(p, &message_type_msg_jobs, &(struct msg_jobs){.ticket = 1});
    assert_int_equal(ask(p, &et), ERR_OK);
    assert_int_equal(p->exchange.reply.jobs.ticket, 1);
}

/* A coordinator that hears nobody at the first address, as one does that has not noticed yet that
 * a connection broke, and answers at the next. */
static void *answer_at_another_address(void *argument)
{
    struct place *p = argument;
    const struct transport_id first = p->client;
    bool is_greeted = false;
    for (;;) {
        struct transport_frame frame;
        struct arena arena;
        const struct message_type *type;
        union message_any message;
        if (transport_receive(p->router, WAIT_MS, &frame) != ERR_OK)
            return NULL;
        if (memcmp(frame.id.v, first.v, sizeof first.v) == 0)
            continue;
        arena_init(&arena, WIRE_ARENA_BYTES);
        enum err err = wire_decode(frame.body, &arena, &type, &message);
        p->client = frame.id;
        bool is_hello = err == ERR_OK && type == &message_type_msg_hello;
        is_greeted = is_greeted || is_hello;
        if (err == ERR_OK && is_hello)
            say(p, &message_type_msg_welcome, &(struct msg_welcome){0});
        else if (err == ERR_OK && is_greeted)
            say(p, &message_type_msg_jobs, &(struct msg_jobs){.ticket = message.jobs_get.ticket});
        arena_fini(&arena);
        if (err != ERR_OK || (is_greeted && !is_hello))
            return NULL;
    }
}

static void
test_exchange__where_not_even_a_greeting_is_heard_the_connection_is_made_anew(void **state)
{
    struct place *p = *state;
    struct err_text et = {""};
    const struct msg_hello hello = {.protocol = MESSAGE_PROTOCOL, .role = PEER_CLIENT};
    pthread_t thread;
    assert_int_equal(wire_encode(&message_type_msg_hello, &hello, &p->exchange.greeting), ERR_OK);
    p->exchange.repeat_ms = 50;
    assert_int_equal(pthread_create(&thread, NULL, answer_at_another_address, p), 0);
    enum err err = ask(p, &et);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(err, ERR_OK);
    assert_int_equal(p->exchange.reply.jobs.ticket, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_exchange__##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_words_of_another_version_end_a_request),
        TEST(words_that_are_not_known_are_those_of_a_newer_one),
        TEST(a_signal_ends_the_wait_for_an_answer),
        TEST(replies_to_others_and_a_late_welcome_are_passed_over),
        TEST(where_not_even_a_greeting_is_heard_the_connection_is_made_anew),
    };
    if (transport_startup() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    transport_shutdown();
    return failed;
}
