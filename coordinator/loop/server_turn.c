/* server_turn.c - see server_turn.h. */
#include "coordinator/loop/server_turn.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/version.h"
#include "common/ds/container.h"
#include "common/mem/mem.h"
#include "common/wire/wire.h"
#include "coordinator/loop/server_collect.h"
#include "coordinator/loop/server_peer.h"
#include "coordinator/loop/server_prune.h"
#include "coordinator/loop/server_scale.h"
#include "coordinator/loop/server_work.h"
#include "coordinator/store/record_codec.h"

enum {
    TURN_BYTES_MAX = 1 << 30,
    PAUSE_MS = 2000 /* without a step: the watch makes several a second */
};

/* A grant that no frame holds. */
struct server_turn_unsent {
    uint64_t peer, fence;
};

struct server_turn_record {
    uint32_t number;
    uint64_t unix_ms;
    size_t begin, size; /* of the payload */
};

enum err server_turn_init(struct server *server)
{
    bytes_init(&server->turn.payloads, TURN_BYTES_MAX);
    bytes_init(&server->turn.records, TURN_BYTES_MAX);
    bytes_init(&server->turn.sends, TURN_BYTES_MAX);
    bytes_init(&server->turn.unsent, TURN_BYTES_MAX);
    bytes_init(&server->scratch, LIMIT_FRAME_BYTES);
    list_init(&server->turn.works);
    arena_init(&server->arena, SERVER_ARENA_BYTES);
    return ERR_OK;
}

void server_turn_fini(struct server *server)
{
    server_work_discard(&server->turn.works);
    bytes_fini(&server->turn.payloads);
    bytes_fini(&server->turn.records);
    bytes_fini(&server->turn.sends);
    bytes_fini(&server->turn.unsent);
    bytes_fini(&server->scratch);
    arena_fini(&server->arena);
}

static void add_record(struct server *server, uint32_t number, uint64_t unix_ms,
                       const union message_record *record)
{
    struct server_turn *turn = &server->turn;
    struct server_turn_record row = {number, unix_ms, turn->payloads.size, 0};
    enum err err = record_codec_write(number, record, &turn->payloads);
    row.size = turn->payloads.size - row.begin;
    bytes_append(&turn->records, &row, sizeof row);
    if (err == ERR_OK)
        err = bytes_status(&turn->records);
    if (err != ERR_OK)
        server_fail(server, err, "a record cannot be encoded");
}

void server_turn_record(struct server *server, uint32_t number, const union message_record *record)
{
    add_record(server, number, server_unix_ms(), record);
}

static void add_frame(struct server *server, uint64_t peer, struct span frame)
{
    uint32_t size = (uint32_t)frame.size;
    bytes_append(&server->turn.sends, &peer, sizeof peer);
    bytes_append(&server->turn.sends, &size, sizeof size);
    bytes_append(&server->turn.sends, frame.data, frame.size);
    if (bytes_status(&server->turn.sends) != ERR_OK)
        server_fail(server, bytes_status(&server->turn.sends), "too much to send in one turn");
}

/* Places a worker on this machine can open itself; elsewhere it fetches. */
static enum err add_paths(struct server *server, struct msg_lease_grant *grant)
{
    struct artifact_ref *inputs =
        arena_alloc(&server->arena, grant->spec.inputs_count, sizeof *inputs);
    if (inputs == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < grant->spec.inputs_count; i++) {
        char path[SERVER_PATH_BYTES];
        inputs[i] = grant->spec.inputs[i];
        if (inputs[i].ephemeral || inputs[i].path.size > 0)
            continue;
        artifact_path(server->artifacts, inputs[i].digest, path, sizeof path);
        const char *copy = arena_copy_text(&server->arena, text_of(path));
        if (copy == NULL)
            return ERR_OUT_OF_MEMORY;
        inputs[i].path = text_of(copy);
    }
    grant->spec.inputs = inputs;
    return ERR_OK;
}

