/* round.c - see the picture in round.h. */
#include "coordinator/sched/round.h"

#include <math.h>

#include "common/base/check.h"
#include "common/message/message_copy.h"
#include "coordinator/sched/advance.h"
#include "coordinator/sched/history.h"
#include "coordinator/sched/lease.h"
#include "coordinator/sched/room.h"
#include "coordinator/sched/spec.h"
#include "coordinator/sched/watchdog.h"

/* More rows than this are a worker's mistake, not data. */
#define ROWS_MAX ((uint64_t)1 << 40)

static bool is_training(const struct stage *stage)
{
    return stage->plan->kind == STAGE_KIND_TRAIN;
}

static double epoch_of(const struct run *run)
{
    return run->train_rows == 0
               ? 0
               : (double)(run->step * run->plan.round_rows) / (double)run->train_rows;
}

static void set_weights(struct run *run, const struct artifact_ref *weights)
{
    run->weights = *weights;
    run->weights.path.size = MIN(weights->path.size, sizeof run->weights_path);
    if (run->weights.path.size > 0)
        memcpy(run->weights_path, weights->path.data, run->weights.path.size);
    run->weights.path.data = run->weights_path;
    run->weights.name = TEXT("weights");
}

/* How many rows there are and how many steps. ERR_OUT_OF_MEMORY; any other failure is the job's. */
static enum err plan_run(struct sched *s, struct stage *stage)
{
    struct run *run = stage->run;
    struct job *job = stage->job;
    const struct stage *pack = job_stage_of(stage, STAGE_KIND_PACK);
    run->train_rows = job_fact(pack, "train_rows");
    run->test_rows = job_fact(pack, "test_rows");
    struct err_text et = {.text = ""};
    enum err err = ERR_OK;
    if (run->train_rows > ROWS_MAX || run->test_rows > ROWS_MAX)
        err = error_set(&et, ERR_DATA, "pack counted more rows than can be");
    else if (is_training(stage))
        err = plan_rounds(job->submitted.recipe, run->train_rows, &run->plan, &et);
    else if (run->test_rows == 0)
        err = error_set(&et, ERR_DATA, "the held-out data gave no rows to evaluate");
    if (err != ERR_OK && err != ERR_OUT_OF_MEMORY)
        advance_doom(s, job, err, "%s: %s", stage->plan->name.data, et.text);
    return err == ERR_OUT_OF_MEMORY ? err : ERR_OK;
}

static enum err open_state(struct sched *s, struct stage *stage)
{
    struct run *run = stage->run;
    struct job *job = stage->job;
    TRY(plan_run(s, stage));
    if (!job_is_active(job))
        return ERR_OK;
    const struct checkpoint_row *last = NULL;
    struct artifact_ref state = spec_state(stage, &last);
    if (is_training(stage) && last != NULL && last->step > run->plan.step_count) {
        advance_doom(s, job, ERR_RECIPE,
                     "%s: it starts from a checkpoint after step %llu, and the recipe has %llu "
                     "steps; raise max_steps or num_epochs",
                     stage->plan->name.data, (unsigned long long)last->step,
                     (unsigned long long)run->plan.step_count);
        return ERR_OK;
    }
    if (digest_is_zero(state.digest)) {
        if (is_training(stage)) {
            advance_doom(s, job, ERR_STATE, "there is no state to train from");
            return ERR_OK;
        }
        run->phase = RUN_READY;
        run->weights = (struct artifact_ref){0};
        run->eval_step = UINT64_MAX;
        return ERR_OK;
    }
    TRY(effect_reserve(&s->effect, 0, 0, 1));
    struct sched_work *work = effect_work(&s->effect, SCHED_WORK_OPEN);
    work->job = job->submitted.job;
    work->stage = stage->index;
    work->variant = stage->plan->variant;
    work->step = last == NULL ? 0 : last->step;
    work->step_count = run->plan.step_count;
    work->round_rows = run->plan.round_rows;
    work->state = state;
    work->recipe = job->submitted.recipe;
    work->room = room_of(s, stage);
    stage->work_is_out = true;
    run->phase = RUN_OPENING;
    run->is_opened = true;
    return ERR_OK;
}

