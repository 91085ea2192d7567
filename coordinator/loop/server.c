/* server.c - start, the turn of the loop, the end. See server.h.
 *
 * A turn: libuv polls (timers and outcomes of works step sched on their own), then `check` takes in
 * frames, then `prepare` commits and sends before the next poll. ZeroMQ's descriptors are
 * edge-triggered: after every turn they are asked again, and an idle handle keeps the loop from
 * sleeping while frames wait.
 */
#include "coordinator/loop/server.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/source/folder.h"
#include "coordinator/http/http.h"
#include "coordinator/loop/server_bulk.h"
#include "coordinator/loop/server_control.h"
#include "coordinator/loop/server_http.h"
#include "coordinator/loop/server_long.h"
#include "coordinator/loop/server_peer.h"
#include "coordinator/loop/server_prune.h"
#include "coordinator/loop/server_scale.h"
#include "coordinator/loop/server_state.h"
#include "coordinator/loop/server_turn.h"
#include "coordinator/loop/server_work.h"
#include "coordinator/store/record_codec.h"
#include "coordinator/store/store_lmdb.h"

enum {
    WATCH_MS = 250,
    RETIRE_MS = 3000,
    PATH_BYTES = SERVER_PATH_BYTES,
    MAP_PERCENT_ALARM = 70,
    LINGER_MS = 500
};

struct instant server_now(void)
{
    return (struct instant){uv_hrtime()};
}

