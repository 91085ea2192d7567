/* trial.c - see trial.h. */
#include "coordinator/sched/trial.h"

#include <stdio.h>

#include "common/base/check.h"
#include "common/message/message_copy.h"
#include "common/message/message_equal.h"
#include "coordinator/sched/advance.h"
#include "coordinator/sched/grant.h"

bool trial_is_same(const struct task_result *a, const struct task_result *b)
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

/* One hash for all that must be equal. */
static struct digest digest_of_result(const struct task_result *result)
{
    struct digest digest = {{0}};
    for (uint32_t i = 0; i < result->outputs_count; i++)
        digest = digest_link(digest, (struct span){result->outputs[i].digest.v, DIGEST_BYTES});
    for (uint32_t i = 0; i < result->facts_count; i++) {
        const uint64_t *value = &result->facts[i].value;
        digest = digest_link(digest, (struct span){(const uint8_t *)value, sizeof *value});
    }
    const struct preference_sums *preference = &result->preference;
    double sums[] = {result->loss_sum,
                     result->weight,
                     preference->pairs,
                     preference->reward_chosen,
                     preference->reward_rejected,
                     preference->correct};
    return digest_link(digest, (struct span){(const uint8_t *)sums, sizeof sums});
}

static enum err record(struct sched *s, const struct stage *stage, uint32_t index,
                       struct text worker, struct digest expected, struct digest found)
{
    struct sched_record row = {.number = REC_WORKER_QUARANTINED};
    row.record.worker_quarantined =
        (struct rec_worker_quarantined){.worker = worker,
                                        .job = stage->job->submitted.job,
                                        .stage = stage->index,
                                        .index = index,
                                        .expected = expected,
                                        .found = found};
    return core_decide(s, &row, NULL);
}

static struct trial *find(struct sched *s, const struct stage *stage, uint32_t index)
{
    for (size_t i = 0; i < CORE_TRIALS; i++) {
        if (s->trials[i].stage == stage && s->trials[i].index == index)
            return &s->trials[i];
    }
    return NULL;
}

enum err trial_open(struct sched *s, struct stage *stage, uint32_t index,
                    const struct worker *suspect, const struct task_result *found)
{
    const struct task *task = &stage->tasks.items[index];
    struct digest expected = digest_of_result(task->result);
    struct digest other = digest_of_result(found);
    TRY(record(s, stage, index, TEXT(""), expected, other));
    if (stage->run != NULL) {
        stage->is_disputed = true;
        core_touch(s, stage->job);
        return ERR_OK;
    }
    struct trial *trial = find(s, NULL, 0);
    if (trial == NULL || find(s, stage, index) != NULL)
        return ERR_OK; /* on record; one trial of a task is enough */
    trial->stage = stage;
    trial->index = index;
    trial->found = other;
    snprintf(trial->suspect, sizeof trial->suspect, "%s", suspect->name);
    return ERR_OK;
}

static bool is_named(struct text name, const struct worker *worker)
{
    return text_is(name, worker->name);
}

struct worker *trial_judge(struct sched *s, size_t i)
{
    struct trial *trial = &s->trials[i];
    if (trial->stage == NULL)
        return NULL;
    if (!job_is_active(trial->stage->job) || !job_is_answered(trial->stage->job)) {
        if (state_job_is_terminal(trial->stage->job->state))
            *trial = (struct trial){0};
        return NULL;
    }
    const struct task *task = &trial->stage->tasks.items[trial->index];
    const struct list *idle = &trial->stage->job->pool->idle;
    if (task->leases != NULL || !tasks_is_open(&trial->stage->tasks, trial->index))
        return NULL;
    for (struct list_node *node = list_first(idle); node != NULL; node = list_next(idle, node)) {
        struct worker *worker = CONTAINER_OF(node, struct roster_seat, node)->worker;
        bool is_large_enough = grant_has_memory(worker, trial->stage);
        if (is_large_enough && !is_named(task->worker, worker) &&
            !is_named(text_of(trial->suspect), worker))
            return worker;
    }
    return NULL;
}

enum err trial_decide(struct sched *s, struct stage *stage, uint32_t index,
                      const struct task_result *third)
{
    struct trial *trial = find(s, stage, index);
    const struct task *task = &stage->tasks.items[index];
    struct digest counted = digest_of_result(task->result);
    struct digest verdict = digest_of_result(third);
    if (trial == NULL)
        return ERR_OK;
    if (digest_equal(verdict, counted)) {
        TRY(record(s, stage, index, text_of(trial->suspect), counted, trial->found));
    } else {
        bool is_majority = digest_equal(verdict, trial->found);
        TRY(record(s, stage, index, is_majority ? task->worker : TEXT(""), verdict, counted));
        advance_doom(s, stage->job, ERR_PROFILE,
                     "%s %u: the result of %.*s counts, and two others differ from it; submit the "
                     "job again",
                     stage->plan->name.data, index, TEXT_ARGS(task->worker));
    }
    *trial = (struct trial){0};
    return ERR_OK;
}
