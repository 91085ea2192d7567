/* session.c - what workers say about themselves. */
#include "coordinator/sched/session.h"

#include <stdio.h>

#include "common/base/check.h"
#include "common/base/utf8.h"
#include "common/mem/mem.h"
#include "coordinator/sched/result.h"

static void welcome(struct sched *s, struct peer_id peer, const struct worker *worker,
                    enum err error, struct text detail)
{
    /* The loop knows the endpoint of the bulk socket and fills it in. */
    effect_send(&s->effect, peer, MSG_WELCOME)->welcome =
        (struct msg_welcome){.protocol = MESSAGE_PROTOCOL,
                             .incarnation = s->incarnation,
                             .worker = worker == NULL ? 0 : worker->id,
                             .heartbeat_ms = LIMIT_HEARTBEAT_MS,
                             .error = (uint32_t)error,
                             .detail = detail};
}

static bool is_listed(const struct lease_status *rows, uint32_t count, uint64_t fence)
{
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].fence == fence)
            return true;
    }
    return false;
}

/* Leases that the worker does not know of: their grants never arrived. */
static void take_back(struct sched *s, struct worker *worker, const struct lease_status *rows,
                      uint32_t count)
{
    for (size_t i = 0; i < ROSTER_SLOTS; i++) {
        struct lease *lease = &worker->slots[i];
        if (lease->fence != 0 && !is_listed(rows, count, lease->fence))
            result_lose(s, lease, false);
    }
}

enum err session_stranger(struct sched *s, struct peer_id peer)
{
    TRY(effect_reserve(&s->effect, 0, 1, 0));
    welcome(s, peer, NULL, ERR_NOT_FOUND, TEXT("say hello first"));
    return ERR_OK;
}

/* The log of its job says how the process before died, which nobody saw: one that the kernel kills
 * for memory says nothing. */
static enum err note_death(struct sched *s, const struct msg_hello *hello)
{
    struct job *job = hello->last_job != 0 ? job_of_id(s, hello->last_job) : NULL;
    if (job == NULL || !job_is_active(job) || hello->last_end.size == 0 ||
        !utf8_is_line(hello->last_end))
        return ERR_OK;
    struct sched_record record = {.number = REC_WORKER_DIED};
    record.record.worker_died = (struct rec_worker_died){
        .job = hello->last_job, .worker = hello->name, .detail = hello->last_end};
    return core_decide(s, &record, NULL);
}

enum err session_hello(struct sched *s, struct peer_id peer, const struct msg_hello *hello)
{
    TRY(effect_reserve(&s->effect, 0, 1, 0));
    if (hello->protocol != MESSAGE_PROTOCOL) {
        char *detail = arena_print(&s->effect.arena, "protocol %u is spoken here, not %u",
                                   MESSAGE_PROTOCOL, hello->protocol);
        welcome(s, peer, NULL, ERR_VERSION, detail == NULL ? TEXT("") : text_of(detail));
        return ERR_OK;
    }
    if (hello->name.size == 0) {
        welcome(s, peer, NULL, ERR_PROTOCOL, TEXT("a worker has a name"));
        return ERR_OK;
    }
    if (!utf8_is_line(hello->name)) { /* ledgers and logs name it */
        welcome(s, peer, NULL, ERR_PROTOCOL, TEXT("a worker's name is UTF-8 in one line"));
        return ERR_OK;
    }
    struct worker *worker = roster_of_session(&s->roster, hello->session);
    if (worker == NULL) {
        size_t leases = (s->roster.count + 1) * ROSTER_SLOTS;
        TRY(heap_reserve(&s->expiries, leases));
        TRY(heap_reserve(&s->patience, leases));
        if (roster_is_full(&s->roster)) {
            welcome(s, peer, NULL, ERR_BUSY, TEXT("as many workers as are allowed are connected"));
            return ERR_OK;
        }
        TRY(note_death(s, hello));
        TRY(roster_join(&s->roster, hello, peer, s->now, &worker));
    }
    roster_connect(&s->roster, worker, peer);
    roster_hear(&s->roster, worker, s->now);
    take_back(s, worker, hello->leases, hello->leases_count);
    welcome(s, peer, worker, ERR_OK, TEXT(""));
    return ERR_OK;
}

