/* history_control.c - decisions about checkpoints: what is asked for, checked, put on record. */
#include "coordinator/sched/history.h"

#include <stdio.h>

#include "common/base/check.h"
#include "coordinator/sched/advance.h"
#include "coordinator/sched/lease.h"
#include "coordinator/sched/remake.h"
#include "coordinator/sched/retention.h"

enum { TAG_BYTES_MAX = 40 };

/* Records that those of a stage go which are marked. A list of verdicts fits one record. */
_Static_assert(LIMIT_LIST_ROWS <= LIMIT_INPUTS, "verdicts fit a record");
static enum err forget_of_stage(struct sched *s, const struct job *job, uint32_t stage,
                                const struct checkpoint_verdict *verdicts, uint32_t count,
                                struct text reason)
{
    struct artifact_ref *refs = arena_alloc(&s->effect.arena, count, sizeof *refs);
    uint32_t used = 0;
    if (refs == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        if (verdicts[i].forgotten && verdicts[i].row.stage == stage)
            refs[used++] = (struct artifact_ref){.digest = verdicts[i].row.digest,
                                                 .size_bytes = verdicts[i].row.size_bytes};
    }
    struct sched_record record = {.number = REC_CHECKPOINTS_FORGOTTEN};
    record.record.checkpoints_forgotten =
        (struct rec_checkpoints_forgotten){.job = job->submitted.job,
                                           .stage = stage,
                                           .forgotten = refs,
                                           .forgotten_count = used,
                                           .detail = reason};
    return used == 0 ? ERR_OK : core_decide(s, &record, NULL);
}

static enum err forget(struct sched *s, const struct job *job,
                       const struct msg_checkpoint_control *control,
                       struct msg_checkpoint_controlled *reply, struct err_text *et)
{
    TRY(history_judge(job, control, s->unix_ms, &s->effect.arena, &reply->verdicts,
                      &reply->verdicts_count, et));
    size_t records = s->effect.record_count;
    for (uint32_t i = 0; i < job->submitted.stages_count && !control->dry_run; i++) {
        enum err err = job->stages[i].run == NULL
                           ? ERR_OK
                           : forget_of_stage(s, job, i, reply->verdicts, reply->verdicts_count,
                                             control->reason);
        if (err != ERR_OK && s->effect.record_count == records)
            return err;
        for (uint32_t k = 0; err != ERR_OK && k < reply->verdicts_count; k++) {
            if (reply->verdicts[k].row.stage == i) /* what was decided is told, the rest is left */
                reply->verdicts[k].forgotten = false;
        }
    }
    return ERR_OK;
}

/* The checkpoint among those of the job. ERR_NOT_FOUND: *et says whose it is. */
static enum err find_row(const struct sched *s, const struct job *job, struct digest digest,
                         const struct checkpoint_row **out, struct err_text *et);

