/* advance.c - stages, works and ends of jobs. */
#include "coordinator/sched/advance.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "coordinator/sched/remake.h"
#include "coordinator/sched/reuse.h"
#include "coordinator/sched/round.h"
#include "coordinator/sched/told.h"
#include "coordinator/sched/watchdog.h"

void advance_doom(struct sched *s, struct job *job, enum err error, const char *format, ...)
{
    if (job->doom != ERR_OK || state_job_is_terminal(job->state))
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(job->detail, sizeof job->detail, format, args);
    va_end(args);
    job->doom = error;
    core_refresh_job(job);
    core_touch(s, job);
}

/* Other variants of the job make results without the stage. */
static bool can_do_without(const struct stage *stage)
{
    const struct job *job = stage->job;
    struct stage_set gone = stage_set_union(job_branch(stage), job->failed);
    if (job->settings.variant_count == 1)
        return false;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        if (job->stages[i].plan->kind == STAGE_KIND_EXPORT && !stage_set_has(gone, i))
            return true;
    }
    return false;
}

void advance_give_up(struct sched *s, struct stage *stage, enum err error, const char *format, ...)
{
    struct job *job = stage->job;
    char detail[sizeof job->detail];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    if (error == ERR_NOT_FINITE) {
        size_t size = strlen(detail);
        (void)snprintf(detail + size, sizeof detail - size, "%s", watchdog_kept(s, stage));
    }
    const char *copy = (error == ERR_NOT_FINITE || error == ERR_DIVERGED) && can_do_without(stage)
                           ? arena_copy_text(&job->arena, text_of(detail))
                           : NULL;
    if (copy == NULL) {
        advance_doom(s, job, error, "%s", detail);
        return;
    }
    stage->failure = error;
    stage->failure_detail = text_of(copy);
    core_refresh(stage);
    core_touch(s, job);
}

/* What is open is closed, after the work that is out. */
void advance_stop_stage(struct sched *s, struct stage *stage)
{
    if (stage->state == STAGE_DONE)
        return;
    if (stage->state != STAGE_FAILED)
        stage->state = STAGE_WAITING;
    stage->retry_at = (struct instant){0};
    stage->is_disputed = stage->is_suspect = false;
    stage->log = (struct artifact_ref){0};
    if (stage->work_is_out)
        stage->close_is_owed = true;
    else if (stage->run != NULL)
        round_close(s, stage);
}

enum err advance_end(struct sched *s, struct job *job, enum job_state state, enum err error,
                     struct text detail)
{
    size_t leases = 0;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++)
        leases += job->stages[i].tasks.leases;
    TRY(effect_reserve(&s->effect, 0, leases + 1, job->submitted.stages_count));
    struct sched_record record = {.number = REC_JOB_STATE};
    record.record.job_state = (struct rec_job_state){.job = job->submitted.job,
                                                     .state = (uint32_t)state,
                                                     .unix_ms = s->unix_ms,
                                                     .error = (uint32_t)error,
                                                     .detail = detail};
    TRY(core_decide(s, &record, NULL));
    for (struct list_node *node; (node = list_first(&job->leases)) != NULL;)
        lease_cancel(s, CONTAINER_OF(node, struct lease, of_job));
    for (uint32_t i = 0; i < job->submitted.stages_count; i++)
        advance_stop_stage(s, &job->stages[i]);
    heap_remove(&s->retries, &job->by_retry);
    core_refresh_job(job);
    return ERR_OK;
}

/* Records that the stage is given up, and takes everything of it and of what needs it back. */
static enum err give_up(struct sched *s, struct stage *stage)
{
    struct job *job = stage->job;
    size_t leases = 0;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++)
        leases += job->stages[i].tasks.leases;
    TRY(effect_reserve(&s->effect, 0, leases, job->submitted.stages_count));
    struct sched_record record = {.number = REC_BRANCH_FAILED};
    record.record.branch_failed = (struct rec_branch_failed){.job = job->submitted.job,
                                                             .stage = stage->index,
                                                             .error = (uint32_t)stage->failure,
                                                             .detail = stage->failure_detail};
    TRY(core_decide(s, &record, NULL));
    struct list_node *next;
    for (struct list_node *node = list_first(&job->leases); node != NULL; node = next) {
        struct lease *lease = CONTAINER_OF(node, struct lease, of_job);
        next = list_next(&job->leases, node);
        if (lease->stage->state == STAGE_FAILED)
            lease_cancel(s, lease);
    }
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        if (job->stages[i].state == STAGE_FAILED)
            advance_stop_stage(s, &job->stages[i]);
    }
    return ERR_OK;
}

