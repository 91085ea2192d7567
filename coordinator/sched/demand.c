/* demand.c - how many workers would have something to do, and what those have at hand that
 * are there.
 *
 * A task that waits for other tasks counts only for `soon`, so nobody is started for it: behind a
 * long stage of one task there may be a wide one, and it may fail before.
 */
#include "coordinator/sched/demand.h"

#include <stdlib.h>

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

/* Rows being made: at first one a profile, for tasks of no known need. */
struct table {
    struct demand *rows;
    size_t count, capacity;
};

static void add(struct table *table, const struct stage *stage, uint64_t now, uint64_t soon)
{
    struct text profile = text_of(stage->job->pool->name);
    struct demand *row = NULL;
    for (size_t i = 0; i < table->count; i++) {
        struct demand *other = &table->rows[i];
        if (!text_equal(other->profile, profile))
            continue;
        if (row == NULL || other->memory_bytes == stage->plan->memory_bytes)
            row = other;
    }
    if (row == NULL || now + soon == 0)
        return;
    if (row->memory_bytes != stage->plan->memory_bytes && table->count < table->capacity) {
        row = &table->rows[table->count++];
        *row = (struct demand){.profile = profile, .memory_bytes = stage->plan->memory_bytes};
    }
    row->now = (uint32_t)MIN(row->now + now, (uint64_t)LIMIT_WORKERS);
    row->soon = (uint32_t)MIN(row->soon + soon, (uint64_t)LIMIT_WORKERS);
}

/* The next wave of a stage at work, or a stage that waits for nothing but what is. *trains counts
 * the trainings that wait: of all variants only so many train at once. */
static bool is_next(const struct stage *stage, struct stage_set begun, uint32_t *trains)
{
    if (stage->state == STAGE_RUNNING)
        return stage->tasks.waves.periods > 0;
    if (stage->state != STAGE_WAITING || !stage_set_is_within(stage->needs, begun))
        return false;
    return stage->plan->kind != STAGE_KIND_TRAIN || (*trains)++ < LIMIT_VARIANTS_OPEN;
}

/* Of a job, what it could use now or what it could use then, whichever is more, counts as soon. */
static void add_job(const struct job *job, struct table *table)
{
    uint64_t now = 0, then = 0;
    uint32_t trains = 0, trains_then = 0;
    struct stage_set begun = job->done;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        if (job->stages[i].state == STAGE_RUNNING)
            stage_set_add(&begun, i);
    }
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        const struct stage *stage = &job->stages[i];
        bool has_failed = stage->failure != ERR_OK;
        now += stage->state == STAGE_RUNNING && !has_failed ? width_now(stage) : 0;
        then += !has_failed && is_next(stage, begun, &trains) ? width_then(stage) : 0;
    }
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        const struct stage *stage = &job->stages[i];
        if (stage->failure != ERR_OK)
            continue;
        uint64_t width = stage->state == STAGE_RUNNING ? width_now(stage) : 0;
        uint64_t later = is_next(stage, begun, &trains_then) ? width_then(stage) : 0;
        add(table, stage, width, then > now ? later : width);
    }
}

static void add_trials(const struct sched *s, struct table *table)
{
    for (size_t i = 0; i < CORE_TRIALS; i++) {
        const struct stage *stage = s->trials[i].stage;
        bool is_first = stage != NULL;
        for (size_t k = 0; k < i && is_first; k++)
            is_first =
                s->trials[k].stage == NULL || s->trials[k].stage->job->pool != stage->job->pool;
        if (is_first)
            add(table, stage, TRIAL_WORKERS, TRIAL_WORKERS);
    }
}

static int compare_rows(const void *a, const void *b)
{
    const struct demand *left = a, *right = b;
    if (left->memory_bytes != right->memory_bytes)
        return left->memory_bytes > right->memory_bytes ? -1 : 1;
    return text_compare(left->profile, right->profile);
}

size_t demand_rows(const struct sched *s, struct demand *rows, size_t capacity)
{
    struct table table = {.rows = rows, .capacity = capacity};
    for (; table.count < MIN(s->roster.pool_count, capacity); table.count++)
        rows[table.count] = (struct demand){.profile = text_of(s->roster.pools[table.count]->name)};
    add_trials(s, &table);
    for (size_t k = 0; k < s->job_count; k++) {
        const struct job *job = s->jobs[k];
        /* Whose answer no worker gives waits for other workers than those that would come. */
        if (job_is_active(job) && (job_is_answered(job) || job->pool->agreed_count == 0))
            add_job(job, &table);
    }
    if (table.count > 0)
        qsort(rows, table.count, sizeof *rows, compare_rows);
    return table.count;
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
        .memory_bytes = worker->memory_bytes,
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
