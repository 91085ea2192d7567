/* test_sched_job.c - a job's path through its stages and rounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "world.h"

static const char *const two_steps = "micro_batch_size: 4\ngradient_accumulation_steps: 2\n"
                                     "max_steps: 20\nsave_steps: 5\neval_steps: 4\n"
                                     "evaluate: auto\n";

static void test_job__runs_through_all_stages(void **state)
{
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
    world_submit(w, 1, world_recipe(w, two_steps), 3, true);
    assert_non_null(world_sent(w, MSG_SUBMITTED, 0));
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_int_equal(w->folds, 20);
    assert_int_equal(w->checkpoints, 4);
    /* steps 4, 8, 12, 16 within the training, step 20 as a stage */
    assert_int_equal(w->evaluations, 5);
    assert_int_equal(w->logs, 1);
    assert_int_equal(w->opens, 2);
    assert_int_equal(w->closes, 2);
    struct log_point all[WORLD_POINTS];
    size_t points = world_points(w, all);
    assert_int_equal(points, 25);
    assert_true(all[24].is_eval);
    assert_int_equal(all[24].step, 20);
    assert_true(all[24].loss == 3.0);
    uint32_t outputs;
    assert_non_null(sched_job_outputs(w->s, 0, &outputs));
    assert_int_equal(outputs, 1);
    size_t count;
    const struct checkpoint_row *rows = sched_job_checkpoints(w->s, 0, &count);
    assert_int_equal(count, 4);
    assert_true(digest_is_zero(rows[0].parent));
    assert_true(digest_equal(rows[3].parent, rows[2].digest));
    assert_int_equal(rows[3].tokens, 20 * 8 * 5);
}

static void test_job__replay_equals_live_state_after_every_step(void **state)
{
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, two_steps), 2, true);
    struct bytes live;
    struct bytes replayed;
    bytes_init(&live, 1 << 24);
    bytes_init(&replayed, 1 << 24);
    while (w->grant_count + w->work_count > 0) {
        if (w->work_count > 0) {
            struct sched_work work = world_next_work(w);
            if (work.kind != SCHED_WORK_CLOSE)
                world_work(w, &work);
        } else {
            struct world_grant grant = world_next_grant(w);
            world_answer(w, grant.peer, &grant.grant);
        }
        struct sched *other;
        assert_int_equal(sched_create(9, &other), ERR_OK);
        for (size_t i = 0; i < w->record_count; i++)
            assert_int_equal(sched_replay(other, &w->records[i]), ERR_OK);
        bytes_clear(&live);
        bytes_clear(&replayed);
        sched_write_durable(w->s, &live);
        sched_write_durable(other, &replayed);
        bytes_append(&live, "", 1);
        bytes_append(&replayed, "", 1);
        assert_string_equal((const char *)live.data, (const char *)replayed.data);
        sched_destroy(&other);
    }
    assert_int_equal(world_state(w, 0), JOB_DONE);
    bytes_fini(&live);
    bytes_fini(&replayed);
}

static size_t stage_rows(const struct world *w, struct stage_row rows[LIMIT_JOB_STAGES])
{
    return sched_job_stages(w->s, 0, (struct instant){w->now_ms * NS_PER_MS}, rows,
                            LIMIT_JOB_STAGES);
}

static void test_job__stages_keep_their_times_over_a_restart(void **state)
{
    struct world *w = world_of(state);
    struct stage_row before[LIMIT_JOB_STAGES], after[LIMIT_JOB_STAGES];
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, two_steps), 2, true);
    while (w->grant_count > 0 || w->work_count > 0) {
        if (w->work_count > 0) {
            struct sched_work work = world_next_work(w);
            world_work(w, &work);
        } else {
            struct world_grant grant = world_next_grant(w);
            w->now_ms += 1000;
            world_answer(w, grant.peer, &grant.grant);
        }
    }
    assert_int_equal(world_state(w, 0), JOB_DONE);
    size_t count = stage_rows(w, before);
    w->now_ms += 3600000;
    world_restart(w);
    assert_int_equal(stage_rows(w, after), count);
    for (size_t i = 0; i < count; i++) { /* a training: but for its first step, of a second */
        print_message("stage %zu: %g s, then %g s\n", i, before[i].seconds, after[i].seconds);
        assert_true(after[i].seconds <= before[i].seconds);
        assert_true(after[i].seconds >= before[i].seconds - 1.001);
    }
    assert_true(after[count / 2].seconds >= 1);
}

