/* sched_explain.c - from the job down to its tasks, and from a task up to who could take it. */
#include "coordinator/sched/sched_explain.h"

#include <stdio.h>

#include "common/base/check.h"
#include "coordinator/sched/advance.h"
#include "coordinator/sched/core.h"
#include "coordinator/sched/grant.h"
#include "coordinator/sched/sched_view.h"

struct explain {
    const struct sched *s;
    struct arena *arena; /* of the scheduler's views */
    const struct job *job;
    const struct stage *stage; /* NULL: the whole job */
    const struct sched_explain_view *view;
    struct explain_row *rows;
    size_t count, capacity;
};

/* Workers of a profile, each in the first class that fits. */
struct crowd {
    uint32_t living, offering;
    uint32_t differing, quarantined, draining, quiet, resting, ending, small;
    uint32_t taking;         /* they may be given tasks, now or when they are free */
    uint32_t elsewhere;      /* of those, who work for other jobs */
    const struct job *other; /* one of these jobs */
    double rest_s;           /* the first rest that ends */
    enum err fault;          /* what it rests after */
    uint64_t memory_bytes;   /* the most that one of them has */
};

static double seconds_between(struct instant begin, struct instant end)
{
    return end.ns <= begin.ns ? 0 : (double)(end.ns - begin.ns) / (double)NS_PER_S;
}

/* Texts may be NULL. */
static void say(struct explain *e, enum reason reason, const char *detail, const char *advice)
{
    if (e->count == e->capacity)
        return;
    e->rows[e->count++] = (struct explain_row){
        .job = e->job->submitted.job,
        .name = e->job->submitted.name,
        .stage = e->stage == NULL ? TEXT("") : e->stage->plan->name,
        .reason = (uint32_t)reason,
        .detail = detail == NULL ? TEXT("") : text_of(detail),
        .advice = advice == NULL ? TEXT("") : text_of(advice),
    };
}

/* A verb of qctl with the id of a job as people say it. */
static const char *verb(struct explain *e, const char *words, const struct job *job)
{
    char hex[17];
    (void)snprintf(hex, sizeof hex, "%016llx", (unsigned long long)job->submitted.job);
    return arena_print(e->arena, "qctl %s %.7s", words, hex);
}

static void count_leases(const struct worker *worker, const struct job *job, struct crowd *crowd)
{
    const struct job *other = NULL;
    for (size_t i = 0; i < ROSTER_SLOTS; i++) {
        const struct lease *lease = &worker->slots[i];
        if (lease->fence != 0 && lease->job == job)
            return;
        if (lease->fence != 0)
            other = lease->job;
    }
    crowd->elsewhere += other != NULL;
    crowd->other = other != NULL ? other : crowd->other;
}

static bool is_in_time(const struct explain *e, const struct worker *worker)
{
    if (e->stage == NULL || e->stage->tasks.waiting.count == 0)
        return true;
    uint32_t first = (uint32_t)bitset_first(&e->stage->tasks.waiting);
    return grant_is_in_time(e->s, worker, e->stage, first);
}

static void count_worker(const struct explain *e, const struct worker *worker, struct crowd *crowd)
{
    const struct roster_seat *seat = NULL;
    if (worker->state == WORKER_LOST || worker->state == WORKER_LEFT)
        return;
    crowd->living++;
    for (uint32_t i = 0; i < worker->seat_count && seat == NULL; i++)
        seat = worker->seats[i].pool == e->job->pool ? &worker->seats[i] : NULL;
    if (seat == NULL)
        return;
    crowd->offering++;
    if (worker->is_quarantined) {
        crowd->quarantined++;
    } else if (!seat->is_agreed || !job_is_answered(e->job)) {
        crowd->differing++;
    } else if (worker->is_draining) {
        crowd->draining++;
    } else if (!worker->is_connected || worker->state == WORKER_QUIET) {
        crowd->quiet++;
    } else if (worker->rest_until.ns > e->view->now.ns) {
        double rest_s = seconds_between(e->view->now, worker->rest_until);
        bool is_first = crowd->resting++ == 0 || rest_s < crowd->rest_s;
        crowd->rest_s = is_first ? rest_s : crowd->rest_s;
        crowd->fault = is_first ? worker->fault : crowd->fault;
    } else if (e->stage != NULL && !grant_has_memory(worker, e->stage)) {
        crowd->small++;
        crowd->memory_bytes = MAX(crowd->memory_bytes, worker->memory_bytes);
    } else if (!is_in_time(e, worker)) {
        crowd->ending++;
    } else {
        crowd->taking++;
        count_leases(worker, e->job, crowd);
    }
}

