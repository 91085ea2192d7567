/* test_sched_variant.c - one job that trains several times: a graph with branches, a curve each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "world.h"

enum { STAGES_MAX = 64, TWO_SEEDS_STAGES = 10 };

static const char *const two_seeds = "micro_batch_size: 8\nmax_steps: 20\nsave_steps: 5\n"
                                     "eval_steps: 4\nseed: [1, 2]\n";
static const char *const three_seeds = "micro_batch_size: 8\nmax_steps: 20\nsave_steps: 5\n"
                                       "eval_steps: 4\nseed: [1, 2, 3]\nsample_packing: true\n";

static void assert_replays(struct world *w)
{
    struct bytes live, replayed;
    bytes_init(&live, 1 << 20);
    bytes_init(&replayed, 1 << 20);
    sched_write_durable(w->s, &live);
    world_restart(w);
    sched_write_durable(w->s, &replayed);
    assert_true(span_equal(bytes_span(&live), bytes_span(&replayed)));
    bytes_fini(&live);
    bytes_fini(&replayed);
}

static void test_variant__each_trains_evaluates_and_exports_behind_one_pack(void **state)
{
    struct world *w = world_of(state);
    struct stage_row rows[STAGES_MAX];
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
    world_submit(w, 1, world_recipe(w, two_seeds), 3, true);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_int_equal(w->folds, 2 * 20);
    assert_int_equal(w->checkpoints, 2 * 4);
    assert_int_equal(w->evaluations, 2 * 5);
    assert_int_equal(w->logs, 2);
    size_t count =
        sched_job_stages(w->s, 0, (struct instant){w->now_ms * 1000000}, rows, STAGES_MAX);
    assert_int_equal(count, TWO_SEEDS_STAGES);
    assert_true(text_is(rows[1].name, "pack"));
    assert_true(text_is(rows[3].name, "train seed=1"));
    assert_true(text_is(rows[7].name, "train seed=2"));
    assert_int_equal(rows[7].variant, 1);
    assert_replays(w);
}

static void test_variant__the_seed_of_each_reaches_its_tasks(void **state)
{
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, three_seeds), 1, true);
    uint64_t packs = 0, trains = 0;
    while (world_state(w, 0) != JOB_DONE) {
        for (size_t i = 0; i < w->grant_count; i++) {
            const struct task_spec *spec = &w->grants[i].grant.spec;
            assert_int_equal(spec->seed, spec->variant + 1);
            packs |= (uint64_t)(spec->kind == STAGE_KIND_PACK) << spec->variant;
            trains |= (uint64_t)(spec->kind == STAGE_KIND_TRAIN) << spec->variant;
        }
        assert_true(world_advance(w));
    }
    assert_int_equal(packs, 7);
    assert_int_equal(trains, 7);
}

/* Runs all jobs; of how many rounds the gradients are left to others. */
static size_t run_and_count_kept(struct world *w)
{
    size_t kept = 0;
    do {
        if (w->work_count > 0)
            kept += w->works[0].kind == SCHED_WORK_FOLD && w->works[0].keeps_parts;
    } while (world_advance(w));
    return kept;
}

/* Else the one takes away what the other has been promised or has just brought. */
static void test_variant__equal_jobs_leave_each_other_their_gradients(void **state)
{
    struct world *w = world_of(state);
    const char *lines = "micro_batch_size: 8\nmax_steps: 20\nsave_steps: 20\n";
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
    world_submit(w, 1, world_recipe(w, lines), 1, false);
    assert_int_equal(run_and_count_kept(w), 0);
    world_submit(w, 2, world_recipe(w, lines), 1, false);
    world_submit(w, 3, world_recipe(w, lines), 1, false);
    assert_true(run_and_count_kept(w) > 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(world_state(w, i), JOB_DONE);
}

static void test_variant__each_has_its_points_and_its_files(void **state)
{
    struct world *w = world_of(state);
    struct log_point points[WORLD_POINTS];
    uint64_t total;
    uint32_t count;
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, two_seeds), 1, true);
    world_run(w);
    assert_int_equal(world_points(w, points), 2 * 25);
    for (size_t i = 0; i < 2 * (size_t)25; i++)
        assert_int_equal(points[i].variant, i / 25);
    assert_int_equal(sched_job_points(w->s, 0, 1, 20, points, 3, &total), 3);
    assert_int_equal(total, 25);
    assert_true(points[0].variant == 1 && points[0].step == 17);
    assert_int_equal(sched_job_points(w->s, 0, 2, 0, points, 3, &total), 0);
    assert_int_equal(total, 0);
    const struct artifact_ref *outputs = sched_job_outputs(w->s, 0, &count);
    assert_int_equal(count, 2);
    assert_true(text_is(outputs[0].name, "seed=1/adapter.st"));
    assert_true(text_is(outputs[1].name, "seed=2/adapter.st"));
}

