/* demand.c - how many workers would have something to do, and what those have at hand that
 * are there.
 *
 * A task that waits for other tasks counts only for `soon`, so nobody is started for it: behind a
 * long stage of one task there may be a wide one, and it may fail before.
 */
#include "coordinator/sched/demand.h"

#include "common/base/check.h"
#include "coordinator/sched/core.h"
#include "coordinator/sched/told.h"

/* Two workers whose results differ, and one who decides. */
enum { TRIAL_WORKERS = 3 };

/* Ranges of a round if workers abounded. */
static uint64_t most_ranges(uint64_t rows)
{
    uint64_t range = plan_range_rows(rows, LIMIT_WORKERS);
    return (rows + range - 1) / range;
}

static uint64_t width_now(const struct stage *stage)
{
    const struct run *run = stage->run;
    if (run == NULL)
        return stage->tasks.waiting.count + stage->tasks.leases;
    if (run->phase != RUN_ROUND && run->phase != RUN_FOLDING)
        return most_ranges(MAX(run->plan.round_rows, stage->job->settings.round_rows));
    return most_ranges(MAX(run->rows, (uint64_t)1));
}

/* Once it runs. Told of nothing yet, it has a task at least. */
static uint64_t width_then(const struct stage *stage)
{
    if (stage->run != NULL)
        return most_ranges(MAX(stage->job->settings.round_rows, (uint64_t)1));
    if (stage->tasks.waves.periods > 0)
        return MAX(stage->tasks.waves.shards, stage->tasks.waves.groups);
    return MAX(stage->tasks.count - stage->tasks.done, 1u);
}

static void add_job(const struct job *job, struct demand *row)
{
    uint64_t now = 0, then = 0;
    struct stage_set begun = job->done;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        if (job->stages[i].state == STAGE_RUNNING)
            stage_set_add(&begun, i);
    }
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        const struct stage *stage = &job->stages[i];
        bool is_running = stage->state == STAGE_RUNNING;
        if (stage->failure != ERR_OK)
            continue;
        if (is_running)
            now += width_now(stage);
        /* The next wave of a stage at work, or a stage that waits for nothing but what is. */
        if (is_running ? stage->tasks.waves.periods > 0
                       : stage->state == STAGE_WAITING && stage_set_is_within(stage->needs, begun))
            then += width_then(stage);
    }
    row->now = (uint32_t)MIN(row->now + now, (uint64_t)LIMIT_WORKERS);
    row->soon = (uint32_t)MIN(row->soon + MAX(now, then), (uint64_t)LIMIT_WORKERS);
}

static bool is_on_trial(const struct sched *s, const struct pool *pool)
{
    for (size_t i = 0; i < CORE_TRIALS; i++) {
        if (s->trials[i].stage != NULL && s->trials[i].stage->job->pool == pool)
            return true;
    }
    return false;
}

size_t demand_rows(const struct sched *s, struct demand *rows, size_t capacity)
{
    size_t count = MIN(s->roster.pool_count, capacity);
    for (size_t i = 0; i < count; i++) {
        const struct pool *pool = s->roster.pools[i];
        rows[i] = (struct demand){.profile = text_of(pool->name)};
        if (is_on_trial(s, pool))
            rows[i].now = rows[i].soon = TRIAL_WORKERS;
    }
    for (size_t k = 0; k < s->job_count; k++) {
        const struct job *job = s->jobs[k];
        /* Whose answer no worker gives waits for other workers than those that would come. */
        bool is_workable =
            job_is_active(job) && (job_is_answered(job) || job->pool->agreed_count == 0);
        for (size_t i = 0; is_workable && i < count; i++) {
            if (s->roster.pools[i] == job->pool)
                add_job(job, &rows[i]);
        }
    }
    return count;
}

static uint64_t ms_between(struct instant begin, struct instant end)
{
    return end.ns <= begin.ns ? 0 : (end.ns - begin.ns) / NS_PER_MS;
}

static void fill_load(const struct worker *worker, struct instant now, struct demand_load *row)
{
    *row = (struct demand_load){
        .worker = worker->id,
        .name = text_of(worker->name),
        .profiles = text_of(worker->profiles),
        .provider = text_of(worker->provider),
        .allocation = text_of(worker->allocation),
        .state = worker->state,
        .is_connected = worker->is_connected,
        .is_draining = worker->is_draining,
        .lease_count = worker->lease_count,
        .idle_ms = worker->lease_count > 0 ? 0 : ms_between(worker->idle_since, now),
        .ends_in_ms =
            worker->ends_at.ns == UINT64_MAX ? UINT64_MAX : ms_between(now, worker->ends_at),
    };
    for (size_t i = 0; i < ROSTER_SLOTS; i++) {
        if (worker->slots[i].fence != 0)
            row->at_risk_ms += ms_between(worker->slots[i].granted, now);
    }
}

size_t demand_loads(const struct sched *s, struct instant now, struct demand_load *rows,
                    size_t capacity)
{
    size_t count = MIN(s->roster.count, capacity);
    for (size_t i = 0; i < count; i++)
        fill_load(s->roster.workers[i], now, &rows[i]);
    return count;
}