enum err round_opened(struct sched *s, struct stage *stage, const struct sched_work_done *done)
{
    (void)s;
    struct run *run = stage->run;
    const struct checkpoint_row *last =
        is_training(stage) ? job_checkpoint(stage->job, stage) : NULL;
    set_weights(run, &done->weights);
    run->step = last == NULL ? 0 : last->step;
    run->saved_step = run->step;
    /* A checkpoint comes after the evaluation of its step. */
    run->eval_step = last == NULL ? UINT64_MAX : last->step;
    run->tokens = last == NULL ? 0 : last->tokens;
    run->loss = last == NULL ? NAN : last->loss;
    run->eval_loss = last == NULL ? NAN : last->eval_loss;
    run->high_steps = 0; /* no checkpoint is made while the loss is too high */
    curve_rewind(job_curve(stage));
    run->phase = RUN_READY;
    return ERR_OK;
}

static enum err begin_round(struct sched *s, struct stage *stage, bool evaluates)
{
    (void)s;
    struct run *run = stage->run;
    uint64_t rows = evaluates ? run->test_rows : run->plan.round_rows;
    uint64_t range = plan_range_rows(rows, MAX(stage->job->pool->member_count, 1u));
    TRY(tasks_start(&stage->tasks, (uint32_t)((rows + range - 1) / range)));
    arena_reset(&run->results);
    run->evaluates = evaluates;
    run->rows = rows;
    run->range_rows = range;
    run->rounds++;
    run->phase = RUN_ROUND;
    core_refresh(stage);
    return ERR_OK;
}

enum err round_keep(struct stage *stage, uint32_t index, const struct task_result *result,
                    const char *worker)
{
    struct arena *arena = &stage->run->results;
    struct task_result *copy = arena_alloc(arena, 1, sizeof *copy);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(message_copy(&message_type_task_result, result, arena, copy));
    const char *name = arena_copy_text(arena, text_of(worker));
    if (name == NULL)
        return ERR_OUT_OF_MEMORY;
    tasks_finish(&stage->tasks, index, copy, text_of(name));
    return ERR_OK;
}

static void fill_part(const struct stage *stage, uint32_t index, struct sched_part *part)
{
    const struct run *run = stage->run;
    const struct task *task = &stage->tasks.items[index];
    part->first = index * run->range_rows;
    part->end = MIN(part->first + run->range_rows, run->rows);
    part->worker = task->worker;
    part->loss_sum = task->result->loss_sum;
    part->weight = task->result->weight;
    part->preference = task->result->preference;
    for (uint32_t i = 0; !run->evaluates && i < task->result->outputs_count; i++) {
        if (text_is(task->result->outputs[i].name, "gradient"))
            part->gradient = task->result->outputs[i].digest;
    }
}

/* Whether a training of the job rests on the weights of this stage, or may when it is open. */
static bool has_fellow(const struct job *job, const struct stage *stage)
{
    for (uint32_t i = 0; job_is_active(job) && i < job->submitted.stages_count; i++) {
        const struct stage *other = &job->stages[i];
        if (other == stage || !is_training(other) || other->state != STAGE_RUNNING)
            continue;
        bool is_open = other->run->phase != RUN_CLOSED && other->run->phase != RUN_OPENING;
        if (!is_open || digest_equal(other->run->weights.digest, stage->run->weights.digest))
            return true;
    }
    return false;
}

/* Variants that differ in their rate alone begin with the same weights, and equal jobs have the
 * same ones in each step, so their gradients are the same artifacts: the one that folds first
 * leaves them to the others. */
static bool is_shared(const struct sched *s, const struct stage *stage)
{
    for (size_t i = s->job_count; i-- > 0;) {
        if (has_fellow(s->jobs[i], stage))
            return true;
    }
    return false;
}

static enum err fold_round(struct sched *s, struct stage *stage)
{
    struct run *run = stage->run;
    TRY(effect_reserve(&s->effect, 0, 0, 1));
    struct sched_part *parts =
        arena_alloc(&s->effect.arena, stage->tasks.count, sizeof(struct sched_part));
    if (parts == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < stage->tasks.count; i++)
        fill_part(stage, i, &parts[i]);
    struct sched_work *work = effect_work(&s->effect, SCHED_WORK_FOLD);
    work->job = stage->job->submitted.job;
    work->stage = stage->index;
    work->step = run->step;
    work->variant = stage->plan->variant;
    work->evaluates = run->evaluates;
    work->round_rows = run->rows;
    work->step_count = run->plan.step_count;
    work->parts = parts;
    work->keeps_parts = !run->evaluates && is_shared(s, stage);
    work->part_count = stage->tasks.count;
    stage->work_is_out = true;
    run->phase = RUN_FOLDING;
    return ERR_OK;
}