/* What each provider could do about too few workers. */
static void say_providers(struct explain *e, const struct crowd *crowd)
{
    for (size_t i = 0; i < e->view->provider_count; i++) {
        const struct provider_row *row = &e->view->providers[i];
        const char *scale =
            arena_print(e->arena, "qctl workers scale auto --provider %.*s", TEXT_ARGS(row->name));
        if (text_is(row->state, "paused") || text_is(row->state, "back-off") ||
            text_is(row->state, "unknown"))
            say(e, REASON_PROVIDER_PAUSED,
                arena_print(e->arena, "provider %.*s, %.*s: %.*s", TEXT_ARGS(row->name),
                            TEXT_ARGS(row->state), TEXT_ARGS(row->detail)),
                text_is(row->state, "paused") ? scale : NULL);
        else if (row->waiting > 0)
            say(e, REASON_STARTING,
                arena_print(e->arena, "provider %.*s was asked for %u more%s%.*s",
                            TEXT_ARGS(row->name), row->waiting, row->detail.size > 0 ? ": " : "",
                            TEXT_ARGS(row->detail)),
                NULL);
        else if (row->is_auto && row->detail.size > 0 && crowd->taking == 0)
            say(e, REASON_MEMORY,
                arena_print(e->arena, "provider %.*s: %.*s", TEXT_ARGS(row->name),
                            TEXT_ARGS(row->detail)),
                arena_print(e->arena, "raise memory of %.*s in providers.yml and send SIGHUP",
                            TEXT_ARGS(row->name)));
        else if (row->running >= row->max)
            say(e, REASON_AT_MAX,
                arena_print(e->arena, "provider %.*s has %u of at most %u", TEXT_ARGS(row->name),
                            row->running, row->max),
                arena_print(e->arena, "raise max of %.*s in providers.yml and send SIGHUP",
                            TEXT_ARGS(row->name)));
        else if (!row->is_auto)
            say(e, REASON_AT_TARGET,
                arena_print(e->arena, "provider %.*s has %u of %u wanted", TEXT_ARGS(row->name),
                            row->running, row->target),
                scale);
    }
}

static double in_mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

/* Workers that are all too small keep the stage waiting for good. */
static void say_memory(struct explain *e, const struct crowd *crowd)
{
    if (crowd->small == 0)
        return;
    double needed = in_mib(e->stage->plan->memory_bytes);
    say(e, REASON_MEMORY,
        arena_print(e->arena,
                    "a task needs %.1f MiB beside the base; %u of %u workers have less, %.1f MiB "
                    "at most",
                    needed, crowd->small, crowd->offering, in_mib(crowd->memory_bytes)),
        crowd->taking > 0
            ? NULL
            : arena_print(e->arena, "start a worker with --memory %.0fMiB or more", needed + 1));
}

/* Classes of workers that offer the profile and may not be given its tasks. */
static void say_kept_away(struct explain *e, const struct crowd *crowd)
{
    const struct {
        enum reason reason;
        uint32_t count;
        const char *words, *advice;
    } classes[] = {
        {REASON_ANSWERS_DIFFER, crowd->differing,
         "give another known answer than the fleet, or than those that the job was begun with",
         "start workers of the build that the job was begun with"},
        {REASON_QUARANTINED, crowd->quarantined, "gave results that differ from those of others",
         "check that machine's memory; under another name it is taken as new"},
        {REASON_DRAINING, crowd->draining, "finish what they have and leave", NULL},
        {REASON_QUIET, crowd->quiet, "were not heard for a while",
         "look at their logs and at the network"},
        {REASON_ENDS_SOON, crowd->ending, "end before such a task would be done",
         "raise time_limit in providers.yml"},
        {REASON_RESTING, crowd->resting, "rest after a fault", verb(e, "logs", e->job)},
    };
    for (size_t i = 0; i < COUNT_OF(classes); i++) {
        if (classes[i].count == 0)
            continue;
        const char *until = classes[i].reason == REASON_RESTING
                                ? arena_print(e->arena, " (%s), %.0f s more",
                                              error_text(crowd->fault), crowd->rest_s)
                                : "";
        say(e, classes[i].reason,
            arena_print(e->arena, "%u of %u workers %s%s", classes[i].count, crowd->offering,
                        classes[i].words, until == NULL ? "" : until),
            classes[i].advice);
    }
}

