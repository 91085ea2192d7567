/* test_sched_told.c - stages whose number of tasks an earlier stage tells, and results of several
 * stages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/message/state.h"
#include "world.h"

enum { STAGES_MAX = 16 };

static int setup(void **state)
{
    (void)world_setup(state);
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    return 0;
}

static struct stage_row stage(const struct world *w, const char *name)
{
    struct stage_row rows[STAGES_MAX];
    size_t count = sched_job_stages(w->s, 0, (struct instant){0}, rows, STAGES_MAX);
    for (size_t i = 0; i < count; i++) {
        if (text_is(rows[i].name, name))
            return rows[i];
    }
    fail_msg("there is no stage %s", name);
    return rows[0];
}

/* Answers all until the oldest grant is of that kind. */
static void run_to(struct world *w, enum stage_kind kind)
{
    while (w->grants[0].grant.spec.kind != kind) {
        struct world_grant grant = world_next_grant(w);
        world_answer(w, grant.peer, &grant.grant);
    }
}

static void assert_replayed(struct world *w)
{
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

static void test_told__stage_has_as_many_tasks_as_a_fact_says(void **state)
{
    struct world *w = *state;
    world_quantize(w, 1, "scheme: Q4_K_M");
    assert_int_equal(stage(w, "calibrate").total, 0);
    run_to(w, STAGE_KIND_CALIBRATE);
    assert_int_equal(stage(w, "calibrate").total, 3);
    assert_int_equal(w->grants[0].grant.spec.total, 3);
    assert_int_equal(stage(w, "quantize").total, 0);
    assert_int_equal(stage(w, "compare").total, 0); /* told by pack, and waits for assemble */
    world_run(w);
    assert_int_equal(stage(w, "quantize").done, 4);
    assert_int_equal(stage(w, "compare").done, 2);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_replayed(w);
}

static void test_told__restart_knows_the_number_from_records(void **state)
{
    struct world *w = *state;
    world_quantize(w, 1, "scheme: Q4_K_M");
    run_to(w, STAGE_KIND_QUANTIZE);
    struct world_grant grant = world_next_grant(w);
    world_answer(w, grant.peer, &grant.grant);
    assert_replayed(w);
    assert_int_equal(stage(w, "quantize").total, 4);
    assert_int_equal(stage(w, "quantize").done, 1);
    world_hello(w, 1, "a", "f32/1");
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
}

static void test_told__number_that_cannot_be_fails_the_job_in_words(void **state)
{
    (void)state;
    static const struct {
        enum world_fact fact;
        uint64_t value;
        enum err error;
        const char *method, *text;
    } cases[] = {
        {WORLD_CALIBRATE_TASKS, WORLD_SILENT, ERR_INTERNAL, "scheme: Q4_K_M",
         "calibrate: no stage before it told how many tasks it has (calibrate_tasks)"},
        {WORLD_CALIBRATE_TASKS, 0, ERR_DATA, "scheme: Q4_K_M",
         "calibrate: there is nothing to do; it was told of 0 tasks"},
        {WORLD_QUANTIZE_TASKS, LIMIT_STAGE_TASKS + 1, ERR_LIMIT, "scheme: Q4_K_M",
         "quantize: it was told of 1048577 tasks; at most 1048576 are allowed"},
        {WORLD_QUANTIZE_TASKS, UINT64_MAX - 1, ERR_LIMIT, "scheme: Q4_K_M",
         "quantize: it was told of 18446744073709551614 tasks; at most 1048576 are allowed"},
        {WORLD_REPLAY_GROUPS, WORLD_SILENT, ERR_INTERNAL, "scheme: W4A16, method: gptq",
         "replay: no stage before it told how many groups it has (replay_groups)"},
        {WORLD_REPLAY_PERIODS, 0, ERR_DATA, "scheme: W4A16, method: gptq",
         "replay: there is nothing to do; it was told of 0 periods"},
        {WORLD_REPLAY_PERIODS, LIMIT_STAGE_TASKS, ERR_LIMIT, "scheme: W4A16, method: gptq",
         "replay: it was told of 1048576 periods of 2 shards and 3 groups, 5242880 tasks; at most "
         "1048576 are allowed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        void *fresh = NULL;
        (void)setup(&fresh);
        struct world *w = fresh;
        struct job_row row;
        w->told[cases[i].fact] = cases[i].value;
        world_quantize(w, 1, cases[i].method);
        world_run(w);
        sched_job_row(w->s, 0, &row);
        assert_int_equal(row.state, JOB_FAILED);
        assert_int_equal(row.error, cases[i].error);
        if (!text_is(row.detail, cases[i].text))
            fail_msg("%.*s, expected %s", TEXT_ARGS(row.detail), cases[i].text);
        assert_replayed(w);
        (void)world_teardown(&fresh);
    }
}

static void test_told__number_stays_when_who_told_it_works_again(void **state)
{
    struct world *w = *state;
    world_quantize(w, 1, "scheme: Q4_K_M");
    run_to(w, STAGE_KIND_CALIBRATE);
    struct world_grant grant = world_next_grant(w);
    world_answer(w, grant.peer, &grant.grant);
    const struct task_spec *spec = &w->grants[0].grant.spec;
    for (uint32_t i = 0; i < spec->inputs_count; i++) {
        if (text_is(spec->inputs[i].name, "calib_rows"))
            world_damage(w, spec->inputs[i].digest);
    }
    for (int i = 0; i < 5; i++) {
        world_run(w);
        w->now_ms += 3000;
        world_beat(w, 1, NULL, 0);
        assert_int_equal(stage(w, "calibrate").total, 3);
    }
    assert_int_equal(w->damaged_count, 0);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_replayed(w);
}

static void test_told__nobody_before_it_is_refused(void **state)
{
    struct world *w = *state;
    struct rec_job_submitted record;
    world_quantize_job(w, 1, "scheme: Q4_K_M", &record);
    record.stages[2].needs = 0;
    struct sched_event event = {.kind = SCHED_SUBMIT, .peer = {900}};
    event.submit.record = &record;
    world_step(w, event);
    const struct msg_status *status = &world_sent(w, MSG_STATUS, 0)->message.status;
    assert_int_equal(status->error, ERR_DATA);
    assert_true(
        text_is(status->detail, "stage 2: no stage before it can tell how many tasks it has"));
}

static void test_results__of_all_stages_that_give_them_are_listed(void **state)
{
    struct world *w = *state;
    uint32_t count;
    world_quantize(w, 1, "scheme: Q4_K_M");
    run_to(w, STAGE_KIND_ASSEMBLE);
    assert_null(sched_job_outputs(w->s, 0, &count));
    assert_int_equal(count, 0);
    run_to(w, STAGE_KIND_REPORT);
    const struct artifact_ref *outputs = sched_job_outputs(w->s, 0, &count);
    assert_int_equal(count, 2);
    assert_true(text_is(outputs[0].name, "model.gguf"));
    struct digest assembled = outputs[1].digest;
    world_run(w);
    outputs = sched_job_outputs(w->s, 0, &count);
    assert_int_equal(count, 3); /* of two README.md the later one */
    assert_true(text_is(outputs[0].name, "model.gguf"));
    assert_true(text_is(outputs[1].name, "quantization.json"));
    assert_true(text_is(outputs[2].name, "README.md"));
    assert_false(digest_equal(outputs[2].digest, assembled));
}

static void test_results__damaged_ones_of_any_stage_are_made_again(void **state)
{
    struct world *w = *state;
    uint32_t count;
    world_quantize(w, 1, "scheme: Q4_K_M");
    world_run(w);
    for (uint32_t i = 0; i < 2; i++) {
        world_damage(w, sched_job_outputs(w->s, 0, &count)[i].digest);
        world_control(w, "last", JOB_ACTION_RETRY);
        assert_int_equal(w->works[0].ref_count, 4);
        world_run(w);
        assert_int_equal(w->damaged_count, 0);
        assert_int_equal(world_state(w, 0), JOB_DONE);
    }
    assert_replayed(w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(told__stage_has_as_many_tasks_as_a_fact_says),
        TEST(told__restart_knows_the_number_from_records),
        cmocka_unit_test(test_told__number_that_cannot_be_fails_the_job_in_words),
        TEST(told__number_stays_when_who_told_it_works_again),
        TEST(told__nobody_before_it_is_refused),
        TEST(results__of_all_stages_that_give_them_are_listed),
        TEST(results__damaged_ones_of_any_stage_are_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
