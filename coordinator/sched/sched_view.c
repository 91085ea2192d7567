/* sched_view.c - what people see of the scheduler, and why something waits, in words. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/check.h"
#include "coordinator/sched/advance.h"
#include "coordinator/sched/core.h"
#include "coordinator/sched/sched_variant.h"
#include "coordinator/sched/sched_view.h"
#include "coordinator/sched/spec.h"

size_t sched_job_count(const struct sched *s)
{
    return s->job_count;
}

static struct text text_or_empty(const char *text)
{
    return text == NULL ? TEXT("") : text_of(text);
}

static double seconds_between(struct instant begin, struct instant end)
{
    return end.ns <= begin.ns ? 0 : (double)(end.ns - begin.ns) / (double)NS_PER_S;
}

const struct stage *sched_view_at_work(const struct job *job, uint32_t variant)
{
    const struct stage *first = NULL, *last = NULL;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        const struct stage *stage = &job->stages[i];
        if (variant != SCHED_ALL && stage->plan->variant != variant)
            continue;
        if (stage->state == STAGE_RUNNING)
            return stage;
        bool is_over =
            stage->state == STAGE_DONE || (stage->state == STAGE_FAILED && variant == SCHED_ALL);
        if (!is_over && first == NULL)
            first = stage;
        last = stage;
    }
    return first != NULL ? first : last;
}

void sched_view_count(const struct stage *stage, uint64_t *done, uint64_t *total)
{
    const struct run *run = stage->run;
    *done = stage->tasks.done;
    *total = stage->tasks.count;
    if (stage->plan->kind == STAGE_KIND_EVALUATE && stage->result != NULL &&
        stage->result->facts_count > 0)
        *done = *total = stage->result->facts[0].value; /* rows */
    if (run == NULL || stage->plan->kind != STAGE_KIND_TRAIN)
        return;
    const struct checkpoint_row *last = job_checkpoint(stage->job, stage);
    *done = MAX(run->step, last == NULL ? 0 : last->step);
    *total = stage->state == STAGE_DONE ? *done : run->plan.step_count;
}

/* Why no worker takes tasks of the pool. */
static const char *why_no_worker(const struct sched *s, const struct job *job)
{
    const struct pool *pool = job->pool;
    uint32_t living = 0;
    uint32_t offering = 0;
    for (size_t i = 0; i < s->roster.count; i++) {
        const struct worker *worker = s->roster.workers[i];
        if (!worker->is_connected || worker->state == WORKER_LOST)
            continue;
        living++;
        for (uint32_t p = 0; p < worker->seat_count; p++)
            offering += worker->seats[p].pool == pool;
    }
    if (living == 0)
        return "no worker";
    if (offering == 0)
        return arena_print(s->view_arena, "0 of %u workers offer profile %s", living, pool->name);
    if (!job_is_answered(job))
        return "waits for workers with the known answer that it was begun with";
    if (pool->member_count == 0)
        return arena_print(s->view_arena, "none of %u workers may take work (qctl workers)",
                           offering);
    return NULL;
}

static const char *why_needs(const struct sched *s, const struct stage *stage)
{
    const struct job *job = stage->job;
    for (uint32_t i = 0; i < stage->index; i++) {
        if (stage_set_has(stage->needs, i) && job->stages[i].state != STAGE_DONE)
            return arena_print(s->view_arena, "needs %.*s", TEXT_ARGS(job->stages[i].plan->name));
    }
    return NULL;
}

const char *sched_view_fault(const struct stage *stage)
{
    return stage->run != NULL && stage->run->fault[0] != '\0' ? stage->run->fault
                                                              : error_text(stage->work_error);
}

