/* test_sched_reuse.c - results of equal content are taken over from other jobs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/message/state.h"
#include "world.h"

enum { STAGES_MAX = 16, CALIBRATE = 2 };

static const char *const q4 = "scheme: Q4_K_M";

static int setup(void **state)
{
    (void)world_setup(state);
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    return 0;
}

/* The row of the job's calibrate stage; texts live until the next step. */
static struct stage_row calibrate(const struct world *w, size_t job)
{
    struct stage_row rows[STAGES_MAX];
    (void)sched_job_stages(w->s, job, (struct instant){0}, rows, STAGES_MAX);
    assert_int_equal(rows[CALIBRATE].kind, STAGE_KIND_CALIBRATE);
    return rows[CALIBRATE];
}

static void submit_and_run(struct world *w, uint64_t request, const char *keys)
{
    world_quantize(w, request, keys);
    world_run(w);
    assert_int_equal(world_state(w, sched_job_count(w->s) - 1), JOB_DONE);
}

/* Takes and answers grants until `count` calibrations are answered. */
static void run_calibrations(struct world *w, uint32_t count)
{
    while (count > 0) {
        struct world_grant grant = world_next_grant(w);
        count -= grant.grant.spec.kind == STAGE_KIND_CALIBRATE;
        world_answer(w, grant.peer, &grant.grant);
    }
}

