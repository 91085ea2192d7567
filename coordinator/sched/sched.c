/* sched.c - takes an event to the file that knows, then does all that became possible. */
#include "coordinator/sched/sched.h"

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "coordinator/sched/advance.h"
#include "coordinator/sched/control.h"
#include "coordinator/sched/core.h"
#include "coordinator/sched/grant.h"
#include "coordinator/sched/history.h"
#include "coordinator/sched/result.h"
#include "coordinator/sched/reuse.h"
#include "coordinator/sched/sched_history.h"
#include "coordinator/sched/session.h"
#include "coordinator/sched/target.h"

enum { VIEW_BYTES_MAX = 64 << 20, POSTPONED_MS = 100 };

enum err sched_create(uint32_t incarnation, struct sched **out)
{
    struct sched *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return ERR_OUT_OF_MEMORY;
    s->view_arena = mem_alloc(1, sizeof *s->view_arena);
    if (s->view_arena == NULL) {
        mem_free(s);
        return ERR_OUT_OF_MEMORY;
    }
    s->incarnation = incarnation;
    arena_init(s->view_arena, VIEW_BYTES_MAX);
    effect_init(&s->effect);
    roster_init(&s->roster);
    map_init(&s->jobs_by_id);
    map_init(&s->jobs_by_request);
    map_init(&s->reuse);
    list_init(&s->dirty);
    heap_init(&s->retries);
    heap_init(&s->expiries);
    heap_init(&s->patience);
    *out = s;
    return ERR_OK;
}

void sched_destroy(struct sched **sched)
{
    struct sched *s = *sched;
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->job_count; i++)
        job_destroy(s->jobs[i]);
    mem_free(s->jobs);
    roster_fini(&s->roster);
    target_fini(s);
    effect_fini(&s->effect);
    arena_fini(s->view_arena);
    mem_free(s->view_arena);
    map_fini(&s->jobs_by_id);
    map_fini(&s->jobs_by_request);
    map_fini(&s->reuse);
    heap_fini(&s->retries);
    heap_fini(&s->expiries);
    heap_fini(&s->patience);
    orphan_fini(&s->orphans);
    mem_free(s);
    *sched = NULL;
}

enum err sched_replay(struct sched *s, const struct sched_record *record)
{
    enum err err = core_apply(s, record, NULL);
    return err == ERR_OK || err == ERR_OUT_OF_MEMORY ? err : ERR_STORE;
}

/* Tasks and rounds of the process that died are granted again; results of all jobs may be taken
 * over again. */
static enum err start(struct sched *s)
{
    for (size_t i = 0; i < s->job_count; i++) {
        struct job *job = s->jobs[i];
        for (uint32_t k = 0; k < job->submitted.stages_count; k++)
            TRY(reuse_learn(s, &job->stages[k]));
        job->progressed = s->now;
        if (!state_job_is_terminal(job->state))
            core_touch(s, job);
    }
    return ERR_OK;
}

static enum err dispatch_worker(struct sched *s, const struct sched_event *event)
{
    struct worker *worker = roster_of_peer(&s->roster, event->peer);
    if (worker == NULL)
        return event->kind == SCHED_LEAVE ? ERR_OK : session_stranger(s, event->peer);
    if (event->kind == SCHED_HEARTBEAT)
        return session_heartbeat(s, worker, event->heartbeat);
    if (event->kind == SCHED_RESULT) {
        TRY(result_take(s, worker, event->result));
        roster_hear(&s->roster, worker, s->now);
        return ERR_OK;
    }
    if (event->kind == SCHED_LEAVE) {
        session_leave(s, worker, event->leave);
        return ERR_OK;
    }
    struct lease *lease = lease_find(worker, event->accept->fence);
    roster_hear(&s->roster, worker, s->now);
    if (lease != NULL) {
        lease->is_accepted = true;
        lease_renew(s, lease);
    }
    return ERR_OK;
}

