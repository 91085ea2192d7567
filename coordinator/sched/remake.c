/* remake.c - see the picture in remake.h. */
#include "coordinator/sched/remake.h"

#include <stdio.h>

#include "common/base/check.h"
#include "coordinator/sched/advance.h"
#include "coordinator/sched/lease.h"
#include "coordinator/sched/reuse.h"
#include "coordinator/sched/round.h"
#include "coordinator/sched/spec.h"

enum { DETAIL_BYTES = 512 };

bool remake_is_input(enum err error)
{
    return error == ERR_NOT_FOUND || error == ERR_DIGEST || error == ERR_TRUNCATED;
}

/* The artifacts of a task_result, or none. */
static bool makes(const struct task_result *result, struct digest digest)
{
    for (uint32_t i = 0; result != NULL && i < result->outputs_count; i++) {
        if (digest_equal(result->outputs[i].digest, digest))
            return true;
    }
    return false;
}

static void reopen(struct stage *stage)
{
    stage->state = STAGE_WAITING;
    stage->result = NULL;
    stage->log = (struct artifact_ref){0};
    stage->started_unix_ms = stage->ended_unix_ms = 0;
    stage_set_remove(&stage->job->done, stage->index);
}

static void undo_task(struct sched *s, struct stage *stage, uint32_t index)
{
    tasks_undo(&stage->tasks, index);
    for (size_t i = 0; i < CORE_TRIALS; i++) {
        if (s->trials[i].stage == stage && s->trials[i].index == index)
            s->trials[i] = (struct trial){0};
    }
}

void remake_undo_branch(struct sched *s, struct stage *stage)
{
    struct job *job = stage->job;
    struct stage_set branch = job_branch(stage);
    for (uint32_t i = stage->index; i < job->submitted.stages_count; i++) {
        struct stage *after = &job->stages[i];
        if (!stage_set_has(branch, i) || after->state == STAGE_FAILED)
            continue;
        for (uint32_t t = 0; after->run == NULL && t < after->tasks.count; t++) {
            if (after->tasks.items[t].result != NULL)
                undo_task(s, after, t);
        }
        if (after->state == STAGE_DONE)
            reopen(after);
        if (after != stage)
            reuse_drop(s, after);
    }
}

static bool undo_tasks(struct sched *s, struct stage *stage, struct digest digest)
{
    bool found = false;
    for (uint32_t t = 0; stage->run == NULL && t < stage->tasks.count; t++) {
        if (!makes(stage->tasks.items[t].result, digest))
            continue;
        undo_task(s, stage, t);
        found = true;
    }
    stage->is_remade |= found;
    if (found && stage->state == STAGE_DONE)
        reopen(stage);
    return found;
}

/* Forgets the checkpoints of the stage from the one of this digest on. False: there is none. */
static bool cut_checkpoints(struct job *job, const struct stage *stage, struct digest digest)
{
    size_t kept = 0;
    bool found = false;
    for (size_t i = 0; i < job->checkpoint_count; i++) {
        const struct checkpoint_row *row = &job->checkpoints[i];
        found |= row->stage == stage->index && digest_equal(row->digest, digest);
        if (!found || row->stage != stage->index)
            job->checkpoints[kept++] = *row;
    }
    job->checkpoint_count = kept;
    return found;
}

/* Goes back to the checkpoint before the lost one, and to the points up to it; the evaluation of
 * the last state, whose point comes after those of training, is done again with it. */
static bool undo_checkpoint(struct job *job, struct stage *stage, struct digest digest)
{
    if (stage->run == NULL || !cut_checkpoints(job, stage, digest))
        return false;
    const struct checkpoint_row *last = job_checkpoint(job, stage);
    if (last != NULL)
        curve_cut(&stage->run->curve, last->step);
    else
        curve_clear(&stage->run->curve);
    for (uint32_t k = stage->index; k < job->submitted.stages_count; k++) {
        struct stage *after = &job->stages[k];
        bool follows = after == stage || stage_set_has(after->needs, stage->index);
        if (follows && after->run != NULL && after->state == STAGE_DONE)
            reopen(after);
    }
    return true;
}

/* Attempts that failed for want of what is made again are not held against their tasks. */
static void forgive(struct job *job)
{
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        struct stage *stage = &job->stages[i];
        for (uint32_t t = 0; stage->state != STAGE_DONE && t < stage->tasks.count; t++)
            stage->tasks.items[t].attempts = 0;
    }
}