/* Room for one send is reserved; `reason` is of the effects. */
static void say_drain(struct sched *s, const struct worker *worker, struct text reason)
{
    effect_send(&s->effect, worker->peer, MSG_DRAIN)->drain.reason = reason;
}

static void drain_worker(struct sched *s, struct worker *worker, const char *reason)
{
    roster_say_why(worker, text_of(reason));
    worker->is_draining = true;
    if (worker->state == WORKER_READY)
        worker->state = WORKER_DRAINING;
    roster_place(&s->roster, worker, s->now);
    say_drain(s, worker, text_of(reason));
}

/* The word that it shall go is lost with a connection, like any other. */
static enum err remind(struct sched *s, const struct worker *worker)
{
    const char *why = worker->drain_reason == NULL ? "" : worker->drain_reason;
    char *reason = arena_copy_text(&s->effect.arena, text_of(why));
    if (reason == NULL)
        return ERR_OUT_OF_MEMORY;
    say_drain(s, worker, text_of(reason));
    return ERR_OK;
}

enum err session_heartbeat(struct sched *s, struct worker *worker,
                           const struct msg_heartbeat *heartbeat)
{
    TRY(effect_reserve(&s->effect, 0, 2, 0));
    if (worker->is_draining && !heartbeat->draining)
        TRY(remind(s, worker));
    struct fence_ref *stale = arena_alloc(&s->effect.arena, heartbeat->leases_count, sizeof *stale);
    if (stale == NULL)
        return ERR_OUT_OF_MEMORY;
    uint32_t stale_count = 0;
    worker->rss_bytes = heartbeat->rss_bytes;
    worker->is_draining = worker->is_draining || heartbeat->draining;
    roster_hear(&s->roster, worker, s->now);
    for (uint32_t i = 0; i < heartbeat->leases_count; i++) {
        const struct lease_status *status = &heartbeat->leases[i];
        struct lease *lease = lease_find(worker, status->fence);
        if (lease == NULL) {
            stale[stale_count++].fence = status->fence;
            continue;
        }
        lease->is_accepted = true;
        lease->done = status->done;
        lease->total = status->total;
        lease_renew(s, lease);
    }
    if (heartbeat->draining) /* it lets go what it has not begun */
        take_back(s, worker, heartbeat->leases, heartbeat->leases_count);
    struct msg_heartbeat_ack *ack =
        &effect_send(&s->effect, worker->peer, MSG_HEARTBEAT_ACK)->heartbeat_ack;
    ack->seq = heartbeat->seq;
    ack->stale = stale;
    ack->stale_count = stale_count;
    return ERR_OK;
}

enum err session_let_go(struct sched *s, uint64_t id, struct text reason)
{
    TRY(effect_reserve(&s->effect, 0, 1, 0));
    char *copy = arena_copy_text(&s->effect.arena, reason);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < s->roster.count; i++) {
        struct worker *worker = s->roster.workers[i];
        if (worker->id == id && worker->is_connected)
            drain_worker(s, worker, copy);
    }
    return ERR_OK;
}

enum err session_drain(struct sched *s, struct peer_id client, const struct msg_worker_drain *drain)
{
    TRY(effect_reserve(&s->effect, 0, s->roster.count + 1, 0));
    char *reason = arena_copy_text(&s->effect.arena, drain->reason);
    if (reason == NULL)
        return ERR_OUT_OF_MEMORY;
    size_t count = 0;
    for (size_t i = 0; i < s->roster.count; i++) {
        struct worker *worker = s->roster.workers[i];
        bool is_meant = text_is(drain->name, "all") || text_is(drain->name, worker->name);
        if (!is_meant || !worker->is_connected)
            continue;
        count++;
        drain_worker(s, worker, reason);
    }
    struct msg_status *status = &effect_send(&s->effect, client, MSG_STATUS)->status;
    status->ticket = drain->ticket;
    if (count == 0) {
        status->error = ERR_NOT_FOUND;
        status->detail = TEXT("no connected worker has that name");
    }
    return ERR_OK;
}