/* Digits alone would be a step, and a dash in front an option. */
static bool is_tag(struct text tag)
{
    bool is_number = true;
    if (tag.size == 0 || tag.size > TAG_BYTES_MAX || tag.data[0] == '-' || text_is(tag, "latest") ||
        text_is(tag, "best") || text_is(tag, "last"))
        return false;
    for (size_t i = 0; i < tag.size; i++) {
        char c = tag.data[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
        if (!is_plain)
            return false;
        is_number &= c >= '0' && c <= '9';
    }
    return !is_number;
}

static enum err put_tag(struct sched *s, const struct job *job,
                        const struct msg_checkpoint_control *control, struct err_text *et)
{
    const struct checkpoint_row *row;
    bool removes = control->action == CHECKPOINT_UNTAG;
    size_t size = control->tag.size;
    TRY(find_row(s, job, control->digest, &row, et));
    if (!removes && !is_tag(control->tag))
        return error_set(et, ERR_USAGE,
                         "%.*s: a tag has 1 to %d letters, digits, dots, dashes and underscores, "
                         "no dash in front, and is not a number, latest, best or last",
                         (int)MIN(control->tag.size, (size_t)TAG_BYTES_MAX), control->tag.data,
                         TAG_BYTES_MAX);
    bool has = false;
    for (size_t i = 0; i < job->tag_count; i++) {
        if (job->tags[i].stage != row->stage || !digest_equal(job->tags[i].digest, row->digest))
            continue;
        has |= text_equal(job_tag_name(&job->tags[i]), control->tag);
        size += job->tags[i].size + 1;
    }
    if (removes && !has)
        return error_set(et, ERR_NOT_FOUND, "the checkpoint has no tag %.*s",
                         TEXT_ARGS(control->tag));
    if (!removes && !has && size > LIMIT_NAME_BYTES)
        return error_set(et, ERR_LIMIT, "the checkpoint has too many tags; take some away");
    struct sched_record record = {.number = REC_CHECKPOINT_TAGGED};
    record.record.checkpoint_tagged = (struct rec_checkpoint_tagged){.job = job->submitted.job,
                                                                     .stage = row->stage,
                                                                     .digest = row->digest,
                                                                     .tag = control->tag,
                                                                     .removed = removes};
    return removes || !has ? core_decide(s, &record, NULL) : ERR_OK;
}

/* The value of `base_model` in a canonical recipe. */
static struct text model_of(const struct job *job)
{
    static const char key[] = "base_model: ";
    const char *recipe = (const char *)job->submitted.recipe.data;
    size_t size = job->submitted.recipe.size;
    for (size_t at = 0; at < size;) {
        const char *newline = memchr(recipe + at, '\n', size - at);
        size_t length = newline == NULL ? size - at : (size_t)(newline - (recipe + at));
        if (length > sizeof key - 1 && memcmp(recipe + at, key, sizeof key - 1) == 0)
            return (struct text){recipe + at + (sizeof key - 1), length - (sizeof key - 1)};
        at += length + 1;
    }
    return TEXT("?");
}

static const struct checkpoint_row *row_of(const struct job *job, struct digest digest)
{
    for (size_t i = job->checkpoint_count; i-- > 0;) {
        if (digest_equal(job->checkpoints[i].digest, digest))
            return &job->checkpoints[i];
    }
    return NULL;
}

static enum err find_row(const struct sched *s, const struct job *job, struct digest digest,
                         const struct checkpoint_row **out, struct err_text *et)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(digest, hex);
    *out = row_of(job, digest);
    for (size_t i = s->job_count; *out == NULL && i-- > 0;) {
        const struct job *other = s->jobs[i];
        if (row_of(other, digest) == NULL)
            continue;
        return error_set(et, ERR_STATE,
                         "checkpoint %.7s is of job %.*s (%016llx, of %.*s) and does not go into "
                         "%.*s (%016llx, of %.*s); `qctl ckpt fork` makes a new job from it",
                         hex, TEXT_ARGS(other->submitted.name),
                         (unsigned long long)other->submitted.job, TEXT_ARGS(model_of(other)),
                         TEXT_ARGS(job->submitted.name), (unsigned long long)job->submitted.job,
                         TEXT_ARGS(model_of(job)));
    }
    return *out != NULL ? ERR_OK
                        : error_set(et, ERR_NOT_FOUND, "job %.*s has no checkpoint %.7s",
                                    TEXT_ARGS(job->submitted.name), hex);
}

/* Whether the job can go on from there. */
static enum err check_restore(const struct job *job, const struct checkpoint_row *row,
                              struct err_text *et)
{
    const struct stage *stage = &job->stages[row->stage];
    const struct checkpoint_row *last = job_checkpoint(job, stage);
    if (job->doom != ERR_OK)
        return error_set(et, ERR_STATE, "the job is about to fail: %s", job->detail);
    if (job->error == ERR_PROFILE)
        return error_set(et, ERR_STATE,
                         "a wrong result counts in the job, so nothing may rest on it any more; "
                         "submit it again");
    if (stage->state == STAGE_FAILED)
        return error_set(et, ERR_STATE, "%.*s was given up: %.*s", TEXT_ARGS(stage->plan->name),
                         TEXT_ARGS(stage->failure_detail));
    if (job->state == JOB_DONE && last != NULL && digest_equal(last->digest, row->digest))
        return error_set(et, ERR_STATE, "the job is done, and that is its last checkpoint");
    if (row->points > stage->run->curve.known)
        return error_set(et, ERR_STATE,
                         "what lies between was lost; the job makes the checkpoint again");
    for (size_t i = 0; i < job->tag_count && !roster_is_versioned(job->pool); i++) {
        for (size_t k = 0; k < job->checkpoint_count; k++) {
            const struct checkpoint_row *later = &job->checkpoints[k];
            if (later->stage == row->stage && job->tags[i].stage == row->stage &&
                later->step > row->step && digest_equal(later->digest, job->tags[i].digest))
                return error_set(et, ERR_STATE,
                                 "profile %s need not give the checkpoint %.*s again, which would "
                                 "go; take the tag away, or fork",
                                 job->settings.profile, TEXT_ARGS(job_tag_name(&job->tags[i])));
        }
    }
    return ERR_OK;
}