static void test_variant__the_row_has_all_of_them_and_one_best(void **state)
{
    struct world *w = world_of(state);
    struct job_row row;
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, two_seeds), 1, true);
    sched_job_row(w->s, 0, &row);
    assert_int_equal(row.variants_count, 2);
    assert_false(row.variants[0].is_best || row.variants[1].is_best);
    world_run(w);
    sched_job_row(w->s, 0, &row);
    assert_int_equal(row.variants_count, 2);
    assert_true(row.variants[0].is_best && !row.variants[1].is_best); /* equal: the first */
    assert_true(text_is(row.variants[1].name, "seed=2"));
    assert_int_equal(row.variants[1].state, STAGE_DONE);
    assert_int_equal(row.variants[1].point_count, 25);
    assert_true(row.eval_loss == 3.0 && row.variants[1].eval_loss == 3.0);
    assert_true(text_is(row.stage, "export"));
    assert_int_equal(row.done, 2);
    assert_int_equal(row.total, 2);
}

static void test_variant__only_so_many_train_at_once(void **state)
{
    struct world *w = world_of(state);
    struct stage_row rows[STAGES_MAX];
    size_t most = 0;
    bool waited = false;
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
    world_hello(w, 3, "c", "f32/1");
    world_hello(w, 4, "d", "f32/1");
    world_submit(w, 1, world_recipe(w, three_seeds), 1, true);
    while (world_state(w, 0) != JOB_DONE) {
        size_t count = sched_job_stages(w->s, 0, (struct instant){w->now_ms * 1000000}, rows,
                                        STAGES_MAX),
               running = 0;
        for (size_t i = 0; i < count; i++) {
            running += rows[i].kind == STAGE_KIND_TRAIN && rows[i].state == STAGE_RUNNING;
            waited |= text_is(rows[i].detail, "waits for another variant to end");
        }
        most = MAX(most, running);
        assert_true(world_advance(w));
    }
    assert_int_equal(most, LIMIT_VARIANTS_OPEN);
    assert_true(waited);
}

static void test_variant__a_lost_checkpoint_takes_its_own_training_back(void **state)
{
    struct world *w = world_of(state);
    struct log_point points[WORLD_POINTS];
    size_t count;
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, two_seeds), 1, true);
    world_run(w);
    const struct checkpoint_row *rows = sched_job_checkpoints(w->s, 0, &count);
    assert_int_equal(count, 8);
    struct artifact_ref lost = {0};
    for (size_t i = 0; i < count; i++) {
        if (rows[i].stage == 7 && rows[i].step == 15)
            lost.digest = rows[i].digest;
    }
    struct sched_record record = {.number = REC_ARTIFACT_LOST};
    record.record.artifact_lost = (struct rec_artifact_lost){
        .job = sched_job_submitted(w->s, 0)->job, .lost = &lost, .lost_count = 1};
    assert_int_equal(sched_replay(w->s, &record), ERR_OK);
    (void)sched_job_checkpoints(w->s, 0, &count);
    assert_int_equal(count, 6); /* steps 15 and 20 of one of them are gone */
    assert_int_equal(world_points(w, points), 25 + 12); /* up to step 10, two evaluations */
}

/* Answers everything; the training of `variant` runs away at this step. */
static void run_away(struct world *w, uint32_t variant, uint64_t step)
{
    while (w->grant_count + w->work_count > 0) {
        const struct world_grant *first = &w->grants[0];
        bool is_next = w->work_count == 0 && first->grant.spec.kind == STAGE_KIND_TRAIN;
        if (is_next && first->grant.spec.variant == variant && first->grant.spec.round == step) {
            struct world_grant grant = world_next_grant(w);
            world_fail(w, grant.peer.v, grant.grant.fence, ERR_NOT_FINITE);
        } else {
            (void)world_advance(w);
        }
    }
}