static const char *why_running(const struct sched *s, const struct stage *stage)
{
    if (stage->retry_at.ns > s->now.ns)
        return arena_print(s->view_arena, "%s; tries again in %.0f s", sched_view_fault(stage),
                           seconds_between(s->now, stage->retry_at));
    if (stage->run != NULL) {
        switch (stage->run->phase) {
        case RUN_CLOSED:
        case RUN_OPENING:
            return "opens its state";
        case RUN_FOLDING:
            return "folds a round";
        case RUN_SAVING:
            return "writes a checkpoint";
        case RUN_READY:
        case RUN_ROUND:
            break;
        }
    }
    if (stage->is_suspect)
        return "its inputs are read again";
    if (stage->work_is_out)
        return "writes the log";
    if (stage->tasks.leases > 0)
        return stage->job->loss_detail.data;
    return s->is_disk_low ? "the disk is nearly full" : why_no_worker(s, stage->job);
}

static struct text why_stage(const struct sched *s, const struct stage *stage)
{
    const struct job *job = stage->job;
    if (stage->state == STAGE_FAILED)
        return stage->failure_detail;
    if (stage->state == STAGE_DONE || state_job_is_terminal(job->state))
        return TEXT("");
    if (job->state == JOB_PAUSED)
        return TEXT("paused");
    if (stage->state == STAGE_WAITING && job_may_begin(stage) && advance_waits_for_fellows(stage))
        return TEXT("waits for another variant to end");
    return text_or_empty(stage->state == STAGE_WAITING ? why_needs(s, stage)
                                                       : why_running(s, stage));
}

/* Of all variants together: how far the stages of this kind are. One that has not begun will have
 * as many steps as its fellows. */
static void count_kind(const struct job *job, uint32_t kind, uint64_t *done, uint64_t *total)
{
    uint64_t unknown = 0, most = 0;
    *done = *total = 0;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        uint64_t stage_done, stage_total;
        if (job->stages[i].plan->kind != kind)
            continue;
        sched_view_count(&job->stages[i], &stage_done, &stage_total);
        *done += stage_done;
        *total += stage_total;
        unknown += stage_total == 0;
        most = MAX(most, stage_total);
    }
    *total += unknown * most;
}

void sched_job_row(const struct sched *s, size_t index, struct job_row *row)
{
    const struct job *job = s->jobs[index];
    const struct stage *stage = sched_view_at_work(job, SCHED_ALL);
    bool is_group = job->settings.variant_count > 1;
    *row = (struct job_row){
        .job = job->submitted.job,
        .name = job->submitted.name,
        .owner = job->submitted.owner,
        .state = (uint32_t)job->state,
        .priority = job->submitted.priority,
        .created_unix_ms = job->submitted.created_unix_ms,
        .started_unix_ms = job->started_unix_ms,
        .ended_unix_ms = job->ended_unix_ms,
        .stage = is_group ? text_of(state_kind_word((enum stage_kind)stage->plan->kind))
                          : stage->plan->name,
        .spec = job->submitted.spec,
        .error = (uint32_t)job->error,
    };
    count_kind(job, stage->plan->kind, &row->done, &row->total);
    sched_variant_fill(s, job, row);
    row->detail = job->detail[0] != '\0' ? text_of(job->detail) : why_stage(s, stage);
}

static bool is_prefix_of_id(struct text prefix, uint64_t id)
{
    char hex[17];
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)id);
    return prefix.size > 0 && prefix.size <= 16 && memcmp(prefix.data, hex, prefix.size) == 0;
}

enum err sched_job_find(const struct sched *s, struct text prefix, size_t *index)
{
    size_t found = 0;
    size_t named = SIZE_MAX;
    for (size_t i = 0; i < s->job_count; i++) {
        const struct job *job = s->jobs[i];
        if (text_equal(job->submitted.name, prefix))
            named = i;
        if (is_prefix_of_id(prefix, job->submitted.job)) {
            *index = i;
            found++;
        }
    }
    if (found == 1)
        return ERR_OK;
    if (named != SIZE_MAX) {
        *index = named;
        return ERR_OK;
    }
    if (text_is(prefix, "last") && s->job_count > 0) {
        *index = s->job_count - 1;
        return ERR_OK;
    }
    return found > 1 ? ERR_AMBIGUOUS : ERR_NOT_FOUND;
}

