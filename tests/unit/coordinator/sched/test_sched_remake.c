/* test_sched_remake.c - what a job made and lost is made again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "world.h"

static const char *const twenty_steps = "micro_batch_size: 4\ngradient_accumulation_steps: 2\n"
                                        "max_steps: 20\nsave_steps: 5\neval_steps: 4\n"
                                        "evaluate: auto\n";

static void begin(struct world *w)
{
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, twenty_steps), 3, true);
}

/* Runs until so many checkpoints are on record. */
static void run_to_checkpoint(struct world *w, size_t wanted)
{
    size_t count = 0;
    while (count < wanted) {
        if (w->work_count > 0) {
            struct sched_work work = world_next_work(w);
            if (work.kind != SCHED_WORK_CLOSE)
                world_work(w, &work);
        } else {
            struct world_grant grant = world_next_grant(w);
            world_answer(w, grant.peer, &grant.grant);
        }
        sched_job_checkpoints(w->s, 0, &count);
    }
}

/* To the end; a worker that failed rests for a while. */
static void run(struct world *w)
{
    for (int i = 0; i < 20; i++) {
        world_run(w);
        w->now_ms += 3000;
        world_beat(w, 1, NULL, 0);
    }
    world_run(w);
}

static struct digest checkpoint(const struct world *w, size_t index)
{
    size_t count;
    const struct checkpoint_row *rows = sched_job_checkpoints(w->s, 0, &count);
    assert_true(index < count);
    return rows[index].digest;
}

/* The first output of the first task of a stage, from its record. */
static struct digest output_of(const struct world *w, uint32_t stage)
{
    for (size_t i = 0; i < w->record_count; i++) {
        const struct rec_task_done *done = &w->records[i].record.task_done;
        if (w->records[i].number == REC_TASK_DONE && done->stage == stage && done->index == 0)
            return done->result.outputs[0].digest;
    }
    fail_msg("stage %u has no result", stage);
    return (struct digest){{0}};
}

static size_t count_records(const struct world *w, uint32_t number)
{
    size_t count = 0;
    for (size_t i = 0; i < w->record_count; i++)
        count += w->records[i].number == number;
    return count;
}

/* As an undisturbed run leaves it, and equal when it is replayed. */
static void assert_whole(struct world *w)
{
    assert_int_equal(world_state(w, 0), JOB_DONE);
    struct log_point all[WORLD_POINTS];
    size_t points = world_points(w, all);
    assert_int_equal(points, 25);
    for (size_t i = 1; i < points; i++)
        assert_true(all[i].step >= all[i - 1].step);
    assert_true(all[24].is_eval);
    size_t count;
    const struct checkpoint_row *rows = sched_job_checkpoints(w->s, 0, &count);
    assert_int_equal(count, 4);
    assert_int_equal(rows[3].tokens, 20 * 8 * 5);
    struct bytes live, replayed;
    bytes_init(&live, 1 << 20);
    bytes_init(&replayed, 1 << 20);
    sched_write_durable(w->s, &live);
    world_restart(w);
    sched_write_durable(w->s, &replayed);
    assert_int_equal(live.size, replayed.size);
    assert_memory_equal(live.data, replayed.data, live.size);
    bytes_fini(&live);
    bytes_fini(&replayed);
}

static void test_remake__damaged_checkpoint_falls_back_to_its_parent(void **state)
{
    struct world *w = world_of(state);
    begin(w);
    run_to_checkpoint(w, 3);
    world_damage(w, checkpoint(w, 2));
    world_restart(w);
    assert_int_equal(w->works[0].step, 15);
    struct sched_work open = world_next_work(w);
    world_work(w, &open);
    assert_int_equal(w->fx.records[0].number, REC_ARTIFACT_LOST);
    assert_non_null(strstr(w->fx.records[0].record.artifact_lost.detail.data,
                           "after step 15 is lost, training goes back to step 10: the file on"));
    assert_int_equal(w->works[0].kind, SCHED_WORK_CLOSE);
    assert_int_equal(w->works[1].kind, SCHED_WORK_OPEN);
    assert_int_equal(w->works[1].step, 10);
    world_hello(w, 1, "a", "f32/1");
    world_run(w);
    assert_int_equal(w->folds, 25);
    assert_whole(w);
}

static void test_remake__no_checkpoint_left_begins_anew(void **state)
{
    struct world *w = world_of(state);
    begin(w);
    run_to_checkpoint(w, 2);
    world_damage(w, checkpoint(w, 0));
    world_damage(w, checkpoint(w, 1));
    struct digest first_state = {{0}};
    for (size_t i = 0; i < w->record_count; i++) {
        const struct rec_task_done *done = &w->records[i].record.task_done;
        if (w->records[i].number == REC_TASK_DONE && done->result.outputs_count == 1 &&
            text_is(done->result.outputs[0].name, "state"))
            first_state = done->result.outputs[0].digest;
    }
    world_damage(w, first_state);
    world_restart(w);
    world_hello(w, 1, "a", "f32/1");
    world_run(w);
    assert_int_equal(count_records(w, REC_ARTIFACT_LOST), 3);
    assert_int_equal(w->folds, 10 + 20);
    assert_whole(w);
}