static void test_job__goes_on_from_the_last_checkpoint_after_a_restart(void **state)
{
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, two_steps), 2, true);
    while (w->checkpoints < 2 || w->work_count > 0) {
        if (w->work_count > 0) {
            struct sched_work work = world_next_work(w);
            world_work(w, &work);
        } else {
            struct world_grant grant = world_next_grant(w);
            world_answer(w, grant.peer, &grant.grant);
        }
    }
    world_restart(w);
    assert_int_equal(w->work_count, 1);
    assert_int_equal(w->works[0].kind, SCHED_WORK_OPEN);
    assert_int_equal(w->works[0].step, 10);
    world_hello(w, 1, "a", "f32/1");
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_int_equal(w->folds, 20);
    struct log_point points[WORLD_POINTS];
    assert_int_equal(world_points(w, points), 25);
    size_t count;
    assert_int_equal(sched_job_checkpoints(w->s, 0, &count)[3].tokens, 20 * 8 * 5);
}

static void test_job__submitted_twice_is_one_job(void **state)
{
    struct world *w = world_of(state);
    struct span recipe = world_recipe(w, two_steps);
    world_submit(w, 1, recipe, 1, false);
    uint64_t id = world_sent(w, MSG_SUBMITTED, 0)->message.submitted.job;
    world_submit(w, 1, recipe, 1, false);
    assert_int_equal(world_sent(w, MSG_SUBMITTED, 0)->message.submitted.job, id);
    assert_int_equal(w->fx.record_count, 0);
    assert_int_equal(sched_job_count(w->s), 1);
}

static void test_job__says_why_it_waits(void **state)
{
    struct world *w = world_of(state);
    world_submit(w, 1, world_recipe(w, two_steps), 1, false);
    assert_true(text_is(world_detail(w, 0), "no worker"));
    world_hello(w, 1, "a", "blas");
    world_hello(w, 2, "b", "blas");
    assert_true(text_is(world_detail(w, 0), "0 of 2 workers offer profile f32/1"));
    struct stage_row rows[8];
    size_t count = sched_job_stages(w->s, 0, (struct instant){0}, rows, 8);
    assert_int_equal(count, 5);
    assert_true(text_is(rows[1].detail, "needs prepare"));
}

static void test_job__without_training_evaluates_the_base_model(void **state)
{
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, "evaluate: only\ntest_datasets:\n  - path: t.jsonl\n"), 1,
                 true);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_int_equal(w->opens, 0);
    assert_int_equal(w->closes, 0);
    assert_int_equal(w->evaluations, 1);
    struct log_point points[WORLD_POINTS];
    assert_int_equal(world_points(w, points), 1);
    assert_true(points[0].loss == 3.0);
}

static void test_job__paused_grants_nothing_and_resumes(void **state)
{
    struct world *w = world_of(state);
    world_submit(w, 1, world_recipe(w, two_steps), 1, false);
    world_control(w, "tiny", JOB_ACTION_PAUSE);
    assert_int_equal(world_sent(w, MSG_STATUS, 0)->message.status.error, ERR_OK);
    world_hello(w, 1, "a", "f32/1");
    assert_int_equal(w->grant_count, 0);
    assert_true(text_is(world_detail(w, 0), "paused"));
    world_control(w, "last", JOB_ACTION_RESUME);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
}

static void test_job__cancelled_while_a_fold_is_out_closes_after_it(void **state)
{
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, two_steps), 1, false);
    while (w->folds == 0) {
        if (w->work_count > 0) {
            struct sched_work work = world_next_work(w);
            world_work(w, &work);
        } else {
            struct world_grant grant = world_next_grant(w);
            world_answer(w, grant.peer, &grant.grant);
        }
    }
    world_control(w, "last", JOB_ACTION_CANCEL);
    assert_int_equal(world_state(w, 0), JOB_CANCELLED);
    assert_int_equal(w->closes, 0);
    struct sched_work fold = world_next_work(w);
    world_control(w, "last", JOB_ACTION_RETRY);
    assert_int_equal(w->work_count, 0); /* not opened again before the fold has ended */
    world_work(w, &fold);
    assert_int_equal(w->closes, 1);
    assert_int_equal(w->opens, 2);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
}

