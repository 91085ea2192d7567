/* http.c - see http.h. */
#include "coordinator/http/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <microhttpd.h>

#include "common/base/check.h"
#include "common/formats/json/json_write.h"
#include "common/mem/mem.h"
#include "coordinator/http/http_asset.h"
#include "coordinator/http/http_place.h"

enum {
    CONNECTIONS_MAX = 64,
    CONNECTIONS_OF_ONE = 32, /* of one address: none shuts the others out */
    CONNECTION_BYTES = 32 << 10,
    IDLE_S = 20,
    EXCHANGE_MS =
        60000, /* from one answer taken to the next: bytes that trickle do not extend it */
    REPLIES_BYTES_MAX = 64 << 20, /* answers that clients have not taken yet, together */
    FAILURE_BYTES_MAX = 16 << 10,
    COOKIE_BYTES = 32,
};

struct caller {
    struct MHD_Connection *connection; /* NULL: free */
    uint64_t since_ms;                 /* of its beginning or its last answer */
};

/* An answer until the client has it. */
struct reply {
    struct http *http;
    struct bytes bytes; /* owned */
};

struct http {
    struct MHD_Daemon *daemon; /* owned */
    struct http_options options;
    bool is_loopback;
    int fd;
    uint64_t now_ms;
    struct caller callers[CONNECTIONS_MAX];
    size_t reply_bytes; /* of struct reply, together */
    char address[HTTP_ADDRESS_BYTES];
    char cookie[COOKIE_BYTES]; /* its name: cookies of a host are shared by all its ports */
    uint64_t answers[HTTP_STATUS_CLASSES];
};

/* What every answer carries: the page runs its own scripts and styles, speaks to this server, and
 * is never part of another page. */
static const struct {
    const char *name, *value;
} headers[] = {
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
     "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"Referrer-Policy", "no-referrer"},
    {"Cache-Control", "no-store"},
};

enum err http_is_loopback(const char *address, bool *out, struct err_text *et)
{
    struct http_place place;
    TRY(http_place_parse(address, &place, et));
    *out = place.is_loopback;
    return ERR_OK;
}

uint64_t http_value(const struct http_request *request, const char *name)
{
    struct MHD_Connection *connection = (struct MHD_Connection *)(uintptr_t)request->values;
    const char *text = connection == NULL
                           ? NULL
                           : MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return 0;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    return *end == '\0' && errno == 0 ? value : 0;
}

/* Sends and lets go of the response; NULL: out of memory, the connection ends. */
static enum MHD_Result send_response(struct http *http, struct MHD_Connection *connection,
                                     unsigned status, const char *type,
                                     struct MHD_Response *response)
{
    if (response == NULL)
        return MHD_NO;
    for (size_t i = 0; i < COUNT_OF(headers); i++)
        (void)MHD_add_response_header(response, headers[i].name, headers[i].value);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (status == MHD_HTTP_UNAUTHORIZED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                      "Bearer realm=\"qfleet\"");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    if (result == MHD_YES)
        http->answers[MIN(status / 100, HTTP_STATUS_CLASSES - 1u)]++;
    return result;
}

/* `text` is static. */
static enum MHD_Result send_text(struct http *http, struct MHD_Connection *connection,
                                 unsigned status, const char *text)
{
    return send_response(http, connection, status, "text/plain; charset=utf-8",
                         MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                         MHD_RESPMEM_PERSISTENT));
}

static enum MHD_Result send_asset(struct http *http, struct MHD_Connection *connection,
                                  unsigned status, const char *path)
{
    for (size_t i = 0; i < http_asset_count; i++) {
        const struct http_asset *asset = &http_assets[i];
        if (strcmp(asset->path, path) == 0)
            return send_response(http, connection, status, asset->type,
                                 MHD_create_response_from_buffer(asset->size,
                                                                 (void *)(uintptr_t)asset->data,
                                                                 MHD_RESPMEM_PERSISTENT));
    }
    return send_text(http, connection, MHD_HTTP_NOT_FOUND, "there is no such page\n");
}

static void drop_reply(void *context)
{
    struct reply *reply = context;
    reply->http->reply_bytes -= reply->bytes.capacity;
    bytes_fini(&reply->bytes);
    mem_free(reply);
}

/* Takes the bytes, also on failure. */
static enum MHD_Result send_bytes(struct http *http, struct MHD_Connection *connection,
                                  unsigned status, const char *type, struct bytes *bytes)
{
    struct reply *reply = mem_alloc(1, sizeof *reply);
    if (reply == NULL) {
        bytes_fini(bytes);
        return MHD_NO;
    }
    *reply = (struct reply){http, *bytes};
    http->reply_bytes += reply->bytes.capacity;
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback_cls(
        reply->bytes.size, reply->bytes.data, drop_reply, reply);
    if (response == NULL)
        drop_reply(reply);
    return send_response(http, connection, status, type, response);
}

