/* server_http.c - see server_http.h. */
#include "coordinator/loop/server_http.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "coordinator/admin/admin_json.h"
#include "coordinator/admin/admin_metrics.h"
#include "coordinator/http/http.h"
#include "coordinator/loop/server_request.h"
#include "coordinator/loop/server_scale.h"

static const char default_address[] = "127.0.0.1:7072";

static enum err write_metrics(struct server *server, struct bytes *out)
{
    struct sched_totals totals;
    size_t rss_bytes = 0;
    struct admin_process process = {
        .started_unix_s = (double)server->started_unix_ms / 1000,
        .incarnation = server->incarnation,
        .workers_desired = server_scale_desired(server),
        .peer_workers = server->worker_count,
        .peer_clients = server->client_count,
        .records = store_last(server->store),
        .store_percent = store_percent_used(server->store),
        .disk_floor_bytes = server->options->free_bytes_min,
        .turns = &server->turn_seconds,
        .commits = &server->commit_seconds,
        .http_answers = http_answers(server->http),
    };
    (void)uv_resident_set_memory(&rss_bytes);
    process.rss_bytes = rss_bytes;
    if (artifact_free_bytes(server->artifacts, &process.disk_free_bytes) != ERR_OK)
        process.disk_free_bytes = UINT64_MAX;
    sched_totals(server->sched, server_now(), &totals);
    admin_metrics_write(&totals, &process, out);
    return ERR_OK;
}

static enum err write_providers(struct server *server, struct bytes *out)
{
    struct provider_row rows[LIMIT_PROVIDERS];
    size_t count = server_scale_rows(server, server_now(), rows);
    return admin_json_list(&message_type_provider_row, rows, count, out);
}

static enum err write_explain(struct server *server, struct text job, struct bytes *out,
                              struct err_text *et)
{
    struct msg_explain_get get = {.prefix = job};
    struct msg_explain reply = {0};
    TRY(server_request_explain_rows(server, &get, &reply, et));
    return admin_json_list(&message_type_explain_row, reply.rows, reply.rows_count, out);
}

static enum err write_events(struct server *server, struct text job, uint64_t after,
                             struct bytes *out, struct err_text *et)
{
    struct msg_events_get get = {.prefix = job, .after = after};
    struct msg_events reply = {0};
    TRY(server_request_event_rows(server, &get, &reply, et));
    return admin_json_object(&message_type_msg_events, &reply, out);
}

static enum err on_answer(void *context, const struct http_request *request, struct bytes *out,
                          struct err_text *et)
{
    struct server *server = context;
    arena_reset(&server->arena);
    if (request->topic == HTTP_METRICS)
        return write_metrics(server, out);
    struct text job;
    if (text_is(request->path, "providers"))
        return write_providers(server, out);
    if (admin_json_is_part(request->path, "explain", &job))
        return write_explain(server, job, out, et);
    if (admin_json_is_part(request->path, "events", &job))
        return write_events(server, job, http_value(request, "after"), out, et);
    struct admin_json_request json = {
        .path = request->path,
        .after = http_value(request, "after"),
        .variant = (uint32_t)MIN(http_value(request, "variant"), (uint64_t)UINT32_MAX),
        .limit = (uint32_t)MIN(http_value(request, "limit"), (uint64_t)LIMIT_LIST_ROWS),
    };
    return admin_json(server->sched, &json, server_now(), &server->arena, out, et);
}

/* The token's file: named, or made in the data folder when only this machine can come in. */
static enum err read_token(struct server *server, const char *address, struct http_token *out,
                           struct err_text *et)
{
    const char *path = server->options->http_token_path;
    char own[SERVER_PATH_BYTES + 16];
    uint8_t random[HTTP_TOKEN_RANDOM_BYTES];
    bool is_loopback;
    TRY(http_is_loopback(address, &is_loopback, et));
    if (path != NULL)
        return http_token_read(path, out, et);
    if (!is_loopback)
        return error_set(et, ERR_USAGE,
                         "--http %s: who is not on this machine needs a token; give its file with "
                         "--http-token FILE",
                         address);
    (void)snprintf(own, sizeof own, "%s/http.token", server->data_folder);
    transport_random(random, sizeof random);
    return http_token_read_or_make(own, random, out, et);
}

enum err server_http_open(struct server *server, struct err_text *et)
{
    const char *asked = server->options->http_address;
    struct http_options options = {
        .address = asked == NULL ? default_address : asked, .answer = on_answer, .context = server};
    server->started_unix_ms = server_unix_ms();
    if (asked == NULL ? server->options->is_embedded : strcmp(asked, "off") == 0)
        return ERR_OK;
    TRY(read_token(server, options.address, &options.token, et));
    enum err err = http_open(&options, &server->http, et);
    if (err != ERR_EXISTS || asked != NULL)
        return err;
    server_log("%s; goes on without metrics and page (--http HOST:PORT)", et->text);
    et->text[0] = '\0';
    return ERR_OK;
}

static void on_http(uv_poll_t *poll, int status, int events)
{
    struct server *server = poll->data;
    (void)status;
    (void)events;
    server->http_is_due = true; /* served after the commit */
}

static void on_http_timer(uv_timer_t *timer)
{
    struct server *server = timer->data;
    server->http_is_due = true;
}

enum err server_http_watch(struct server *server, struct err_text *et)
{
    (void)uv_loop_configure(&server->loop, UV_METRICS_IDLE_TIME);
    if (server->http == NULL)
        return ERR_OK;
    server->http_poll.data = server->http_timer.data = server;
    int rc = uv_poll_init(&server->loop, &server->http_poll, http_fd(server->http));
    if (rc != 0)
        return error_set(et, ERR_IO, "the event loop refuses the page's descriptor: %s",
                         uv_strerror(rc));
    ASSERT(uv_timer_init(&server->loop, &server->http_timer) == 0);
    ASSERT(uv_poll_start(&server->http_poll, UV_READABLE, on_http) == 0);
    return ERR_OK;
}

void server_http_serve(struct server *server)
{
    uint64_t wait_ms;
    if (server->http == NULL || !server->http_is_due || server->is_stopping)
        return;
    server->http_is_due = false;
    uv_update_time(&server->loop);
    http_run(server->http, uv_now(&server->loop));
    if (http_wait_ms(server->http, &wait_ms)) {
        uv_update_time(&server->loop);
        (void)uv_timer_start(&server->http_timer, on_http_timer, wait_ms, 0);
    } else {
        (void)uv_timer_stop(&server->http_timer);
    }
}

void server_http_measure_turn(struct server *server)
{
    uint64_t now_ns = uv_hrtime();
    uint64_t idle_ns = uv_metrics_idle_time(&server->loop);
    uint64_t passed_ns = now_ns - server->turn_end_ns;
    uint64_t slept_ns = idle_ns - server->turn_idle_ns;
    if (server->turn_end_ns != 0 && passed_ns >= slept_ns)
        metric_observe(&server->turn_seconds, (double)(passed_ns - slept_ns) / (double)NS_PER_S);
    server->turn_end_ns = now_ns;
    server->turn_idle_ns = idle_ns;
}

void server_http_close(struct server *server)
{
    http_close(&server->http);
}