enum err remake_apply_lost(struct sched *s, const struct rec_artifact_lost *record)
{
    struct job *job = job_of_id(s, record->job);
    if (job == NULL)
        return ERR_STATE;
    const char *detail = arena_copy_text(&job->arena, record->detail);
    if (detail == NULL)
        return ERR_OUT_OF_MEMORY;
    bool found = false;
    for (uint32_t i = 0; i < record->lost_count; i++) {
        for (uint32_t k = 0; k < job->submitted.stages_count; k++) {
            found |= undo_checkpoint(job, &job->stages[k], record->lost[i].digest);
            found |= undo_tasks(s, &job->stages[k], record->lost[i].digest);
        }
    }
    if (!found)
        return ERR_STATE;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        if (!job_may_begin(&job->stages[i]))
            reuse_drop(s, &job->stages[i]);
    }
    forgive(job);
    job->loss_detail = text_of(detail);
    job->losses++;
    if (job->state == JOB_DONE) {
        job->state = JOB_WAITING;
        job->ended_unix_ms = 0;
        job_hold_answer(job);
    }
    core_refresh_job(job);
    return ERR_OK;
}

static bool is_early(const struct lease *lease)
{
    const struct stage *stage = lease->stage;
    return !job_may_begin(stage) || !tasks_is_open(&stage->tasks, lease->index);
}

void remake_stop_dependents(struct sched *s, struct job *job)
{
    struct list_node *next;
    for (struct list_node *node = list_first(&job->leases); node != NULL; node = next) {
        struct lease *lease = CONTAINER_OF(node, struct lease, of_job);
        next = list_next(&job->leases, node);
        if (is_early(lease))
            lease_cancel(s, lease);
    }
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        struct stage *stage = &job->stages[i];
        if (stage->state == STAGE_RUNNING && !job_may_begin(stage))
            advance_stop_stage(s, stage);
    }
    core_refresh_job(job);
    core_touch(s, job);
}

/* What was lost, as the job knows it. */
struct find {
    bool is_made; /* by a task or as a checkpoint; else it is an input of the job, or nothing */
    struct text input; /* name of the input */
    char text[DETAIL_BYTES];
};

static bool find_checkpoint(const struct job *job, struct digest digest, struct find *find)
{
    char hex[DIGEST_HEX_BYTES];
    for (size_t i = 0; i < job->checkpoint_count; i++) {
        const struct checkpoint_row *row = &job->checkpoints[i];
        if (!digest_equal(row->digest, digest))
            continue;
        digest_hex(digest, hex);
        unsigned long long back = 0;
        for (size_t k = 0; k < i; k++) {
            if (job->checkpoints[k].stage == row->stage)
                back = (unsigned long long)job->checkpoints[k].step;
        }
        (void)snprintf(find->text, sizeof find->text,
                       "checkpoint %.12s after step %llu is lost, training goes back to step %llu",
                       hex, (unsigned long long)row->step, back);
        return true;
    }
    return false;
}

static bool find_task(const struct job *job, struct digest digest, struct find *find)
{
    for (uint32_t k = 0; k < job->submitted.stages_count; k++) {
        const struct stage *stage = &job->stages[k];
        for (uint32_t t = 0; stage->run == NULL && t < stage->tasks.count; t++) {
            if (!makes(stage->tasks.items[t].result, digest))
                continue;
            (void)snprintf(find->text, sizeof find->text,
                           "a result of %.*s[%u] is lost and made again",
                           TEXT_ARGS(stage->plan->name), t);
            return true;
        }
    }
    return false;
}

static void find_loss(const struct job *job, struct digest digest, struct find *find)
{
    *find = (struct find){.is_made = false};
    find->is_made = find_checkpoint(job, digest, find) || find_task(job, digest, find);
    for (uint32_t i = 0; i < job->submitted.inputs_count && !find->is_made; i++) {
        if (digest_equal(job->submitted.inputs[i].digest, digest))
            find->input = job->submitted.inputs[i].name;
    }
}

/* Records that the job lost `count` of its own makings. Room for one send is left. */
static enum err decide(struct sched *s, struct job *job, struct artifact_ref *lost, uint32_t count,
                       const char *detail)
{
    struct sched_record record = {.number = REC_ARTIFACT_LOST};
    record.record.artifact_lost = (struct rec_artifact_lost){
        .job = job->submitted.job, .lost = lost, .lost_count = count, .detail = text_of(detail)};
    size_t leases = 0;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++)
        leases += job->stages[i].tasks.leases;
    TRY(effect_reserve(&s->effect, 0, leases + 1, job->submitted.stages_count));
    TRY(core_decide(s, &record, NULL));
    remake_stop_dependents(s, job);
    if (job->losses > LIMIT_ARTIFACT_LOSSES)
        advance_doom(s, job, ERR_DIGEST,
                     "what this job made was damaged %u times; check the coordinator's disk, then "
                     "retry; the last time: %s",
                     job->losses, detail);
    return ERR_OK;
}

/* The log of the run is written anew when it is wanted. */
static bool lose_log(struct job *job, struct digest digest)
{
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        struct stage *stage = &job->stages[i];
        if (stage->state == STAGE_DONE || !digest_equal(stage->log.digest, digest))
            continue;
        stage->log = (struct artifact_ref){0};
        return true;
    }
    return false;
}