/* It would be as large for everybody. */
static enum err dispatch_unsent(struct sched *s, const struct sched_event *event)
{
    struct worker *worker = roster_of_peer(&s->roster, event->peer);
    struct lease *lease = worker == NULL ? NULL : lease_find(worker, event->fence);
    if (lease == NULL)
        return ERR_OK;
    const struct stage *stage = lease->stage;
    advance_doom(s, lease->job, ERR_LIMIT,
                 "%.*s[%u]: what a worker has to be told is larger than a message of %d MiB; use "
                 "fewer or smaller data files",
                 TEXT_ARGS(stage->plan->name), lease->index, LIMIT_FRAME_BYTES >> 20);
    result_lose(s, lease, false);
    return ERR_OK;
}

static enum err dispatch(struct sched *s, const struct sched_event *event)
{
    switch (event->kind) {
    case SCHED_STARTED:
        return start(s);
    case SCHED_HELLO:
        return session_hello(s, event->peer, event->hello);
    case SCHED_GONE:
        session_gone(s, event->peer);
        return ERR_OK;
    case SCHED_CRASHED:
        return session_crashed(s, event->worker);
    case SCHED_HEARTBEAT:
    case SCHED_ACCEPT:
    case SCHED_RESULT:
    case SCHED_LEAVE:
        return dispatch_worker(s, event);
    case SCHED_UNSENT:
        return dispatch_unsent(s, event);
    case SCHED_SUBMIT:
        return control_submit(s, event->peer, event->submit.ticket, event->submit.record);
    case SCHED_CONTROL:
        return control_job(s, event->peer, event->control);
    case SCHED_HISTORY:
        return history_control(s, event->peer, event->history->control, event->history->bytes);
    case SCHED_DRAIN:
        return session_drain(s, event->peer, event->drain);
    case SCHED_SCALE:
        return target_decide(s, event->peer, event->scale.ticket, event->scale.record);
    case SCHED_LET_GO:
        return session_let_go(s, event->let_go.worker, event->let_go.reason);
    case SCHED_OPENED:
    case SCHED_FOLDED:
    case SCHED_CHECKPOINTED:
    case SCHED_LOGGED:
    case SCHED_VERIFIED:
        return advance_work_done(s, event->kind, &event->done);
    case SCHED_DISK:
        s->is_disk_low = event->disk_low;
        return ERR_OK;
    case SCHED_TICK:
        return ERR_OK;
    }
    return ERR_OK;
}

static uint64_t first_key(const struct heap *heap)
{
    const struct heap_node *node = heap_first(heap);
    return node == NULL ? UINT64_MAX : node->key;
}

static struct instant next_wake(const struct sched *s)
{
    uint64_t wake = MIN(first_key(&s->roster.deadlines), first_key(&s->expiries));
    wake = MIN(wake, first_key(&s->retries));
    wake = MIN(wake, grant_wake(s).ns);
    if (s->is_postponed)
        wake = MIN(wake, instant_after(s->now, duration_ms(POSTPONED_MS)).ns);
    return (struct instant){wake};
}

enum err sched_step(struct sched *s, const struct sched_event *event, struct sched_effects *effects)
{
    effect_reset(&s->effect);
    arena_reset(s->view_arena);
    s->now = event->now;
    s->unix_ms = event->unix_ms;
    s->is_postponed = false;
    *effects = (struct sched_effects){.wake_at = next_wake(s)};
    session_pause(s, event->pause);
    TRY(dispatch(s, event));
    session_deadlines(s);
    advance_retries(s);
    advance_all(s);
    grant_all(s);
    *effects = (struct sched_effects){
        .records = s->effect.records,
        .record_count = s->effect.record_count,
        .sends = s->effect.sends,
        .send_count = s->effect.send_count,
        .works = s->effect.works,
        .work_count = s->effect.work_count,
        .wake_at = next_wake(s),
    };
    return ERR_OK;
}