/* `waiting` tasks of the stage have no worker. */
static void say_workers(struct explain *e, uint64_t waiting, uint32_t attempts)
{
    struct crowd crowd = {0};
    unsigned long long tasks = (unsigned long long)waiting;
    for (size_t i = 0; i < e->s->roster.count; i++)
        count_worker(e, e->s->roster.workers[i], &crowd);
    if (crowd.living == 0) {
        say(e, REASON_NO_WORKER, arena_print(e->arena, "%llu waiting, and nobody is here", tasks),
            e->view->provider_count > 0 ? NULL : "start qfleet-worker");
    } else if (crowd.offering == 0) {
        say(e, REASON_NO_PROFILE,
            arena_print(e->arena, "0 of %u workers compute by %s", crowd.living,
                        e->job->pool->name),
            arena_print(e->arena, "start workers that offer %s, or submit with another profile",
                        e->job->pool->name));
    } else if (crowd.taking > 0) {
        const char *others =
            crowd.elsewhere == 0
                ? ""
                : arena_print(e->arena, ", %u of them at other jobs, such as %.*s", crowd.elsewhere,
                              TEXT_ARGS(crowd.other->submitted.name));
        say(e, REASON_BUSY,
            arena_print(e->arena, "%llu waiting, %u at work; workers that may take them: %u%s",
                        tasks, attempts, crowd.taking, others == NULL ? "" : others),
            crowd.elsewhere == 0 || attempts > 0 ? NULL : verb(e, "pause", crowd.other));
    }
    say_memory(e, &crowd);
    say_kept_away(e, &crowd);
    say_providers(e, &crowd);
}

/* Attempts that take much longer than others of the stage took. */
static size_t say_slow(struct explain *e)
{
    size_t slow = 0;
    for (struct list_node *node = list_first(&e->job->leases); node != NULL;
         node = list_next(&e->job->leases, node)) {
        const struct lease *lease = CONTAINER_OF(node, struct lease, of_job);
        const struct tasks_times *times = tasks_times_of(&lease->stage->tasks, lease->index);
        if (lease->stage != e->stage || times->count == 0 ||
            lease_slow_at(lease).ns > e->view->now.ns)
            continue;
        bool is_doubled =
            e->stage->tasks.items[lease->index].leases != lease || lease->sibling != NULL;
        slow++;
        say(e, REASON_SLOW_TASK,
            arena_print(e->arena, "task %u is at %s for %.0f s, its fellows took %.1f s%s",
                        lease->index, lease->worker->name,
                        seconds_between(lease->granted, e->view->now),
                        (double)tasks_median_ms(times) / 1e3,
                        is_doubled ? "; another worker has it too" : ""),
            is_doubled ? NULL
                       : "an idle worker would take it too: qctl workers scale, or drain that one");
    }
    return slow;
}

/* Of the task that failed most often. */
static void say_faults(struct explain *e)
{
    const struct tasks *tasks = &e->stage->tasks;
    uint32_t worst = 0;
    for (uint32_t t = 0; t < tasks->count; t++) {
        const struct task *task = &tasks->items[t];
        if (task->result == NULL && task->attempts > tasks->items[worst].attempts)
            worst = t;
    }
    if (tasks->count > 0 && tasks->items[worst].result == NULL && tasks->items[worst].attempts > 0)
        say(e, REASON_FAULTS,
            arena_print(e->arena, "attempts of task %u that failed: %u; at %d the job fails", worst,
                        tasks->items[worst].attempts, LIMIT_TASK_ATTEMPTS),
            verb(e, "logs", e->job));
}

/* What the coordinator does for it now, or NULL. */
static const char *coordinator_part(const struct stage *stage)
{
    if (stage->run != NULL) {
        switch (stage->run->phase) {
        case RUN_CLOSED:
        case RUN_OPENING:
            return "opens its state";
        case RUN_READY:
            return "is between two rounds";
        case RUN_FOLDING:
            return "folds a round";
        case RUN_SAVING:
            return "writes a checkpoint";
        case RUN_ROUND:
            break;
        }
        return NULL;
    }
    return stage->work_is_out ? "writes the log" : NULL;
}

