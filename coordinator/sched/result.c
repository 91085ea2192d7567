/* result.c - what a result changes. */
#include "coordinator/sched/result.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "common/base/check.h"
#include "coordinator/sched/advance.h"
#include "coordinator/sched/remake.h"
#include "coordinator/sched/round.h"
#include "coordinator/sched/spec.h"
#include "coordinator/sched/trial.h"

enum { PLACE_BYTES = 96 };

static void acknowledge(struct sched *s, const struct worker *worker, uint64_t fence,
                        enum err error)
{
    struct msg_result_ack *ack = &effect_send(&s->effect, worker->peer, MSG_RESULT_ACK)->result_ack;
    ack->fence = fence;
    ack->error = (uint32_t)error;
}

static bool is_versioned(const struct job *job)
{
    return strchr(job->settings.profile, '/') != NULL;
}

/* A result under a fence that is no longer live. When its attempt was overtaken by another of the
 * same task, the two are compared. */
static enum err take_late(struct sched *s, struct worker *worker,
                          const struct msg_lease_result *message)
{
    TRY(effect_reserve(&s->effect, 1, 1, 0));
    for (size_t i = 0; i < ROSTER_GHOSTS; i++) {
        struct roster_ghost *ghost = &worker->ghosts[i];
        if (ghost->fence != message->fence || message->fence == 0)
            continue;
        struct job *job = job_of_id(s, ghost->job);
        if (job == NULL) { /* forgotten since */
            ghost->fence = 0;
            continue;
        }
        struct stage *stage = &job->stages[ghost->stage];
        bool is_at_hand = ghost->index < stage->tasks.count &&
                          (stage->run == NULL || stage->run->rounds == ghost->round);
        const struct task_result *counted =
            is_at_hand ? stage->tasks.items[ghost->index].result : NULL;
        if (counted != NULL && message->error == ERR_OK && is_versioned(job) &&
            !trial_is_same(counted, &message->result))
            TRY(trial_open(s, stage, ghost->index, worker, &message->result));
        ghost->fence = 0;
    }
    acknowledge(s, worker, message->fence, ERR_FENCED);
    return ERR_OK;
}

/* The other attempts of a task that is done. */
static void cancel_others(struct sched *s, struct task *task)
{
    while (task->leases != NULL)
        lease_cancel(s, task->leases);
}

/* A mean that forgets: what it does now is what people ask for. For them only. */
static void note_speed(struct worker *worker, const struct task_result *result)
{
    if (result->tokens == 0 || !(result->seconds > 0))
        return;
    double speed = (double)result->tokens / result->seconds;
    bool is_first = !(worker->tokens_per_second > 0);
    worker->tokens_per_second = is_first ? speed : 0.75 * worker->tokens_per_second + 0.25 * speed;
}

static enum err take_success(struct sched *s, struct lease *lease,
                             const struct msg_lease_result *message)
{
    struct worker *worker = lease->worker;
    struct stage *stage = lease->stage;
    struct job *job = lease->job;
    struct task *task = &stage->tasks.items[lease->index];
    TRY(effect_reserve(&s->effect, 1, 1 + stage->tasks.leases, 0));
    if (task->result != NULL) {
        TRY(trial_decide(s, stage, lease->index, &message->result));
    } else if (stage->run != NULL) {
        TRY(round_keep(stage, lease->index, &message->result, worker->name));
        s->counts.tasks_done++;
    } else {
        struct sched_record record = {.number = REC_TASK_DONE};
        record.record.task_done = (struct rec_task_done){.job = job->submitted.job,
                                                         .stage = stage->index,
                                                         .index = lease->index,
                                                         .fence = lease->fence,
                                                         .worker = text_of(worker->name),
                                                         .result = message->result};
        TRY(core_decide(s, &record, NULL));
    }
    tasks_add_time(&stage->tasks, lease->index, (s->now.ns - lease->granted.ns) / NS_PER_MS);
    lease_release(s, lease);
    cancel_others(s, task);
    acknowledge(s, worker, message->fence, ERR_OK);
    job->progressed = s->now;
    worker->tasks_done++;
    worker->faults = 0;
    worker->fault = ERR_OK;
    if (worker->full_job == job->submitted.job)
        worker->full_job = 0;
    note_speed(worker, &message->result);
    if (stage->tasks.done == stage->tasks.count)
        core_touch(s, job);
    return ERR_OK;
}

/* The worker hands the task back: nobody's fault. */
static bool is_refusal(enum err error)
{
    return error == ERR_BUSY || error == ERR_CANCELLED;
}

/* A full disk, the worker's or ours, is waited for however long it takes: it is told once. */
static bool is_told(const struct worker *worker, const struct job *job, enum err error)
{
    return error == ERR_DISK_FULL && worker->full_job == job->submitted.job;
}

