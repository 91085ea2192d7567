/* grant.c - a loop over the pools: best job to longest-idle worker, until one of them runs out.
 *
 * A worker gets a second task, to have it at hand when the first is done, only while more tasks
 * wait than there are workers. So the last tasks of a stage are spread and never queue up.
 */
#include "coordinator/sched/grant.h"

#include "common/base/check.h"
#include "coordinator/sched/spec.h"
#include "coordinator/sched/trial.h"

enum { GRANT_ASIDE_MAX = 64 };

static enum err mark_running(struct sched *s, struct job *job)
{
    if (job->state == JOB_RUNNING)
        return ERR_OK;
    struct sched_record record = {.number = REC_JOB_STATE};
    record.record.job_state = (struct rec_job_state){
        .job = job->submitted.job, .state = JOB_RUNNING, .unix_ms = s->unix_ms};
    return core_decide(s, &record, NULL);
}

/* Whoever works on the job from now on gives the answer of its first worker. */
static enum err freeze_answer(struct sched *s, struct job *job)
{
    if (!digest_is_zero(job->answer.answer) || !roster_is_versioned(job->pool))
        return ERR_OK;
    struct sched_record record = {.number = REC_ANSWER_FROZEN};
    record.record.answer_frozen =
        (struct rec_answer_frozen){.job = job->submitted.job, .answer = job->pool->answer};
    return core_decide(s, &record, NULL);
}

static enum err grant_task(struct sched *s, struct worker *worker, struct stage *stage,
                           uint32_t index)
{
    struct job *job = stage->job;
    struct task_spec spec;
    TRY(freeze_answer(s, job));
    TRY(effect_reserve(&s->effect, 1, 1, 0));
    TRY(spec_build(stage, index, &s->effect.arena, &spec));
    TRY(mark_running(s, job));
    struct lease *lease = lease_give(s, worker, job, stage, index);
    struct msg_lease_grant *grant =
        &effect_send(&s->effect, worker->peer, MSG_LEASE_GRANT)->lease_grant;
    grant->fence = lease->fence;
    grant->job = job->submitted.job;
    grant->stage = stage->index;
    grant->index = index;
    grant->ttl_ms = LIMIT_LEASE_TTL_MS;
    grant->spec = spec;
    return ERR_OK;
}

bool grant_is_in_time(const struct sched *s, const struct worker *worker, const struct stage *stage,
                      uint32_t index)
{
    uint64_t ms = tasks_median_ms(tasks_times_of(&stage->tasks, index));
    return instant_after(s->now, duration_ms(ms)).ns <= worker->ends_at.ns;
}

bool grant_has_memory(const struct worker *worker, const struct stage *stage)
{
    return worker->memory_bytes == 0 || stage->plan->memory_bytes <= worker->memory_bytes;
}

/* The first that has the memory for the task and will be there long enough. With `spared` not one
 * on which the job met a full disk; it says whether there is one. */
static struct worker *first_of(const struct sched *s, const struct list *list,
                               const struct job *job, const struct stage *stage, uint32_t index,
                               bool *spared)
{
    for (struct list_node *n = list_first(list); n != NULL; n = list_next(list, n)) {
        struct worker *worker = CONTAINER_OF(n, struct roster_seat, node)->worker;
        if (!grant_has_memory(worker, stage) || !grant_is_in_time(s, worker, stage, index))
            continue;
        if (spared == NULL || worker->full_job != job->submitted.job)
            return worker;
        *spared = true;
    }
    return NULL;
}

/* Jobs that no idle worker fits: those behind them come first for now. */
struct aside {
    struct heap_node *nodes[GRANT_ASIDE_MAX];
    uint64_t keys[GRANT_ASIDE_MAX], ties[GRANT_ASIDE_MAX];
    size_t count;
};

static bool put_aside(struct aside *aside, struct pool *pool, struct job *job)
{
    if (aside->count == GRANT_ASIDE_MAX || list_is_empty(&pool->idle))
        return false;
    aside->nodes[aside->count] = &job->by_rank;
    aside->keys[aside->count] = job->by_rank.key;
    aside->ties[aside->count++] = job->by_rank.tie;
    heap_remove(&pool->jobs, &job->by_rank);
    return true;
}

