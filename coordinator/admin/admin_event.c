/* admin_event.c - one sentence a record. */
#include "coordinator/admin/admin_event.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"

uint64_t admin_event_job(uint32_t number, const union message_record *record)
{
    switch (number) {
    case REC_JOB_SUBMITTED:
        return record->job_submitted.job;
    case REC_TASK_DONE:
        return record->task_done.job;
    case REC_TASK_FAILED:
        return record->task_failed.job;
    case REC_CHECKPOINT:
        return record->checkpoint.row.job;
    case REC_JOB_STATE:
        return record->job_state.job;
    case REC_WORKER_QUARANTINED:
        return record->worker_quarantined.job;
    case REC_ARTIFACT_LOST:
        return record->artifact_lost.job;
    case REC_ANSWER_FROZEN:
        return record->answer_frozen.job;
    case REC_JOB_FORGOTTEN:
        return record->job_forgotten.job;
    case REC_BRANCH_FAILED:
        return record->branch_failed.job;
    case REC_CHECKPOINTS_FORGOTTEN:
        return record->checkpoints_forgotten.job;
    case REC_CHECKPOINT_TAGGED:
        return record->checkpoint_tagged.job;
    case REC_JOB_RESTORED:
        return record->job_restored.job;
    case REC_WORKER_DIED:
        return record->worker_died.job;
    default:
        return 0;
    }
}

/* "train" for a stage of a known job, else its number. */
static void stage_name(const struct sched *sched, uint64_t job, uint32_t stage, char *out,
                       size_t capacity)
{
    char hex[17];
    size_t index;
    (void)snprintf(hex, sizeof hex, "%016" PRIx64, job);
    (void)snprintf(out, capacity, "stage %u", stage);
    if (sched_job_find(sched, text_of(hex), &index) != ERR_OK)
        return;
    const struct rec_job_submitted *submitted = sched_job_submitted(sched, index);
    if (submitted != NULL && stage < submitted->stages_count)
        (void)snprintf(out, capacity, "%.*s", TEXT_ARGS(submitted->stages[stage].name));
}

static const char *describe_submitted(const struct rec_job_submitted *r, struct arena *arena)
{
    char hex[DIGEST_HEX_BYTES], from[128] = "";
    digest_hex(r->start.digest, hex);
    if (!digest_is_zero(r->start.digest))
        (void)snprintf(from, sizeof from, ", from checkpoint %.12s of job %016" PRIx64, hex,
                       r->start.job);
    return arena_print(arena, "submitted as %.*s by %.*s%s: %u inputs, %u stages",
                       TEXT_ARGS(r->name), TEXT_ARGS(r->owner), from, r->inputs_count,
                       r->stages_count);
}

/* `text`, then what the task counted: ": samples 300, truncated 2". */
static const char *with_facts(const char *text, const struct task_result *result,
                              struct arena *arena)
{
    for (uint32_t i = 0; i < result->facts_count && text != NULL; i++)
        text = arena_print(arena, "%s%s %.*s %" PRIu64, text, i == 0 ? ":" : ",",
                           TEXT_ARGS(result->facts[i].name), result->facts[i].value);
    return text;
}

static const char *describe_done(const struct sched *sched, const struct rec_task_done *r,
                                 struct arena *arena)
{
    char name[LIMIT_NAME_BYTES + 1];
    stage_name(sched, r->job, r->stage, name, sizeof name);
    const char *text;
    if (r->worker.size == 0)
        text = arena_print(arena, "%s done", name);
    else if (r->fence == 0)
        text =
            arena_print(arena, "%s[%u] taken over from %.*s", name, r->index, TEXT_ARGS(r->worker));
    else
        text = arena_print(arena, "%s[%u] done by %.*s in %.2f s", name, r->index,
                           TEXT_ARGS(r->worker), r->result.seconds);
    return with_facts(text, &r->result, arena);
}