uint64_t server_unix_ms(void)
{
    uv_timeval64_t now;
    if (uv_gettimeofday(&now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000;
}

void server_log(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("qfleet-coordinator: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

void server_stop(struct server *server)
{
    server->is_stopping = true;
    uv_stop(&server->loop);
}

void server_fail(struct server *server, enum err err, const char *what)
{
    if (server->exit_code == 0)
        server_log("stopping: %s: %s", error_name(err), what);
    server->exit_code = STORE_EXIT_CODE;
    server_stop(server);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)poll;
    (void)status;
    (void)events; /* only wakes the loop; `check` reads */
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* only keeps the loop from sleeping */
}

static void on_check(uv_check_t *check)
{
    struct server *server = check->data;
    (void)server_control_drain(server);
    (void)server_bulk_drain(server);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct server *server = prepare->data;
    if (server->exit_code != 0)
        return;
    server_turn_end(server);
    server_http_serve(server);
    server_http_measure_turn(server);
    if (transport_pending(server->control) || transport_pending(server->bulk))
        (void)uv_idle_start(&server->idle, on_idle);
    else
        (void)uv_idle_stop(&server->idle);
}

static void watch_disk(struct server *server)
{
    uint64_t free_bytes;
    if (artifact_free_bytes(server->artifacts, &free_bytes) == ERR_OK) {
        bool is_low = free_bytes <= server->options->free_bytes_min;
        if (is_low != server->is_disk_low) {
            server->is_disk_low = is_low;
            server_log("%s: %s", server->options->data_folder,
                       is_low ? "the disk is nearly full, jobs wait" : "there is room again");
            struct sched_event event = {.kind = SCHED_DISK};
            event.disk_low = is_low;
            server_turn_step(server, &event);
        }
    }
    if (!server->is_map_full_said && store_percent_used(server->store) >= MAP_PERCENT_ALARM) {
        server->is_map_full_said = true;
        server_log("the record store has used %u%% of its map; start with a larger --map-size",
                   store_percent_used(server->store));
    }
}

static void tell_supervisor(struct server *server)
{
    supervisor_beat(&server->supervisor, server_now());
    if (server->told_worker_count == server->worker_count)
        return;
    server->told_worker_count = server->worker_count;
    supervisor_status(&server->supervisor, "%zu worker%s", server->worker_count,
                      server->worker_count == 1 ? "" : "s");
}

static void on_watch(uv_timer_t *timer)
{
    struct server *server = timer->data;
    tell_supervisor(server);
    server_turn_step(server, &(struct sched_event){.kind = SCHED_TICK});
    watch_disk(server);
    (void)server_peer_flush(server);
    server_peer_forget(server);
    server_bulk_watch(server);
    server_long_watch(server);
    server_scale_tick(server);
    bool is_late = server_now().ns - server->retire_ns > RETIRE_MS * NS_PER_MS;
    if (server->is_retiring && (server->worker_count == 0 || is_late))
        server_stop(server);
}

static void reload_keys(struct server *server)
{
    struct transport_key_list list;
    struct err_text et = {""};
    if (server->zap == NULL)
        return;
    enum err err = transport_keys_read_list(server->options->key_list_path, &list, &et);
    if (err == ERR_OK) {
        err = transport_zap_replace(server->zap, &list);
        transport_keys_fini_list(&list);
    }
    if (err != ERR_OK)
        server_log("the key list stays as it was: %s", et.text);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct server *server = handle->data;
    if (number == SIGHUP) {
        reload_keys(server);
        server_scale_reload(server);
    } else
        server_stop(server);
}

/* End of file: the parent is gone. */
static void on_parent(uv_poll_t *poll, int status, int events)
{
    struct server *server = poll->data;
    char byte;
    (void)events;
    if (status < 0 || read(server->options->parent_fd, &byte, 1) == 0) {
        (void)uv_poll_stop(poll); /* it would read end of file in every turn */
        server_control_retire(server, "the process that started it is gone");
    }
}

static enum err read_incarnation(void *context, uint64_t seq, const struct store_record *record)
{
    struct server *server = context;
    union message_record decoded;
    (void)seq;
    if (record->number != REC_COORDINATOR_STARTED)
        return ERR_OK;
    TRY(record_codec_read(record->number, record->payload, &server->arena, &decoded));
    server->incarnation = (uint32_t)decoded.coordinator_started.incarnation;
    return ERR_OK;
}

static enum err replay(void *context, uint64_t seq, const struct store_record *record)
{
    struct server *server = context;
    struct sched_record decoded = {.number = record->number, .unix_ms = record->unix_ms};
    arena_reset(&server->arena);
    enum err err =
        record_codec_read(record->number, record->payload, &server->arena, &decoded.record);
    if (err == ERR_OK)
        err = sched_replay(server->sched, &decoded);
    if (err != ERR_OK)
        server_log("record %llu cannot be replayed", (unsigned long long)seq);
    return err;
}

/* A life of the coordinator begins with a record of its own, so that no fence is given twice. */
static enum err begin_life(struct server *server, struct err_text *et)
{
    TRY(store_read(server->store, 0, read_incarnation, server, et));
    if (server->incarnation == UINT32_MAX)
        return error_set(et, ERR_STORE, "no incarnation is left");
    server->incarnation++;
    TRY(sched_create(server->incarnation, &server->sched));
    TRY(store_read(server->store, 0, replay, server, et));
    union message_record record = {.coordinator_started = {.incarnation = server->incarnation}};
    server_turn_record(server, REC_COORDINATOR_STARTED, &record);
    server_turn_step(server, &(struct sched_event){.kind = SCHED_STARTED});
    server_turn_end(server);
    return server->exit_code == 0 ? ERR_OK : error_set(et, ERR_STORE, "the store takes no records");
}

static enum err make_folder(struct server *server, struct err_text *et)
{
    const char *name = server->options->data_folder;
    char path[PATH_MAX];
    if (mkdir(name, 0700) != 0 && errno != EEXIST)
        TRY(folder_create(name, et));
    if (realpath(name, path) == NULL)
        return error_set(et, error_from_errno(errno), "%s: %s", name, strerror(errno));
    if (strlen(path) + 32 > sizeof server->data_folder)
        return error_set(et, ERR_LIMIT, "%s: the path is too long", path);
    memcpy(server->data_folder, path, strlen(path) + 1);
    return ERR_OK;
}

static enum err open_data(struct server *server, struct err_text *et)
{
    const struct server_options *o = server->options;
    char path[PATH_BYTES];
    TRY(make_folder(server, et));
    (void)snprintf(path, sizeof path, "%s/store", server->data_folder);
    struct store_lmdb_options store = {.folder = path, .map_size_bytes = o->map_size_bytes};
    TRY(store_lmdb_open(&store, &server->store, et));
    (void)snprintf(path, sizeof path, "%s/artifacts", server->data_folder);
    struct artifact_options artifacts = {.folder = path,
                                         .ephemeral_bytes_max = o->ephemeral_bytes_max};
    if (artifacts.ephemeral_bytes_max == 0)
        artifacts.ephemeral_bytes_max =
            MIN((uint64_t)LIMIT_EPHEMERAL_MIB << 20, uv_get_total_memory() / 4);
    return artifact_store_open(&artifacts, &server->artifacts, et);
}

static enum err listen_on(struct server *server, const char *endpoint, const char *name,
                          const struct transport_options *options, struct transport **out,
                          struct err_text *et)
{
    char path[PATH_BYTES];
    if (endpoint == NULL) {
        (void)snprintf(path, sizeof path, "ipc://%s/%s.sock", server->data_folder, name);
        endpoint = path;
    }
    return transport_listen(endpoint, options, out, et);
}

static enum err open_sockets(struct server *server, struct err_text *et)
{
    const struct server_options *o = server->options;
    struct transport_keys keys;
    struct transport_options options = {.frame_bytes_max = LIMIT_FRAME_BYTES,
                                        .linger_ms = LINGER_MS};
    if (o->secret_path != NULL) {
        TRY(transport_keys_read(o->secret_path, &keys, et));
        options.own = &keys;
    }
    if (o->key_list_path != NULL) {
        struct transport_key_list list;
        TRY(transport_keys_read_list(o->key_list_path, &list, et));
        enum err err = transport_zap_start(&list, &server->zap);
        transport_keys_fini_list(&list);
        if (err != ERR_OK)
            return error_set(et, err, "the key list cannot be served: %s", error_text(err));
        options.zap = server->zap;
    }
    TRY(listen_on(server, o->control_endpoint, "control", &options, &server->control, et));
    options.frame_bytes_max = LIMIT_BULK_FRAME_BYTES;
    TRY(listen_on(server, o->bulk_endpoint, "bulk", &options, &server->bulk, et));
    const char *bound = transport_endpoint(server->bulk);
    if (o->advertise == NULL &&
        (strncmp(bound, "tcp://0.0.0.0:", 14) == 0 || strncmp(bound, "tcp://[::]:", 11) == 0))
        return error_set(et, ERR_USAGE,
                         "%s: listens on every address; say with --advertise tcp://HOST:PORT where "
                         "peers find it",
                         bound);
    return ERR_OK;
}

static void open_signals(struct server *server)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    (void)signal(SIGPIPE, SIG_IGN); /* a command that does not read its input */
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        server->signals[i].data = server;
        ASSERT(uv_signal_init(&server->loop, &server->signals[i]) == 0);
        ASSERT(uv_signal_start(&server->signals[i], on_signal, numbers[i]) == 0);
    }
}

static enum err open_loop(struct server *server, struct err_text *et)
{
    uv_loop_t *loop = &server->loop;
    int fds[2] = {transport_fd(server->control), transport_fd(server->bulk)};
    uv_poll_t *polls[2] = {&server->control_poll, &server->bulk_poll};
    for (size_t i = 0; i < 2; i++) {
        int rc = uv_poll_init(loop, polls[i], fds[i]);
        if (rc != 0)
            return error_set(et, ERR_IO, "the event loop refuses a socket: %s", uv_strerror(rc));
        ASSERT(uv_poll_start(polls[i], UV_READABLE, on_readable) == 0);
    }
    server->check.data = server->prepare.data = server->watch.data = server;
    ASSERT(uv_check_init(loop, &server->check) == 0);
    ASSERT(uv_prepare_init(loop, &server->prepare) == 0);
    ASSERT(uv_idle_init(loop, &server->idle) == 0);
    ASSERT(uv_timer_init(loop, &server->watch) == 0);
    ASSERT(uv_check_start(&server->check, on_check) == 0);
    ASSERT(uv_prepare_start(&server->prepare, on_prepare) == 0);
    ASSERT(uv_idle_start(&server->idle, on_idle) == 0); /* first look at the sockets */
    ASSERT(uv_timer_start(&server->watch, on_watch, 0, WATCH_MS) == 0);
    open_signals(server);
    TRY(server_http_watch(server, et));
    if (server->options->parent_fd >= 0) {
        server->parent.data = server;
        if (uv_poll_init(loop, &server->parent, server->options->parent_fd) != 0)
            return error_set(et, ERR_USAGE, "descriptor %d of the parent cannot be watched",
                             server->options->parent_fd);
        ASSERT(uv_poll_start(&server->parent, UV_READABLE | UV_DISCONNECT, on_parent) == 0);
    }
    return ERR_OK;
}

static void on_walk(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Works that are out come back first: they use what is closed after. */
static void close_all(struct server *server)
{
    server->is_stopping = true;
    supervisor_stopping(&server->supervisor);
    server_scale_stop(server);
    uv_walk(&server->loop, on_walk, NULL);
    while (uv_run(&server->loop, UV_RUN_DEFAULT) != 0)
        continue; /* it was told to stop: the first call only forgets that */
    ASSERT(server->works_out == 0);
    ASSERT(uv_loop_close(&server->loop) == 0);
    server_long_cancel(server);
    server_http_close(server);
    server_bulk_fini(server);
    server_peer_remove_all(server);
    map_fini(&server->peers_by_id);
    map_fini(&server->peers_by_address);
    map_fini(&server->workers_by_session);
    if (server->artifacts != NULL)
        server_work_close_stages(server);
    server_prune_fini(server);
    server_turn_fini(server);
    transport_close(&server->control);
    transport_close(&server->bulk);
    transport_zap_stop(&server->zap);
    server_scale_close(server);
    sched_destroy(&server->sched);
    artifact_store_close(&server->artifacts);
    store_destroy(&server->store);
    transport_shutdown();
    supervisor_close(&server->supervisor);
}

static void run(struct server *server)
{
    (void)printf("ready control=%s bulk=%s", transport_endpoint(server->control),
                 transport_endpoint(server->bulk));
    if (server->http != NULL)
        (void)printf(" http=http://%s/", http_address(server->http));
    (void)putchar('\n');
    (void)fflush(stdout);
    supervisor_ready(&server->supervisor);
    while (!server->is_stopping)
        (void)uv_run(&server->loop, UV_RUN_DEFAULT);
    if (server->exit_code == 0)
        server_turn_end(server);
}

enum err server_run(const struct server_options *options, int *exit_code, struct err_text *et)
{
    struct server server = {.options = options, .supervisor = {.fd = -1}};
    list_init(&server.peers);
    list_init(&server.stages);
    list_init(&server.bulk_peers);
    list_init(&server.longs);
    map_init(&server.peers_by_id);
    map_init(&server.peers_by_address);
    map_init(&server.workers_by_session);
    ASSERT(uv_loop_init(&server.loop) == 0);
    ASSERT(uv_timer_init(&server.loop, &server.wake) == 0);
    enum err err;
    server_prune_init(&server);
    TRY_OUT(server_turn_init(&server));
    TRY_OUT(transport_startup());
    TRY_OUT(supervisor_open(&options->supervisor, &server.supervisor, et));
    TRY_OUT(open_data(&server, et));
    TRY_OUT(open_sockets(&server, et));
    TRY_OUT(server_http_open(&server, et));
    TRY_OUT(begin_life(&server, et));
    TRY_OUT(open_loop(&server, et));
    TRY_OUT(server_scale_open(&server, et));
    run(&server);
out:
    if (err != ERR_OK && et->text[0] == '\0')
        (void)error_set(et, err, "%s", error_text(err));
    close_all(&server);
    *exit_code = server.exit_code;
    return err;
}