const struct rec_job_submitted *sched_job_submitted(const struct sched *s, size_t index)
{
    return &s->jobs[index]->submitted;
}

enum stage_state sched_view_state(const struct stage *stage)
{
    const struct job *job = stage->job;
    if (stage->state == STAGE_FAILED)
        return stage->failure != ERR_OK ? STAGE_FAILED : STAGE_CANCELLED;
    if (stage->state == STAGE_DONE || !state_job_is_terminal(job->state))
        return stage->state;
    if (job->state == JOB_CANCELLED || !job_may_begin(stage))
        return STAGE_CANCELLED;
    return STAGE_FAILED;
}

/* What was taken over from other jobs, and from which. */
static void fill_reuse(const struct sched *s, const struct stage *stage, struct stage_row *row)
{
    enum { SOURCE_BYTES = 11 }; /* "job 1a2b3c4": as much of an id as people see */
    struct text first = {0};
    bool is_one = true;
    row->key = stage->key;
    row->reused_from = TEXT("");
    for (uint32_t t = 0; stage->run == NULL && t < stage->tasks.count; t++) {
        const struct task *task = &stage->tasks.items[t];
        if (!task->is_reused)
            continue;
        if (row->reused++ == 0)
            first = task->worker;
        is_one &= text_equal(first, task->worker);
    }
    if (row->reused > 0)
        row->reused_from = text_or_empty(arena_print(s->view_arena, "%.*s%s",
                                                     (int)MIN(first.size, (size_t)SOURCE_BYTES),
                                                     first.data, is_one ? "" : " and others"));
}

static void fill_needs(const struct sched *s, const struct stage *stage, struct stage_row *row)
{
    struct stage_ref *refs = arena_alloc(s->view_arena, stage->index, sizeof *refs);
    stage_set_to_row(stage_set_of_plan(stage->plan), refs, refs == NULL ? 0 : stage->index, row);
}

static struct text where_of(const struct sched *s, const struct stage *stage)
{
    if (stage->tasks.leases == 0)
        return TEXT("");
    if (stage->tasks.leases > 1)
        return text_or_empty(arena_print(s->view_arena, "%u attempts", stage->tasks.leases));
    for (struct list_node *node = list_first(&stage->job->leases); node != NULL;
         node = list_next(&stage->job->leases, node)) {
        const struct lease *lease = CONTAINER_OF(node, struct lease, of_job);
        if (lease->stage == stage)
            return text_of(lease->worker->name);
    }
    return TEXT("");
}

/* A stage that will not end stands still with its job. */
static double stage_seconds(const struct stage *stage, uint64_t now_unix_ms)
{
    uint64_t end = stage->state == STAGE_DONE       ? stage->ended_unix_ms
                   : stage->job->ended_unix_ms != 0 ? stage->job->ended_unix_ms
                                                    : now_unix_ms;
    if (stage->started_unix_ms == 0)
        return 0;
    return (double)(end - MIN(end, stage->started_unix_ms)) / 1000;
}

size_t sched_job_stages(const struct sched *s, size_t index, struct instant now,
                        struct stage_row *rows, size_t capacity)
{
    const struct job *job = s->jobs[index];
    size_t count = MIN((size_t)job->submitted.stages_count, capacity);
    for (size_t i = 0; i < count; i++) {
        const struct stage *stage = &job->stages[i];
        rows[i] = (struct stage_row){
            .index = stage->index,
            .kind = stage->plan->kind,
            .name = stage->plan->name,
            .state = (uint32_t)sched_view_state(stage),
            .running = stage->tasks.leases,
            .where = where_of(s, stage),
            .detail = why_stage(s, stage),
            .variant = stage->plan->variant,
        };
        fill_needs(s, stage, &rows[i]);
        sched_view_count(stage, &rows[i].done, &rows[i].total);
        fill_reuse(s, stage, &rows[i]);
        rows[i].seconds = stage_seconds(stage, s->unix_ms + (now.ns - s->now.ns) / NS_PER_MS);
    }
    return count;
}

