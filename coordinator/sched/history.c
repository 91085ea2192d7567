/* history.c - records about checkpoints, and the rules that make them. */
#include "coordinator/sched/history.h"

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "coordinator/sched/remake.h"
#include "coordinator/sched/retention.h"

static struct stage *training_of(const struct sched *s, uint64_t id, uint32_t index)
{
    struct job *job = job_of_id(s, id);
    if (job == NULL || index >= job->submitted.stages_count || job->stages[index].run == NULL)
        return NULL;
    return &job->stages[index];
}

static struct checkpoint_row *find(const struct stage *stage, struct digest digest)
{
    struct job *job = stage->job;
    for (size_t i = 0; i < job->checkpoint_count; i++) {
        struct checkpoint_row *row = &job->checkpoints[i];
        if (row->stage == stage->index && digest_equal(row->digest, digest))
            return row;
    }
    return NULL;
}

static bool is_among(const struct rec_checkpoints_forgotten *record, struct digest digest)
{
    for (uint32_t i = 0; i < record->forgotten_count; i++) {
        if (digest_equal(record->forgotten[i].digest, digest))
            return true;
    }
    return false;
}

enum err history_apply_forgotten(struct sched *s, const struct rec_checkpoints_forgotten *record)
{
    struct stage *stage = training_of(s, record->job, record->stage);
    if (stage == NULL)
        return ERR_STATE;
    struct job *job = stage->job;
    const struct checkpoint_row *latest = job_checkpoint(job, stage);
    for (uint32_t i = 0; i < record->forgotten_count; i++) {
        const struct checkpoint_row *row = find(stage, record->forgotten[i].digest);
        if (row == NULL || row == latest)
            return ERR_STATE;
    }
    TRY(orphan_reserve(&s->orphans, 2 * (size_t)record->forgotten_count));
    size_t kept = 0;
    for (size_t i = 0; i < job->checkpoint_count; i++) {
        const struct checkpoint_row *row = &job->checkpoints[i];
        if (row->stage == stage->index && is_among(record, row->digest)) {
            orphan_add(&s->orphans, row->digest);
            orphan_add(&s->orphans, row->ledger);
        } else {
            job->checkpoints[kept++] = *row;
        }
    }
    job->checkpoint_count = kept;
    return ERR_OK;
}

/* The place of the name in the job's list, its count when it is not there. */
static size_t find_tag(const struct job *job, uint32_t stage, struct text name)
{
    size_t i = 0;
    while (i < job->tag_count &&
           !(job->tags[i].stage == stage && text_equal(job_tag_name(&job->tags[i]), name)))
        i++;
    return i;
}

static enum err reserve_tag(struct job *job)
{
    if (job->tag_count < job->tag_capacity)
        return ERR_OK;
    size_t capacity = MAX(job->tag_capacity * 2, 4u);
    struct job_tag *tags = mem_resize(job->tags, capacity, sizeof *tags);
    if (tags == NULL)
        return ERR_OUT_OF_MEMORY;
    job->tags = tags;
    job->tag_capacity = capacity;
    return ERR_OK;
}

const char *history_tags(const struct job *job, uint32_t stage, struct digest digest,
                         struct arena *arena)
{
    const char *text = "";
    for (size_t i = 0; i < job->tag_count && text != NULL; i++) {
        const struct job_tag *tag = &job->tags[i];
        if (tag->stage == stage && digest_equal(tag->digest, digest))
            text = arena_print(arena, "%s%s%.*s", text, text[0] != '\0' ? "," : "", (int)tag->size,
                               tag->name);
    }
    return text;
}

enum err history_retag(struct job *job)
{
    struct arena made, texts;
    arena_init(&made, job->arena.limit_bytes);
    arena_init(&texts, job->arena.limit_bytes);
    const char **tags = arena_alloc(&texts, job->checkpoint_count, sizeof *tags);
    enum err err = tags == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
    for (size_t i = 0; i < job->checkpoint_count && err == ERR_OK; i++) {
        const struct checkpoint_row *row = &job->checkpoints[i];
        tags[i] = history_tags(job, row->stage, row->digest, &made);
        err = tags[i] == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
    }
    for (size_t i = 0; i < job->checkpoint_count && err == ERR_OK; i++)
        job->checkpoints[i].tags = text_of(tags[i]);
    arena_fini(&texts);
    if (err != ERR_OK) {
        arena_fini(&made);
        return err;
    }
    arena_fini(&job->tag_texts);
    job->tag_texts = made;
    return ERR_OK;
}

