/* test_sched_watchdog.c - broken training is stopped, and what was good is kept. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "world.h"

static const char *const guarded = "micro_batch_size: 8\nmax_steps: 20\nsave_steps: 4\n"
                                   "loss_watchdog_threshold: 5\nloss_watchdog_patience: 3\n";
static const char *const plain = "micro_batch_size: 8\nmax_steps: 20\nsave_steps: 4\n";

enum { WORKERS = 2, STEPS = 20, NEVER = UINT32_MAX };

static void hire(struct world *w)
{
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
}

/* Sends a range's result whose mean loss is `loss`. */
static void answer(struct world *w, const struct world_grant *grant, double loss)
{
    struct msg_lease_result result = world_result(w, &grant->grant, 0);
    result.result.loss_sum = result.result.weight * loss;
    world_step(w,
               (struct sched_event){.kind = SCHED_RESULT, .peer = grant->peer, .result = &result});
}

/* Answers everything, step s (counted from 1) with losses[s], the second half of its rows with
 * twice that; the coordinator dies once, after `death` answers. */
static void run(struct world *w, const double losses[STEPS + 1], uint32_t death)
{
    for (uint32_t count = 0; w->grant_count + w->work_count > 0; count++) {
        if (count == death) {
            w->grant_count = w->work_count = 0;
            world_restart(w);
            hire(w);
            continue;
        }
        if (w->work_count > 0 || w->grants[0].grant.spec.kind != STAGE_KIND_TRAIN) {
            (void)world_advance(w);
            continue;
        }
        w->now_ms += 10;
        struct world_grant grant = world_next_grant(w);
        const struct task_spec *spec = &grant.grant.spec;
        answer(w, &grant, losses[spec->round + 1] * (spec->first >= 4 ? 1.5 : 0.5));
    }
}

static void fill(double losses[STEPS + 1], double value)
{
    for (size_t i = 0; i <= STEPS; i++)
        losses[i] = value;
}

static const struct checkpoint_row *last_checkpoint(const struct world *w)
{
    size_t count;
    const struct checkpoint_row *rows = sched_job_checkpoints(w->s, 0, &count);
    return count == 0 ? NULL : &rows[count - 1];
}

static uint32_t error_of(const struct world *w)
{
    struct job_row row;
    sched_job_row(w->s, 0, &row);
    return row.error;
}

static void test_watchdog__a_loss_of_exactly_zero_stops_the_job(void **state)
{
    struct world *w = world_of(state);
    double losses[STEPS + 1];
    fill(losses, 2);
    losses[10] = 0;
    hire(w);
    world_submit(w, 1, world_recipe(w, plain), 1, false);
    run(w, losses, NEVER);
    assert_int_equal(world_state(w, 0), JOB_FAILED);
    assert_int_equal(error_of(w), ERR_DIVERGED);
    struct text detail = world_detail(w, 0);
    assert_true(text_is(detail, "train: the loss of step 10 (rows 0 to 7) is exactly 0; the "
                                "checkpoint of step 8 is kept"));
    assert_int_equal(last_checkpoint(w)->step, 8);
    assert_int_equal(w->opens, w->closes);
}

/* As a worker finds it, by an operation that gave none, or by the sum that it sends. */
static void test_watchdog__a_worker_that_meets_no_number_ends_at_its_step(void **state)
{
    static const char *const expected[] = {
        "train step 10 (rows 0 to 3) on b: it broke; the checkpoint of step 8 is kept",
        "train step 10 (rows 0 to 3) on b: the loss is not finite; the checkpoint of step 8 is "
        "kept"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        struct world *w = mem_alloc(1, sizeof *w);
        world_init(w);
        hire(w);
        world_submit(w, 1, world_recipe(w, plain), 1, false);
        while (w->work_count > 0 || w->grants[0].grant.spec.kind != STAGE_KIND_TRAIN ||
               w->grants[0].grant.spec.round < 9)
            assert_true(world_advance(w));
        struct world_grant grant = world_next_grant(w);
        if (i == 0)
            world_fail(w, grant.peer.v, grant.grant.fence, ERR_NOT_FINITE);
        else
            answer(w, &grant, (double)NAN);
        assert_int_equal(world_state(w, 0), JOB_FAILED);
        assert_int_equal(error_of(w), ERR_NOT_FINITE);
        if (!text_is(world_detail(w, 0), expected[i]))
            fail_msg("%.*s", TEXT_ARGS(world_detail(w, 0)));
        assert_int_equal(last_checkpoint(w)->step, 8);
        world_fini(w);
        mem_free(w);
    }
}

static void test_watchdog__a_loss_over_pairs_may_be_zero(void **state)
{
    struct world *w = world_of(state);
    hire(w);
    world_submit(w, 1, world_recipe(w, plain), 1, false);
    while (w->grant_count + w->work_count > 0) {
        struct sched_work work;
        bool is_fold = w->work_count > 0 && w->works[0].kind == SCHED_WORK_FOLD;
        if (!is_fold) {
            (void)world_advance(w);
            continue;
        }
        work = world_next_work(w);
        struct sched_event event = world_outcome(w, &work);
        event.done.loss_sum = 0;
        event.done.preference.pairs = event.done.weight;
        world_step(w, event);
    }
    assert_int_equal(world_state(w, 0), JOB_DONE);
}

