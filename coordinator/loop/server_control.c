/* server_control.c - see server_control.h. */
#include "coordinator/loop/server_control.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/version.h"
#include "common/ds/container.h"
#include "common/wire/wire.h"
#include "coordinator/admin/admin.h"
#include "coordinator/loop/server_long.h"
#include "coordinator/loop/server_peer.h"
#include "coordinator/loop/server_prune.h"
#include "coordinator/loop/server_request.h"
#include "coordinator/loop/server_scale.h"
#include "coordinator/loop/server_submit.h"
#include "coordinator/loop/server_turn.h"

enum {
    MAY_WORK = 1 << TRANSPORT_WORKER | 1 << TRANSPORT_ADMIN,
    MAY_LOOK = 1 << TRANSPORT_VIEW | 1 << TRANSPORT_SUBMIT | 1 << TRANSPORT_ADMIN,
    MAY_SUBMIT = 1 << TRANSPORT_SUBMIT | 1 << TRANSPORT_ADMIN,
    MAY_RULE = 1 << TRANSPORT_ADMIN,
    DETAIL_BYTES = 96
};

/* Every client's request begins with its ticket. */
_Static_assert(offsetof(struct msg_submit, ticket) == 0, "the ticket comes first");
_Static_assert(offsetof(struct msg_stop, ticket) == 0, "the ticket comes first");

typedef void (*server_control_f)(struct server *server, struct server_peer *peer,
                                 const union message_any *message);

static void on_heartbeat(struct server *server, struct server_peer *peer,
                         const union message_any *message)
{
    server_turn_step(server, &(struct sched_event){.kind = SCHED_HEARTBEAT,
                                                   .peer = {peer->id},
                                                   .heartbeat = &message->heartbeat});
}

static void on_accept(struct server *server, struct server_peer *peer,
                      const union message_any *message)
{
    server_turn_step(server, &(struct sched_event){.kind = SCHED_ACCEPT,
                                                   .peer = {peer->id},
                                                   .accept = &message->lease_accept});
}

/* A result whose artifacts did not arrive counts as an attempt that failed: a record must never
 * name what is not there. */
static void on_result(struct server *server, struct server_peer *peer,
                      const union message_any *message)
{
    struct msg_lease_result result = message->lease_result;
    for (uint32_t i = 0; i < result.result.outputs_count && result.error == 0; i++) {
        const struct artifact_ref *output = &result.result.outputs[i];
        if (artifact_is_present(server->artifacts, output->digest, output->size_bytes,
                                output->ephemeral))
            continue;
        const char *text = arena_print(&server->arena, "output %.*s is not at the coordinator",
                                       TEXT_ARGS(output->name));
        result.error = ERR_LOST;
        result.detail = text_of(text == NULL ? "" : text);
        result.result = (struct task_result){0};
    }
    server_turn_step(
        server, &(struct sched_event){.kind = SCHED_RESULT, .peer = {peer->id}, .result = &result});
}

static void on_leave(struct server *server, struct server_peer *peer,
                     const union message_any *message)
{
    server_turn_step(
        server,
        &(struct sched_event){.kind = SCHED_LEAVE, .peer = {peer->id}, .leave = &message->leave});
    peer->is_gone = true;
}

static void on_submit(struct server *server, struct server_peer *peer,
                      const union message_any *message)
{
    server_submit_start(server, peer, &message->submit);
}

/* A submitter rules over what it submitted. */
static void on_job_control(struct server *server, struct server_peer *peer,
                           const union message_any *message)
{
    const struct msg_job_control *request = &message->job_control;
    struct err_text et = {""};
    struct job_row row;
    size_t index;
    enum err err = admin_find(server->sched, request->prefix, &index, &et);
    if (err == ERR_OK) {
        sched_job_row(server->sched, index, &row);
        if (peer->role != TRANSPORT_ADMIN && !text_is(row.owner, peer->user))
            err = error_set(&et, ERR_DENIED, "the job belongs to %.*s", TEXT_ARGS(row.owner));
    }
    if (err != ERR_OK) {
        server_turn_status(server, peer->id, request->ticket, err, et.text);
        return;
    }
    server_turn_step(server, &(struct sched_event){
                                 .kind = SCHED_CONTROL, .peer = {peer->id}, .control = request});
}