/* A file of a later stage stands in place of an earlier one of its name: a quantized folder's
 * weights for those that training exported. */
static uint32_t keep_last(struct artifact_ref *refs, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t later = i + 1;
        while (later < count && !text_equal(refs[later].name, refs[i].name))
            later++;
        if (later == count)
            refs[kept++] = refs[i];
    }
    return kept;
}

const struct artifact_ref *sched_job_outputs(const struct sched *s, size_t index, uint32_t *count)
{
    const struct job *job = s->jobs[index];
    uint32_t most = 0;
    *count = 0;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++)
        (void)job_results(&job->stages[i], NULL, &most);
    struct artifact_ref *refs = arena_alloc(s->view_arena, most, sizeof *refs);
    for (uint32_t i = 0; refs != NULL && i < job->submitted.stages_count; i++) {
        uint32_t first = *count;
        (void)job_results(&job->stages[i], refs, count);
        if (!sched_variant_place(s, &job->stages[i], refs + first, *count - first))
            refs = NULL;
    }
    *count = MIN(refs != NULL ? keep_last(refs, *count) : 0, (uint32_t)LIMIT_INPUTS);
    return *count > 0 ? refs : NULL;
}

size_t sched_job_artifacts(const struct sched *s, size_t index, struct text name, uint64_t after,
                           struct artifact_row *rows, size_t capacity, uint64_t *total)
{
    const struct job *job = s->jobs[index];
    size_t count = 0;
    *total = 0;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        const struct stage *stage = &job->stages[i];
        for (uint32_t t = 0; stage->run == NULL && t < stage->tasks.count; t++) {
            const struct task_result *result = stage->tasks.items[t].result;
            for (uint32_t k = 0; result != NULL && k < result->outputs_count; k++) {
                if (name.size > 0 && !text_equal(name, result->outputs[k].name))
                    continue;
                if ((*total)++ >= after && count < capacity)
                    rows[count++] = (struct artifact_row){i, t, result->outputs[k]};
            }
        }
    }
    return count;
}

const struct fact *sched_job_facts(const struct sched *s, size_t index, uint32_t *count)
{
    const struct stage *pack = job_first_of(s->jobs[index], STAGE_KIND_PACK);
    bool is_done = pack != NULL && pack->tasks.count > 0 && pack->tasks.items[0].result != NULL;
    *count = is_done ? pack->tasks.items[0].result->facts_count : 0;
    return is_done ? pack->tasks.items[0].result->facts : NULL;
}

static struct text task_of(const struct sched *s, const struct worker *worker)
{
    const struct lease *lease = NULL;
    for (size_t i = 0; i < ROSTER_SLOTS; i++) {
        const struct lease *slot = &worker->slots[i];
        if (slot->fence != 0 && (lease == NULL || slot->fence < lease->fence))
            lease = slot;
    }
    if (lease == NULL)
        return TEXT("");
    const struct run *run = lease->stage->run;
    const char *text;
    if (run == NULL) {
        text = arena_print(s->view_arena, "%.*s %u", TEXT_ARGS(lease->stage->plan->name),
                           lease->index);
    } else {
        uint64_t first = lease->index * run->range_rows;
        text = arena_print(s->view_arena, "%s %llu rows %llu..%llu",
                           run->evaluates ? "evaluate" : "train", (unsigned long long)run->step,
                           (unsigned long long)first,
                           (unsigned long long)MIN(first + run->range_rows, run->rows));
    }
    return text_or_empty(text);
}