static void test_watchdog__a_loss_too_high_for_too_long_stops_the_job(void **state)
{
    struct world *w = world_of(state);
    double losses[STEPS + 1];
    fill(losses, 2);
    losses[3] = losses[4] = 8; /* two steps are not three */
    losses[11] = losses[12] = losses[13] = 8;
    hire(w);
    world_submit(w, 1, world_recipe(w, guarded), 1, false);
    run(w, losses, NEVER);
    assert_int_equal(world_state(w, 0), JOB_FAILED);
    assert_int_equal(error_of(w), ERR_DIVERGED);
    const char *expected = "train: the loss was above 5 for 3 steps, 8 at step 13 (most in rows 4 "
                           "to 7, from ";
    assert_memory_equal(world_detail(w, 0).data, expected, strlen(expected));
    assert_non_null(strstr(world_detail(w, 0).data, "; the checkpoint of step 8 is kept"));
}

static void test_watchdog__no_checkpoint_is_made_while_the_loss_is_too_high(void **state)
{
    struct world *w = world_of(state);
    const uint64_t expected[] = {5, 8, 12, 18, 20};
    double losses[STEPS + 1];
    size_t count;
    fill(losses, 2);
    losses[3] = losses[4] = 8;                /* the checkpoint of step 4 waits for step 5 */
    losses[16] = losses[17] = losses[20] = 8; /* the last step's weights are the result */
    hire(w);
    world_submit(w, 1, world_recipe(w, guarded), 1, false);
    run(w, losses, NEVER);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    const struct checkpoint_row *rows = sched_job_checkpoints(w->s, 0, &count);
    assert_int_equal(count, COUNT_OF(expected));
    for (size_t i = 0; i < count; i++)
        assert_int_equal(rows[i].step, expected[i]);
}

/* Whenever the coordinator dies, the training ends at the same step for the same reason. */
static void test_watchdog__a_restart_changes_nothing(void **state)
{
    double losses[STEPS + 1];
    (void)state;
    fill(losses, 2);
    losses[3] = losses[4] = losses[8] = losses[9] = losses[11] = losses[12] = losses[13] = 8;
    for (uint32_t death = 0; death < 70; death++) {
        struct world *w = mem_alloc(1, sizeof *w);
        world_init(w);
        hire(w);
        world_submit(w, 1, world_recipe(w, guarded), 1, false);
        run(w, losses, death);
        assert_int_equal(world_state(w, 0), JOB_FAILED);
        assert_non_null(strstr(world_detail(w, 0).data, "8 at step 13"));
        assert_int_equal(last_checkpoint(w)->step, 10);
        world_fini(w);
        mem_free(w);
    }
}

static void test_watchdog__of_variants_only_the_broken_one_is_given_up(void **state)
{
    struct world *w = world_of(state);
    struct job_row row;
    hire(w);
    world_submit(w, 1,
                 world_recipe(w, "micro_batch_size: 8\nmax_steps: 6\nsave_steps: 2\n"
                                 "seed: [1, 2]\n"),
                 1, false);
    while (w->grant_count + w->work_count > 0) {
        bool is_train = w->work_count == 0 && w->grants[0].grant.spec.kind == STAGE_KIND_TRAIN;
        if (!is_train) {
            (void)world_advance(w);
            continue;
        }
        struct world_grant grant = world_next_grant(w);
        bool is_broken = grant.grant.spec.variant == 0 && grant.grant.spec.round == 3;
        answer(w, &grant, is_broken ? 0 : 2);
    }
    sched_job_row(w->s, 0, &row);
    assert_int_equal(row.state, JOB_DONE);
    assert_int_equal(row.variants[0].state, STAGE_FAILED);
    assert_non_null(strstr(row.variants[0].detail.data, "step 4 (rows 0 to 7) is exactly 0"));
    assert_int_equal(row.variants[1].state, STAGE_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_watchdog__a_loss_of_exactly_zero_stops_the_job,
                                        world_setup, world_teardown),
        cmocka_unit_test(test_watchdog__a_worker_that_meets_no_number_ends_at_its_step),
        cmocka_unit_test_setup_teardown(test_watchdog__a_loss_over_pairs_may_be_zero, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_watchdog__a_loss_too_high_for_too_long_stops_the_job,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(
            test_watchdog__no_checkpoint_is_made_while_the_loss_is_too_high, world_setup,
            world_teardown),
        cmocka_unit_test(test_watchdog__a_restart_changes_nothing),
        cmocka_unit_test_setup_teardown(test_watchdog__of_variants_only_the_broken_one_is_given_up,
                                        world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