static void on_worker_drain(struct server *server, struct server_peer *peer,
                            const union message_any *message)
{
    server_turn_step(server, &(struct sched_event){.kind = SCHED_DRAIN,
                                                   .peer = {peer->id},
                                                   .drain = &message->worker_drain});
}

void server_control_retire(struct server *server, const char *reason)
{
    struct msg_retire retire = {.reason = text_of(reason)};
    if (server->is_retiring)
        return; /* the moment it waits for workers has begun */
    for (struct list_node *n = list_first(&server->peers); n != NULL;
         n = list_next(&server->peers, n)) {
        struct server_peer *peer = CONTAINER_OF(n, struct server_peer, node);
        if (peer->is_worker)
            server_turn_send(server, peer->id, MSG_RETIRE, &retire);
    }
    server->is_retiring = true;
    server->retire_ns = server_now().ns;
}

static void on_stop(struct server *server, struct server_peer *peer,
                    const union message_any *message)
{
    const struct msg_stop *request = &message->stop;
    if (!server->options->is_embedded) {
        server_turn_status(server, peer->id, request->ticket, ERR_DENIED,
                           "this coordinator serves a fleet; stop it with its service manager");
        return;
    }
    server_turn_status(server, peer->id, request->ticket, ERR_OK, "");
    server_control_retire(server, "the run is over");
}

static const struct route {
    unsigned allowed;
    bool is_request; /* of a client: has a ticket, refusals are answered */
    server_control_f handle;
} routes[] = {
    [MSG_HEARTBEAT] = {MAY_WORK, false, on_heartbeat},
    [MSG_LEASE_ACCEPT] = {MAY_WORK, false, on_accept},
    [MSG_LEASE_RESULT] = {MAY_WORK, false, on_result},
    [MSG_LEAVE] = {MAY_WORK, false, on_leave},
    [MSG_SUBMIT] = {MAY_SUBMIT, true, on_submit},
    [MSG_JOBS_GET] = {MAY_LOOK, true, server_request_jobs},
    [MSG_JOB_GET] = {MAY_LOOK, true, server_request_job},
    [MSG_JOB_CONTROL] = {MAY_SUBMIT, true, on_job_control},
    [MSG_EVENTS_GET] = {MAY_LOOK, true, server_request_events},
    [MSG_WORKERS_GET] = {MAY_LOOK, true, server_request_workers},
    [MSG_WORKER_DRAIN] = {MAY_RULE, true, on_worker_drain},
    [MSG_CHECKPOINTS_GET] = {MAY_LOOK, true, server_request_checkpoints},
    [MSG_CHECKPOINT_CONTROL] = {MAY_SUBMIT, true, server_prune_control},
    [MSG_ARTIFACT_VERIFY] = {MAY_SUBMIT, true, server_request_verify},
    [MSG_STOP] = {MAY_RULE, true, on_stop},
    [MSG_ARTIFACTS_GET] = {MAY_LOOK, true, server_request_artifacts},
    [MSG_EXPLAIN_GET] = {MAY_LOOK, true, server_request_explain},
    [MSG_SCALE] = {MAY_RULE, true, server_scale_request},
    [MSG_PROVIDERS_GET] = {MAY_LOOK, true, server_scale_providers},
};

/* A refusal goes to somebody who is not in the table of peers: at once, it shows no state. */
static void refuse(struct server *server, const struct transport_id *to, uint32_t number,
                   const void *message)
{
    bytes_clear(&server->scratch);
    if (wire_encode(message_type_of(number), message, &server->scratch) == ERR_OK &&
        transport_send(server->control, to, bytes_span(&server->scratch)) != ERR_OK)
        server_log("a refusal could not be sent");
}

static void refuse_hello(struct server *server, const struct transport_frame *frame, enum err err,
                         const char *detail)
{
    struct msg_welcome welcome = {.protocol = MESSAGE_PROTOCOL,
                                  .incarnation = server->incarnation,
                                  .error = (uint32_t)err,
                                  .detail = text_of(detail)};
    refuse(server, &frame->id, MSG_WELCOME, &welcome);
}

/* The peer said more than is known here, or speaks another protocol. */
static void refuse_version(struct server *server, const struct transport_frame *frame)
{
    char detail[160];
    (void)snprintf(detail, sizeof detail,
                   "it is qfleet %s, protocol %u, of another build than this program: use the "
                   "programs of one version",
                   version_text(), MESSAGE_PROTOCOL);
    refuse_hello(server, frame, ERR_VERSION, detail);
}

