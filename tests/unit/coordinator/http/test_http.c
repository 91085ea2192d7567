/* test_http.c - requests over a real socket, the server run by hand in between. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "coordinator/http/http.h"

#define TOKEN "0123456789abcdef0123456789abcdef"

enum { ANSWER_BYTES = 1 << 16, TURNS = 400, TURN_MS = 10, LARGE_BYTES = 10 << 20 };

struct fixture {
    struct http *http;
    char answer[ANSWER_BYTES];
    char path[128]; /* of the last question */
    uint64_t after;
    enum err err;
    size_t asked;
    size_t answer_bytes; /* of a large answer; 0: a small one */
    uint64_t now_ms;
};

static enum err on_answer(void *context, const struct http_request *request, struct bytes *out,
                          struct err_text *et)
{
    struct fixture *f = context;
    f->asked++;
    f->after = http_value(request, "after");
    (void)snprintf(f->path, sizeof f->path, "%.*s", (int)request->path.size,
                   request->path.size > 0 ? request->path.data : "");
    if (f->err != ERR_OK)
        return error_set(et, f->err, "no \"thing\" here");
    if (f->answer_bytes > 0) {
        uint8_t *large = bytes_extend(out, f->answer_bytes);
        if (large != NULL)
            memset(large, ' ', f->answer_bytes);
        return bytes_status(out);
    }
    bytes_print(out, request->topic == HTTP_METRICS ? "up 1\n" : "[1]");
    return ERR_OK;
}

static void open_at(struct fixture *f, const char *address)
{
    struct http_options options = {
        .address = address, .token = {TOKEN}, .answer = on_answer, .context = f};
    struct err_text et = {""};
    if (http_open(&options, &f->http, &et) != ERR_OK)
        fail_msg("%s", et.text);
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    open_at(&f, "127.0.0.1:0");
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    http_close(&f->http);
    return 0;
}