static unsigned status_of(enum err err)
{
    if (err == ERR_NOT_FOUND)
        return MHD_HTTP_NOT_FOUND;
    if (err == ERR_AMBIGUOUS)
        return MHD_HTTP_CONFLICT;
    if (err == ERR_USAGE)
        return MHD_HTTP_BAD_REQUEST;
    return err == ERR_OUT_OF_MEMORY ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_INTERNAL_SERVER_ERROR;
}

static void write_failure(struct bytes *out, enum err err, const struct err_text *et)
{
    bytes_clear(out);
    bytes_print(out, "{\"detail\":");
    const char *detail = et->text[0] != '\0' ? et->text : error_text(err);
    if (json_write_quoted(out, text_of(detail)) != ERR_OK)
        bytes_print(out, "\"\"");
    bytes_print(out, ",\"error\":\"%s\"}", error_name(err));
}

static enum MHD_Result answer(struct http *http, struct MHD_Connection *connection,
                              const struct http_request *request, const char *type)
{
    struct bytes out;
    struct err_text et = {""};
    size_t held = MIN(http->reply_bytes, (size_t)REPLIES_BYTES_MAX);
    bytes_init(&out, REPLIES_BYTES_MAX - held);
    enum err err = http->options.answer(http->options.context, request, &out, &et);
    if (err == ERR_OK)
        err = bytes_status(&out);
    if (err == ERR_OK)
        return send_bytes(http, connection, MHD_HTTP_OK, type, &out);
    bool is_crowded = bytes_status(&out) == ERR_LIMIT && held > 0;
    bytes_fini(&out);
    bytes_init(&out, FAILURE_BYTES_MAX);
    write_failure(&out, err, &et);
    return send_bytes(http, connection, is_crowded ? MHD_HTTP_SERVICE_UNAVAILABLE : status_of(err),
                      "application/json", &out);
}

static bool has_token(const struct http *http, struct MHD_Connection *connection)
{
    static const char bearer[] = "Bearer ";
    const char *header =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    if (header != NULL && strncmp(header, bearer, sizeof bearer - 1) == 0)
        return http_token_is(&http->options.token, header + sizeof bearer - 1);
    return http_token_is(&http->options.token,
                         MHD_lookup_connection_value(connection, MHD_COOKIE_KIND, http->cookie));
}

/* The token leaves the address and becomes a cookie that no script sees and no other site sends. */
static enum MHD_Result let_in(struct http *http, struct MHD_Connection *connection)
{
    char cookie[COOKIE_BYTES + HTTP_TOKEN_CHARS_MAX + 64];
    (void)snprintf(cookie, sizeof cookie, "%s=%s; Path=/; HttpOnly; SameSite=Strict", http->cookie,
                   http->options.token.text);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (response != NULL) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_SET_COOKIE, cookie);
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_LOCATION, "/");
    }
    return send_response(http, connection, MHD_HTTP_SEE_OTHER, "text/plain; charset=utf-8",
                         response);
}

static enum MHD_Result route(struct http *http, struct MHD_Connection *connection, const char *path)
{
    static const char api[] = "/api/";
    const char *given = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "token");
    bool is_page = strcmp(path, "/") == 0;
    bool is_metrics = strcmp(path, "/metrics") == 0;
    bool is_api = strncmp(path, api, sizeof api - 1) == 0;
    struct http_request request = {.values = connection};
    if (strcmp(path, "/healthz") == 0)
        return send_text(http, connection, MHD_HTTP_OK, "ok\n");
    if (is_page && http_token_is(&http->options.token, given))
        return let_in(http, connection);
    bool is_local = http->is_loopback && http_place_is_address(MHD_lookup_connection_value(
                                             connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST));
    bool is_open = !is_page && !is_api && (!is_metrics || is_local);
    if (!is_open && !has_token(http, connection))
        return is_page ? send_asset(http, connection, MHD_HTTP_UNAUTHORIZED, "/login.html")
                       : send_text(http, connection, MHD_HTTP_UNAUTHORIZED,
                                   "this needs the token (docs/OPERATING.md)\n");
    if (is_metrics) {
        request.topic = HTTP_METRICS;
        return answer(http, connection, &request, "text/plain; version=0.0.4; charset=utf-8");
    }
    if (is_api) {
        request.topic = HTTP_API;
        request.path = text_of(path + sizeof api - 1);
        return answer(http, connection, &request, "application/json");
    }
    return send_asset(http, connection, MHD_HTTP_OK, path);
}