static enum err untag(struct job *job, size_t place)
{
    struct job_tag gone = job->tags[place];
    size_t after = --job->tag_count - place;
    memmove(job->tags + place, job->tags + place + 1, after * sizeof gone);
    enum err err = history_retag(job);
    if (err == ERR_OK)
        return ERR_OK;
    memmove(job->tags + place + 1, job->tags + place, after * sizeof gone);
    job->tags[place] = gone;
    job->tag_count++;
    return err;
}

enum err history_apply_tagged(struct sched *s, const struct rec_checkpoint_tagged *record)
{
    struct stage *stage = training_of(s, record->job, record->stage);
    if (stage == NULL || record->tag.size == 0 || record->tag.size > LIMIT_NAME_BYTES)
        return ERR_STATE;
    struct job *job = stage->job;
    size_t place = find_tag(job, stage->index, record->tag);
    bool is_new = place == job->tag_count;
    if (record->removed)
        return is_new ? ERR_STATE : untag(job, place);
    if (find(stage, record->digest) == NULL)
        return ERR_STATE;
    TRY(reserve_tag(job));
    struct job_tag before = is_new ? (struct job_tag){0} : job->tags[place];
    struct job_tag *tag = &job->tags[place];
    *tag =
        (struct job_tag){.stage = stage->index, .digest = record->digest, .size = record->tag.size};
    memcpy(tag->name, record->tag.data, tag->size);
    job->tag_count += is_new;
    enum err err = history_retag(job);
    if (err != ERR_OK) {
        *tag = before;
        job->tag_count -= is_new;
    }
    return err;
}

/* Later checkpoints of the stage are undone, and those up to it are not; or they go, where another
 * run need not give them again. Room for them as orphans is reserved. */
static void go_to(struct sched *s, struct stage *stage, uint64_t step, bool keeps_later)
{
    struct job *job = stage->job;
    size_t kept = 0;
    for (size_t i = 0; i < job->checkpoint_count; i++) {
        struct checkpoint_row row = job->checkpoints[i];
        bool is_later = row.stage == stage->index && row.step > step;
        if (row.stage == stage->index)
            row.undone = is_later;
        if (!is_later || keeps_later) {
            job->checkpoints[kept++] = row;
        } else {
            orphan_add(&s->orphans, row.digest);
            orphan_add(&s->orphans, row.ledger);
        }
    }
    job->checkpoint_count = kept;
}

enum err history_apply_restored(struct sched *s, const struct rec_job_restored *record)
{
    struct stage *stage = training_of(s, record->job, record->stage);
    const struct checkpoint_row *row = stage == NULL ? NULL : find(stage, record->digest);
    if (row == NULL || stage->state == STAGE_FAILED || row->points > stage->run->curve.known)
        return ERR_STATE;
    struct job *job = stage->job;
    bool keeps_later = roster_is_versioned(job->pool);
    if (!keeps_later)
        TRY(orphan_reserve(&s->orphans, 2 * job->checkpoint_count));
    if (state_job_is_terminal(job->state)) {
        struct rec_job_state waiting = {.job = record->job, .state = JOB_WAITING};
        TRY(job_apply_state(s, &waiting));
    }
    curve_go(&stage->run->curve, (size_t)row->points, keeps_later);
    go_to(s, stage, row->step, keeps_later);
    remake_undo_branch(s, stage);
    core_refresh_job(job);
    return ERR_OK;
}

/* The rows of a stage among those of the job, and what the rules say of each. */
struct judged {
    const struct checkpoint_row *rows;
    const struct checkpoint_row **of_stage;
    unsigned *masks, *of_stage_masks; /* of rows, and of of_stage */
    size_t count, of_stage_count;
};