static enum err set_state(struct sched *s, struct job *job, enum job_state state)
{
    struct sched_record record = {.number = REC_JOB_STATE};
    record.record.job_state = (struct rec_job_state){
        .job = job->submitted.job, .state = (uint32_t)state, .unix_ms = s->unix_ms};
    return core_decide(s, &record, NULL);
}

static enum err write_log(struct sched *s, struct stage *stage)
{
    struct job *job = stage->job;
    if (stage->work_is_out || stage->retry_at.ns > s->now.ns)
        return ERR_OK;
    TRY(effect_reserve(&s->effect, 0, 0, 1));
    struct sched_work *work = effect_work(&s->effect, SCHED_WORK_LOG);
    work->job = job->submitted.job;
    work->stage = stage->index;
    const struct curve *curve = job_curve(stage);
    work->points = curve == NULL ? NULL : curve->points;
    work->point_count = curve == NULL ? 0 : (uint32_t)curve->count;
    stage->work_is_out = true;
    return ERR_OK;
}

bool advance_waits_for_fellows(const struct stage *stage)
{
    const struct job *job = stage->job;
    uint32_t running = 0;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        const struct stage *other = &job->stages[i];
        running += other->plan->kind == STAGE_KIND_TRAIN && other->state == STAGE_RUNNING;
    }
    return stage->plan->kind == STAGE_KIND_TRAIN && running >= LIMIT_VARIANTS_OPEN;
}

static enum err advance_stage(struct sched *s, struct stage *stage)
{
    if (stage->state == STAGE_WAITING) {
        if (stage->close_is_owed)
            return ERR_OK; /* stopped and started again: the old work has to end first */
        if (stage->run == NULL && stage->tasks.count == 0) {
            struct err_text et = {.text = ""};
            advance_doom(s, stage->job, told_check(stage, &et), "%s", et.text);
            return ERR_OK;
        }
        if (advance_waits_for_fellows(stage))
            return ERR_OK;
        TRY(reuse_adopt(s, stage));
        if (stage->state == STAGE_DONE)
            return ERR_OK;
        if (stage->started_unix_ms == 0)
            stage->started_unix_ms = s->unix_ms;
        stage->state = STAGE_RUNNING;
        core_refresh(stage);
    }
    if (stage->is_suspect)
        return remake_verify(s, stage);
    if (stage->run != NULL)
        return round_advance(s, stage);
    if (stage->plan->kind == STAGE_KIND_EXPORT && digest_is_zero(stage->log.digest))
        return write_log(s, stage);
    return ERR_OK;
}

static enum err advance_job(struct sched *s, struct job *job)
{
    if (job->doom != ERR_OK)
        return advance_end(s, job, JOB_FAILED, job->doom, text_of(job->detail));
    if (!job_is_active(job))
        return ERR_OK;
    uint32_t count = job->submitted.stages_count;
    for (uint32_t i = 0; i < count && job->doom == ERR_OK; i++) {
        struct stage *stage = &job->stages[i];
        if (stage->failure != ERR_OK && stage->state != STAGE_FAILED)
            TRY(give_up(s, stage));
        if (!job_may_begin(stage) || stage->state == STAGE_FAILED)
            continue;
        TRY(reuse_learn(s, stage));
        if (stage->state != STAGE_DONE)
            TRY(advance_stage(s, stage));
    }
    if (job->doom != ERR_OK)
        return advance_end(s, job, JOB_FAILED, job->doom, text_of(job->detail));
    if (!stage_set_has_all(stage_set_union(job->done, job->failed), count))
        return ERR_OK;
    if (job->state == JOB_WAITING)
        TRY(set_state(s, job, JOB_RUNNING));
    return set_state(s, job, JOB_DONE);
}

void advance_all(struct sched *s)
{
    for (struct list_node *node; (node = list_first(&s->dirty)) != NULL;) {
        enum err err = advance_job(s, CONTAINER_OF(node, struct job, dirty));
        if (err != ERR_OK) {
            ASSERT(err == ERR_OUT_OF_MEMORY);
            s->is_postponed = true;
            return;
        }
        list_remove(node);
    }
}