static void test_remake__last_state_lost_before_the_evaluation_trains_again(void **state)
{
    struct world *w = world_of(state);
    begin(w);
    run_to_checkpoint(w, 4);
    world_damage(w, checkpoint(w, 3));
    world_run(w);
    assert_int_equal(w->folds, 25);
    assert_whole(w);
}

static void test_remake__last_state_lost_before_the_export_trains_and_evaluates_again(void **state)
{
    struct world *w = world_of(state);
    begin(w);
    run_to_checkpoint(w, 4);
    while (w->logs == 0) {
        if (w->work_count > 0) {
            struct sched_work work = world_next_work(w);
            if (work.kind != SCHED_WORK_CLOSE)
                world_work(w, &work);
        } else {
            struct world_grant grant = world_next_grant(w);
            world_answer(w, grant.peer, &grant.grant);
        }
    }
    world_damage(w, checkpoint(w, 3));
    run(w);
    assert_int_equal(w->verifies, 1);
    assert_int_equal(w->folds, 25);
    assert_int_equal(w->evaluations, 7); /* those of the steps 16 and 20 twice */
    assert_whole(w);
}

static void test_remake__rows_lost_within_a_round_are_packed_again(void **state)
{
    struct world *w = world_of(state);
    begin(w);
    run_to_checkpoint(w, 1);
    world_damage(w, output_of(w, 1)); /* of pack, and what pack reads */
    world_damage(w, output_of(w, 0));
    run(w);
    assert_int_equal(count_records(w, REC_ARTIFACT_LOST), 2);
    assert_whole(w);
}

static void test_remake__changed_input_fails_the_job_by_its_name(void **state)
{
    struct world *w = world_of(state);
    world_submit(w, 1, world_recipe(w, twenty_steps), 1, true);
    world_damage(w, sched_job_submitted(w->s, 0)->inputs[2].digest);
    world_hello(w, 1, "a", "f32/1");
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_FAILED);
    struct job_row row;
    sched_job_row(w->s, 0, &row);
    assert_int_equal(row.error, ERR_DIGEST);
    assert_true(text_is(row.detail, "data/0/d.jsonl: the file on disk is damaged"));
    w->damaged_count = 0;
    world_control(w, "last", JOB_ACTION_RETRY);
    w->now_ms += 60000;
    world_hello(w, 1, "a", "f32/1");
    world_run(w);
    assert_whole(w);
}

static void test_remake__sound_inputs_leave_the_failure_as_it_was(void **state)
{
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, twenty_steps), 1, true);
    struct world_grant grant = world_next_grant(w);
    world_fail(w, 1, grant.grant.fence, ERR_NOT_FOUND);
    assert_int_equal(world_state(w, 0), JOB_RUNNING);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_FAILED);
    assert_true(text_is(world_detail(w, 0), "prepare[0]: it broke"));
}

static void test_remake__retry_of_a_done_job_makes_damaged_results_again(void **state)
{
    struct world *w = world_of(state);
    uint32_t count;
    begin(w);
    world_run(w);
    world_damage(w, sched_job_outputs(w->s, 0, &count)[0].digest);
    world_control(w, "last", JOB_ACTION_RETRY);
    assert_int_equal(world_sent(w, MSG_STATUS, 0)->message.status.error, ERR_OK);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    world_run(w);
    assert_int_equal(w->verifies, 1);
    assert_int_equal(w->folds, 20);
    assert_int_equal(w->damaged_count, 0);
    assert_whole(w);
    world_control(w, "last", JOB_ACTION_RETRY); /* nothing is wrong now */
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_int_equal(count_records(w, REC_ARTIFACT_LOST), 1);
}

/* A disk that damages whatever is written: the state never lasts until it is opened. */
static void test_remake__endless_damage_fails_the_job(void **state)
{
    struct world *w = world_of(state);
    begin(w);
    while (w->opens == 0) {
        struct world_grant grant = world_next_grant(w);
        world_answer(w, grant.peer, &grant.grant);
    }
    for (int i = 0; world_state(w, 0) != JOB_FAILED; i++) {
        assert_true(i < 1000);
        if (w->work_count > 0) {
            struct sched_work work = world_next_work(w);
            w->damaged_count = 0;
            if (work.kind == SCHED_WORK_OPEN)
                world_damage(w, work.state.digest);
            if (work.kind != SCHED_WORK_CLOSE)
                world_work(w, &work);
        } else {
            struct world_grant grant = world_next_grant(w);
            world_answer(w, grant.peer, &grant.grant);
        }
    }
    assert_int_equal(count_records(w, REC_ARTIFACT_LOST), LIMIT_ARTIFACT_LOSSES + 1);
    assert_non_null(strstr(world_detail(w, 0).data, "check the coordinator's disk"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_remake__##name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(damaged_checkpoint_falls_back_to_its_parent),
        TEST(no_checkpoint_left_begins_anew),
        TEST(last_state_lost_before_the_evaluation_trains_again),
        TEST(last_state_lost_before_the_export_trains_and_evaluates_again),
        TEST(rows_lost_within_a_round_are_packed_again),
        TEST(changed_input_fails_the_job_by_its_name),
        TEST(sound_inputs_leave_the_failure_as_it_was),
        TEST(retry_of_a_done_job_makes_damaged_results_again),
        TEST(endless_damage_fails_the_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