static void judge_stage(struct judged *j, uint32_t stage, const struct retention *rules,
                        uint64_t now_unix_ms)
{
    size_t next = 0;
    j->of_stage_count = 0;
    for (size_t i = 0; i < j->count; i++) {
        if (j->rows[i].stage == stage)
            j->of_stage[j->of_stage_count++] = &j->rows[i];
    }
    retention_judge(rules, j->of_stage, j->of_stage_count, now_unix_ms, j->of_stage_masks);
    for (size_t i = 0; i < j->count; i++) {
        if (j->rows[i].stage == stage)
            j->masks[i] = j->of_stage_masks[next++];
    }
}

static enum err judge_all(const struct job *job, const struct retention *rules,
                          uint64_t now_unix_ms, struct arena *arena, struct judged *j)
{
    *j = (struct judged){.rows = job->checkpoints, .count = job->checkpoint_count};
    j->of_stage = arena_alloc(arena, j->count, sizeof *j->of_stage);
    j->masks = arena_alloc(arena, j->count, sizeof *j->masks);
    j->of_stage_masks = arena_alloc(arena, j->count, sizeof *j->masks);
    if (j->of_stage == NULL || j->masks == NULL || j->of_stage_masks == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t stage = 0; stage < job->submitted.stages_count; stage++)
        judge_stage(j, stage, rules, now_unix_ms);
    return ERR_OK;
}

/* The one that was asked for has to be there, and no more than a checkpoint. */
static enum err check_one(const struct judged *j, struct digest digest, struct arena *arena,
                          struct err_text *et)
{
    char hex[DIGEST_HEX_BYTES];
    bool found = false;
    digest_hex(digest, hex);
    for (size_t i = 0; i < j->count; i++) {
        if (!digest_equal(j->rows[i].digest, digest))
            continue;
        found = true;
        const char *why = retention_words(j->masks[i], arena);
        if (why == NULL)
            return ERR_OUT_OF_MEMORY;
        if (j->masks[i] != 0)
            return error_set(et, ERR_STATE,
                             "checkpoint %.7s stays (%s): the latest, the best and those with a "
                             "tag are never forgotten",
                             hex, why);
    }
    return found ? ERR_OK : error_set(et, ERR_NOT_FOUND, "the job has no checkpoint %.7s", hex);
}

/* A tag that nothing has would keep nothing: a slip of the pen, which must not cost checkpoints. */
static enum err check_tag(const struct job *job, struct text tag, struct err_text *et)
{
    bool found = tag.size == 0;
    for (size_t i = 0; i < job->tag_count && !found; i++)
        found = text_equal(job_tag_name(&job->tags[i]), tag);
    return found ? ERR_OK
                 : error_set(et, ERR_NOT_FOUND,
                             "no checkpoint of the job has the tag \"%.*s\"; qctl ckpt log lists "
                             "them",
                             TEXT_ARGS(tag));
}

enum err history_judge(const struct job *job, const struct msg_checkpoint_control *control,
                       uint64_t now_unix_ms, struct arena *arena,
                       struct checkpoint_verdict **verdicts, uint32_t *count, struct err_text *et)
{
    bool is_one = !digest_is_zero(control->digest);
    struct judged j;
    if (!is_one && !retention_has_rule(&control->rules))
        return error_set(et, ERR_USAGE,
                         "no rule says what to keep; give one of --keep-last, "
                         "--keep-best, --keep-every, --keep-within, --keep-first, "
                         "--keep-tag");
    TRY(check_tag(job, control->rules.keep_tag, et));
    TRY(judge_all(job, &control->rules, now_unix_ms, arena, &j));
    if (is_one)
        TRY(check_one(&j, control->digest, arena, et));
    *count = (uint32_t)MIN(j.count, (size_t)LIMIT_LIST_ROWS);
    *verdicts = arena_alloc(arena, *count, sizeof **verdicts);
    for (uint32_t i = 0; *verdicts != NULL && i < *count; i++) {
        size_t place = j.count - 1 - i;
        struct checkpoint_verdict *verdict = &(*verdicts)[i];
        const char *why = retention_words(j.masks[place], arena);
        if (why == NULL)
            return ERR_OUT_OF_MEMORY;
        verdict->row = j.rows[place];
        verdict->why = text_of(why);
        verdict->forgotten =
            is_one ? digest_equal(verdict->row.digest, control->digest) : j.masks[place] == 0;
    }
    return *verdicts == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
}
