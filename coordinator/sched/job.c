/* job.c - what each record does to a job. */
#include "coordinator/sched/job.h"

#include <stdio.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/message/message_copy.h"
#include "coordinator/sched/core.h"
#include "coordinator/sched/history.h"
#include "coordinator/sched/reuse.h"
#include "coordinator/sched/sched_view.h"
#include "coordinator/sched/told.h"

#define JOB_BYTES_MAX ((size_t)8 << 30)
enum { ROUND_BYTES_MAX = 1 << 30 };

static enum err check_stage(const struct rec_job_submitted *record, uint32_t i, struct err_text *et)
{
    const struct stage_plan *plan = &record->stages[i];
    if (plan->kind >= STAGE_KIND_COUNT)
        return error_set(et, ERR_DATA, "stage %u: kind %u is unknown", i, plan->kind);
    struct stage_set needs = stage_set_of_plan(plan);
    for (uint32_t k = i; k < LIMIT_JOB_STAGES; k++) {
        if (stage_set_has(needs, k))
            return error_set(et, ERR_DATA, "stage %u needs itself or a later one", i);
    }
    bool is_array = state_kind_shape((enum stage_kind)plan->kind) == STAGE_SHAPE_ARRAY;
    if ((!is_array && plan->task_count > 0) || plan->task_count > LIMIT_STAGE_TASKS)
        return error_set(et, ERR_DATA, "stage %u has %u tasks", i, plan->task_count);
    if (told_is(plan) && stage_set_is_empty(needs))
        return error_set(et, ERR_DATA,
                         "stage %u: no stage before it can tell how many tasks it has", i);
    if (plan->tasks_count != 0 && plan->tasks_count != plan->task_count)
        return error_set(et, ERR_DATA, "stage %u plans %u of %u tasks", i, plan->tasks_count,
                         plan->task_count);
    for (uint32_t t = 0; t < plan->tasks_count; t++) {
        if (plan->tasks[t].input >= record->inputs_count)
            return error_set(et, ERR_DATA, "task %u of stage %u reads no input of the job", t, i);
    }
    return ERR_OK;
}

static enum err check_graph(const struct sched *s, const struct rec_job_submitted *record,
                            struct err_text *et)
{
    if (record->job == 0 || job_of_id(s, record->job) != NULL)
        return error_set(et, ERR_EXISTS, "job %016llx exists already",
                         (unsigned long long)record->job);
    if (s->job_count >= LIMIT_JOBS)
        return error_set(et, ERR_LIMIT,
                         "%d jobs are kept, which is the limit; `qctl forget` old ones",
                         LIMIT_JOBS);
    if (record->stages_count == 0 || record->stages_count > LIMIT_JOB_STAGES)
        return error_set(et, ERR_DATA, "a job of %u stages", record->stages_count);
    for (uint32_t i = 0; i < record->stages_count; i++)
        TRY(check_stage(record, i, et));
    return ERR_OK;
}

static enum err create_stage(struct job *job, uint32_t index)
{
    struct stage *stage = &job->stages[index];
    stage->plan = &job->submitted.stages[index];
    stage->job = job;
    stage->index = index;
    struct stage_set direct = stage_set_of_plan(stage->plan);
    stage->needs = direct;
    for (uint32_t i = 0; i < index; i++) {
        if (stage_set_has(direct, i))
            stage->needs = stage_set_union(stage->needs, job->stages[i].needs);
    }
    if (told_is(stage->plan))
        return ERR_OK;
    if (state_kind_shape((enum stage_kind)stage->plan->kind) == STAGE_SHAPE_ARRAY)
        return tasks_start(&stage->tasks, stage->plan->task_count);
    stage->run = mem_alloc(1, sizeof *stage->run);
    if (stage->run == NULL)
        return ERR_OUT_OF_MEMORY;
    arena_init(&stage->run->results, ROUND_BYTES_MAX);
    return ERR_OK;
}