static struct text why_worker(const struct sched *s, const struct worker *worker,
                              struct instant now)
{
    if (worker->is_quarantined)
        return TEXT("quarantined: its result differed from that of two others");
    if (worker->state == WORKER_LOST || worker->state == WORKER_LEFT)
        return text_or_empty(worker->drain_reason);
    if (!worker->is_connected)
        return TEXT("its connection is gone");
    for (uint32_t i = 0; i < worker->seat_count; i++) {
        const struct roster_seat *seat = &worker->seats[i];
        if (!seat->is_agreed)
            return text_or_empty(arena_print(
                s->view_arena,
                "refused for %s: its known answer differs from that of the fleet or its jobs",
                seat->pool->name));
    }
    if (worker->rest_until.ns > now.ns)
        return text_or_empty(
            arena_print(s->view_arena, "rests after a fault: %s", error_text(worker->fault)));
    if (worker->is_draining && worker->drain_reason != NULL)
        return text_of(worker->drain_reason);
    return text_of(worker->last_end);
}

static void fill_worker(const struct sched *s, const struct worker *worker, struct instant now,
                        struct worker_row *row)
{
    *row = (struct worker_row){
        .worker = worker->id,
        .name = text_of(worker->name),
        .state = (uint32_t)worker->state,
        .threads = worker->threads,
        .memory_bytes = worker->memory_bytes,
        .isa = text_of(worker->isa),
        .profiles = text_of(worker->profiles),
        .task = task_of(s, worker),
        .tasks_done = worker->tasks_done,
        .rss_bytes = worker->rss_bytes,
        .heartbeat_age = seconds_between(worker->heard, now),
        .detail = why_worker(s, worker, now),
        .provider = text_of(worker->provider),
        .allocation = text_of(worker->allocation),
        .ends_in = worker->ends_at.ns == UINT64_MAX ? 0 : seconds_between(now, worker->ends_at),
        .tokens_per_second = worker->tokens_per_second,
    };
}

static int compare_rows(const void *a, const void *b)
{
    const struct worker_row *left = a;
    const struct worker_row *right = b;
    size_t size = MIN(left->name.size, right->name.size);
    int order = size > 0 ? memcmp(left->name.data, right->name.data, size) : 0;
    if (order != 0)
        return order;
    if (left->name.size != right->name.size)
        return left->name.size < right->name.size ? -1 : 1;
    return left->worker < right->worker ? -1 : left->worker > right->worker;
}

size_t sched_worker_rows(const struct sched *s, struct instant now, struct worker_row *rows,
                         size_t capacity)
{
    size_t count = MIN(s->roster.count, capacity);
    for (size_t i = 0; i < count; i++)
        fill_worker(s, s->roster.workers[i], now, &rows[i]);
    qsort(rows, count, sizeof *rows, compare_rows);
    return count;
}

/* What the shards of a replay hand on, hidden states and Gram matrices, would fill a disk: a period
 * is read by its own groups and by the shards of the next, then nobody needs it. Whoever loses what
 * came of it makes it again, from the first layer on. */
static bool is_spent(const struct tasks *tasks, uint32_t task)
{
    if (tasks->waves.periods == 0)
        return false;
    struct wave_place place = wave_place(&tasks->waves, task);
    if (place.is_group || tasks->done == tasks->count)
        return !place.is_group;
    return place.period + 1 < wave_place(&tasks->waves, tasks->open_end - 1).period;
}

static void visit_results(const struct stage *stage, void (*visit)(void *, struct digest),
                          void *context)
{
    for (uint32_t t = 0; stage->run == NULL && t < stage->tasks.count; t++) {
        const struct task_result *result = stage->tasks.items[t].result;
        if (is_spent(&stage->tasks, t))
            continue;
        for (uint32_t i = 0; result != NULL && i < result->outputs_count; i++)
            visit(context, result->outputs[i].digest);
    }
    if (!digest_is_zero(stage->log.digest))
        visit(context, stage->log.digest);
}