static void take_all(struct sched *s, struct worker *worker, bool blame)
{
    for (size_t i = 0; i < ROSTER_SLOTS; i++) {
        if (worker->slots[i].fence != 0)
            result_lose(s, &worker->slots[i], blame);
    }
}

static void lose(struct sched *s, struct worker *worker)
{
    bool is_dead = worker->dead_at.ns != 0;
    take_all(s, worker, true);
    roster_say_why(worker,
                   is_dead ? TEXT("its process ended without a word") : TEXT("it fell silent"));
    roster_depart(&s->roster, worker, WORKER_LOST);
    s->counts.workers_lost++;
}

void session_gone(struct sched *s, struct peer_id peer)
{
    struct worker *worker = roster_of_peer(&s->roster, peer);
    if (worker == NULL)
        return;
    roster_disconnect(&s->roster, worker);
    roster_place(&s->roster, worker, s->now);
    if (worker->dead_at.ns != 0 && roster_is_living(worker))
        lose(s, worker);
}

/* Whether its connection ended too is asked by an answer to no heartbeat: then GONE comes when its
 * last words are read. */
enum err session_crashed(struct sched *s, uint64_t id)
{
    TRY(effect_reserve(&s->effect, 0, 1, 0));
    for (size_t i = 0; i < s->roster.count; i++) {
        struct worker *worker = s->roster.workers[i];
        if (worker->id != id || !roster_is_living(worker))
            continue;
        worker->dead_at = s->now;
        roster_place(&s->roster, worker, s->now);
        if (worker->is_connected)
            (void)effect_send(&s->effect, worker->peer, MSG_HEARTBEAT_ACK);
        else
            lose(s, worker);
    }
    return ERR_OK;
}

void session_leave(struct sched *s, struct worker *worker, const struct msg_leave *leave)
{
    take_all(s, worker, false);
    roster_say_why(worker, leave->reason);
    roster_depart(&s->roster, worker, WORKER_LEFT);
}

static struct instant later(const struct sched *s, struct instant then, struct duration pause)
{
    return (struct instant){MIN(instant_after(then, pause).ns, s->now.ns)};
}

static void pause_lease(struct sched *s, struct lease *lease, struct duration pause)
{
    uint64_t expiry_ns = lease->by_expiry.key + pause.ns;
    heap_put(&s->expiries, &lease->by_expiry, expiry_ns, lease->fence);
    lease->granted = later(s, lease->granted, pause); /* its result may wait as well */
}

void session_pause(struct sched *s, struct duration pause)
{
    for (size_t i = 0; pause.ns > 0 && i < s->roster.count; i++) {
        struct worker *worker = s->roster.workers[i];
        worker->heard = later(s, worker->heard, pause);
        if (worker->dead_at.ns != 0)
            worker->dead_at = later(s, worker->dead_at, pause);
        for (size_t k = 0; k < ROSTER_SLOTS; k++) {
            if (worker->slots[k].fence != 0)
                pause_lease(s, &worker->slots[k], pause);
        }
        roster_place(&s->roster, worker, s->now);
    }
}

void session_deadlines(struct sched *s)
{
    struct heap_node *node;
    while ((node = heap_first(&s->roster.deadlines)) != NULL && node->key <= s->now.ns) {
        struct worker *worker = CONTAINER_OF(node, struct worker, by_deadline);
        if (roster_is_lost(&s->roster, worker, s->now))
            lose(s, worker);
    }
    while ((node = heap_first(&s->expiries)) != NULL && node->key <= s->now.ns) {
        struct lease *lease = CONTAINER_OF(node, struct lease, by_expiry);
        result_lose(s, lease, lease->is_accepted);
    }
}