static const char *describe_failed(const struct sched *sched, const struct rec_task_failed *r,
                                   struct arena *arena)
{
    char name[LIMIT_NAME_BYTES + 1];
    stage_name(sched, r->job, r->stage, name, sizeof name);
    return arena_print(arena, "%s[%u] failed on %.*s: %s: %.*s", name, r->index,
                       TEXT_ARGS(r->worker), error_name((enum err)r->error), TEXT_ARGS(r->detail));
}

/* Which training it is of is said where a job has several: their names have more than one word. */
static const char *describe_checkpoint(const struct sched *sched, const struct checkpoint_row *row,
                                       struct arena *arena)
{
    char hex[DIGEST_HEX_BYTES], name[LIMIT_NAME_BYTES + 1];
    stage_name(sched, row->job, row->stage, name, sizeof name);
    bool is_one = strncmp(name, "train ", strlen("train ")) != 0;
    digest_hex(row->digest, hex);
    return arena_print(arena, "%s%scheckpoint %.12s after step %" PRIu64 ", loss %.4f",
                       is_one ? "" : name, is_one ? "" : ": ", hex, row->step, row->loss);
}

static const char *describe_forgotten(const struct sched *sched,
                                      const struct rec_checkpoints_forgotten *r,
                                      struct arena *arena)
{
    char hex[DIGEST_HEX_BYTES], name[LIMIT_NAME_BYTES + 1];
    const char *text = "";
    stage_name(sched, r->job, r->stage, name, sizeof name);
    for (uint32_t i = 0; i < r->forgotten_count && i < 3 && text != NULL; i++) {
        digest_hex(r->forgotten[i].digest, hex);
        text = arena_print(arena, "%s%s%.12s", text, i > 0 ? ", " : "", hex);
    }
    return arena_print(arena, "%s: %u checkpoints forgotten: %s%s%s%.*s", name, r->forgotten_count,
                       text == NULL ? "" : text, r->forgotten_count > 3 ? ", ..." : "",
                       r->detail.size > 0 ? ": " : "", TEXT_ARGS(r->detail));
}

static const char *describe_tagged(const struct rec_checkpoint_tagged *r, struct arena *arena)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(r->digest, hex);
    return arena_print(arena,
                       r->removed ? "checkpoint %.12s is %.*s no more" : "checkpoint %.12s is %.*s",
                       hex, TEXT_ARGS(r->tag));
}

static const char *describe_restored(const struct sched *sched, const struct rec_job_restored *r,
                                     struct arena *arena)
{
    char hex[DIGEST_HEX_BYTES], name[LIMIT_NAME_BYTES + 1];
    stage_name(sched, r->job, r->stage, name, sizeof name);
    digest_hex(r->digest, hex);
    return arena_print(arena, "%s goes on from checkpoint %.12s%s%.*s", name, hex,
                       r->detail.size > 0 ? ": " : "", TEXT_ARGS(r->detail));
}

static const char *describe_state(const struct rec_job_state *r, struct arena *arena)
{
    const char *word = state_job_word((enum job_state)r->state);
    if (r->detail.size == 0)
        return arena_print(arena, "job: %s", word);
    return arena_print(arena, "job: %s: %.*s", word, TEXT_ARGS(r->detail));
}

static const char *describe_quarantined(const struct sched *sched,
                                        const struct rec_worker_quarantined *r, struct arena *arena)
{
    char name[LIMIT_NAME_BYTES + 1];
    char expected[DIGEST_HEX_BYTES];
    char found[DIGEST_HEX_BYTES];
    stage_name(sched, r->job, r->stage, name, sizeof name);
    digest_hex(r->expected, expected);
    digest_hex(r->found, found);
    return arena_print(arena, "worker %.*s quarantined: %s[%u] gave %.12s, others gave %.12s",
                       TEXT_ARGS(r->worker), name, r->index, found, expected);
}