static enum err create_parts(struct sched *s, struct job *job,
                             const struct rec_job_submitted *record, struct err_text *et)
{
    arena_init(&job->arena, JOB_BYTES_MAX);
    arena_init(&job->tag_texts, JOB_BYTES_MAX);
    TRY(message_copy(&message_type_rec_job_submitted, record, &job->arena, &job->submitted));
    TRY(plan_settings(record->recipe, &job->settings, et));
    for (uint32_t i = 0; i < record->stages_count; i++) {
        if (record->stages[i].variant >= job->settings.variant_count)
            return error_set(et, ERR_DATA, "stage %u: the recipe has %u variants, and no number %u",
                             i, job->settings.variant_count, record->stages[i].variant);
    }
    job->recipe = (struct artifact_ref){.name = TEXT("recipe"), .size_bytes = record->recipe.size};
    TRY(digest_of_artifact(record->recipe, &job->recipe.digest));
    TRY(roster_pool(&s->roster, text_of(job->settings.profile), &job->pool));
    job->stages = arena_alloc(&job->arena, record->stages_count, sizeof *job->stages);
    if (job->stages == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < record->stages_count; i++)
        TRY(create_stage(job, i));
    return ERR_OK;
}

static enum err reserve_job(struct sched *s, const struct job *job)
{
    size_t count = s->job_count + 1;
    if (count > s->job_capacity) {
        size_t capacity = MAX(count, s->job_capacity * 2);
        struct job **jobs = mem_resize(s->jobs, capacity, sizeof(struct job *));
        if (jobs == NULL)
            return ERR_OUT_OF_MEMORY;
        s->jobs = jobs;
        s->job_capacity = capacity;
    }
    TRY(map_reserve(&s->jobs_by_id, count));
    TRY(map_reserve(&s->jobs_by_request, count));
    TRY(heap_reserve(&s->retries, count));
    return heap_reserve(&job->pool->jobs, count);
}

enum err job_apply_submitted(struct sched *s, const struct rec_job_submitted *record,
                             struct err_text *et)
{
    TRY(check_graph(s, record, et));
    struct job *job = mem_alloc(1, sizeof *job);
    if (job == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = create_parts(s, job, record, et);
    if (err == ERR_OK)
        err = reserve_job(s, job);
    if (err != ERR_OK) {
        job_destroy(job);
        return err;
    }
    list_node_init(&job->dirty);
    list_node_init(&job->answer.node);
    list_init(&job->leases);
    job->seq = s->submitted_count++;
    job->progressed = s->now;
    s->jobs[s->job_count++] = job;
    map_add(&s->jobs_by_id, &job->by_id, record->job);
    map_add(&s->jobs_by_request, &job->by_request, record->request);
    return ERR_OK;
}

void job_destroy(struct job *job)
{
    if (job == NULL)
        return;
    for (uint32_t i = 0; job->stages != NULL && i < job->submitted.stages_count; i++) {
        struct stage *stage = &job->stages[i];
        tasks_fini(&stage->tasks);
        mem_free(stage->reuse);
        if (stage->run != NULL) {
            arena_fini(&stage->run->results);
            curve_fini(&stage->run->curve);
        }
        mem_free(stage->run);
    }
    mem_free(job->checkpoints);
    mem_free(job->tags);
    arena_fini(&job->tag_texts);
    arena_fini(&job->arena);
    mem_free(job);
}

bool job_may_be_forgotten(const struct job *job)
{
    bool is_busy = false;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++)
        is_busy |= job->stages[i].work_is_out || job->stages[i].tasks.leases > 0;
    return state_job_is_terminal(job->state) && !is_busy;
}

static void count_orphan(void *context, struct digest digest)
{
    (void)digest;
    ++*(size_t *)context;
}

static void add_orphan(void *context, struct digest digest)
{
    orphan_add(context, digest);
}

