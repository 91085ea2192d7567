/* server_request.c - see server_request.h. */
#include "coordinator/loop/server_request.h"

#include "common/base/check.h"
#include "common/ds/container.h"
#include "common/mem/mem.h"
#include "coordinator/admin/admin.h"
#include "coordinator/admin/admin_event.h"
#include "coordinator/aggregate/aggregate.h"
#include "coordinator/loop/server_long.h"
#include "coordinator/loop/server_scale.h"
#include "coordinator/loop/server_turn.h"
#include "coordinator/store/record_codec.h"

/* Of one reply to a request for events, and of the log that is looked through for it: the loop has
 * others to serve. */
enum { EVENTS_BYTES_MAX = 3 << 20, EVENT_BYTES = 64, LOOK_RECORDS = 4096, LOOK_BYTES = 4 << 20 };

/* The reply, or why there is none. */
static void answer(struct server *server, struct server_peer *peer, uint64_t ticket, enum err err,
                   const struct err_text *et, uint32_t number, const void *reply)
{
    if (err == ERR_OK)
        server_turn_send(server, peer->id, number, reply);
    else
        server_turn_status(server, peer->id, ticket, err, et->text);
}

void server_request_jobs(struct server *server, struct server_peer *peer,
                         const union message_any *message)
{
    struct msg_jobs reply = {0};
    struct err_text et = {""};
    enum err err = admin_jobs(server->sched, &message->jobs_get, &server->arena, &reply, &et);
    answer(server, peer, message->jobs_get.ticket, err, &et, MSG_JOBS, &reply);
}

void server_request_job(struct server *server, struct server_peer *peer,
                        const union message_any *message)
{
    struct msg_job reply = {0};
    struct err_text et = {""};
    enum err err =
        admin_job(server->sched, &message->job_get, server_now(), &server->arena, &reply, &et);
    answer(server, peer, message->job_get.ticket, err, &et, MSG_JOB, &reply);
}

enum err server_request_explain_rows(struct server *server, const struct msg_explain_get *request,
                                     struct msg_explain *reply, struct err_text *et)
{
    struct provider_row providers[LIMIT_PROVIDERS];
    struct sched_explain_view view = {.now = server_now(), .providers = providers};
    view.provider_count = server_scale_rows(server, view.now, providers);
    return admin_explain(server->sched, request, &view, &server->arena, reply, et);
}

void server_request_explain(struct server *server, struct server_peer *peer,
                            const union message_any *message)
{
    struct msg_explain reply = {0};
    struct err_text et = {""};
    enum err err = server_request_explain_rows(server, &message->explain_get, &reply, &et);
    answer(server, peer, message->explain_get.ticket, err, &et, MSG_EXPLAIN, &reply);
}

void server_request_workers(struct server *server, struct server_peer *peer,
                            const union message_any *message)
{
    struct msg_workers reply = {0};
    struct err_text et = {""};
    enum err err =
        admin_workers(server->sched, &message->workers_get, server_now(), &server->arena, &reply);
    answer(server, peer, message->workers_get.ticket, err, &et, MSG_WORKERS, &reply);
}

void server_request_checkpoints(struct server *server, struct server_peer *peer,
                                const union message_any *message)
{
    struct msg_checkpoints reply = {0};
    struct err_text et = {""};
    enum err err =
        admin_checkpoints(server->sched, &message->checkpoints_get, &server->arena, &reply, &et);
    answer(server, peer, message->checkpoints_get.ticket, err, &et, MSG_CHECKPOINTS, &reply);
}

void server_request_artifacts(struct server *server, struct server_peer *peer,
                              const union message_any *message)
{
    struct msg_artifacts reply = {0};
    struct err_text et = {""};
    enum err err =
        admin_artifacts(server->sched, &message->artifacts_get, &server->arena, &reply, &et);
    answer(server, peer, message->artifacts_get.ticket, err, &et, MSG_ARTIFACTS, &reply);
}

/* Events of one job, or of all, out of the record log. */
struct listing {
    struct server *server;
    struct arena arena; /* owned: of the record at hand */
    uint64_t job;       /* 0: all */
    struct msg_events reply;
    size_t size;
    size_t looked_count, looked_bytes;
    bool is_full;
};

static enum err on_record(void *context, uint64_t seq, const struct store_record *record)
{
    struct listing *l = context;
    union message_record decoded;
    arena_reset(&l->arena);
    TRY(record_codec_read(record->number, record->payload, &l->arena, &decoded));
    l->reply.next = seq;
    l->looked_bytes += record->payload.size;
    l->is_full = ++l->looked_count == LOOK_RECORDS || l->looked_bytes > LOOK_BYTES;
    if (l->job != 0 && admin_event_job(record->number, &decoded) != l->job)
        return l->is_full ? ERR_CANCELLED : ERR_OK;
    struct event_row *row = &l->reply.events[l->reply.events_count];
    TRY(admin_event_row(l->server->sched, seq, record->unix_ms, record->number, &decoded,
                        &l->server->arena, row));
    l->reply.events_count++;
    l->size += EVENT_BYTES + row->text.size;
    l->is_full |= l->reply.events_count == LIMIT_LIST_ROWS || l->size > EVENTS_BYTES_MAX;
    return l->is_full ? ERR_CANCELLED : ERR_OK;
}