/* *is_known: at least one of them is the job's own, and is made again or fails it. */
static enum err lose(struct sched *s, struct job *job, const struct sched_loss *losses,
                     uint32_t count, bool *is_known)
{
    struct artifact_ref *lost = arena_alloc(&s->effect.arena, count, sizeof *lost);
    char detail[DETAIL_BYTES] = "";
    uint32_t made = 0;
    if (lost == NULL)
        return ERR_OUT_OF_MEMORY;
    *is_known = false;
    for (uint32_t i = 0; i < count; i++) {
        struct find find;
        find_loss(job, losses[i].digest, &find);
        if (find.input.size > 0) {
            advance_doom(s, job, ERR_DIGEST, "%.*s: %.*s", TEXT_ARGS(find.input),
                         TEXT_ARGS(losses[i].why));
            *is_known = true;
            return ERR_OK;
        }
        *is_known |= find.is_made || lose_log(job, losses[i].digest);
        if (!find.is_made)
            continue;
        if (made == 0)
            (void)snprintf(detail, sizeof detail, "%s: %.*s", find.text, TEXT_ARGS(losses[i].why));
        lost[made++] = (struct artifact_ref){.digest = losses[i].digest};
    }
    size_t used = strlen(detail);
    if (made > 1)
        (void)snprintf(detail + used, sizeof detail - used, "; and %u more", made - 1);
    return made == 0 ? ERR_OK : decide(s, job, lost, made, detail);
}

/* A work that found something lost is over; the stage may have been stopped with the others. */
static void end_work(struct sched *s, struct stage *stage)
{
    bool is_closed = stage->close_is_owed;
    stage->work_is_out = stage->close_is_owed = false;
    if (is_closed && stage->run != NULL)
        round_close(s, stage);
}

void remake_suspect(struct sched *s, struct stage *stage, uint32_t index, enum err error,
                    struct text detail, bool is_fatal)
{
    struct job *job = stage->job;
    const char *copy = arena_copy_text(&job->arena, detail);
    if (stage->is_suspect)
        return; /* its fellow is looked into already */
    stage->is_suspect = true;
    stage->is_fatal = is_fatal;
    stage->suspect = index;
    stage->suspect_error = error;
    stage->suspect_detail = copy == NULL ? text_of(error_text(error)) : text_of(copy);
    core_refresh(stage);
    core_touch(s, job);
}

static enum err verify(struct sched *s, struct stage *stage, const struct artifact_ref *refs,
                       uint32_t count)
{
    TRY(effect_reserve(&s->effect, 0, 0, 1));
    struct sched_work *work = effect_work(&s->effect, SCHED_WORK_VERIFY);
    work->job = stage->job->submitted.job;
    work->stage = stage->index;
    work->recipe = stage->job->submitted.recipe;
    work->refs = refs;
    work->ref_count = count;
    stage->work_is_out = true;
    return ERR_OK;
}

enum err remake_verify(struct sched *s, struct stage *stage)
{
    struct task_spec spec;
    if (stage->work_is_out)
        return ERR_OK;
    TRY(spec_build(stage, stage->suspect, &s->effect.arena, &spec));
    return verify(s, stage, spec.inputs, spec.inputs_count);
}

enum err remake_verified(struct sched *s, struct stage *stage, const struct sched_work_done *done)
{
    struct job *job = stage->job;
    bool is_known = false;
    TRY(effect_reserve(&s->effect, 0, 0, job->submitted.stages_count));
    if (done->error == ERR_OK && done->lost_count > 0)
        TRY(lose(s, job, done->lost, done->lost_count, &is_known));
    if (stage->is_suspect && stage->is_fatal && done->restored_count == 0 && !is_known)
        advance_doom(s, job, stage->suspect_error, "%.*s[%u]: %.*s", TEXT_ARGS(stage->plan->name),
                     stage->suspect, TEXT_ARGS(stage->suspect_detail));
    stage->is_suspect = false;
    end_work(s, stage);
    core_refresh(stage);
    return ERR_OK;
}

enum err remake_state(struct sched *s, struct stage *stage, struct text why)
{
    struct sched_loss loss = {.digest = spec_state(stage, NULL).digest, .why = why};
    bool is_known;
    TRY(effect_reserve(&s->effect, 0, 0, stage->job->submitted.stages_count));
    TRY(lose(s, stage->job, &loss, 1, &is_known));
    advance_stop_stage(s, stage);
    end_work(s, stage);
    return ERR_OK;
}

enum err remake_results(struct sched *s, struct job *job)
{
    struct stage *stage = NULL; /* whose work it is: any of them */
    uint32_t count = 0;
    for (uint32_t i = job->submitted.stages_count; i-- > 0;) {
        bool is_result = job_results(&job->stages[i], NULL, &count);
        stage = is_result ? &job->stages[i] : stage;
    }
    if (stage == NULL)
        return ERR_STATE;
    struct artifact_ref *refs = arena_alloc(&s->effect.arena, count, sizeof *refs);
    if (refs == NULL)
        return ERR_OUT_OF_MEMORY;
    count = 0;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++)
        (void)job_results(&job->stages[i], refs, &count);
    return stage->work_is_out ? ERR_OK : verify(s, stage, refs, count);
}