enum err job_apply_forgotten(struct sched *s, const struct rec_job_forgotten *record)
{
    struct job *job = job_of_id(s, record->job);
    if (job == NULL || !job_may_be_forgotten(job))
        return ERR_STATE;
    size_t orphans = 0;
    sched_view_each_root(job, count_orphan, &orphans);
    TRY(orphan_reserve(&s->orphans, orphans));
    sched_view_each_root(job, add_orphan, &s->orphans);
    size_t place = 0;
    while (s->jobs[place] != job)
        place++;
    s->job_count--;
    memmove(s->jobs + place, s->jobs + place + 1, (s->job_count - place) * sizeof *s->jobs);
    map_remove(&s->jobs_by_id, &job->by_id);
    map_remove(&s->jobs_by_request, &job->by_request);
    heap_remove(&s->retries, &job->by_retry);
    heap_remove(&job->pool->jobs, &job->by_rank);
    list_remove(&job->dirty);
    list_remove(&job->answer.node);
    for (uint32_t i = 0; i < job->submitted.stages_count; i++)
        reuse_drop(s, &job->stages[i]);
    for (size_t i = 0; i < CORE_TRIALS; i++) {
        if (s->trials[i].stage != NULL && s->trials[i].stage->job == job)
            s->trials[i] = (struct trial){0};
    }
    job_destroy(job);
    return ERR_OK;
}

static struct stage *stage_of(const struct sched *s, uint64_t id, uint32_t index)
{
    struct job *job = job_of_id(s, id);
    return job != NULL && index < job->submitted.stages_count ? &job->stages[index] : NULL;
}

/* ERR_OUT_OF_MEMORY: nothing changed. */
static enum err finish_stage(struct stage *stage, uint64_t unix_ms)
{
    struct job *job = stage->job;
    stage_set_add(&job->done, stage->index);
    enum err err = told_start(job);
    if (err != ERR_OK) {
        stage_set_remove(&job->done, stage->index);
        return err;
    }
    stage->state = STAGE_DONE;
    stage->ended_unix_ms = unix_ms;
    return ERR_OK;
}

/* The first who knows says when it began. */
static void note_start(struct stage *stage, uint64_t unix_ms)
{
    if (stage->started_unix_ms == 0)
        stage->started_unix_ms = unix_ms;
}

static uint64_t ready_unix_ms(const struct stage *stage)
{
    uint64_t ready = stage->job->submitted.created_unix_ms;
    for (uint32_t i = 0; i < stage->index; i++) {
        if (stage_set_has(stage->needs, i))
            ready = MAX(ready, stage->job->stages[i].ended_unix_ms);
    }
    return ready;
}

/* More pairs than this are a worker's mistake, not data. */
#define PAIRS_MAX 0x1p40

void job_set_preference(struct log_point *point, const struct preference_sums *sums)
{
    if (!(sums->pairs >= 1) || sums->pairs > PAIRS_MAX)
        return;
    point->pairs = (uint64_t)sums->pairs;
    point->reward_chosen = sums->reward_chosen / sums->pairs;
    point->reward_rejected = sums->reward_rejected / sums->pairs;
    point->accuracy = sums->correct / sums->pairs;
}

/* The held-out loss after training is a log point like those between its steps. */
static void add_evaluation(const struct stage *stage, uint64_t unix_ms)
{
    const struct stage *train = job_stage_of(stage, STAGE_KIND_TRAIN);
    const struct checkpoint_row *last = train == NULL ? NULL : job_checkpoint(stage->job, train);
    struct curve *curve = job_curve(stage);
    struct log_point point = {.is_eval = true, .unix_ms = unix_ms, .variant = stage->plan->variant};
    point.loss = stage->result->loss_sum / stage->result->weight;
    job_set_preference(&point, &stage->result->preference);
    if (last != NULL) {
        point.step = last->step;
        point.epoch = last->epoch;
        point.tokens = last->tokens;
    }
    curve_add(curve, &point);
    curve_keep(curve);
}