static int dial_from(const struct fixture *f, in_addr_t host)
{
    struct sockaddr_in to = {.sin_family = AF_INET}, from = {.sin_family = AF_INET};
    unsigned long port = strtoul(strrchr(http_address(f->http), ':') + 1, NULL, 10);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_port = htons((uint16_t)port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl(host);
    assert_int_equal(bind(fd, (const struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static int dial(const struct fixture *f)
{
    return dial_from(f, INADDR_LOOPBACK);
}

/* Sends the bytes and reads until the server hangs up or nothing more comes. */
static const char *talk(struct fixture *f, const char *request, size_t size)
{
    int fd = dial(f);
    size_t sent = 0, got = 0, quiet = 0;
    for (int turn = 0; turn < TURNS && quiet < 8; turn++) {
        struct pollfd polled = {http_fd(f->http), POLLIN, 0};
        (void)poll(&polled, 1, TURN_MS / 5);
        http_run(f->http, f->now_ms);
        if (sent < size) {
            ssize_t part = send(fd, request + sent, size - sent, MSG_NOSIGNAL);
            sent += part > 0 ? (size_t)part : 0;
            quiet = 0;
        }
        ssize_t part = recv(fd, f->answer + got, sizeof f->answer - 1 - got, 0);
        if (part == 0)
            break;
        if (part < 0 && errno != EAGAIN)
            break;
        got += part > 0 ? (size_t)part : 0;
        quiet = part > 0 ? 0 : quiet + (got > 0);
    }
    (void)close(fd);
    f->answer[got] = '\0';
    return f->answer;
}

static const char *get(struct fixture *f, const char *target, const char *header)
{
    char request[1024];
    (void)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:7072\r\n%s\r\n",
                   target, header);
    return talk(f, request, strlen(request));
}

static void assert_status(const char *answer, const char *status)
{
    char head[32];
    (void)snprintf(head, sizeof head, "HTTP/1.1 %s", status);
    if (strncmp(answer, head, strlen(head)) != 0)
        fail_msg("expected %s, found %.60s", head, answer);
}

static void test_http__health_and_metrics_are_open_on_loopback(void **state)
{
    struct fixture *f = *state;
    assert_status(get(f, "/healthz", ""), "200");
    assert_non_null(strstr(f->answer, "\r\n\r\nok\n"));
    assert_status(get(f, "/metrics", ""), "200");
    assert_non_null(strstr(f->answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8"));
    assert_non_null(strstr(f->answer, "up 1\n"));
    assert_int_equal(http_answers(f->http)[2], 2);
}

static void test_http__elsewhere_metrics_need_the_token(void **state)
{
    struct fixture f = {0};
    (void)state;
    open_at(&f, "0.0.0.0:0");
    assert_status(get(&f, "/metrics", ""), "401");
    assert_int_equal(f.asked, 0);
    assert_status(get(&f, "/metrics", "Authorization: Bearer " TOKEN "\r\n"), "200");
    assert_status(get(&f, "/healthz", ""), "200");
    http_close(&f.http);
}

/* A page of somebody's, whose name points at 127.0.0.1 by now, cannot have what is open here. */
static void test_http__under_another_name_metrics_need_the_token(void **state)
{
    const struct {
        const char *host, *status;
    } cases[] = {
        {"127.0.0.1", "200"},
        {"127.0.0.1:7072", "200"},
        {"localhost", "200"},
        {"LocalHost:1", "200"},
        {"[::1]:7072", "200"},
        {"[::1]", "200"},
        {"10.0.0.1:7072", "200"}, /* a proxy's; a page has no such name */
        {"evil.example:7072", "401"},
        {"localhost.evil", "401"},
        {"127.0.0.1.evil", "401"},
        {"127.0.0.1:7072.evil", "401"},
        {"[::1].evil", "401"},
        {"[::1", "401"},
        {"::1", "401"},
        {"", "401"},
        {"0x7f000001", "401"},
    };
    struct fixture *f = *state;
    char request[1024];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)snprintf(request, sizeof request, "GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n",
                       cases[i].host);
        assert_status(talk(f, request, strlen(request)), cases[i].status);
    }
    assert_int_equal(f->asked, 7);
    static const char told[] = "GET /metrics HTTP/1.1\r\nHost: fleet.example\r\n"
                               "Authorization: Bearer " TOKEN "\r\n\r\n";
    assert_status(talk(f, told, sizeof told - 1), "200");
    static const char old[] = "GET /metrics HTTP/1.0\r\n\r\n"; /* no browser */
    assert_status(talk(f, old, sizeof old - 1), "200");
}

static void test_http__questions_need_the_token(void **state)
{
    struct fixture *f = *state;
    const char *const wrong[] = {"", "Authorization: Bearer \r\n",
                                 "Authorization: Bearer 0123456789abcdef0123456789abcdeX\r\n",
                                 "Authorization: Basic " TOKEN "\r\n",
                                 "Cookie: token=" TOKEN "\r\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_status(get(f, "/api/jobs", wrong[i]), "401");
    assert_status(get(f, "/api/jobs?token=" TOKEN, ""), "401"); /* that is for the page */
    assert_int_equal(f->asked, 0);
    assert_status(get(f, "/api/jobs/a%20b?after=17", "Authorization: Bearer " TOKEN "\r\n"), "200");
    assert_string_equal(f->path, "jobs/a b");
    assert_int_equal(f->after, 17);
    assert_non_null(strstr(f->answer, "Content-Type: application/json"));
}

static void test_http__the_token_becomes_a_cookie(void **state)
{
    struct fixture *f = *state;
    char cookie[160];
    assert_status(get(f, "/", ""), "401");
    assert_non_null(strstr(f->answer, "name=\"token\""));
    assert_status(get(f, "/?token=0123456789abcdef0123456789abcdeX", ""), "401");
    assert_status(get(f, "/?token=" TOKEN, ""), "303");
    assert_non_null(strstr(f->answer, "Location: /\r\n"));
    const char *set = strstr(f->answer, "Set-Cookie: ");
    assert_non_null(set);
    assert_non_null(strstr(set, "; Path=/; HttpOnly; SameSite=Strict\r\n"));
    (void)snprintf(cookie, sizeof cookie, "Cookie: %.*s\r\n", (int)(strchr(set, ';') - set - 12),
                   set + 12);
    assert_status(get(f, "/", cookie), "200");
    assert_non_null(strstr(f->answer, "Content-Security-Policy: default-src 'none'"));
    assert_status(get(f, "/api/jobs", cookie), "200");
}

static void test_http__nothing_can_be_changed(void **state)
{
    struct fixture *f = *state;
    const char *const methods[] = {"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"};
    char request[256];
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        (void)snprintf(
            request, sizeof request,
            "%s /api/jobs HTTP/1.1\r\nHost: 127.0.0.1:7072\r\nAuthorization: Bearer " TOKEN
            "\r\nContent-Length: 3\r\n\r\nabc",
            methods[i]);
        assert_status(talk(f, request, strlen(request)), "405");
        assert_non_null(strstr(f->answer, "Allow: GET, HEAD\r\n"));
    }
    assert_int_equal(f->asked, 0);
}

static void test_http__head_has_no_body(void **state)
{
    struct fixture *f = *state;
    static const char request[] = "HEAD /healthz HTTP/1.1\r\nHost: 127.0.0.1:7072\r\n\r\n";
    assert_status(talk(f, request, sizeof request - 1), "200");
    assert_non_null(strstr(f->answer, "Content-Length: 3\r\n"));
    assert_string_equal(strstr(f->answer, "\r\n\r\n"), "\r\n\r\n");
}

static void test_http__a_failure_is_json_with_its_code(void **state)
{
    const struct {
        enum err err;
        const char *status;
    } cases[] = {{ERR_NOT_FOUND, "404"}, {ERR_AMBIGUOUS, "409"},     {ERR_USAGE, "400"},
                 {ERR_LIMIT, "500"},     {ERR_OUT_OF_MEMORY, "503"}, {ERR_INTERNAL, "500"}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f->err = cases[i].err;
        assert_status(get(f, "/api/x", "Authorization: Bearer " TOKEN "\r\n"), cases[i].status);
        assert_non_null(strstr(f->answer, "{\"detail\":\"no \\\"thing\\\" here\",\"error\":\""));
    }
    f->err = ERR_OK;
    assert_status(get(f, "/nothing", ""), "404");
    assert_status(get(f, "/../http.token", ""), "404");
}

static void test_http__what_is_no_request_is_survived(void **state)
{
    struct fixture *f = *state;
    static char large[200 << 10];
    (void)talk(f, "\0\1\2\3\r\n\r\n", 8);
    (void)talk(f, "GET", 3);
    (void)talk(f, "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 56);
    memset(large, 'a', sizeof large);
    memcpy(large, "GET /", 5);
    (void)talk(f, large, sizeof large); /* a target without end */
    assert_false(strncmp(f->answer, "HTTP/1.1 2", 10) == 0);
    int fds[100]; /* more than there may be */
    for (size_t i = 0; i < 100; i++)
        fds[i] = dial(f);
    for (size_t i = 0; i < 100; i++)
        http_run(f->http, f->now_ms);
    for (size_t i = 0; i < 100; i++)
        (void)close(fds[i]);
    for (size_t i = 0; i < 100; i++) /* sees that they are gone */
        http_run(f->http, f->now_ms);
    assert_status(get(f, "/healthz", ""), "200");
}

static void test_http__one_address_does_not_shut_out_the_others(void **state)
{
    struct fixture *f = *state;
    int fds[64];
    for (size_t i = 0; i < 64; i++) {
        fds[i] = dial_from(f, INADDR_LOOPBACK + 1);
        http_run(f->http, f->now_ms);
    }
    assert_status(get(f, "/healthz", ""), "200");
    for (size_t i = 0; i < 64; i++)
        (void)close(fds[i]);
}

static bool is_open(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, MSG_PEEK);
    return got > 0 || (got < 0 && errno == EAGAIN);
}

static void pass(struct fixture *f, uint64_t ms)
{
    f->now_ms += ms;
    for (int i = 0; i < 8; i++) {
        struct pollfd polled = {http_fd(f->http), POLLIN, 0};
        (void)poll(&polled, 1, 1);
        http_run(f->http, f->now_ms);
    }
}

static void test_http__a_head_that_trickles_in_has_its_time(void **state)
{
    struct fixture *f = *state;
    uint64_t wait_ms;
    int fd = dial(f);
    pass(f, 0);
    assert_int_equal(send(fd, "GET /healthz HTTP/1.1\r\nx: ", 26, MSG_NOSIGNAL), 26);
    for (int second = 0; second < 59; second++) {
        pass(f, 1000);
        assert_int_equal(send(fd, "a", 1, MSG_NOSIGNAL), 1);
    }
    assert_true(is_open(fd));
    assert_true(http_wait_ms(f->http, &wait_ms));
    assert_true(wait_ms <= 1000);
    pass(f, 1000);
    assert_false(is_open(fd));
    (void)close(fd);
}

static void test_http__who_asks_again_and_again_stays(void **state)
{
    struct fixture *f = *state;
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char answer[1024];
    int fd = dial(f);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
        pass(f, 15000);
        assert_true(recv(fd, answer, sizeof answer, 0) > 0);
    }
    assert_true(is_open(fd));
    (void)close(fd);
}

static int ask_large(struct fixture *f)
{
    static const char request[] = "GET /api/x HTTP/1.1\r\nHost: localhost\r\n"
                                  "Authorization: Bearer " TOKEN "\r\n\r\n";
    int fd = dial(f);
    assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    pass(f, 0);
    return fd;
}

static bool is_answered(int fd, const char *status)
{
    char head[16] = "";
    assert_true(recv(fd, head, sizeof head - 1, MSG_PEEK) > 0);
    return strncmp(head + 9, status, 3) == 0;
}

static void test_http__answers_not_taken_are_bounded(void **state)
{
    struct fixture *f = *state;
    int fds[24];
    size_t good = 0, count = sizeof fds / sizeof *fds;
    f->answer_bytes = LARGE_BYTES;
    for (size_t i = 0; i < count; i++) {
        fds[i] = ask_large(f);
        if (is_answered(fds[i], "200"))
            good++;
        else
            assert_true(is_answered(fds[i], "503"));
    }
    assert_int_equal(good, (64 << 20) / LARGE_BYTES);
    f->answer_bytes = 0;
    assert_status(get(f, "/healthz", ""), "200");
    pass(f, 60000); /* time is up for all of them */
    for (size_t i = 0; i < count; i++)
        (void)close(fds[i]);
    pass(f, 0);
    f->answer_bytes = LARGE_BYTES;
    int fd = ask_large(f);
    assert_true(is_answered(fd, "200"));
    (void)close(fd);
}

static void test_http__addresses(void **state)
{
    const struct {
        const char *address;
        enum err err;
        bool is_loopback;
    } cases[] = {
        {"127.0.0.1:7072", ERR_OK, true},     {"127.9.9.9:1", ERR_OK, true},
        {"localhost:80", ERR_OK, true},       {"[::1]:80", ERR_OK, true},
        {"0.0.0.0:80", ERR_OK, false},        {"10.1.2.3:80", ERR_OK, false},
        {"[::]:80", ERR_OK, false},           {"", ERR_USAGE, false},
        {"127.0.0.1", ERR_USAGE, false},      {":80", ERR_USAGE, false},
        {"127.0.0.1:", ERR_USAGE, false},     {"127.0.0.1:65536", ERR_USAGE, false},
        {"127.0.0.1:80x", ERR_USAGE, false},  {"example.org:80", ERR_USAGE, false},
        {"[::1:80", ERR_USAGE, false},        {"127.0.0.1:-1", ERR_USAGE, false},
        {"::1:80", ERR_USAGE, false},         {"::1", ERR_USAGE, false},
        {"[127.0.0.1]:80", ERR_USAGE, false}, {"[]:80", ERR_USAGE, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool is_loopback = false;
        struct err_text et = {""};
        assert_int_equal(http_is_loopback(cases[i].address, &is_loopback, &et), cases[i].err);
        assert_int_equal(is_loopback, cases[i].is_loopback);
    }
}

static void test_http__a_port_that_is_taken_is_said(void **state)
{
    struct fixture *f = *state;
    struct http_options options = {.address = http_address(f->http), .answer = on_answer};
    struct err_text et = {""};
    struct http *second = NULL;
    assert_int_equal(http_open(&options, &second, &et), ERR_EXISTS);
    assert_null(second);
    assert_non_null(strstr(et.text, "the port is taken"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        WITH(test_http__health_and_metrics_are_open_on_loopback),
        cmocka_unit_test(test_http__elsewhere_metrics_need_the_token),
        WITH(test_http__under_another_name_metrics_need_the_token),
        WITH(test_http__questions_need_the_token),
        WITH(test_http__the_token_becomes_a_cookie),
        WITH(test_http__nothing_can_be_changed),
        WITH(test_http__head_has_no_body),
        WITH(test_http__a_failure_is_json_with_its_code),
        WITH(test_http__what_is_no_request_is_survived),
        WITH(test_http__one_address_does_not_shut_out_the_others),
        WITH(test_http__a_head_that_trickles_in_has_its_time),
        WITH(test_http__who_asks_again_and_again_stays),
        WITH(test_http__answers_not_taken_are_bounded),
        cmocka_unit_test(test_http__addresses),
        WITH(test_http__a_port_that_is_taken_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
