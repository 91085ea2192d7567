/* control.c - see control.h. */
#include "coordinator/sched/control.h"

#include "common/base/check.h"
#include "coordinator/sched/advance.h"
#include "coordinator/sched/remake.h"

static void answer(struct sched *s, struct peer_id client, uint64_t ticket, enum err error,
                   const char *detail)
{
    effect_send(&s->effect, client, MSG_STATUS)->status =
        (struct msg_status){.ticket = ticket,
                            .error = (uint32_t)error,
                            .detail = text_of(detail == NULL ? error_text(error) : detail)};
}

static size_t count_open(const struct sched *s, struct text owner)
{
    size_t count = 0;
    for (size_t i = 0; i < s->job_count; i++)
        count += !state_job_is_terminal(s->jobs[i]->state) &&
                 text_equal(s->jobs[i]->submitted.owner, owner);
    return count;
}

enum err control_submit(struct sched *s, struct peer_id client, uint64_t ticket,
                        const struct rec_job_submitted *record)
{
    TRY(effect_reserve(&s->effect, 1, 1, 0));
    struct job *job = record->request == 0 ? NULL : job_of_request(s, record->request);
    if (job == NULL && count_open(s, record->owner) >= LIMIT_OWNER_JOBS) {
        answer(s, client, ticket, ERR_LIMIT,
               arena_print(&s->effect.arena,
                           "%d jobs of %.*s wait or run, which is the limit; let some end, or "
                           "cancel them",
                           LIMIT_OWNER_JOBS, TEXT_ARGS(record->owner)));
        return ERR_OK;
    }
    if (job == NULL) {
        struct err_text et = {.text = ""};
        struct sched_record submitted = {.number = REC_JOB_SUBMITTED};
        submitted.record.job_submitted = *record;
        enum err err = core_decide(s, &submitted, &et);
        if (err == ERR_OUT_OF_MEMORY)
            return err;
        if (err != ERR_OK) {
            answer(s, client, ticket, err, arena_print(&s->effect.arena, "%s", et.text));
            return ERR_OK;
        }
        job = s->jobs[s->job_count - 1];
        core_touch(s, job);
    }
    effect_send(&s->effect, client, MSG_SUBMITTED)->submitted = (struct msg_submitted){
        .ticket = ticket, .job = job->submitted.job, .spec = job->submitted.spec};
    return ERR_OK;
}

static enum err enter(struct sched *s, struct job *job, enum job_state state, struct text reason)
{
    struct sched_record record = {.number = REC_JOB_STATE};
    record.record.job_state = (struct rec_job_state){.job = job->submitted.job,
                                                     .state = (uint32_t)state,
                                                     .unix_ms = s->unix_ms,
                                                     .detail = reason};
    TRY(core_decide(s, &record, NULL));
    core_touch(s, job);
    return ERR_OK;
}

static enum err forget(struct sched *s, const struct job *job, struct text reason)
{
    struct sched_record record = {.number = REC_JOB_FORGOTTEN};
    record.record.job_forgotten =
        (struct rec_job_forgotten){.job = job->submitted.job, .detail = reason};
    return core_decide(s, &record, NULL);
}

static enum err act(struct sched *s, struct job *job, enum job_action action, struct text reason)
{
    switch (action) {
    case JOB_ACTION_CANCEL:
        if (!state_job_allows(job->state, JOB_CANCELLED))
            return ERR_STATE;
        return advance_end(s, job, JOB_CANCELLED, ERR_CANCELLED, reason);
    case JOB_ACTION_PAUSE:
        return state_job_allows(job->state, JOB_PAUSED) ? enter(s, job, JOB_PAUSED, reason)
                                                        : ERR_STATE;
    case JOB_ACTION_RESUME:
        return job->state == JOB_PAUSED ? enter(s, job, JOB_WAITING, TEXT("")) : ERR_STATE;
    case JOB_ACTION_RETRY:
        if (job->error == ERR_PROFILE)
            return ERR_STATE; /* a wrong result counts in it */
        if (job->state == JOB_DONE)
            return remake_results(s, job);
        return job->state == JOB_FAILED || job->state == JOB_CANCELLED
                   ? enter(s, job, JOB_WAITING, TEXT(""))
                   : ERR_STATE;
    case JOB_ACTION_FORGET:
        return job_may_be_forgotten(job) ? forget(s, job, reason) : ERR_STATE;
    }
    return ERR_USAGE;
}

enum err control_job(struct sched *s, struct peer_id client, const struct msg_job_control *control)
{
    TRY(effect_reserve(&s->effect, 1, 1, 0));
    size_t index = 0;
    enum err err = sched_job_find(s, control->prefix, &index);
    const char *detail = NULL;
    if (err == ERR_OK) {
        struct job *job = s->jobs[index];
        enum job_state before = job->state;
        err = act(s, job, (enum job_action)control->action, control->reason);
        if (err == ERR_OUT_OF_MEMORY)
            return err;
        if (err == ERR_STATE)
            detail =
                arena_print(&s->effect.arena, "the job is in state %s", state_job_word(before));
    }
    answer(s, client, control->ticket, err, detail);
    return ERR_OK;
}