enum err job_apply_task_done(struct sched *s, const struct rec_task_done *record, uint64_t unix_ms)
{
    struct stage *stage = stage_of(s, record->job, record->stage);
    if (stage == NULL || stage->state == STAGE_DONE)
        return ERR_STATE;
    struct job *job = stage->job;
    bool is_array = stage->run == NULL;
    if (is_array ? record->index >= stage->tasks.count ||
                       stage->tasks.items[record->index].result != NULL
                 : record->index != 0)
        return ERR_STATE;
    struct task_result *result = arena_alloc(&job->arena, 1, sizeof *result);
    if (result == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(message_copy(&message_type_task_result, &record->result, &job->arena, result));
    struct text worker = {arena_copy_text(&job->arena, record->worker), record->worker.size};
    if (worker.data == NULL)
        return ERR_OUT_OF_MEMORY;
    if (!is_array)
        TRY(curve_reserve(job_curve(stage), 0));

    if (is_array) {
        tasks_finish(&stage->tasks, record->index, result, worker);
        stage->tasks.items[record->index].is_reused = record->fence == 0;
        enum err err =
            stage->tasks.done == stage->tasks.count ? finish_stage(stage, unix_ms) : ERR_OK;
        if (err != ERR_OK)
            tasks_undo(&stage->tasks, record->index);
        else
            note_start(stage, ready_unix_ms(stage));
        core_refresh(stage);
        return err;
    }
    stage->result = result;
    enum err err = finish_stage(stage, unix_ms);
    if (err != ERR_OK)
        stage->result = NULL;
    else
        note_start(stage, ready_unix_ms(stage));
    if (err == ERR_OK && stage->plan->kind == STAGE_KIND_EVALUATE)
        add_evaluation(stage, unix_ms);
    return err;
}

enum err job_apply_task_failed(struct sched *s, const struct rec_task_failed *record)
{
    struct stage *stage = stage_of(s, record->job, record->stage);
    if (stage == NULL)
        return ERR_STATE;
    /* The ranges of a round are counted while the round lasts. That a disk is full is no task's
     * fault. */
    if (record->error != ERR_DISK_FULL && record->index < stage->tasks.count &&
        stage->tasks.items[record->index].attempts < UINT8_MAX)
        stage->tasks.items[record->index].attempts++;
    return ERR_OK;
}

static enum err reserve_checkpoint(struct job *job)
{
    if (job->checkpoint_count == job->checkpoint_capacity) {
        size_t capacity = MAX(job->checkpoint_capacity * 2, 8u);
        struct checkpoint_row *rows = mem_resize(job->checkpoints, capacity, sizeof *rows);
        if (rows == NULL)
            return ERR_OUT_OF_MEMORY;
        job->checkpoints = rows;
        job->checkpoint_capacity = capacity;
    }
    return ERR_OK;
}

/* Among those of its stage by step. One that was undone and is made again takes its own place, with
 * the ledger of who made it now. Room for an orphan is reserved. */
static void place_checkpoint(struct sched *s, struct job *job, const struct checkpoint_row *row,
                             size_t points, const char *tags)
{
    struct checkpoint_row *rows = job->checkpoints;
    size_t place = job->checkpoint_count;
    while (place > 0 && (rows[place - 1].stage != row->stage || rows[place - 1].step >= row->step))
        place--;
    while (place < job->checkpoint_count &&
           (rows[place].stage != row->stage || rows[place].step < row->step))
        place++;
    if (place < job->checkpoint_count && rows[place].step == row->step) {
        orphan_add(&s->orphans, rows[place].ledger);
    } else {
        memmove(rows + place + 1, rows + place, (job->checkpoint_count - place) * sizeof *rows);
        job->checkpoint_count++;
    }
    rows[place] = *row;
    rows[place].points = points;
    rows[place].tags = text_of(tags);
}

enum err job_apply_checkpoint(struct sched *s, const struct rec_checkpoint *record)
{
    const struct checkpoint_row *row = &record->row;
    struct stage *stage = stage_of(s, row->job, row->stage);
    if (stage == NULL || stage->run == NULL)
        return ERR_STATE;
    struct job *job = stage->job;
    const struct checkpoint_row *last = job_checkpoint(job, stage);
    if (last == NULL ? !digest_is_zero(row->parent)
                     : !digest_equal(last->digest, row->parent) || row->step <= last->step)
        return ERR_STATE;
    TRY(reserve_checkpoint(job));
    TRY(orphan_reserve(&s->orphans, 1));
    const char *tags = history_tags(job, row->stage, row->digest, &job->tag_texts);
    if (tags == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(curve_reserve(&stage->run->curve, record->points_count));
    curve_replace(&stage->run->curve, record->points, record->points_count);
    place_checkpoint(s, job, row, stage->run->curve.durable, tags);
    note_start(stage, record->points_count > 0 ? record->points[0].unix_ms : row->created_unix_ms);
    return ERR_OK;
}

bool job_may_begin(const struct stage *stage)
{
    return stage_set_is_within(stage->needs, stage->job->done);
}

struct stage_set job_branch(const struct stage *stage)
{
    struct stage_set branch = stage_set_of(stage->index);
    for (uint32_t i = stage->index + 1; i < stage->job->submitted.stages_count; i++) {
        if (stage_set_has(stage->job->stages[i].needs, stage->index))
            stage_set_add(&branch, i);
    }
    return branch;
}

enum err job_apply_branch_failed(struct sched *s, const struct rec_branch_failed *record)
{
    struct stage *stage = stage_of(s, record->job, record->stage);
    if (stage == NULL || stage->state == STAGE_DONE || stage->state == STAGE_FAILED)
        return ERR_STATE;
    struct job *job = stage->job;
    const char *detail = arena_copy_text(&job->arena, record->detail);
    if (detail == NULL)
        return ERR_OUT_OF_MEMORY;
    stage->failure = record->error < ERR_COUNT ? (enum err)record->error : ERR_INTERNAL;
    stage->failure_detail = text_of(detail);
    struct stage_set lost = stage_set_without(job_branch(stage), job->done);
    job->failed = stage_set_union(job->failed, lost);
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        if (stage_set_has(job->failed, i))
            job->stages[i].state = STAGE_FAILED;
    }
    core_refresh_job(job);
    return ERR_OK;
}

void job_hold_answer(struct job *job)
{
    bool holds = !digest_is_zero(job->answer.answer) && !state_job_is_terminal(job->state);
    if (holds && !list_holds(&job->answer.node))
        list_append(&job->pool->answers, &job->answer.node);
    else if (!holds)
        list_remove(&job->answer.node);
}

enum err job_apply_answer(struct sched *s, const struct rec_answer_frozen *record)
{
    struct job *job = job_of_id(s, record->job);
    if (job == NULL || !digest_is_zero(job->answer.answer))
        return ERR_STATE;
    job->answer.answer = record->answer;
    job_hold_answer(job);
    core_refresh_job(job);
    return ERR_OK;
}

/* A fresh start for what failed: counts of attempts begin again. */
static void forgive(struct job *job)
{
    job->losses = 0;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        struct stage *stage = &job->stages[i];
        stage->work_faults = 0;
        if (stage->state != STAGE_FAILED)
            stage->failure = ERR_OK;
        for (uint32_t t = 0; stage->state != STAGE_DONE && t < stage->tasks.count; t++)
            stage->tasks.items[t].attempts = stage->tasks.items[t].losses = 0;
    }
}