static void test_job__failed_work_is_tried_again_from_the_checkpoint(void **state)
{
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, two_steps), 1, false);
    while (w->folds < 7) {
        if (w->work_count > 0) {
            struct sched_work work = world_next_work(w);
            world_work(w, &work);
        } else {
            struct world_grant grant = world_next_grant(w);
            world_answer(w, grant.peer, &grant.grant);
        }
    }
    struct sched_work fold = world_next_work(w);
    struct sched_event event = {.kind = SCHED_FOLDED};
    event.done = (struct sched_work_done){
        .job = fold.job, .stage = fold.stage, .error = ERR_IO, .detail = TEXT("disk")};
    world_step(w, event);
    assert_int_equal(w->closes, 1);
    world_next_work(w);
    assert_int_equal(w->work_count, 0);
    world_tick(w, 10000);
    world_beat(w, 1, NULL, 0);
    assert_int_equal(w->works[0].kind, SCHED_WORK_OPEN);
    assert_int_equal(w->works[0].step, 5);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_int_equal(w->folds, 7 + 15);
}

static void test_job__full_disk_is_waited_for_at_a_checkpoint(void **state)
{
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, two_steps), 1, false);
    while (w->checkpoints == 0) {
        if (w->work_count > 0) {
            struct sched_work work = world_next_work(w);
            world_work(w, &work);
        } else {
            struct world_grant grant = world_next_grant(w);
            world_answer(w, grant.peer, &grant.grant);
        }
    }
    for (int i = 0; i < 10; i++) {
        struct sched_work save = world_next_work(w);
        assert_int_equal(save.kind, SCHED_WORK_CHECKPOINT);
        struct sched_event event = {.kind = SCHED_CHECKPOINTED};
        event.done = (struct sched_work_done){
            .job = save.job, .stage = save.stage, .error = ERR_DISK_FULL, .detail = TEXT("full")};
        world_step(w, event);
        assert_int_equal(w->work_count, 0);
        assert_true(text_is(world_detail(w, 0), "full; tries again in 8 s"));
        world_tick(w, 8000);
    }
    assert_int_equal(w->opens, 1); /* the state stayed open */
    world_beat(w, 1, NULL, 0);
    struct sched_work save = world_next_work(w);
    world_work(w, &save);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_int_equal(w->folds, 20);
}

static void test_job__loss_that_is_not_finite_fails_with_its_place(void **state)
{
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, two_steps), 1, false);
    while (w->folds == 0) {
        if (w->work_count > 0) {
            struct sched_work work = world_next_work(w);
            world_work(w, &work);
        } else {
            struct world_grant grant = world_next_grant(w);
            world_answer(w, grant.peer, &grant.grant);
        }
    }
    struct sched_work fold = world_next_work(w);
    struct sched_event event = {.kind = SCHED_FOLDED};
    event.done = (struct sched_work_done){.job = fold.job,
                                          .stage = fold.stage,
                                          .error = ERR_NOT_FINITE,
                                          .detail = TEXT("step 0, rows 0..8")};
    world_step(w, event);
    assert_int_equal(world_state(w, 0), JOB_FAILED);
    assert_true(
        text_is(world_detail(w, 0), "train: step 0, rows 0..8; there was no checkpoint yet"));
    assert_int_equal(w->closes, 1);
}

/* A round of two tasks whose fold is next, and the grant of an attempt that was overtaken. */
static struct sched_work run_with_a_slow_attempt(struct world *w, const char *lines,
                                                 struct world_grant *slow)
{
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
    world_submit(w, 1, world_recipe(w, lines), 1, false);
    while (w->opens == 0 || w->work_count > 0 || w->grant_count == 0) {
        if (w->work_count > 0) {
            struct sched_work work = world_next_work(w);
            world_work(w, &work);
        } else {
            struct world_grant grant = world_next_grant(w);
            world_answer(w, grant.peer, &grant.grant);
        }
    }
    *slow = world_next_grant(w);
    struct world_grant other = world_next_grant(w);
    world_answer(w, other.peer, &other.grant);
    for (int i = 0; i < 3; i++) {
        w->now_ms += 1000;
        world_beat(w, slow->peer.v, &slow->grant.fence, 1);
        world_beat(w, other.peer.v, NULL, 0);
    }
    struct world_grant second = world_next_grant(w);
    assert_int_equal(second.grant.spec.first, slow->grant.spec.first);
    world_answer(w, second.peer, &second.grant);
    struct sched_work fold = world_next_work(w);
    assert_int_equal(fold.kind, SCHED_WORK_FOLD);
    return fold;
}

static void test_job__sums_that_differ_send_the_round_back(void **state)
{
    struct world *w = world_of(state);
    struct world_grant slow;
    struct sched_work fold = run_with_a_slow_attempt(w, two_steps, &slow);
    world_answer_wrongly(w, slow.peer, &slow.grant);
    assert_int_equal(w->fx.records[0].number, REC_WORKER_QUARANTINED);
    world_work(w, &fold);
    assert_int_equal(w->closes, 1);
    assert_int_equal(w->opens, 2);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_int_equal(w->folds, 21);
}