/* Ids of jobs are what sched's rows say. */
static enum err find_job(struct server *server, struct text prefix, uint64_t *job,
                         struct err_text *et)
{
    size_t index;
    struct job_row row;
    TRY(admin_find(server->sched, prefix, &index, et));
    sched_job_row(server->sched, index, &row);
    *job = row.job;
    return ERR_OK;
}

enum err server_request_event_rows(struct server *server, const struct msg_events_get *request,
                                   struct msg_events *reply, struct err_text *et)
{
    struct listing l = {.server = server,
                        .reply = {.ticket = request->ticket,
                                  .next = request->after,
                                  .last = store_last(server->store)}};
    enum err err = ERR_OK;
    arena_init(&l.arena, SERVER_ARENA_BYTES);
    l.reply.events = arena_alloc(&server->arena, LIMIT_LIST_ROWS, sizeof *l.reply.events);
    if (l.reply.events == NULL)
        err = ERR_OUT_OF_MEMORY;
    if (err == ERR_OK && request->prefix.size > 0)
        err = find_job(server, request->prefix, &l.job, et);
    if (err == ERR_OK)
        err = store_read(server->store, request->after, on_record, &l, et);
    if (err == ERR_CANCELLED && l.is_full)
        err = ERR_OK;
    arena_fini(&l.arena);
    *reply = l.reply;
    return err;
}

void server_request_events(struct server *server, struct server_peer *peer,
                           const union message_any *message)
{
    struct msg_events reply = {0};
    struct err_text et = {""};
    enum err err = server_request_event_rows(server, &message->events_get, &reply, &et);
    answer(server, peer, message->events_get.ticket, err, &et, MSG_EVENTS, &reply);
}

/* Reading an artifact again may take minutes: on the pool. */
struct verification {
    struct server_long request;
    struct digest digest;
    struct digest ledger; /* of the checkpoint that it is; zero: it is none */
    struct err_text et;
};

/* Which tensors of a damaged checkpoint are not what its ledger says. */
static void place_damage(struct verification *v)
{
    struct artifact_store *artifacts = v->request.server->artifacts;
    struct artifact state = {.entry = NULL}, ledger = {.entry = NULL};
    struct err_text where = {""}, ignored;
    struct err_text said = v->et;
    if (artifact_acquire(artifacts, v->digest, &state, &ignored) == ERR_OK &&
        artifact_acquire(artifacts, v->ledger, &ledger, &ignored) == ERR_OK) {
        aggregate_find_damage(state.bytes, ledger.bytes, &where);
        (void)error_set(&v->et, ERR_DIGEST, "%s; %s", said.text, where.text);
    }
    artifact_release(artifacts, &ledger);
    artifact_release(artifacts, &state);
}

static enum err verify(struct server_long *request)
{
    struct verification *v = CONTAINER_OF(request, struct verification, request);
    enum err err = artifact_verify(request->server->artifacts, v->digest, &v->et);
    if (err == ERR_DIGEST && !digest_is_zero(v->ledger))
        place_damage(v);
    return err;
}

static struct digest ledger_of(const struct sched *sched, struct digest digest)
{
    for (size_t i = sched_job_count(sched); i-- > 0;) {
        size_t count;
        const struct checkpoint_row *rows = sched_job_checkpoints(sched, i, &count);
        for (size_t k = 0; k < count; k++) {
            if (digest_equal(rows[k].digest, digest))
                return rows[k].ledger;
        }
    }
    return (struct digest){{0}};
}

static void on_verified(struct server_long *request, enum err err)
{
    struct verification *v = CONTAINER_OF(request, struct verification, request);
    if (err != ERR_CANCELLED)
        server_turn_status(request->server, request->peer, request->ticket, err, v->et.text);
    mem_free(v);
}

void server_request_verify(struct server *server, struct server_peer *peer,
                           const union message_any *message)
{
    struct verification *v = mem_alloc(1, sizeof *v);
    if (v == NULL) {
        server_turn_status(server, peer->id, message->artifact_verify.ticket, ERR_OUT_OF_MEMORY,
                           "");
        return;
    }
    v->request = (struct server_long){.server = server,
                                      .peer = peer->id,
                                      .ticket = message->artifact_verify.ticket,
                                      .run = verify,
                                      .done = on_verified};
    v->digest = message->artifact_verify.digest;
    v->ledger = ledger_of(server->sched, v->digest);
    server_long_start(&v->request);
}