enum err job_apply_state(struct sched *s, const struct rec_job_state *record)
{
    struct job *job = job_of_id(s, record->job);
    if (job == NULL || record->state >= JOB_STATE_COUNT ||
        !state_job_allows(job->state, (enum job_state)record->state))
        return ERR_STATE;
    enum job_state state = (enum job_state)record->state;
    if (state_job_is_terminal(job->state))
        forgive(job);
    job->state = state;
    job->progressed = s->now;
    job->doom = ERR_OK;
    job->error = record->error < ERR_COUNT ? (enum err)record->error : ERR_INTERNAL;
    size_t size = MIN(record->detail.size, sizeof job->detail - 1);
    if (size > 0)
        memmove(job->detail, record->detail.data, size);
    job->detail[size] = '\0';
    if (state == JOB_RUNNING && job->started_unix_ms == 0)
        job->started_unix_ms = record->unix_ms;
    job->ended_unix_ms = state_job_is_terminal(state) ? record->unix_ms : 0;
    job_hold_answer(job);
    core_refresh_job(job);
    return ERR_OK;
}

struct job *job_of_id(const struct sched *s, uint64_t id)
{
    struct map_node *node = map_find(&s->jobs_by_id, id);
    return node == NULL ? NULL : CONTAINER_OF(node, struct job, by_id);
}