static void test_job__sums_that_differ_are_not_saved(void **state)
{
    static const char each_step[] = "micro_batch_size: 4\ngradient_accumulation_steps: 2\n"
                                    "max_steps: 20\nsave_steps: 1\n";
    struct world *w = world_of(state);
    struct world_grant slow;
    struct sched_work fold = run_with_a_slow_attempt(w, each_step, &slow);
    world_work(w, &fold);
    struct sched_work save = world_next_work(w);
    assert_int_equal(save.kind, SCHED_WORK_CHECKPOINT);
    world_answer_wrongly(w, slow.peer, &slow.grant);
    assert_int_equal(w->fx.records[0].number, REC_WORKER_QUARANTINED);
    world_work(w, &save);
    for (size_t i = 0; i < w->record_count; i++)
        assert_int_not_equal(w->records[i].number, REC_CHECKPOINT);
    assert_int_equal(w->closes, 1);
    assert_int_equal(w->opens, 2);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_int_equal(w->folds, 21);
}

static void test_job__forgotten_leaves_room_and_stays_forgotten(void **state)
{
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    for (uint64_t i = 1; i <= 3; i++)
        world_submit(w, i, world_recipe(w, two_steps), 1, false);
    world_control(w, "last", JOB_ACTION_FORGET);
    assert_int_equal(world_sent(w, MSG_STATUS, 0)->message.status.error, ERR_STATE);
    world_run(w);
    uint64_t first = sched_job_submitted(w->s, 0)->job;
    uint64_t last = sched_job_submitted(w->s, 2)->job;
    char middle[17];
    (void)snprintf(middle, sizeof middle, "%016llx",
                   (unsigned long long)sched_job_submitted(w->s, 1)->job);
    world_control(w, middle, JOB_ACTION_FORGET);
    assert_int_equal(world_sent(w, MSG_STATUS, 0)->message.status.error, ERR_OK);
    for (int life = 0; life < 2; life++) {
        assert_int_equal(sched_job_count(w->s), 2);
        assert_int_equal(sched_job_submitted(w->s, 0)->job, first);
        assert_int_equal(sched_job_submitted(w->s, 1)->job, last);
        world_restart(w);
    }
    world_hello(w, 2, "a", "f32/1");
    world_submit(w, 2, world_recipe(w, two_steps), 1, false); /* a new one of the same request */
    world_run(w);
    assert_int_equal(world_state(w, 2), JOB_DONE);
}

static void test_job__one_owner_may_not_fill_the_queue(void **state)
{
    struct world *w = world_of(state);
    struct span recipe = world_recipe(w, two_steps);
    for (uint64_t i = 1; i <= LIMIT_OWNER_JOBS; i++)
        world_submit(w, i, recipe, 1, false);
    assert_non_null(world_sent(w, MSG_SUBMITTED, 0));
    world_submit(w, LIMIT_OWNER_JOBS + 1, recipe, 1, false);
    assert_int_equal(world_sent(w, MSG_STATUS, 0)->message.status.error, ERR_LIMIT);
    world_submit(w, 7, recipe, 1, false); /* known already */
    assert_non_null(world_sent(w, MSG_SUBMITTED, 0));
    world_control(w, "last", JOB_ACTION_CANCEL);
    world_submit(w, LIMIT_OWNER_JOBS + 1, recipe, 1, false);
    assert_non_null(world_sent(w, MSG_SUBMITTED, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_job__runs_through_all_stages, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_job__replay_equals_live_state_after_every_step,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_job__stages_keep_their_times_over_a_restart,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_job__goes_on_from_the_last_checkpoint_after_a_restart,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_job__submitted_twice_is_one_job, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_job__says_why_it_waits, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_job__without_training_evaluates_the_base_model,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_job__paused_grants_nothing_and_resumes, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_job__cancelled_while_a_fold_is_out_closes_after_it,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_job__failed_work_is_tried_again_from_the_checkpoint,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_job__full_disk_is_waited_for_at_a_checkpoint,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_job__loss_that_is_not_finite_fails_with_its_place,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_job__sums_that_differ_send_the_round_back, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_job__sums_that_differ_are_not_saved, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_job__forgotten_leaves_room_and_stays_forgotten,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_job__one_owner_may_not_fill_the_queue, world_setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
