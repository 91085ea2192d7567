/* server_prune.c - see server_prune.h. */
#include "coordinator/loop/server_prune.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "coordinator/admin/admin.h"
#include "coordinator/loop/server_turn.h"
#include "coordinator/sched/sched_history.h"

enum { WAITERS_BYTES_MAX = 1 << 16, CANDIDATE_BYTES_MAX = 1 << 30 };

/* A client that asked for it. */
struct waiter {
    uint64_t peer, ticket;
};

/* An artifact that may go: `uses` of it are about to end, and records reach it `visits` times. */
struct candidate {
    struct digest digest;
    uint64_t uses, visits;
};

/* Sorted by digest, each once. */
struct candidates {
    struct bytes rows; /* owned */
};

static struct candidate *rows_of(const struct candidates *c, size_t *count)
{
    *count = c->rows.size / sizeof(struct candidate);
    return (struct candidate *)(void *)c->rows.data;
}

static int compare(const void *a, const void *b)
{
    return memcmp(((const struct candidate *)a)->digest.v, ((const struct candidate *)b)->digest.v,
                  DIGEST_BYTES);
}

static void add(struct candidates *c, struct digest digest, uint64_t uses)
{
    struct candidate row = {.digest = digest, .uses = uses};
    bytes_append(&c->rows, &row, sizeof row);
}

/* Those that are named twice become one. */
static void settle(struct candidates *c)
{
    size_t count, kept = 0;
    struct candidate *rows = rows_of(c, &count);
    if (count > 0)
        qsort(rows, count, sizeof *rows, compare);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && digest_equal(rows[kept - 1].digest, rows[i].digest))
            rows[kept - 1].uses += rows[i].uses;
        else
            rows[kept++] = rows[i];
    }
    c->rows.size = kept * sizeof *rows;
}

static void visit(void *context, struct digest digest)
{
    size_t count;
    struct candidate *rows = rows_of(context, &count);
    struct candidate wanted = {.digest = digest};
    struct candidate *found =
        count == 0 ? NULL : bsearch(&wanted, rows, count, sizeof *rows, compare);
    if (found != NULL)
        found->visits++;
}

static enum err count_visits(const struct server *server, struct candidates *c)
{
    TRY(bytes_status(&c->rows));
    settle(c);
    sched_each_root(server->sched, visit, c);
    return ERR_OK;
}

/* Files that no record reaches once the uses end, and their bytes. */
static void measure(const struct server *server, const struct candidates *c, uint64_t *files,
                    uint64_t *bytes)
{
    size_t count;
    const struct candidate *rows = rows_of(c, &count);
    *files = *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t size =
            rows[i].visits > rows[i].uses ? 0 : artifact_size(server->artifacts, rows[i].digest);
        *files += size > 0;
        *bytes += size;
    }
}

static enum err gather_orphans(const struct server *server, struct candidates *c, size_t *looked)
{
    const struct digest *orphans = sched_history_orphans(server->sched, looked);
    bytes_init(&c->rows, CANDIDATE_BYTES_MAX);
    for (size_t i = 0; i < *looked; i++)
        add(c, orphans[i], 0);
    return count_visits(server, c);
}

static void reply(struct server *server, struct waiter waiter, uint64_t files, uint64_t bytes)
{
    struct msg_checkpoint_controlled message = {
        .ticket = waiter.ticket, .files = files, .bytes = bytes};
    server_turn_send(server, waiter.peer, MSG_CHECKPOINT_CONTROLLED, &message);
}

/* Bytes that pruning frees after these are forgotten. */
static enum err would_free(const struct server *server, const struct checkpoint_verdict *verdicts,
                           uint32_t count, uint64_t *bytes)
{
    struct candidates c;
    uint64_t files;
    bytes_init(&c.rows, CANDIDATE_BYTES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        if (!verdicts[i].forgotten)
            continue;
        add(&c, verdicts[i].row.digest, 1);
        add(&c, verdicts[i].row.ledger, 1);
    }
    enum err err = count_visits(server, &c);
    if (err == ERR_OK)
        measure(server, &c, &files, bytes);
    bytes_fini(&c.rows);
    return err;
}

static enum err look_at_forget(struct server *server, size_t index,
                               const struct msg_checkpoint_control *control,
                               struct msg_checkpoint_controlled *out, struct err_text *et)
{
    *out = (struct msg_checkpoint_controlled){.ticket = control->ticket};
    TRY(sched_history_judge(server->sched, index, control, server_unix_ms(), &server->arena,
                            &out->verdicts, &out->verdicts_count, et));
    return would_free(server, out->verdicts, out->verdicts_count, &out->bytes);
}

/* A submitter rules over what it submitted. */
static enum err find_job(const struct server *server, const struct server_peer *peer,
                         const struct msg_checkpoint_control *control, size_t *index,
                         struct err_text *et)
{
    struct job_row row;
    TRY(admin_find(server->sched, control->prefix, index, et));
    sched_job_row(server->sched, *index, &row);
    if (peer->role != TRANSPORT_ADMIN && !text_is(row.owner, peer->user))
        return error_set(et, ERR_DENIED, "the job belongs to %.*s", TEXT_ARGS(row.owner));
    return ERR_OK;
}