static void run_rested(struct world *w)
{
    for (int i = 0; i < 5; i++) {
        world_run(w);
        w->now_ms += 3000;
        world_beat(w, 1, NULL, 0);
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

/* The record by which task `index` of the job's calibrate stage is done, the last one. */
static const struct rec_task_done *record_of(const struct world *w, size_t job, uint32_t index)
{
    uint64_t id = sched_job_submitted(w->s, job)->job;
    for (size_t i = w->record_count; i-- > 0;) {
        const struct rec_task_done *done = &w->records[i].record.task_done;
        if (w->records[i].number == REC_TASK_DONE && done->job == id && done->stage == CALIBRATE &&
            done->index == index)
            return done;
    }
    fail_msg("task %u is not done", index);
    return NULL;
}

static void test_reuse__equal_calibration_is_taken_over_whole(void **state)
{
    struct world *w = *state;
    char source[32];
    submit_and_run(w, 1, q4);
    submit_and_run(w, 2, "scheme: Q8_0, leave_output_tensor: true");
    struct stage_row first = calibrate(w, 0);
    struct stage_row second = calibrate(w, 1);
    assert_int_equal(first.reused, 0);
    assert_int_equal(second.reused, 3);
    assert_int_equal(second.done, 3);
    assert_int_equal(second.state, STAGE_DONE);
    assert_false(digest_is_zero(first.key));
    assert_true(digest_equal(first.key, second.key));
    (void)snprintf(source, sizeof source, "job %016llx",
                   (unsigned long long)sched_job_submitted(w->s, 0)->job);
    assert_int_equal(second.reused_from.size, strlen("job 1a2b3c4"));
    assert_memory_equal(second.reused_from.data, source, second.reused_from.size);
    for (uint32_t i = 0; i < 3; i++) {
        const struct rec_task_done *done = record_of(w, 1, i);
        assert_true(text_is(done->worker, source));
        assert_int_equal(done->fence, 0);
        assert_true(digest_equal(done->result.outputs[0].digest,
                                 record_of(w, 0, i)->result.outputs[0].digest));
    }
    assert_replayed(w);
    assert_int_equal(calibrate(w, 1).reused, 3);
    assert_true(digest_equal(calibrate(w, 1).key, second.key));
}

static void test_reuse__other_model_or_statistics_are_not_the_same(void **state)
{
    struct world *w = *state;
    submit_and_run(w, 1, q4);
    w->model = 1;
    submit_and_run(w, 2, q4);
    w->model = 0;
    submit_and_run(w, 3, "scheme: W8A8, activations: static, observer: entropy");
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(calibrate(w, i).reused, 0);
}

static void test_reuse__other_number_of_tasks_is_not_the_same(void **state)
{
    struct world *w = *state;
    submit_and_run(w, 1, q4);
    w->told[WORLD_CALIBRATE_TASKS] = 4;
    submit_and_run(w, 2, q4);
    assert_int_equal(calibrate(w, 1).reused, 0);
}

static void test_reuse__what_is_done_of_a_running_job_is_taken_over(void **state)
{
    struct world *w = *state;
    world_quantize(w, 1, q4);
    run_calibrations(w, 2);
    world_control(w, "last", JOB_ACTION_CANCEL);
    w->grant_count = 0;
    submit_and_run(w, 2, q4);
    assert_int_equal(calibrate(w, 1).reused, 2);
    assert_int_equal(record_of(w, 1, 2)->fence != 0, true);
    assert_true(text_is(record_of(w, 1, 2)->worker, "a"));
}

static void test_reuse__restart_builds_the_index_again(void **state)
{
    struct world *w = *state;
    submit_and_run(w, 1, q4);
    world_restart(w);
    world_hello(w, 1, "a", "f32/1");
    submit_and_run(w, 2, q4);
    assert_int_equal(calibrate(w, 1).reused, 3);
}

static void test_reuse__restart_between_two_jobs_takes_over_what_came_meanwhile(void **state)
{
    struct world *w = *state;
    world_quantize(w, 1, q4);
    world_quantize(w, 2, q4);
    run_calibrations(w, 1);
    world_restart(w);
    world_hello(w, 1, "a", "f32/1");
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_int_equal(world_state(w, 1), JOB_DONE);
    assert_int_equal(calibrate(w, 0).reused + calibrate(w, 1).reused, 3);
    assert_replayed(w);
}

static void test_reuse__forgotten_job_lends_nothing(void **state)
{
    struct world *w = *state;
    submit_and_run(w, 1, q4);
    world_control(w, "last", JOB_ACTION_FORGET);
    assert_int_equal(sched_job_count(w->s), 0);
    submit_and_run(w, 2, q4);
    assert_int_equal(calibrate(w, 0).reused, 0);
    submit_and_run(w, 3, q4);
    assert_int_equal(calibrate(w, 1).reused, 3);
    world_control(w, "tiny", JOB_ACTION_FORGET); /* the newest */
    submit_and_run(w, 4, q4);
    assert_int_equal(calibrate(w, 1).reused, 3);
    assert_replayed(w);
}

static void test_reuse__results_outlive_the_job_they_are_from(void **state)
{
    struct world *w = *state;
    char id[20];
    submit_and_run(w, 1, q4);
    (void)snprintf(id, sizeof id, "%016llx", (unsigned long long)sched_job_submitted(w->s, 0)->job);
    submit_and_run(w, 2, q4);
    world_control(w, id, JOB_ACTION_FORGET);
    assert_int_equal(sched_job_count(w->s), 1);
    assert_int_equal(calibrate(w, 0).reused, 3);
    submit_and_run(w, 3, q4);
    assert_int_equal(calibrate(w, 1).reused, 3);
}

static void test_reuse__damaged_result_is_made_anew_and_not_taken_over_again(void **state)
{
    struct world *w = *state;
    submit_and_run(w, 1, q4);
    world_quantize(w, 2, q4);
    world_damage(w, record_of(w, 0, 1)->result.outputs[0].digest);
    run_rested(w);
    assert_int_equal(world_state(w, 1), JOB_DONE);
    assert_int_equal(w->damaged_count, 0);
    assert_int_equal(calibrate(w, 1).reused, 2);
    assert_true(text_is(record_of(w, 1, 1)->worker, "a"));
    assert_replayed(w);
}

static void test_reuse__other_versions_of_workers_lend_nothing(void **state)
{
    struct world *w = *state;
    submit_and_run(w, 1, q4);
    world_restart(w);
    w->known_answer = 2;
    world_hello(w, 1, "a", "f32/1");
    submit_and_run(w, 2, q4);
    assert_int_equal(calibrate(w, 1).reused, 0);
    assert_true(digest_equal(calibrate(w, 0).key, calibrate(w, 1).key));
    submit_and_run(w, 3, q4);
    assert_int_equal(calibrate(w, 2).reused, 3);
}

static void answer_with(struct world *w, const struct world_grant *grant, uint64_t salt)
{
    struct msg_lease_result result = world_result(w, &grant->grant, salt);
    world_step(w,
               (struct sched_event){.kind = SCHED_RESULT, .peer = grant->peer, .result = &result});
}

/* A second worker is put on a slow task, and the two differ; a third differs from both. */
static void test_reuse__job_whose_results_differ_lends_nothing(void **state)
{
    struct world *w = *state;
    world_hello(w, 2, "b", "f32/1");
    world_quantize(w, 1, q4);
    while (w->grants[0].grant.spec.kind != STAGE_KIND_CALIBRATE || w->grant_count < 2) {
        struct world_grant grant = world_next_grant(w);
        world_answer(w, grant.peer, &grant.grant);
    }
    struct world_grant slow = world_next_grant(w);
    struct world_grant other = world_next_grant(w);
    world_answer(w, other.peer, &other.grant);
    while (w->grant_count > 0 && w->grants[0].grant.index != slow.grant.index) {
        struct world_grant grant = world_next_grant(w);
        world_answer(w, grant.peer, &grant.grant);
    }
    for (int i = 0; i < 30 && w->grant_count == 0; i++) {
        w->now_ms += 1000;
        world_beat(w, 2, NULL, 0);
        world_beat(w, slow.peer.v, &slow.grant.fence, 1);
    }
    struct world_grant doubled = world_next_grant(w);
    assert_int_equal(doubled.grant.index, slow.grant.index);
    world_hello(w, 3, "c", "f32/1");
    answer_with(w, &doubled, 77);
    answer_with(w, &slow, 0);
    for (int i = 0; i < 10; i++) {
        while (w->grant_count > 0) {
            struct world_grant grant = world_next_grant(w);
            answer_with(w, &grant, grant.grant.index == slow.grant.index ? 5 : 0);
        }
        w->now_ms += 1000;
        for (uint64_t peer = 1; peer <= 3; peer++)
            world_beat(w, peer, NULL, 0);
    }
    struct job_row row;
    sched_job_row(w->s, 0, &row);
    assert_int_equal(row.error, ERR_PROFILE);
    submit_and_run(w, 2, q4);
    assert_int_equal(calibrate(w, 1).reused, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_reuse__##name, setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(equal_calibration_is_taken_over_whole),
        TEST(other_model_or_statistics_are_not_the_same),
        TEST(other_number_of_tasks_is_not_the_same),
        TEST(what_is_done_of_a_running_job_is_taken_over),
        TEST(restart_builds_the_index_again),
        TEST(restart_between_two_jobs_takes_over_what_came_meanwhile),
        TEST(forgotten_job_lends_nothing),
        TEST(results_outlive_the_job_they_are_from),
        TEST(damaged_result_is_made_anew_and_not_taken_over_again),
        TEST(other_versions_of_workers_lend_nothing),
        TEST(job_whose_results_differ_lends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
