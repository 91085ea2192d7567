/* core.c - the one way in which records change the scheduler. */
#include "coordinator/sched/core.h"

#include "common/message/message_copy.h"
#include "coordinator/sched/history.h"
#include "coordinator/sched/remake.h"
#include "coordinator/sched/target.h"

enum err core_apply(struct sched *s, const struct sched_record *record, struct err_text *et)
{
    const union message_record *r = &record->record;
    switch ((enum record_number)record->number) {
    case REC_COORDINATOR_STARTED:
        return r->coordinator_started.incarnation <= s->incarnation ? ERR_OK : ERR_STATE;
    case REC_JOB_SUBMITTED:
        return job_apply_submitted(s, &r->job_submitted, et);
    case REC_TASK_DONE:
        return job_apply_task_done(s, &r->task_done, record->unix_ms);
    case REC_TASK_FAILED:
        return job_apply_task_failed(s, &r->task_failed);
    case REC_CHECKPOINT:
        return job_apply_checkpoint(s, &r->checkpoint);
    case REC_JOB_STATE:
        return job_apply_state(s, &r->job_state);
    case REC_WORKER_QUARANTINED:
        /* Without a name it says only that two results differ. */
        return r->worker_quarantined.worker.size == 0
                   ? ERR_OK
                   : roster_quarantine(&s->roster, r->worker_quarantined.worker);
    case REC_JOB_FORGOTTEN:
        return job_apply_forgotten(s, &r->job_forgotten);
    case REC_BRANCH_FAILED:
        return job_apply_branch_failed(s, &r->branch_failed);
    case REC_ANSWER_FROZEN:
        return job_apply_answer(s, &r->answer_frozen);
    case REC_ARTIFACT_LOST:
        return remake_apply_lost(s, &r->artifact_lost);
    case REC_SCALE_TARGET:
        return target_apply(s, &r->scale_target);
    case REC_CHECKPOINTS_FORGOTTEN:
        return history_apply_forgotten(s, &r->checkpoints_forgotten);
    case REC_CHECKPOINT_TAGGED:
        return history_apply_tagged(s, &r->checkpoint_tagged);
    case REC_JOB_RESTORED:
        return history_apply_restored(s, &r->job_restored);
    case REC_WORKER_DIED: /* for who reads the log */
        return ERR_OK;
    }
    return ERR_STATE;
}

enum err core_decide(struct sched *s, const struct sched_record *record, struct err_text *et)
{
    const struct message_type *type = message_record_type_of(record->number);
    struct sched_record copy = {.number = record->number, .unix_ms = s->unix_ms};
    TRY(effect_reserve(&s->effect, 1, 0, 0));
    TRY(message_copy(type, &record->record, &s->effect.arena, &copy.record));
    TRY(core_apply(s, &copy, et));
    s->counts.tasks_done += record->number == REC_TASK_DONE && record->record.task_done.fence != 0;
    s->counts.tasks_failed += record->number == REC_TASK_FAILED;
    s->counts.checkpoints += record->number == REC_CHECKPOINT;
    *effect_record(&s->effect, (enum record_number)record->number) = copy;
    return ERR_OK;
}

void core_touch(struct sched *s, struct job *job)
{
    if (!list_holds(&job->dirty))
        list_append(&s->dirty, &job->dirty);
}

static bool has_tasks_to_grant(const struct stage *stage)
{
    if (!job_is_active(stage->job) || !job_is_answered(stage->job) ||
        stage->state != STAGE_RUNNING || stage->failure != ERR_OK || stage->is_suspect ||
        stage->tasks.waiting.count == 0)
        return false;
    if (stage->run != NULL)
        return stage->run->phase == RUN_ROUND;
    return stage->plan->kind != STAGE_KIND_EXPORT || !digest_is_zero(stage->log.digest);
}

/* Higher priority first; the heap breaks ties by submission. */
static uint64_t rank_of(const struct job *job)
{
    return ~((uint64_t)job->submitted.priority ^ (uint64_t)1 << 63);
}

void core_refresh(struct stage *stage)
{
    struct job *job = stage->job;
    if (has_tasks_to_grant(stage))
        stage_set_add(&job->ready, stage->index);
    else
        stage_set_remove(&job->ready, stage->index);
    if (stage_set_is_empty(job->ready))
        heap_remove(&job->pool->jobs, &job->by_rank);
    else if (!heap_holds(&job->by_rank))
        heap_put(&job->pool->jobs, &job->by_rank, rank_of(job), job->seq);
}

void core_refresh_job(struct job *job)
{
    for (uint32_t i = 0; i < job->submitted.stages_count; i++)
        core_refresh(&job->stages[i]);
}