/* The task as people look for it: of a round its step and rows. */
static const char *place_of(const struct stage *stage, uint32_t index, char text[PLACE_BYTES])
{
    const struct run *run = stage->run;
    unsigned long long step = run == NULL ? 0 : run->step + 1;
    uint64_t first = run == NULL ? 0 : index * run->range_rows;
    if (run == NULL || run->evaluates)
        (void)snprintf(text, PLACE_BYTES, "%" PRIu32, index);
    else
        (void)snprintf(text, PLACE_BYTES, "step %llu (rows %llu to %llu)", step,
                       (unsigned long long)first,
                       (unsigned long long)MIN(first + run->range_rows, run->rows) - 1);
    return text;
}

static enum err take_failure(struct sched *s, struct lease *lease, enum err error,
                             struct text detail)
{
    char place[PLACE_BYTES];
    struct worker *worker = lease->worker;
    struct stage *stage = lease->stage;
    struct job *job = lease->job;
    uint32_t index = lease->index;
    uint64_t fence = lease->fence;
    TRY(effect_reserve(&s->effect, 1, 1, 0));
    if (!is_refusal(error) && !is_told(worker, job, error)) {
        struct sched_record record = {.number = REC_TASK_FAILED};
        record.record.task_failed = (struct rec_task_failed){.job = job->submitted.job,
                                                             .stage = stage->index,
                                                             .index = index,
                                                             .fence = fence,
                                                             .worker = text_of(worker->name),
                                                             .error = (uint32_t)error,
                                                             .detail = detail};
        TRY(core_decide(s, &record, NULL));
    }
    if (error == ERR_DISK_FULL)
        worker->full_job = job->submitted.job;
    lease_release(s, lease);
    roster_rest(&s->roster, worker, error, s->now);
    acknowledge(s, worker, fence, ERR_OK);
    bool is_final = error_retry(error) == ERR_PERMANENT ||
                    stage->tasks.items[index].attempts >= LIMIT_TASK_ATTEMPTS;
    if (remake_is_input(error))
        remake_suspect(s, stage, index, error, detail, is_final);
    else if (!is_refusal(error) && is_final)
        advance_give_up(s, stage, error, "%s %s on %s: %.*s", stage->plan->name.data,
                        place_of(stage, index, place), worker->name, TEXT_ARGS(detail));
    return ERR_OK;
}

/* What is wrong with a successful result, NULL when nothing is. */
static const char *flaw_of(const struct lease *lease, const struct task_result *result)
{
    const struct run *run = lease->stage->run;
    enum stage_kind kind = (enum stage_kind)lease->stage->plan->kind;
    if (run != NULL)
        kind = run->evaluates ? STAGE_KIND_EVALUATE : STAGE_KIND_TRAIN;
    const char *output = spec_output(kind);
    if (run != NULL && !(result->weight >= 0 && isfinite(result->weight)))
        return "the weight is not a count";
    bool is_there = output == NULL;
    for (uint32_t i = 0; i < result->outputs_count; i++) {
        is_there |= output != NULL && text_is(result->outputs[i].name, output);
        if (run == NULL && result->outputs[i].ephemeral)
            return "an output would not last";
    }
    return is_there ? NULL : "the result lacks its output";
}

enum err result_take(struct sched *s, struct worker *worker, const struct msg_lease_result *message)
{
    struct lease *lease = lease_find(worker, message->fence);
    if (lease == NULL)
        return take_late(s, worker, message);
    if (worker->is_quarantined) {
        TRY(effect_reserve(&s->effect, 0, 1, 0));
        result_lose(s, lease, false);
        acknowledge(s, worker, message->fence, ERR_FENCED);
        return ERR_OK;
    }
    enum err error = message->error < ERR_COUNT ? (enum err)message->error : ERR_INTERNAL;
    if (error != ERR_OK)
        return take_failure(s, lease, error, message->detail);
    if (lease->stage->run != NULL && !isfinite(message->result.loss_sum))
        return take_failure(s, lease, ERR_NOT_FINITE, TEXT("the loss is not finite"));
    const char *flaw = flaw_of(lease, &message->result);
    if (flaw != NULL)
        return take_failure(s, lease, ERR_INTERNAL, text_of(flaw));
    return take_success(s, lease, message);
}

void result_lose(struct sched *s, struct lease *lease, bool blame)
{
    struct stage *stage = lease->stage;
    struct task *task = &stage->tasks.items[lease->index];
    uint32_t index = lease->index;
    struct job *job = lease->job;
    if (blame && task->losses < UINT8_MAX)
        task->losses++;
    lease_release(s, lease);
    if (task->losses >= LIMIT_TASK_LOSSES)
        advance_doom(s, job, ERR_LOST, "%s %u: %u workers were lost while they worked on it",
                     stage->plan->name.data, index, task->losses);
}