struct job *job_of_request(const struct sched *s, uint64_t request)
{
    struct map_node *node = map_find(&s->jobs_by_request, request);
    return node == NULL ? NULL : CONTAINER_OF(node, struct job, by_request);
}

bool job_is_active(const struct job *job)
{
    return job->doom == ERR_OK && (job->state == JOB_WAITING || job->state == JOB_RUNNING);
}

bool job_is_answered(const struct job *job)
{
    return digest_is_zero(job->answer.answer) ||
           digest_equal(job->answer.answer, job->pool->answer);
}

const struct stage *job_stage_of(const struct stage *stage, enum stage_kind kind)
{
    for (uint32_t i = stage->index; i-- > 0;) {
        const struct stage *before = &stage->job->stages[i];
        if (stage_set_has(stage->needs, i) && before->plan->kind == kind)
            return before;
    }
    return NULL;
}

const struct stage *job_follower(const struct stage *stage, enum stage_kind kind)
{
    for (uint32_t i = stage->index + 1; i < stage->job->submitted.stages_count; i++) {
        const struct stage *after = &stage->job->stages[i];
        if (stage_set_has(after->needs, stage->index) && after->plan->kind == kind)
            return after;
    }
    return NULL;
}

const struct stage *job_first_of(const struct job *job, enum stage_kind kind)
{
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        if (job->stages[i].plan->kind == kind)
            return &job->stages[i];
    }
    return NULL;
}

struct curve *job_curve(const struct stage *stage)
{
    const struct stage *train =
        stage->plan->kind == STAGE_KIND_TRAIN ? stage : job_stage_of(stage, STAGE_KIND_TRAIN);
    const struct stage *owner = train != NULL ? train : stage;
    return owner->run != NULL ? &owner->run->curve : NULL;
}

const struct artifact_ref *job_output(const struct stage *stage, uint32_t index, const char *name)
{
    if (stage == NULL || index >= stage->tasks.count || stage->tasks.items[index].result == NULL)
        return NULL;
    const struct task_result *result = stage->tasks.items[index].result;
    for (uint32_t i = 0; i < result->outputs_count; i++) {
        if (text_is(result->outputs[i].name, name))
            return &result->outputs[i];
    }
    return NULL;
}

uint64_t job_fact(const struct stage *stage, const char *name)
{
    if (stage == NULL || stage->tasks.count == 0 || stage->tasks.items[0].result == NULL)
        return 0;
    const struct task_result *result = stage->tasks.items[0].result;
    for (uint32_t i = 0; i < result->facts_count; i++) {
        if (text_is(result->facts[i].name, name))
            return result->facts[i].value;
    }
    return 0;
}

bool job_results(const struct stage *stage, struct artifact_ref *refs, uint32_t *count)
{
    if (!state_kind_gives_results((enum stage_kind)stage->plan->kind) ||
        stage->state != STAGE_DONE || stage->run != NULL)
        return false;
    for (uint32_t t = 0; t < stage->tasks.count; t++) {
        const struct task_result *result = stage->tasks.items[t].result;
        for (uint32_t i = 0; refs != NULL && i < result->outputs_count; i++)
            refs[*count + i] = result->outputs[i];
        *count += result->outputs_count;
    }
    return true;
}

const struct checkpoint_row *job_checkpoint(const struct job *job, const struct stage *stage)
{
    for (size_t i = job->checkpoint_count; i-- > 0;) {
        if (job->checkpoints[i].stage == stage->index && !job->checkpoints[i].undone)
            return &job->checkpoints[i];
    }
    bool is_start =
        stage->plan->kind == STAGE_KIND_TRAIN && !digest_is_zero(job->submitted.start.digest);
    return is_start ? &job->submitted.start : NULL;
}