/* Called once with the head of the request, then, when all of it is there, again. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    struct http *http = context;
    (void)version;
    (void)upload;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return send_text(http, connection, MHD_HTTP_METHOD_NOT_ALLOWED,
                         "nothing can be changed from here; use qctl\n");
    if (*state == NULL) {
        *state = http;
        return MHD_YES;
    }
    if (*upload_size != 0)
        return MHD_NO;
    return route(http, connection, url);
}

static void on_connection(void *context, struct MHD_Connection *connection, void **place,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http *http = context;
    struct caller *caller = *place;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (caller != NULL)
            caller->connection = NULL;
        return;
    }
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (http->callers[i].connection == NULL) {
            http->callers[i] = (struct caller){connection, http->now_ms};
            *place = &http->callers[i];
            return;
        }
}

static void on_answered(void *context, struct MHD_Connection *connection, void **state,
                        enum MHD_RequestTerminationCode code)
{
    struct http *http = context;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct caller *caller = info == NULL ? NULL : info->socket_context;
    (void)state;
    (void)code;
    if (caller != NULL)
        caller->since_ms = http->now_ms;
}

static void name_itself(struct http *http, const struct http_place *place)
{
    const union MHD_DaemonInfo *port = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_BIND_PORT);
    char host[INET6_ADDRSTRLEN] = "";
    bool is_v6 = place->any.sa_family == AF_INET6;
    const void *bytes = is_v6 ? (const void *)&place->v6.sin6_addr : &place->v4.sin_addr;
    (void)inet_ntop(place->any.sa_family, bytes, host, sizeof host);
    (void)snprintf(http->address, sizeof http->address, is_v6 ? "[%s]:%u" : "%s:%u", host,
                   port == NULL ? 0 : (unsigned)port->port);
    (void)snprintf(http->cookie, sizeof http->cookie, "qfleet_%u",
                   port == NULL ? 0 : (unsigned)port->port);
}

static enum err listen_at(struct http *http, struct http_place *place, struct err_text *et)
{
    unsigned flags = MHD_USE_EPOLL;
    if (place->any.sa_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    errno = 0;
    http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, http, MHD_OPTION_SOCK_ADDR, &place->any,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS_OF_ONE, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, http, MHD_OPTION_NOTIFY_COMPLETED, on_answered, http, MHD_OPTION_END);
    if (http->daemon != NULL)
        return ERR_OK;
    if (errno == EADDRINUSE)
        return error_set(et, ERR_EXISTS, "%s: the port is taken", http->options.address);
    return error_set(et, error_from_errno(errno), "%s: cannot be listened at: %s",
                     http->options.address, strerror(errno));
}

enum err http_open(const struct http_options *options, struct http **out, struct err_text *et)
{
    struct http_place place;
    TRY(http_place_parse(options->address, &place, et));
    struct http *http = mem_alloc(1, sizeof *http);
    if (http == NULL)
        return ERR_OUT_OF_MEMORY;
    http->options = *options;
    http->is_loopback = place.is_loopback;
    enum err err;
    TRY_OUT(listen_at(http, &place, et));
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || info->epoll_fd < 0) {
        err = error_set(et, ERR_UNSUPPORTED, "libmicrohttpd was built without epoll");
        goto out;
    }
    http->fd = info->epoll_fd;
    name_itself(http, &place);
    *out = http;
    return ERR_OK;
out:
    http_close(&http);
    return err;
}

void http_close(struct http **http)
{
    if (*http == NULL)
        return;
    if ((*http)->daemon != NULL)
        MHD_stop_daemon((*http)->daemon);
    mem_free(*http);
    *http = NULL;
}

const char *http_address(const struct http *http)
{
    return http->address;
}

int http_fd(const struct http *http)
{
    return http->fd;
}

/* Whose time is up hears no more; the library then lets go of it. */
static void cut_off(const struct caller *caller)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(caller->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info != NULL)
        (void)shutdown(info->connect_fd, SHUT_RDWR);
}

void http_run(struct http *http, uint64_t now_ms)
{
    http->now_ms = now_ms;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        const struct caller *caller = &http->callers[i];
        if (caller->connection != NULL && now_ms - caller->since_ms >= EXCHANGE_MS)
            cut_off(caller);
    }
    (void)MHD_run(http->daemon);
}

bool http_wait_ms(const struct http *http, uint64_t *ms)
{
    MHD_UNSIGNED_LONG_LONG idle_ms = UINT64_MAX;
    uint64_t least_ms = MHD_get_timeout(http->daemon, &idle_ms) == MHD_YES ? idle_ms : UINT64_MAX;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        const struct caller *caller = &http->callers[i];
        uint64_t passed_ms = http->now_ms - caller->since_ms;
        if (caller->connection != NULL && passed_ms < EXCHANGE_MS)
            least_ms = MIN(least_ms, EXCHANGE_MS - passed_ms);
    }
    *ms = least_ms;
    return least_ms != UINT64_MAX;
}

const uint64_t *http_answers(const struct http *http)
{
    return http->answers;
}
