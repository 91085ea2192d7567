/* result.c - what a result changes.
 *
 * Two attempts of one task must agree in every bit under a versioned profile. When they do not, the
 * first result counts already, and the difference goes on record with both hashes.
 */
#include "coordinator/sched/result.h"

#include <math.h>

#include "common/base/check.h"
#include "common/mem/bytes.h"
#include "common/message/message_copy.h"
#include "coordinator/sched/advance.h"
#include "coordinator/sched/round.h"
#include "coordinator/sched/spec.h"

static void acknowledge(struct sched *s, const struct worker *worker, uint64_t fence,
                        enum err error)
{
    struct msg_result_ack *ack = &effect_send(&s->effect, worker->peer, MSG_RESULT_ACK)->result_ack;
    ack->fence = fence;
    ack->error = (uint32_t)error;
}

/* The part of a result that must be equal whoever computed it. */
static bool is_same(const struct task_result *a, const struct task_result *b)
{
    struct task_result left = *a;
    struct task_result right = *b;
    left.seconds = right.seconds = 0;
    left.peak_bytes = right.peak_bytes = 0;
    if (left.outputs_count != right.outputs_count)
        return false;
    for (uint32_t i = 0; i < left.outputs_count; i++) {
        if (!text_equal(left.outputs[i].name, right.outputs[i].name) ||
            !digest_equal(left.outputs[i].digest, right.outputs[i].digest) ||
            left.outputs[i].size_bytes != right.outputs[i].size_bytes)
            return false;
    }
    left.outputs_count = right.outputs_count = 0;
    return message_equal(&message_type_task_result, &left, &right);
}

static struct digest result_digest(const struct task_result *result)
{
    struct digest digest = {{0}};
    for (uint32_t i = 0; i < result->outputs_count; i++)
        digest = digest_link(digest, (struct span){result->outputs[i].digest.v, DIGEST_BYTES});
    double sums[2] = {result->loss_sum, result->weight};
    return digest_link(digest, (struct span){(const uint8_t *)sums, sizeof sums});
}

static bool is_versioned(const struct job *job)
{
    return strchr(job->settings.profile, '/') != NULL;
}

/* Two workers, one task, two results. Which of them is right is not known, so nobody is named. */
static enum err record_difference(struct sched *s, const struct stage *stage, uint32_t index,
                                  const struct task_result *found)
{
    struct sched_record record = {.number = REC_WORKER_QUARANTINED};
    record.record.worker_quarantined = (struct rec_worker_quarantined){
        .job = stage->job->submitted.job,
        .stage = stage->index,
        .index = index,
        .expected = result_digest(stage->tasks.items[index].result),
        .found = result_digest(found),
    };
    return core_decide(s, &record, NULL);
}

/* A result under a fence that is no longer live. When its attempt was overtaken by another of the
 * same task, the two are compared. */
static enum err take_late(struct sched *s, struct worker *worker,
                          const struct msg_lease_result *message)
{
    TRY(effect_reserve(&s->effect, 1, 1, 0));
    for (size_t i = 0; i < FLEET_GHOSTS; i++) {
        struct fleet_ghost *ghost = &worker->ghosts[i];
        if (ghost->fence != message->fence || message->fence == 0)
            continue;
        struct job *job = job_of_id(s, ghost->job);
        struct stage *stage = &job->stages[ghost->stage];
        bool is_at_hand = ghost->index < stage->tasks.count &&
                          (stage->run == NULL || stage->run->rounds == ghost->round);
        const struct task_result *counted =
            is_at_hand ? stage->tasks.items[ghost->index].result : NULL;
        if (counted != NULL && message->error == ERR_OK && is_versioned(job) &&
            !is_same(counted, &message->result))
            TRY(record_difference(s, stage, ghost->index, &message->result));
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

static enum err take_success(struct sched *s, struct lease *lease,
                             const struct msg_lease_result *message)
{
    struct worker *worker = lease->worker;
    struct stage *stage = lease->stage;
    struct job *job = lease->job;
    struct task *task = &stage->tasks.items[lease->index];
    TRY(effect_reserve(&s->effect, 1, 1 + stage->tasks.leases, 0));
    if (stage->run != NULL) {
        TRY(round_keep(stage, lease->index, &message->result, worker->name));
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
    tasks_add_time(&stage->tasks, (s->now.ns - lease->granted.ns) / NS_PER_MS);
    lease_release(s, lease);
    cancel_others(s, task);
    acknowledge(s, worker, message->fence, ERR_OK);
    worker->tasks_done++;
    worker->faults = 0;
    if (stage->tasks.done == stage->tasks.count) {
        if (stage->run == NULL)
            stage->ended = s->now;
        core_touch(s, job);
    }
    return ERR_OK;
}

/* The worker hands the task back: nobody's fault. */
static bool is_refusal(enum err error)
{
    return error == ERR_BUSY || error == ERR_CANCELLED;
}

static enum err take_failure(struct sched *s, struct lease *lease, enum err error,
                             struct text detail)
{
    struct worker *worker = lease->worker;
    struct stage *stage = lease->stage;
    struct job *job = lease->job;
    uint32_t index = lease->index;
    uint64_t fence = lease->fence;
    TRY(effect_reserve(&s->effect, 1, 1, 0));
    if (!is_refusal(error)) {
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
    lease_release(s, lease);
    fleet_rest(&s->fleet, worker, s->now);
    acknowledge(s, worker, fence, ERR_OK);
    bool is_final = error_retry(error) == ERR_PERMANENT ||
                    stage->tasks.items[index].attempts >= LIMIT_TASK_ATTEMPTS;
    if (!is_refusal(error) && is_final)
        advance_doom(s, job, error, "%s %u on %s: %.*s", stage->plan->name.data, index,
                     worker->name, TEXT_ARGS(detail));
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
    for (uint32_t i = 0; !is_there && i < result->outputs_count; i++)
        is_there = text_is(result->outputs[i].name, output);
    return is_there ? NULL : "the result lacks its output";
}

enum err result_take(struct sched *s, struct worker *worker, const struct msg_lease_result *message)
{
    struct lease *lease = lease_find(worker, message->fence);
    if (lease == NULL)
        return take_late(s, worker, message);
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