static enum err restore(struct sched *s, struct job *job,
                        const struct msg_checkpoint_control *control, struct err_text *et)
{
    const struct checkpoint_row *row;
    size_t leases = 0;
    TRY(find_row(s, job, control->digest, &row, et));
    TRY(check_restore(job, row, et));
    struct stage *stage = &job->stages[row->stage];
    const struct checkpoint_row *last = job_checkpoint(job, stage);
    if (last != NULL && digest_equal(last->digest, row->digest) &&
        !state_job_is_terminal(job->state))
        return ERR_OK; /* it goes on from there, or its request came twice */
    for (uint32_t i = 0; i < job->submitted.stages_count; i++)
        leases += job->stages[i].tasks.leases;
    TRY(effect_reserve(&s->effect, 0, leases + 1, job->submitted.stages_count));
    struct sched_record record = {.number = REC_JOB_RESTORED};
    record.record.job_restored = (struct rec_job_restored){.job = job->submitted.job,
                                                           .stage = row->stage,
                                                           .digest = row->digest,
                                                           .detail = control->reason};
    TRY(core_decide(s, &record, NULL));
    struct list_node *next;
    for (struct list_node *node = list_first(&job->leases); node != NULL; node = next) {
        struct lease *lease = CONTAINER_OF(node, struct lease, of_job);
        next = list_next(&job->leases, node);
        if (lease->stage == stage)
            lease_cancel(s, lease);
    }
    advance_stop_stage(s, stage);
    remake_stop_dependents(s, job);
    return ERR_OK;
}

static enum err act(struct sched *s, struct job *job, const struct msg_checkpoint_control *control,
                    struct msg_checkpoint_controlled *reply, struct err_text *et)
{
    switch ((enum checkpoint_action)control->action) {
    case CHECKPOINT_FORGET:
        return forget(s, job, control, reply, et);
    case CHECKPOINT_TAG:
    case CHECKPOINT_UNTAG:
        return put_tag(s, job, control, et);
    case CHECKPOINT_RESTORE:
        return restore(s, job, control, et);
    case CHECKPOINT_PRUNE:
        break;
    }
    return error_set(et, ERR_USAGE, "nothing of the kind can be done to checkpoints");
}

enum err history_control(struct sched *s, struct peer_id client,
                         const struct msg_checkpoint_control *control, uint64_t bytes)
{
    struct err_text et = {.text = ""};
    struct msg_checkpoint_controlled reply = {.ticket = control->ticket, .bytes = bytes};
    size_t index = 0;
    TRY(effect_reserve(&s->effect, 1, 1, 0));
    enum err err = sched_job_find(s, control->prefix, &index);
    if (err == ERR_OK)
        err = act(s, s->jobs[index], control, &reply, &et);
    if (err == ERR_OUT_OF_MEMORY)
        return err;
    if (err == ERR_OK) {
        effect_send(&s->effect, client, MSG_CHECKPOINT_CONTROLLED)->checkpoint_controlled = reply;
        return ERR_OK;
    }
    const char *detail =
        et.text[0] == '\0' ? error_text(err) : arena_print(&s->effect.arena, "%s", et.text);
    effect_send(&s->effect, client, MSG_STATUS)->status =
        (struct msg_status){.ticket = control->ticket,
                            .error = (uint32_t)err,
                            .detail = text_of(detail == NULL ? error_text(err) : detail)};
    return ERR_OK;
}

void history_limit(struct sched *s, struct stage *stage)
{
    uint64_t limit = stage->run->plan.save_total_limit;
    const struct job *job = stage->job;
    struct checkpoint_verdict *verdicts;
    uint32_t count;
    bool any = false;
    struct msg_checkpoint_control control = {.rules = {.keep_last = limit}};
    if (limit == 0 || job->checkpoint_count <= limit ||
        history_judge(job, &control, s->unix_ms, &s->effect.arena, &verdicts, &count, NULL) !=
            ERR_OK)
        return;
    for (uint32_t i = 0; i < count; i++) {
        verdicts[i].forgotten &= verdicts[i].row.stage == stage->index && !verdicts[i].row.undone;
        any |= verdicts[i].forgotten;
    }
    if (!any || effect_reserve(&s->effect, 0, 0, 1) != ERR_OK ||
        forget_of_stage(s, job, stage->index, verdicts, count, TEXT("save_total_limit")) != ERR_OK)
        return;
    (void)effect_work(&s->effect, SCHED_WORK_PRUNE);
}