static void add_point(struct sched *s, struct stage *stage, const struct sched_work_done *done)
{
    struct run *run = stage->run;
    struct log_point point = {
        .step = run->step,
        .epoch = epoch_of(run),
        .is_eval = run->evaluates,
        .loss = run->evaluates ? run->eval_loss : run->loss,
        .grad_norm = run->evaluates ? 0 : done->grad_norm,
        .learning_rate = run->evaluates ? 0 : done->learning_rate,
        .tokens = run->tokens,
        .unix_ms = s->unix_ms,
        .variant = stage->plan->variant,
    };
    job_set_preference(&point, &done->preference);
    curve_add(&run->curve, &point);
}

static void finish_train_step(struct sched *s, struct stage *stage,
                              const struct sched_work_done *done)
{
    struct run *run = stage->run;
    for (uint32_t i = 0; i < stage->tasks.count; i++) {
        const struct task_result *result = stage->tasks.items[i].result;
        run->tokens += result->tokens;
        s->counts.tokens += result->tokens;
        run->step_bytes = MAX(run->step_bytes, result->peak_bytes);
    }
    set_weights(run, &done->weights);
    run->step++;
    s->counts.steps++;
    run->loss = done->loss_sum / done->weight;
    run->grad_norm = done->grad_norm;
    watchdog_look(s, stage, done);
    if (run->step % run->plan.logging_steps == 0 || run->step == run->plan.step_count)
        add_point(s, stage, done);
}

/* Every save_steps, but never of weights whose loss is too high: as soon as it is not, unless the
 * log points of one record would become too many. */
static bool is_save_due(const struct run *run)
{
    if (run->saved_step == run->step)
        return false;
    if (run->step == run->plan.step_count)
        return true;
    uint64_t save_steps = run->plan.save_steps;
    bool is_passed = run->step / save_steps > run->saved_step / save_steps;
    bool is_full = run->curve.count - run->curve.durable + 2 > LIMIT_METRIC_POINTS;
    return is_passed && (run->high_steps == 0 || is_full);
}

enum err round_folded(struct sched *s, struct stage *stage, const struct sched_work_done *done)
{
    struct run *run = stage->run;
    TRY(curve_reserve(&run->curve, 0));
    s->counts.rounds++;
    stage->job->progressed = s->now;
    if (!(done->weight > 0) || !isfinite(done->loss_sum)) {
        bool is_empty = isfinite(done->loss_sum);
        advance_give_up(s, stage, is_empty ? ERR_DATA : ERR_NOT_FINITE, "%s: %s of step %llu %s",
                        stage->plan->name.data, run->evaluates ? "the evaluation" : "the rows",
                        (unsigned long long)run->step,
                        is_empty ? "have no supervised token" : "gave a loss that is not finite");
        return ERR_OK;
    }
    if (!run->evaluates) {
        finish_train_step(s, stage, done);
    } else {
        run->eval_step = run->step;
        run->eval_loss = done->loss_sum / done->weight;
        run->loss_sum = done->loss_sum;
        run->weight = done->weight;
        run->preference = done->preference;
        if (is_training(stage))
            add_point(s, stage, done);
    }
    run->phase = RUN_READY;
    return ERR_OK;
}

static enum err save(struct sched *s, struct stage *stage)
{
    TRY(effect_reserve(&s->effect, 0, 0, 1));
    struct sched_work *work = effect_work(&s->effect, SCHED_WORK_CHECKPOINT);
    work->job = stage->job->submitted.job;
    work->stage = stage->index;
    work->variant = stage->plan->variant;
    work->step = stage->run->step;
    stage->work_is_out = true;
    stage->run->phase = RUN_SAVING;
    return ERR_OK;
}

/* What turned out to be disputed meanwhile is not kept: round_advance goes back behind it. */
enum err round_checkpointed(struct sched *s, struct stage *stage,
                            const struct sched_work_done *done)
{
    struct run *run = stage->run;
    if (stage->is_disputed) {
        run->phase = RUN_READY;
        return ERR_OK;
    }
    struct job *job = stage->job;
    const struct checkpoint_row *last = job_checkpoint(job, stage);
    struct sched_record record = {.number = REC_CHECKPOINT};
    record.record.checkpoint = (struct rec_checkpoint){
        .row = done->checkpoint,
        .points_count = (uint32_t)(run->curve.count - run->curve.durable),
    };
    if (record.record.checkpoint.points_count > 0)
        record.record.checkpoint.points = run->curve.points + run->curve.durable;
    struct checkpoint_row *row = &record.record.checkpoint.row;
    row->parent = last == NULL ? (struct digest){{0}} : last->digest;
    row->job = job->submitted.job;
    row->stage = stage->index;
    row->step = run->step;
    row->epoch = epoch_of(run);
    row->loss = run->loss;
    row->eval_loss = run->eval_loss;
    row->created_unix_ms = s->unix_ms;
    row->tokens = run->tokens;
    TRY(core_decide(s, &record, NULL));
    run->saved_step = run->step;
    run->phase = RUN_READY;
    stage->work_faults = 0;
    history_limit(s, stage);
    return ERR_OK;
}