/* The job is looked at when the first of its resting stages may try again. */
static void await_retry(struct sched *s, struct job *job)
{
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        const struct stage *stage = &job->stages[i];
        if (stage->state == STAGE_RUNNING && stage->retry_at.ns > s->now.ns)
            first = MIN(first, stage->retry_at.ns);
    }
    if (first == UINT64_MAX)
        heap_remove(&s->retries, &job->by_retry);
    else
        heap_put(&s->retries, &job->by_retry, first, job->seq);
}

/* The loop could not do it: later again, or never. A checkpoint that could not be written leaves
 * the open state as it was; after anything else the stage goes on from the last checkpoint. A full
 * disk is waited for. */
static enum err work_failed(struct sched *s, struct stage *stage,
                            const struct sched_work_done *done)
{
    struct job *job = stage->job;
    enum err_retry class = error_retry(done->error);
    bool is_full = done->error == ERR_DISK_FULL;
    if (stage->run != NULL && stage->run->phase == RUN_OPENING && remake_is_input(done->error))
        return remake_state(s, stage, done->detail);
    TRY(effect_reserve(&s->effect, 0, 0, 1));
    stage->work_is_out = false;
    stage->work_faults += !is_full;
    stage->work_error = done->error;
    if (stage->run != NULL)
        (void)snprintf(stage->run->fault, sizeof stage->run->fault, "%.*s",
                       TEXT_ARGS(done->detail));
    if (stage->run != NULL && stage->run->phase == RUN_SAVING)
        stage->run->phase = RUN_READY;
    else if (stage->run != NULL)
        round_close(s, stage);
    if (class == ERR_PERMANENT || class == ERR_BUG || stage->work_faults >= LIMIT_TASK_ATTEMPTS) {
        advance_give_up(s, stage, done->error, "%s: %.*s", stage->plan->name.data,
                        TEXT_ARGS(done->detail));
        return ERR_OK;
    }
    uint64_t rest_ms = (uint64_t)LIMIT_WORKER_REST_MS << (is_full ? 3 : stage->work_faults);
    stage->retry_at = instant_after(s->now, duration_ms(rest_ms));
    await_retry(s, job);
    return ERR_OK;
}

static enum err keep_log(struct stage *stage, const struct artifact_ref *log)
{
    struct arena *arena = &stage->job->arena;
    const char *path = arena_copy_text(arena, log->path);
    if (path == NULL)
        return ERR_OUT_OF_MEMORY;
    stage->log = *log;
    stage->log.name = TEXT("log");
    stage->log.path.data = path;
    core_refresh(stage);
    return ERR_OK;
}

static enum err work_succeeded(struct sched *s, struct stage *stage, enum sched_event_kind kind,
                               const struct sched_work_done *done)
{
    if (stage->run == NULL)
        return kind == SCHED_LOGGED ? keep_log(stage, &done->log) : ERR_OK;
    if (kind == SCHED_OPENED && stage->run->phase == RUN_OPENING)
        return round_opened(s, stage, done);
    if (kind == SCHED_FOLDED && stage->run->phase == RUN_FOLDING)
        return round_folded(s, stage, done);
    if (kind == SCHED_CHECKPOINTED && stage->run->phase == RUN_SAVING)
        return round_checkpointed(s, stage, done);
    return ERR_OK;
}

enum err advance_work_done(struct sched *s, enum sched_event_kind kind,
                           const struct sched_work_done *done)
{
    struct job *job = job_of_id(s, done->job);
    if (job == NULL || done->stage >= job->submitted.stages_count)
        return ERR_OK;
    struct stage *stage = &job->stages[done->stage];
    if (!stage->work_is_out)
        return ERR_OK;
    if (stage->close_is_owed) {
        TRY(effect_reserve(&s->effect, 0, 0, 1));
        stage->work_is_out = stage->close_is_owed = false;
        if (stage->run != NULL)
            round_close(s, stage);
    } else if (kind == SCHED_VERIFIED) {
        TRY(remake_verified(s, stage, done));
    } else if (stage->state != STAGE_RUNNING) {
        stage->work_is_out = false; /* a log that nobody waits for any more */
    } else if (done->error != ERR_OK) {
        TRY(work_failed(s, stage, done));
    } else {
        TRY(work_succeeded(s, stage, kind, done));
        stage->work_is_out = false;
    }
    core_touch(s, job);
    return ERR_OK;
}

void advance_retries(struct sched *s)
{
    struct heap_node *node;
    while ((node = heap_first(&s->retries)) != NULL && node->key <= s->now.ns) {
        struct job *job = CONTAINER_OF(node, struct job, by_retry);
        await_retry(s, job);
        core_touch(s, job);
    }
}