/* What sched leaves to the loop, which knows endpoints and files. */
static enum err complete(struct server *server, uint32_t number, union message_any *message)
{
    if (number == MSG_WELCOME) {
        const char *advertise = server->options->advertise;
        message->welcome.bulk_endpoint =
            text_of(advertise != NULL ? advertise : transport_endpoint(server->bulk));
        message->welcome.incarnation = server->incarnation;
        message->welcome.version = text_of(version_text());
        message->welcome.unix_ms = server_unix_ms();
    }
    if (number == MSG_LEASE_GRANT)
        return add_paths(server, &message->lease_grant);
    return ERR_OK;
}

/* Whoever waits for a reply is told that there is none; a grant goes back to sched. */
static void refuse_large(struct server *server, uint64_t peer, const struct message_type *type,
                         const void *message)
{
    uint64_t ticket;
    server_log("%s does not fit a frame", type->name);
    if (type->number == MSG_LEASE_GRANT) {
        const struct msg_lease_grant *grant = message;
        struct server_turn_unsent unsent = {peer, grant->fence};
        bytes_append(&server->turn.unsent, &unsent, sizeof unsent);
        if (bytes_status(&server->turn.unsent) != ERR_OK)
            server_fail(server, ERR_OUT_OF_MEMORY, type->name);
        return;
    }
    if (strcmp(type->fields[0].name, "ticket") != 0 || type->number == MSG_STATUS)
        return;
    memcpy(&ticket, message, sizeof ticket);
    server_turn_status(server, peer, ticket, ERR_LIMIT, "the reply is larger than a frame may be");
}

void server_turn_send(struct server *server, uint64_t peer, uint32_t number, const void *message)
{
    const struct message_type *type = message_type_of(number);
    ASSERT(type != NULL);
    union message_any copy = {0};
    memcpy(&copy, message, type->size_bytes);
    bytes_clear(&server->scratch);
    enum err err = complete(server, number, &copy);
    if (err == ERR_OK)
        err = wire_encode(type, &copy, &server->scratch);
    if (err == ERR_OK)
        add_frame(server, peer, bytes_span(&server->scratch));
    else if (err == ERR_OUT_OF_MEMORY)
        server_fail(server, err, type->name);
    else
        refuse_large(server, peer, type, message);
}

void server_turn_status(struct server *server, uint64_t peer, uint64_t ticket, enum err err,
                        const char *detail)
{
    struct msg_status status = {
        .ticket = ticket, .error = (uint32_t)err, .detail = text_of(detail)};
    if (status.detail.size == 0 && err != ERR_OK)
        status.detail = text_of(error_text(err));
    server_turn_send(server, peer, MSG_STATUS, &status);
}

static void on_wake(uv_timer_t *timer)
{
    server_turn_step(timer->data, &(struct sched_event){.kind = SCHED_TICK});
}

static void arm(struct server *server, struct instant wake_at, struct instant now)
{
    if (wake_at.ns == 0 || wake_at.ns == UINT64_MAX) {
        (void)uv_timer_stop(&server->wake);
        return;
    }
    uint64_t wait_ns = wake_at.ns > now.ns ? wake_at.ns - now.ns : 0;
    server->wake.data = server;
    uv_update_time(&server->loop);
    (void)uv_timer_start(&server->wake, on_wake, (wait_ns + NS_PER_MS - 1) / NS_PER_MS, 0);
}

static void take_back_unsent(struct server *server)
{
    struct server_turn_unsent unsent;
    if (server->turn.unsent.size < sizeof unsent)
        return;
    server->turn.unsent.size -= sizeof unsent;
    memcpy(&unsent, server->turn.unsent.data + server->turn.unsent.size, sizeof unsent);
    struct sched_event event = {.kind = SCHED_UNSENT, .peer = {unsent.peer}};
    event.fence = unsent.fence;
    server_turn_step(server, &event); /* which takes back the next */
}

/* A process that was stopped, or whose disk held it up, did not hear its peers. */
static struct duration pause_before(struct server *server, struct instant now)
{
    uint64_t ns = server->stepped_ns == 0 ? 0 : now.ns - server->stepped_ns;
    server->stepped_ns = now.ns;
    if (ns < PAUSE_MS * NS_PER_MS)
        return (struct duration){0};
    for (struct list_node *n = list_first(&server->peers); n != NULL;
         n = list_next(&server->peers, n)) {
        struct server_peer *peer = CONTAINER_OF(n, struct server_peer, node);
        peer->heard_ns = MIN(peer->heard_ns + ns, now.ns);
    }
    server_log("stood still for %.1f s", (double)ns / (double)NS_PER_S);
    return (struct duration){ns};
}