static void test_variant__one_that_runs_away_is_given_up_and_the_others_go_on(void **state)
{
    struct world *w = world_of(state);
    struct stage_row rows[STAGES_MAX];
    struct job_row row;
    uint32_t count;
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1"); /* one of them rests after its fault */
    world_submit(w, 1, world_recipe(w, two_seeds), 1, true);
    run_away(w, 0, 7);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    sched_job_row(w->s, 0, &row);
    assert_int_equal(row.variants[0].state, STAGE_FAILED);
    assert_true(row.variants[0].detail.size > 0);
    assert_int_equal(row.variants[1].state, STAGE_DONE);
    assert_true(row.variants[1].is_best && !row.variants[0].is_best);
    (void)sched_job_stages(w->s, 0, (struct instant){w->now_ms * 1000000}, rows, STAGES_MAX);
    assert_int_equal(rows[3].state, STAGE_FAILED);
    assert_int_equal(rows[4].state, STAGE_CANCELLED); /* evaluate and export have nothing to do */
    const struct artifact_ref *outputs = sched_job_outputs(w->s, 0, &count);
    assert_int_equal(count, 1);
    assert_true(text_is(outputs[0].name, "seed=2/adapter.st"));
    assert_int_equal(w->opens, w->closes);
    assert_replays(w);
}

static void test_variant__forty_eight_of_them_are_one_job(void **state)
{
    struct world *w = world_of(state);
    static struct stage_row rows[LIMIT_JOB_STAGES];
    struct job_row row;
    const char *lines = "micro_batch_size: 8\nmax_steps: 2\nsample_packing: true\nseed: [1";
    for (uint32_t seed = 2; seed <= 48; seed++)
        lines = arena_print(&w->arena, "%s, %u", lines, seed);
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
    world_submit(w, 1, world_recipe(w, arena_print(&w->arena, "%s]\n", lines)), 1, true);
    run_away(w, 40, 1);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    sched_job_row(w->s, 0, &row);
    assert_int_equal(row.variants_count, 48);
    size_t count =
        sched_job_stages(w->s, 0, (struct instant){w->now_ms * 1000000}, rows, LIMIT_JOB_STAGES);
    assert_int_equal(count, 1 + 48 + 48 * 4);
    for (size_t i = 0; i < count; i++) {
        bool is_lost = rows[i].variant == 40 && rows[i].kind != STAGE_KIND_PACK &&
                       rows[i].kind != STAGE_KIND_INIT;
        assert_int_equal(rows[i].state == STAGE_DONE, !is_lost);
    }
    /* What a stage needs is the list, also beyond the 64 of the word. */
    assert_int_equal(rows[count - 1].needs, 0);
    assert_int_equal(rows[count - 1].after_count, 2);
    assert_int_equal(rows[count - 1].after[0].stage, count - 3);
    assert_int_equal(rows[count - 1].after[1].stage, count - 2);
    assert_replays(w);
}

static void test_variant__when_the_last_runs_away_the_job_fails(void **state)
{
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, two_seeds), 1, true);
    while (world_state(w, 0) != JOB_FAILED) {
        struct world_grant grant;
        bool is_train = w->work_count == 0 && w->grant_count > 0 &&
                        w->grants[0].grant.spec.kind == STAGE_KIND_TRAIN;
        if (is_train) {
            grant = world_next_grant(w);
            world_fail(w, grant.peer.v, grant.grant.fence, ERR_NOT_FINITE);
            world_tick(w, 20000); /* the worker rests after its fault */
        } else if (!world_advance(w)) {
            world_tick(w, 1000);
            world_beat(w, 1, NULL, 0);
        }
    }
    assert_replays(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_variant__each_trains_evaluates_and_exports_behind_one_pack, world_setup,
            world_teardown),
        cmocka_unit_test_setup_teardown(test_variant__the_seed_of_each_reaches_its_tasks,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_variant__equal_jobs_leave_each_other_their_gradients,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_variant__each_has_its_points_and_its_files,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_variant__the_row_has_all_of_them_and_one_best,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(
            test_variant__one_that_runs_away_is_given_up_and_the_others_go_on, world_setup,
            world_teardown),
        cmocka_unit_test_setup_teardown(test_variant__forty_eight_of_them_are_one_job, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_variant__when_the_last_runs_away_the_job_fails,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_variant__only_so_many_train_at_once, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_variant__a_lost_checkpoint_takes_its_own_training_back,
                                        world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