static void say_tasks(struct explain *e)
{
    const struct stage *stage = e->stage;
    uint64_t waiting = stage->tasks.waiting.count;
    size_t before = e->count;
    if (waiting > 0 && e->s->is_disk_low)
        say(e, REASON_DISK_LOW,
            arena_print(e->arena, "%llu waiting: the coordinator's disk is nearly full",
                        (unsigned long long)waiting),
            "free space there; qctl forget drops jobs with what they made");
    else if (waiting > 0)
        say_workers(e, waiting, stage->tasks.leases);
    say_faults(e);
    if (say_slow(e) == 0 && e->count == before)
        say(e, REASON_WORKING,
            arena_print(e->arena, "%u of %u tasks are done, %u at work", stage->tasks.done,
                        stage->tasks.count, stage->tasks.leases),
            NULL);
}

static void say_back_off(struct explain *e)
{
    const struct stage *stage = e->stage;
    bool is_full = stage->work_error == ERR_DISK_FULL;
    say(e, REASON_BACK_OFF,
        arena_print(e->arena, "%s; failures in a row: %u; tries again in %.0f s",
                    sched_view_fault(stage), stage->work_faults,
                    seconds_between(e->view->now, stage->retry_at)),
        is_full ? "free space on the coordinator's disk" : verb(e, "logs", e->job));
}

/* The first stage not done among those that it needs itself. */
static void say_needs(struct explain *e)
{
    struct stage_set open = stage_set_without(stage_set_of_plan(e->stage->plan), e->job->done);
    struct stage_set all = stage_set_without(e->stage->needs, e->job->done);
    uint32_t first = stage_set_first(stage_set_is_empty(open) ? all : open);
    const struct stage *before = &e->job->stages[first];
    say(e, REASON_NEEDS,
        arena_print(e->arena, "needs %.*s, which is in state %s", TEXT_ARGS(before->plan->name),
                    state_stage_word(sched_view_state(before))),
        NULL);
}

static void say_stage(struct explain *e)
{
    const struct stage *stage = e->stage;
    const char *part = coordinator_part(stage);
    if (stage->state == STAGE_FAILED && stage->failure != ERR_OK)
        say(e, REASON_FAILED, stage->failure_detail.data, "the other variants go on without it");
    if (stage->state == STAGE_DONE || stage->state == STAGE_FAILED)
        return;
    if (!job_may_begin(stage))
        say_needs(e);
    else if (stage->state == STAGE_WAITING && advance_waits_for_fellows(stage))
        say(e, REASON_VARIANTS,
            arena_print(e->arena, "%d other variants train, which is as many as may at once",
                        LIMIT_VARIANTS_OPEN),
            NULL);
    else if (stage->retry_at.ns > e->view->now.ns)
        say_back_off(e);
    else if (stage->is_suspect)
        say(e, REASON_REREADS,
            arena_print(e->arena, "task %u met a bad input; the coordinator reads its inputs again",
                        stage->suspect),
            NULL);
    else if (part != NULL || stage->state == STAGE_WAITING)
        say(e, REASON_COORDINATOR,
            arena_print(e->arena, "the coordinator %s",
                        part == NULL ? "ends what it was at" : part),
            NULL);
    else
        say_tasks(e);
}

/* The whole job stands still: one row says it. */
static bool say_job(struct explain *e)
{
    const struct job *job = e->job;
    const char *detail = arena_print(e->arena, "%s", job->detail);
    switch (job->state) {
    case JOB_DONE:
        return true;
    case JOB_PAUSED:
        say(e, REASON_PAUSED, detail, verb(e, "resume", job));
        return true;
    case JOB_CANCELLED:
        say(e, REASON_CANCELLED, detail, verb(e, "retry", job));
        return true;
    case JOB_FAILED:
        say(e, REASON_FAILED, detail,
            error_retry(job->error) == ERR_PERMANENT
                ? "mend what it says and submit again; equal work is taken over"
                : verb(e, "retry", job));
        return true;
    case JOB_WAITING:
    case JOB_RUNNING:
    case JOB_STATE_COUNT:
        break;
    }
    return false;
}

size_t sched_explain(const struct sched *s, size_t index, struct text stage,
                     const struct sched_explain_view *view, struct explain_row *rows,
                     size_t capacity)
{
    struct explain e = {.s = s,
                        .arena = s->view_arena,
                        .job = s->jobs[index],
                        .view = view,
                        .rows = rows,
                        .capacity = capacity};
    if (say_job(&e))
        return e.count;
    for (uint32_t i = 0; i < e.job->submitted.stages_count; i++) {
        e.stage = &e.job->stages[i];
        if (stage.size == 0 || text_equal(stage, e.stage->plan->name))
            say_stage(&e);
    }
    return e.count;
}