void sched_view_each_root(const struct job *job, void (*visit)(void *context, struct digest digest),
                          void *context)
{
    visit(context, job->recipe.digest);
    for (uint32_t i = 0; i < job->submitted.inputs_count; i++)
        visit(context, job->submitted.inputs[i].digest);
    for (uint32_t i = 0; i < job->submitted.stages_count; i++)
        visit_results(&job->stages[i], visit, context);
    for (size_t i = 0; i < job->checkpoint_count; i++) {
        visit(context, job->checkpoints[i].digest);
        visit(context, job->checkpoints[i].ledger);
    }
}

void sched_each_root(const struct sched *s, void (*visit)(void *context, struct digest digest),
                     void *context)
{
    for (size_t j = 0; j < s->job_count; j++)
        sched_view_each_root(s->jobs[j], visit, context);
}

static void write_stage(const struct stage *stage, struct bytes *out)
{
    const char *left = stage->state == STAGE_FAILED ? "failed" : "open";
    bytes_print(out, " stage %u %s", stage->index, stage->state == STAGE_DONE ? "done" : left);
    for (uint32_t t = 0; stage->run == NULL && t < stage->tasks.count; t++) {
        const struct task *task = &stage->tasks.items[t];
        char hex[DIGEST_HEX_BYTES] = "-";
        if (task->result != NULL && task->result->outputs_count > 0)
            digest_hex(task->result->outputs[0].digest, hex);
        bytes_print(out, " %u:%u:%.8s%s", t, task->attempts, task->result == NULL ? "wait" : hex,
                    task->is_reused ? ":reused" : "");
    }
    if (stage->result != NULL)
        bytes_print(out, " loss %.17g / %.17g", stage->result->loss_sum, stage->result->weight);
    bytes_print(out, "\n");
}

static void write_curve(const struct stage *stage, struct bytes *out)
{
    const struct curve *curve = stage->run == NULL ? NULL : &stage->run->curve;
    for (size_t i = 0; curve != NULL && i < curve->durable; i++) {
        const struct log_point *point = &curve->points[i];
        bytes_print(out, " point %u %llu %d %.17g %.17g\n", stage->index,
                    (unsigned long long)point->step, point->is_eval, point->loss,
                    point->reward_chosen);
    }
}

static void write_job(const struct job *job, struct bytes *out)
{
    bytes_print(out, "job %016llx %s error %d %s\n", (unsigned long long)job->submitted.job,
                state_job_word(job->state), (int)job->error,
                job->doom == ERR_OK ? job->detail : "");
    char answer[DIGEST_HEX_BYTES];
    digest_hex(job->answer.answer, answer);
    bytes_print(out, " answer %.16s losses %u\n", answer, job->losses);
    for (uint32_t i = 0; i < job->submitted.stages_count; i++)
        write_stage(&job->stages[i], out);
    for (size_t i = 0; i < job->checkpoint_count; i++) {
        char hex[DIGEST_HEX_BYTES];
        digest_hex(job->checkpoints[i].digest, hex);
        bytes_print(out, " checkpoint %u %llu %s%s %llu %.*s\n", job->checkpoints[i].stage,
                    (unsigned long long)job->checkpoints[i].step, hex,
                    job->checkpoints[i].undone ? " undone" : "",
                    (unsigned long long)job->checkpoints[i].points,
                    TEXT_ARGS(job->checkpoints[i].tags));
    }
    for (size_t i = 0; i < job->tag_count; i++) {
        char hex[DIGEST_HEX_BYTES];
        digest_hex(job->tags[i].digest, hex);
        bytes_print(out, " tag %u %s %.*s\n", job->tags[i].stage, hex,
                    TEXT_ARGS(job_tag_name(&job->tags[i])));
    }
    for (uint32_t i = 0; i < job->submitted.stages_count; i++)
        write_curve(&job->stages[i], out);
}

void sched_write_durable(const struct sched *s, struct bytes *out)
{
    for (size_t i = 0; i < s->job_count; i++)
        write_job(s->jobs[i], out);
    for (size_t i = 0; i < s->roster.quarantined_count; i++)
        bytes_print(out, "quarantined %s\n", s->roster.quarantined[i]);
}