static void on_hello(struct server *server, const struct transport_frame *frame,
                     const struct msg_hello *hello)
{
    struct server_peer *peer = server_peer_of(server, frame);
    unsigned allowed = hello->role == PEER_WORKER ? MAY_WORK : MAY_LOOK;
    if (hello->protocol != MESSAGE_PROTOCOL) {
        refuse_version(server, frame);
        return;
    }
    if (!(allowed >> frame->role & 1) ||
        (peer != NULL && peer->is_worker != (hello->role == PEER_WORKER))) {
        refuse_hello(server, frame, ERR_DENIED, "this key's role does not allow it");
        return;
    }
    enum err err = peer == NULL ? server_peer_add(server, frame, hello, &peer) : ERR_OK;
    if (err != ERR_OK) {
        refuse_hello(server, frame, err, error_text(err));
        return;
    }
    peer->heard_ns = server_now().ns;
    peer->is_deaf = false; /* a connection that came back; if it is not, the answer shows it */
    if (peer->is_worker) {
        server_turn_step(
            server, &(struct sched_event){.kind = SCHED_HELLO, .peer = {peer->id}, .hello = hello});
        return;
    }
    struct msg_welcome welcome = {.protocol = MESSAGE_PROTOCOL, .heartbeat_ms = LIMIT_HEARTBEAT_MS};
    server_turn_send(server, peer->id, MSG_WELCOME, &welcome);
}

/* Who may, in words: the smallest role that is allowed. */
static struct text denial_of(const struct route *route, enum transport_role role,
                             char detail[DETAIL_BYTES])
{
    enum transport_role needed = TRANSPORT_VIEW;
    while (needed < TRANSPORT_ADMIN && !(route->allowed >> needed & 1))
        needed++;
    (void)snprintf(detail, DETAIL_BYTES, "not allowed for this role: the key's is %s, it takes %s",
                   transport_keys_role_word(role), transport_keys_role_word(needed));
    return text_of(detail);
}

static void dispatch(struct server *server, const struct transport_frame *frame, uint32_t number,
                     const union message_any *message)
{
    const struct route *route = number < COUNT_OF(routes) ? &routes[number] : NULL;
    struct server_peer *peer = server_peer_of(server, frame);
    struct msg_status status = {.error = ERR_DENIED};
    char detail[DETAIL_BYTES];
    if (route == NULL || route->handle == NULL)
        return; /* nothing that is said to a coordinator */
    status.detail = denial_of(route, frame->role, detail);
    if (route->is_request)
        memcpy(&status.ticket, message, sizeof status.ticket);
    if (peer == NULL) {
        status.error = ERR_PROTOCOL;
        status.detail = TEXT("say hello first");
    }
    if (peer == NULL || !(route->allowed >> frame->role & 1) ||
        peer->is_worker == route->is_request) {
        if (route->is_request)
            refuse(server, &frame->id, MSG_STATUS, &status);
        else if (peer == NULL) /* a worker of an earlier life of this process */
            refuse_hello(server, frame, ERR_NOT_FOUND, "say hello first");
        return;
    }
    peer->heard_ns = server_now().ns;
    if (!route->is_request || !server_long_is_out(server, peer->id, status.ticket))
        route->handle(server, peer, message); /* else its answer is coming */
}

bool server_control_drain(struct server *server)
{
    for (int i = 0; i < SERVER_CONTROL_BUDGET && !server->is_stopping; i++) {
        struct transport_frame frame;
        enum err err = transport_receive(server->control, 0, &frame);
        if (err == ERR_TIMEOUT)
            return false;
        if (err != ERR_OK)
            continue;
        const struct message_type *type;
        union message_any message;
        arena_reset(&server->arena);
        err = wire_decode(frame.body, &server->arena, &type, &message);
        if (err != ERR_OK) {
            server_log("a frame of %zu bytes from %s was refused: %s", frame.body.size, frame.user,
                       error_text(err));
            if (err == ERR_VERSION)
                refuse_version(server, &frame);
            continue;
        }
        if (type->number == MSG_HELLO)
            on_hello(server, &frame, &message.hello);
        else
            dispatch(server, &frame, type->number, &message);
    }
    return !server->is_stopping && transport_pending(server->control);
}