static void prune(struct server *server, const struct server_peer *peer,
                  const struct msg_checkpoint_control *control)
{
    struct waiter waiter = {peer->id, control->ticket};
    struct candidates c;
    uint64_t files = 0, bytes = 0;
    size_t looked;
    if (!control->dry_run && server->prune_waiters.size > WAITERS_BYTES_MAX - sizeof waiter) {
        server_turn_status(server, peer->id, control->ticket, ERR_BUSY, "");
        return;
    }
    if (!control->dry_run) {
        bytes_append(&server->prune_waiters, &waiter, sizeof waiter);
        server_prune_want(server);
        return;
    }
    enum err err = gather_orphans(server, &c, &looked);
    if (err == ERR_OK) {
        measure(server, &c, &files, &bytes);
        reply(server, waiter, files, bytes);
    } else {
        server_turn_status(server, peer->id, control->ticket, err, "");
    }
    bytes_fini(&c.rows);
}

void server_prune_control(struct server *server, struct server_peer *peer,
                          const union message_any *message)
{
    const struct msg_checkpoint_control *control = &message->checkpoint_control;
    struct msg_checkpoint_controlled would = {0};
    struct err_text et = {""};
    size_t index;
    if (control->action == CHECKPOINT_PRUNE) {
        prune(server, peer, control);
        return;
    }
    enum err err = find_job(server, peer, control, &index, &et);
    if (err == ERR_OK && control->action == CHECKPOINT_FORGET)
        err = look_at_forget(server, index, control, &would, &et);
    if (err != ERR_OK) {
        server_turn_status(server, peer->id, control->ticket, err, et.text);
    } else if (control->action == CHECKPOINT_FORGET && control->dry_run) {
        server_turn_send(server, peer->id, MSG_CHECKPOINT_CONTROLLED, &would);
    } else {
        struct sched_history_request request = {control, would.bytes};
        struct sched_event event = {.kind = SCHED_HISTORY, .peer = {peer->id}};
        event.history = &request;
        server_turn_step(server, &event);
    }
}

void server_prune_want(struct server *server)
{
    server->is_prune_wanted = true;
}

void server_prune_init(struct server *server)
{
    bytes_init(&server->prune_waiters, WAITERS_BYTES_MAX);
}

void server_prune_fini(struct server *server)
{
    bytes_fini(&server->prune_waiters);
}

/* What left the store and lies aside. */
struct pruning {
    uv_work_t request;
    struct server *server; /* borrowed */
    struct bytes numbers;  /* owned: u64 of each */
    struct bytes waiters;  /* owned */
    uint64_t files, bytes, failed;
};

static void on_prune(uv_work_t *request)
{
    struct pruning *p = request->data;
    for (size_t at = 0; at < p->numbers.size; at += sizeof(uint64_t)) {
        uint64_t number;
        memcpy(&number, p->numbers.data + at, sizeof number);
        p->failed += artifact_discard(p->server->artifacts, number) != ERR_OK;
    }
}

static void on_pruned(uv_work_t *request, int status)
{
    struct pruning *p = request->data;
    struct server *server = p->server;
    server->works_out--;
    if (status == 0 && p->files > 0)
        server_log("pruned: %llu files, %llu bytes", (unsigned long long)p->files,
                   (unsigned long long)p->bytes);
    if (p->failed > 0)
        server_log("pruned: %llu files go with the next start", (unsigned long long)p->failed);
    for (size_t at = 0; at < p->waiters.size && !server->is_stopping; at += sizeof(struct waiter)) {
        struct waiter waiter;
        memcpy(&waiter, p->waiters.data + at, sizeof waiter);
        reply(server, waiter, p->files, p->bytes);
    }
    bytes_fini(&p->numbers);
    bytes_fini(&p->waiters);
    mem_free(p);
}

/* Takes what nobody reaches out of the store. */
static enum err retire(struct server *server, struct pruning *p)
{
    struct candidates c;
    size_t looked, count;
    enum err err = gather_orphans(server, &c, &looked);
    const struct candidate *rows = rows_of(&c, &count);
    for (size_t i = 0; err == ERR_OK && i < count; i++) {
        uint64_t number, size;
        if (rows[i].visits > 0 ||
            artifact_retire(server->artifacts, rows[i].digest, &number, &size) != ERR_OK)
            continue;
        bytes_append(&p->numbers, &number, sizeof number);
        p->files++;
        p->bytes += size;
    }
    if (err == ERR_OK)
        sched_history_drop(server->sched, looked);
    bytes_fini(&c.rows);
    return err;
}

void server_prune_turn(struct server *server)
{
    if (!server->is_prune_wanted || server->namers_out > 0 || server->is_stopping)
        return;
    struct pruning *p = mem_alloc(1, sizeof *p);
    if (p == NULL)
        return; /* the next turn tries again */
    p->request.data = p;
    p->server = server;
    bytes_init(&p->numbers, CANDIDATE_BYTES_MAX);
    if (retire(server, p) != ERR_OK) {
        bytes_fini(&p->numbers);
        mem_free(p);
        return;
    }
    p->waiters = server->prune_waiters;
    bytes_init(&server->prune_waiters, WAITERS_BYTES_MAX);
    server->is_prune_wanted = false;
    server->works_out++;
    ASSERT(uv_queue_work(&server->loop, &p->request, on_prune, on_pruned) == 0);
}