static enum err finish(struct sched *s, struct stage *stage)
{
    struct run *run = stage->run;
    struct job *job = stage->job;
    struct artifact_ref state = spec_state(stage, NULL);
    struct fact fact = {.name = is_training(stage) ? TEXT("steps") : TEXT("rows"),
                        .value = is_training(stage) ? run->step : run->rows};
    struct sched_record record = {.number = REC_TASK_DONE};
    struct rec_task_done *done = &record.record.task_done;
    done->job = job->submitted.job;
    done->stage = stage->index;
    done->result.facts = &fact;
    done->result.facts_count = 1;
    if (is_training(stage)) {
        done->result.outputs = &state;
        done->result.outputs_count = 1;
        done->result.tokens = run->tokens;
    } else {
        done->result.loss_sum = run->loss_sum;
        done->result.weight = run->weight;
        done->result.preference = run->preference;
    }
    TRY(effect_reserve(&s->effect, 0, 0, 1));
    TRY(core_decide(s, &record, NULL));
    round_close(s, stage);
    return ERR_OK;
}

/* Held-out rows between steps. What follows the last step is left to a stage of its own, when the
 * job has one. */
static bool is_eval_due(const struct stage *stage)
{
    const struct run *run = stage->run;
    if (run->eval_step == run->step || run->test_rows == 0)
        return false;
    if (run->step == 0)
        return run->plan.eval_on_start;
    if (run->step == run->plan.step_count && job_follower(stage, STAGE_KIND_EVALUATE) != NULL)
        return false;
    return run->plan.eval_steps > 0 && run->step % run->plan.eval_steps == 0;
}

static enum err choose_next(struct sched *s, struct stage *stage)
{
    struct run *run = stage->run;
    if (!is_training(stage))
        return run->eval_step == UINT64_MAX ? begin_round(s, stage, true) : finish(s, stage);
    bool is_last = run->step == run->plan.step_count;
    if (is_eval_due(stage))
        return begin_round(s, stage, true);
    if (is_save_due(run))
        return save(s, stage);
    return is_last ? finish(s, stage) : begin_round(s, stage, false);
}

/* Two workers gave different sums for the same rows: whatever rests on them is thrown away. */
static enum err rewind_disputed(struct sched *s, struct stage *stage)
{
    struct job *job = stage->job;
    TRY(effect_reserve(&s->effect, 0, stage->tasks.leases, 1));
    for (uint32_t i = 0; i < stage->tasks.count; i++) {
        while (stage->tasks.items[i].leases != NULL)
            lease_cancel(s, stage->tasks.items[i].leases);
    }
    round_close(s, stage);
    stage->is_disputed = false;
    if (++stage->work_faults >= LIMIT_TASK_ATTEMPTS)
        advance_doom(s, job, ERR_PROFILE, "%s: workers keep computing different sums of equal rows",
                     stage->plan->name.data);
    return ERR_OK;
}

enum err round_advance(struct sched *s, struct stage *stage)
{
    struct run *run = stage->run;
    if (stage->work_is_out || stage->retry_at.ns > s->now.ns)
        return ERR_OK;
    if (stage->is_disputed) {
        TRY(rewind_disputed(s, stage));
        if (!job_is_active(stage->job))
            return ERR_OK;
    }
    if (run->phase == RUN_CLOSED)
        TRY(open_state(s, stage));
    if (run->phase == RUN_ROUND && stage->tasks.done == stage->tasks.count)
        return fold_round(s, stage);
    return run->phase == RUN_READY ? choose_next(s, stage) : ERR_OK;
}

void round_close(struct sched *s, struct stage *stage)
{
    struct run *run = stage->run;
    if (run->is_opened) {
        struct sched_work *work = effect_work(&s->effect, SCHED_WORK_CLOSE);
        work->job = stage->job->submitted.job;
        work->stage = stage->index;
    }
    run->is_opened = false;
    run->phase = RUN_CLOSED;
    tasks_fini(&stage->tasks);
    core_refresh(stage);
}
