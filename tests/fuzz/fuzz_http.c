/* fuzz_http.c - bytes as they come from a browser, a scanner or a broken proxy, over a real socket.
 * Whatever they are: nothing crashes, no answer is of a class that there is none of, and a question
 * is put only for who sent the token, character by character. The same bytes are tried as --http.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/check.h"
#include "coordinator/http/http.h"
#include "tests/fuzz/fuzz.h"

#define TOKEN "0123456789abcdef0123456789abcdef"

enum { TURNS = 64, QUIET = 3, ANSWER_BYTES = 1 << 12 };

struct scene {
    struct http *http;
    size_t asked;
};

static enum err on_answer(void *context, const struct http_request *request, struct bytes *out,
                          struct err_text *et)
{
    struct scene *scene = context;
    (void)http_value(request, "after");
    if (request->topic == HTTP_METRICS) {
        bytes_print(out, "up 1\n");
        return ERR_OK;
    }
    scene->asked++;
    ASSERT(request->path.size == 0 || memchr(request->path.data, '\0', request->path.size) == NULL);
    if (request->path.size % 2 == 1)
        return error_set(et, ERR_NOT_FOUND, "no %.*s here", TEXT_ARGS(request->path));
    bytes_print(out, "[]");
    return ERR_OK;
}

/* One server for all inputs, as a port has it for all callers. */
static struct scene *scene_open(struct scene *scene)
{
    struct http_options options = {
        .address = "127.0.0.1:0", .token = {TOKEN}, .answer = on_answer, .context = scene};
    struct err_text et = {""};
    ASSERT(http_open(&options, &scene->http, &et) == ERR_OK);
    return scene;
}

static int dial(const struct scene *scene)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    /* Closing resets: no port waits for what nobody sends. */
    const struct linger none = {.l_onoff = 1};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_port = htons((uint16_t)strtoul(strrchr(http_address(scene->http), ':') + 1, NULL, 10));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0);
    ASSERT(connect(fd, (const struct sockaddr *)&to, sizeof to) == 0);
    ASSERT(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    return fd;
}

/* Until the server hangs up, or is silent. */
static void talk(struct scene *scene, const uint8_t *data, size_t size)
{
    char answer[ANSWER_BYTES];
    size_t sent = 0, quiet = 0;
    int fd = dial(scene);
    for (int turn = 0; turn < TURNS && quiet < QUIET; turn++) {
        struct pollfd polled = {http_fd(scene->http), POLLIN, 0};
        (void)poll(&polled, 1, turn > 0);
        http_run(scene->http, 0);
        ssize_t part = sent < size ? send(fd, data + sent, size - sent, MSG_NOSIGNAL) : 0;
        sent += part > 0 ? (size_t)part : 0;
        if (sent == size)
            (void)shutdown(fd, SHUT_WR);
        ssize_t got = recv(fd, answer, sizeof answer, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            break;
        quiet = got > 0 || part > 0 ? 0 : quiet + 1;
    }
    (void)close(fd);
    http_run(scene->http, 0);
}

static bool has_token(const uint8_t *data, size_t size)
{
    const char *next = TOKEN;
    for (size_t i = 0; i < size && *next != '\0'; i++)
        next += data[i] == (uint8_t)*next;
    return *next == '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct scene scene;
    struct err_text et = {""};
    char address[HTTP_ADDRESS_BYTES];
    bool is_loopback;
    if (scene.http == NULL)
        (void)scene_open(&scene);
    size_t cut = MIN(size, sizeof address - 1);
    if (cut > 0)
        memcpy(address, data, cut);
    address[cut] = '\0';
    if (http_is_loopback(address, &is_loopback, &et) != ERR_OK)
        ASSERT(et.text[0] != '\0');
    scene.asked = 0;
    talk(&scene, data, size);
    ASSERT(scene.asked == 0 || has_token(data, size));
    ASSERT(http_answers(scene.http)[0] == 0 && http_answers(scene.http)[1] == 0);
    return 0;
}