static void put_back(const struct aside *aside, struct pool *pool)
{
    for (size_t i = 0; i < aside->count; i++)
        heap_put(&pool->jobs, aside->nodes[i], aside->keys[i], aside->ties[i]);
}

static enum err grant_pass(struct sched *s, struct pool *pool, bool *spared)
{
    struct heap_node *best;
    struct aside aside = {.count = 0};
    enum err err = ERR_OK;
    while (err == ERR_OK && (best = heap_first(&pool->jobs)) != NULL) {
        struct job *job = CONTAINER_OF(best, struct job, by_rank);
        struct stage *stage = &job->stages[stage_set_first(job->ready)];
        uint32_t index = (uint32_t)bitset_first(&stage->tasks.waiting);
        struct worker *worker = first_of(s, &pool->idle, job, stage, index, spared);
        if (worker == NULL && stage->tasks.waiting.count > pool->member_count)
            worker = first_of(s, &pool->busy, job, stage, index, spared);
        if (worker != NULL)
            err = grant_task(s, worker, stage, index);
        else if (!put_aside(&aside, pool, job))
            break;
    }
    put_back(&aside, pool);
    return err;
}

/* A job that met a full disk tries that worker again when no other job wants it. */
static enum err grant_pool(struct sched *s, struct pool *pool)
{
    bool spared = false;
    TRY(grant_pass(s, pool, &spared));
    return spared ? grant_pass(s, pool, NULL) : ERR_OK;
}

/* A second worker for an attempt that takes much longer than its fellows. */
static enum err double_lease(struct sched *s, struct lease *lease)
{
    struct stage *stage = lease->stage;
    struct instant slow_at = lease_slow_at(lease);
    struct instant later = instant_after(s->now, duration_ms(LIMIT_STRAGGLER_MS));
    bool is_alone = stage->tasks.items[lease->index].leases == lease && lease->sibling == NULL;
    bool spared;
    struct worker *worker =
        first_of(s, &lease->job->pool->idle, lease->job, stage, lease->index, &spared);
    if (slow_at.ns > s->now.ns) { /* its fellows may yet turn out to be faster */
        lease_set_patience(s, lease, (struct instant){MIN(slow_at.ns, later.ns)});
        return ERR_OK;
    }
    bool is_open = stage->tasks.items[lease->index].result == NULL;
    if (is_alone && is_open && worker != NULL && job_is_active(lease->job))
        TRY(grant_task(s, worker, stage, lease->index));
    lease_set_patience(s, lease, later);
    return ERR_OK;
}

static enum err grant_slow(struct sched *s)
{
    struct heap_node *node;
    while ((node = heap_first(&s->patience)) != NULL && node->key <= s->now.ns)
        TRY(double_lease(s, CONTAINER_OF(node, struct lease, by_patience)));
    return ERR_OK;
}

/* A third worker for tasks whose results differ. */
static enum err grant_trials(struct sched *s)
{
    for (size_t i = 0; i < CORE_TRIALS; i++) {
        struct worker *judge = trial_judge(s, i);
        if (judge != NULL)
            TRY(grant_task(s, judge, s->trials[i].stage, s->trials[i].index));
    }
    return ERR_OK;
}

void grant_all(struct sched *s)
{
    if (s->roster.has_new_answer) {
        for (size_t i = 0; i < s->job_count; i++)
            core_refresh_job(s->jobs[i]);
        s->roster.has_new_answer = false;
    }
    if (s->is_disk_low)
        return;
    enum err err = grant_trials(s);
    for (size_t i = 0; err == ERR_OK && i < s->roster.pool_count; i++)
        err = grant_pool(s, s->roster.pools[i]);
    if (err == ERR_OK)
        err = grant_slow(s);
    ASSERT(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
    if (err != ERR_OK)
        s->is_postponed = true;
}

struct instant grant_wake(const struct sched *s)
{
    const struct heap_node *node = heap_first(&s->patience);
    if (node == NULL || s->is_disk_low)
        return (struct instant){UINT64_MAX};
    for (size_t i = 0; i < s->roster.pool_count; i++) {
        if (!list_is_empty(&s->roster.pools[i]->idle))
            return (struct instant){node->key};
    }
    return (struct instant){UINT64_MAX};
}