void server_turn_step(struct server *server, struct sched_event *event)
{
    struct sched_effects effects;
    if (server->exit_code != 0)
        return;
    event->now = server_now();
    event->pause = pause_before(server, event->now);
    event->unix_ms = server_unix_ms();
    enum err err = sched_step(server->sched, event, &effects);
    if (err != ERR_OK) {
        server_fail(server, err, "the scheduler cannot take an event");
        return;
    }
    for (size_t i = 0; i < effects.record_count; i++)
        add_record(server, effects.records[i].number, effects.records[i].unix_ms,
                   &effects.records[i].record);
    for (size_t i = 0; i < effects.send_count; i++)
        server_turn_send(server, effects.sends[i].peer.v, effects.sends[i].number,
                         &effects.sends[i].message);
    for (size_t i = 0; i < effects.work_count && err == ERR_OK; i++)
        err = server_work_prepare(server, &effects.works[i], &server->turn.works);
    if (err != ERR_OK)
        server_fail(server, err, "a work cannot be prepared");
    arm(server, effects.wake_at, event->now);
    take_back_unsent(server);
}

static void commit(struct server *server)
{
    struct server_turn *turn = &server->turn;
    size_t count = turn->records.size / sizeof(struct server_turn_record);
    if (count == 0)
        return;
    const struct server_turn_record *rows =
        (const struct server_turn_record *)(const void *)turn->records.data;
    struct store_record *records = mem_alloc(count, sizeof *records);
    struct err_text et = {""};
    enum err err = records == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        records[i] = (struct store_record){
            rows[i].number, rows[i].unix_ms, {turn->payloads.data + rows[i].begin, rows[i].size}};
    uint64_t begin_ns = server_now().ns;
    if (err == ERR_OK)
        err = store_append(server->store, records, count, &et);
    metric_observe(&server->commit_seconds,
                   (double)(server_now().ns - begin_ns) / (double)NS_PER_S);
    mem_free(records);
    bytes_clear(&turn->records);
    bytes_clear(&turn->payloads);
    if (err != ERR_OK)
        server_fail(server, err, et.text);
}

/* Peers that turned out to be gone are told to sched; true when there were any. The last words of
 * a closed connection wait in the socket: it is gone when they are read. */
static bool report_gone(struct server *server)
{
    bool found = false, all_is_read = !transport_pending(server->control);
    struct list_node *next;
    for (struct list_node *n = list_first(&server->peers); n != NULL; n = next) {
        struct server_peer *peer = CONTAINER_OF(n, struct server_peer, node);
        next = list_next(&server->peers, n);
        if (!peer->is_gone && !(peer->is_deaf && all_is_read))
            continue;
        struct sched_event event = {.kind = SCHED_GONE, .peer = {peer->id}};
        bool is_worker = peer->is_worker;
        server_peer_remove(server, peer);
        if (is_worker)
            server_turn_step(server, &event);
        found |= is_worker;
    }
    return found;
}

static void send_all(struct server *server)
{
    struct bytes sends = server->turn.sends;
    bytes_init(&server->turn.sends, TURN_BYTES_MAX);
    for (size_t at = 0; at < sends.size;) {
        uint64_t id;
        uint32_t size;
        memcpy(&id, sends.data + at, sizeof id);
        memcpy(&size, sends.data + at + sizeof id, sizeof size);
        at += sizeof id + sizeof size;
        struct server_peer *peer = server_peer_by_id(server, id);
        if (peer != NULL)
            server_peer_send(server, peer, (struct span){sends.data + at, size});
        at += size;
    }
    bytes_fini(&sends);
}

void server_turn_end(struct server *server)
{
    do {
        do
            commit(server);
        while (server->exit_code == 0 && server_scale_turn(server));
        if (server->exit_code != 0)
            return;
        send_all(server);
        server_work_start(server, &server->turn.works);
        arena_reset(&server->arena);
    } while (report_gone(server));
    server_prune_turn(server);
    server_collect_turn(server);
}