static const char *describe_answer(const struct rec_answer_frozen *r, struct arena *arena)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(r->answer, hex);
    return arena_print(arena, "begun with workers whose known answer is %.12s", hex);
}

static const char *describe_target(const struct rec_scale_target *r, struct arena *arena)
{
    const char *why = r->reason.size > 0 ? ": " : "";
    if (!r->is_auto)
        return arena_print(arena, "provider %.*s shall have %u worker%s%s%.*s",
                           TEXT_ARGS(r->provider), r->target, r->target == 1 ? "" : "s", why,
                           TEXT_ARGS(r->reason));
    if (r->max == 0)
        return arena_print(arena, "provider %.*s shall have as many workers as there is work%s%.*s",
                           TEXT_ARGS(r->provider), why, TEXT_ARGS(r->reason));
    return arena_print(arena, "provider %.*s shall have %u to %u workers, by the work%s%.*s",
                       TEXT_ARGS(r->provider), r->min, r->max, why, TEXT_ARGS(r->reason));
}

enum err admin_event_row(const struct sched *sched, uint64_t seq, uint64_t unix_ms, uint32_t number,
                         const union message_record *record, struct arena *arena,
                         struct event_row *row)
{
    const char *text = NULL;
    switch (number) {
    case REC_COORDINATOR_STARTED:
        text = arena_print(arena, "coordinator started, incarnation %" PRIu64,
                           record->coordinator_started.incarnation);
        break;
    case REC_JOB_SUBMITTED:
        text = describe_submitted(&record->job_submitted, arena);
        break;
    case REC_TASK_DONE:
        text = describe_done(sched, &record->task_done, arena);
        break;
    case REC_TASK_FAILED:
        text = describe_failed(sched, &record->task_failed, arena);
        break;
    case REC_CHECKPOINT:
        text = describe_checkpoint(sched, &record->checkpoint.row, arena);
        break;
    case REC_JOB_STATE:
        text = describe_state(&record->job_state, arena);
        break;
    case REC_WORKER_QUARANTINED:
        text = describe_quarantined(sched, &record->worker_quarantined, arena);
        break;
    case REC_BRANCH_FAILED:
        text = arena_print(arena, "given up: %.*s", TEXT_ARGS(record->branch_failed.detail));
        break;
    case REC_ANSWER_FROZEN:
        text = describe_answer(&record->answer_frozen, arena);
        break;
    case REC_JOB_FORGOTTEN:
        text = record->job_forgotten.detail.size == 0
                   ? "forgotten"
                   : arena_print(arena, "forgotten: %.*s", TEXT_ARGS(record->job_forgotten.detail));
        break;
    case REC_CHECKPOINTS_FORGOTTEN:
        text = describe_forgotten(sched, &record->checkpoints_forgotten, arena);
        break;
    case REC_CHECKPOINT_TAGGED:
        text = describe_tagged(&record->checkpoint_tagged, arena);
        break;
    case REC_JOB_RESTORED:
        text = describe_restored(sched, &record->job_restored, arena);
        break;
    case REC_WORKER_DIED:
        text = arena_print(arena, "worker %.*s: %.*s", TEXT_ARGS(record->worker_died.worker),
                           TEXT_ARGS(record->worker_died.detail));
        break;
    case REC_SCALE_TARGET:
        text = describe_target(&record->scale_target, arena);
        break;
    case REC_ARTIFACT_LOST:
        text = arena_print(arena, "%.*s", TEXT_ARGS(record->artifact_lost.detail));
        break;
    default:
        text = arena_print(arena, "record of kind %u", number);
        break;
    }
    if (text == NULL)
        return ERR_OUT_OF_MEMORY;
    struct text cut = text_of(text);
    cut.size = MIN(cut.size, (size_t)LIMIT_TEXT_BYTES);
    *row = (struct event_row){
        .seq = seq, .unix_ms = unix_ms, .job = admin_event_job(number, record), .text = cut};
    return ERR_OK;
}
