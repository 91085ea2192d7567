/* test_sched_explain.c - each reason, made to happen and told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "coordinator/sched/sched_explain.h"
#include "world.h"

enum { ROWS_MAX = 64 };

static const char *const plain = "micro_batch_size: 8\nmax_steps: 20\n";

/* The row of that stage ("": the job) and reason, or NULL; borrowed until the next call. */
static const struct explain_row *find(struct world *w, size_t job, const char *stage,
                                      enum reason reason)
{
    static struct explain_row rows[ROWS_MAX];
    struct sched_explain_view view = {.now = {w->now_ms * NS_PER_MS}};
    size_t count = sched_explain(w->s, job, TEXT(""), &view, rows, ROWS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (text_is(rows[i].stage, stage) && rows[i].reason == (uint32_t)reason)
            return &rows[i];
    }
    return NULL;
}

static void assert_told(struct world *w, const char *stage, enum reason reason, const char *detail)
{
    char text[LIMIT_TEXT_BYTES + 1];
    const struct explain_row *row = find(w, 0, stage, reason);
    if (row == NULL)
        fail_msg("%s: %s is not told", stage, state_reason_word(reason));
    (void)snprintf(text, sizeof text, "%.*s", TEXT_ARGS(row->detail));
    assert_string_equal(text, detail);
}

static void assert_advice(struct world *w, const char *stage, enum reason reason,
                          const char *advice)
{
    char text[LIMIT_TEXT_BYTES + 1];
    const struct explain_row *row = find(w, 0, stage, reason);
    assert_non_null(row);
    (void)snprintf(text, sizeof text, "%.*s", TEXT_ARGS(row->advice));
    assert_string_equal(text, advice);
}

static void submit(struct world *w, uint64_t request, uint32_t shards)
{
    world_submit(w, request, world_recipe(w, plain), shards, false);
}

/* Answers everything until that is told. */
static void advance_to(struct world *w, const char *stage, enum reason reason)
{
    while (find(w, 0, stage, reason) == NULL)
        assert_true(world_advance(w));
}

static void test_explain__without_workers_the_first_stage_says_so(void **state)
{
    struct world *w = *state;
    submit(w, 1, 3);
    assert_told(w, "prepare", REASON_NO_WORKER, "3 waiting, and nobody is here");
    assert_advice(w, "prepare", REASON_NO_WORKER, "start qfleet-worker");
    assert_told(w, "pack", REASON_NEEDS, "needs prepare, which is in state run");
    assert_told(w, "export", REASON_NEEDS, "needs train, which is in state wait");
    assert_advice(w, "export", REASON_NEEDS, "");
}

static void test_explain__one_stage_is_told_alone(void **state)
{
    struct world *w = *state;
    struct explain_row rows[ROWS_MAX];
    struct sched_explain_view view = {.now = {w->now_ms * NS_PER_MS}};
    submit(w, 1, 3);
    assert_int_equal(sched_explain(w->s, 0, TEXT("train"), &view, rows, ROWS_MAX), 1);
    assert_true(text_is(rows[0].stage, "train") && text_is(rows[0].name, "tiny"));
    assert_int_equal(sched_explain(w->s, 0, TEXT(""), &view, rows, 2), 2);
}

static void test_explain__providers_say_what_they_could_do(void **state)
{
    struct world *w = *state;
    struct explain_row rows[ROWS_MAX];
    const struct provider_row providers[] = {
        {.name = TEXT("idle"), .state = TEXT("ok"), .max = 4},
        {.name = TEXT("full"), .state = TEXT("ok"), .max = 2, .running = 2, .is_auto = true},
        {.name = TEXT("slow"), .state = TEXT("starting"), .max = 9, .waiting = 3, .is_auto = true},
        {.name = TEXT("bad"), .state = TEXT("paused"), .max = 9, .detail = TEXT("sbatch failed")},
        {.name = TEXT("deaf"), .state = TEXT("unknown"), .max = 9, .detail = TEXT("no squeue")},
        {.name = TEXT("small"),
         .state = TEXT("ok"),
         .max = 9,
         .is_auto = true,
         .detail = TEXT("work waits that needs more")},
        {.name = TEXT("busy"), .state = TEXT("ok"), .max = 9, .running = 1, .is_auto = true},
    };
    static const struct {
        enum reason reason;
        const char *detail, *advice;
    } expected[] = {
        {REASON_NO_WORKER, "3 waiting, and nobody is here", ""},
        {REASON_AT_TARGET, "provider idle has 0 of 0 wanted",
         "qctl workers scale auto --provider idle"},
        {REASON_AT_MAX, "provider full has 2 of at most 2",
         "raise max of full in providers.yml and send SIGHUP"},
        {REASON_STARTING, "provider slow was asked for 3 more", ""},
        {REASON_PROVIDER_PAUSED, "provider bad, paused: sbatch failed",
         "qctl workers scale auto --provider bad"},
        {REASON_PROVIDER_PAUSED, "provider deaf, unknown: no squeue", ""},
        {REASON_MEMORY, "provider small: work waits that needs more",
         "raise memory of small in providers.yml and send SIGHUP"},
    };
    struct sched_explain_view view = {.now = {w->now_ms * NS_PER_MS},
                                      .providers = providers,
                                      .provider_count = COUNT_OF(providers)};
    submit(w, 1, 3);
    assert_int_equal(sched_explain(w->s, 0, TEXT("prepare"), &view, rows, ROWS_MAX),
                     COUNT_OF(expected));
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        assert_int_equal(rows[i].reason, expected[i].reason);
        assert_true(text_is(rows[i].detail, expected[i].detail));
        assert_true(text_is(rows[i].advice, expected[i].advice));
    }
}

static void test_explain__nobody_of_the_profile(void **state)
{
    struct world *w = *state;
    world_hello(w, 1, "a", "blas");
    submit(w, 1, 1);
    assert_told(w, "prepare", REASON_NO_PROFILE, "0 of 1 workers compute by f32/1");
}

static void test_explain__other_answers_than_the_job_was_begun_with(void **state)
{
    struct world *w = *state;
    w->known_answer = 5;
    world_hello(w, 1, "a", "f32/1");
    submit(w, 1, 2);
    world_restart(w);
    w->known_answer = 7;
    world_hello(w, 2, "b", "f32/1");
    assert_told(w, "prepare", REASON_ANSWERS_DIFFER,
                "1 of 1 workers give another known answer than the fleet, or than those that the "
                "job was begun with");
}

static void test_explain__workers_that_leave_are_quiet_or_rest(void **state)
{
    struct world *w = *state;
    struct msg_worker_drain drain = {.name = TEXT("a"), .reason = TEXT("upgrade")};
    for (uint64_t i = 1; i <= 3; i++)
        world_hello(w, i, (const char *[]){"a", "b", "c"}[i - 1], "f32/1");
    world_step(w, (struct sched_event){.kind = SCHED_DRAIN, .peer = {900}, .drain = &drain});
    submit(w, 1, 8);
    struct world_grant grant = world_next_grant(w);
    uint64_t failing = grant.peer.v;
    world_fail(w, failing, grant.grant.fence, ERR_IO);
    assert_told(w, "prepare", REASON_DRAINING, "1 of 3 workers finish what they have and leave");
    assert_told(w, "prepare", REASON_RESTING,
                "1 of 3 workers rest after a fault (input or output failed), 1 s more");
    assert_told(w, "prepare", REASON_FAULTS,
                "attempts of task 0 that failed: 1; at 5 the job fails");
    for (int i = 0; i < 3; i++) { /* one goes on to speak */
        world_tick(w, 2000);
        world_beat(w, failing, NULL, 0);
    }
    assert_told(w, "prepare", REASON_QUIET, "1 of 3 workers were not heard for a while");
}

static void test_explain__workers_whose_time_is_nearly_over(void **state)
{
    struct world *w = *state;
    struct msg_hello hello = {.protocol = MESSAGE_PROTOCOL,
                              .session = 77,
                              .name = TEXT("b"),
                              .profiles = TEXT("f32/1"),
                              .ends_in_s = 30};
    world_hello(w, 1, "a", "f32/1");
    submit(w, 1, 4);
    struct world_grant first = world_next_grant(w);
    uint64_t fence = first.grant.fence;
    for (int i = 0; i < 20; i++) {
        world_tick(w, 3000);
        world_beat(w, 1, &fence, 1);
    }
    world_answer(w, first.peer, &first.grant); /* after a minute */
    world_step(w, (struct sched_event){.kind = SCHED_HELLO, .peer = {2}, .hello = &hello});
    assert_told(w, "prepare", REASON_ENDS_SOON,
                "1 of 2 workers end before such a task would be done");
}

static void test_explain__a_name_in_quarantine(void **state)
{
    struct world *w = *state;
    struct sched_record record = {.number = REC_WORKER_QUARANTINED};
    record.record.worker_quarantined = (struct rec_worker_quarantined){.worker = TEXT("a")};
    assert_int_equal(sched_replay(w->s, &record), ERR_OK);
    world_hello(w, 1, "a", "f32/1");
    submit(w, 1, 1);
    assert_told(w, "prepare", REASON_QUARANTINED,
                "1 of 1 workers gave results that differ from those of others");
}

static void test_explain__more_tasks_than_workers(void **state)
{
    struct world *w = *state;
    world_hello(w, 1, "a", "f32/1");
    submit(w, 1, 5);
    assert_told(w, "prepare", REASON_BUSY, "3 waiting, 2 at work; workers that may take them: 1");
    submit(w, 2, 1); /* behind the first */
    const struct explain_row *row = find(w, 1, "prepare", REASON_BUSY);
    assert_non_null(row);
    assert_true(text_is(row->detail, "1 waiting, 0 at work; workers that may take them: 1, 1 of "
                                     "them at other jobs, such as tiny"));
    assert_memory_equal(row->advice.data, "qctl pause ", 11);
}

static void test_explain__what_runs_is_said_to_run(void **state)
{
    struct world *w = *state;
    world_hello(w, 1, "a", "f32/1");
    submit(w, 1, 1);
    assert_told(w, "prepare", REASON_WORKING, "0 of 1 tasks are done, 1 at work");
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    struct explain_row row;
    struct sched_explain_view view = {.now = {w->now_ms * NS_PER_MS}};
    assert_int_equal(sched_explain(w->s, 0, TEXT(""), &view, &row, 1), 0);
}

static void test_explain__a_task_that_takes_much_longer_than_its_fellows(void **state)
{
    struct world *w = *state;
    world_hello(w, 1, "a", "f32/1");
    submit(w, 1, 4);
    struct world_grant first = world_next_grant(w), second = world_next_grant(w);
    world_tick(w, 1500);
    world_answer(w, first.peer, &first.grant);
    for (int i = 0; i < 10; i++) {
        uint64_t fence = second.grant.fence;
        world_tick(w, 1000);
        world_beat(w, 1, &fence, 1);
    }
    const struct explain_row *row = find(w, 0, "prepare", REASON_SLOW_TASK);
    assert_non_null(row);
    char text[LIMIT_TEXT_BYTES + 1];
    (void)snprintf(text, sizeof text, "%.*s", TEXT_ARGS(row->detail));
    assert_memory_equal(text, "task 1 is at a for 1", 20);
    assert_non_null(strstr(text, "its fellows took 1.5 s"));
    assert_null(find(w, 0, "prepare", REASON_WORKING));
}

static void test_explain__jobs_that_stand_still(void **state)
{
    struct world *w = *state;
    submit(w, 1, 1);
    world_control(w, "last", JOB_ACTION_PAUSE);
    assert_non_null(find(w, 0, "", REASON_PAUSED));
    assert_memory_equal(find(w, 0, "", REASON_PAUSED)->advice.data, "qctl resume ", 12);
    assert_null(find(w, 0, "prepare", REASON_NO_WORKER));
    world_control(w, "last", JOB_ACTION_CANCEL);
    assert_memory_equal(find(w, 0, "", REASON_CANCELLED)->advice.data, "qctl retry ", 11);
    submit(w, 2, 1);
    world_hello(w, 1, "a", "f32/1");
    struct world_grant grant = world_next_grant(w);
    world_fail(w, 1, grant.grant.fence, ERR_DATA);
    const struct explain_row *row = find(w, 1, "", REASON_FAILED);
    assert_non_null(row);
    assert_true(row->detail.size > 0);
    assert_true(
        text_is(row->advice, "mend what it says and submit again; equal work is taken over"));
}

static void test_explain__variants_that_wait_for_others(void **state)
{
    struct world *w = *state;
    for (uint64_t i = 1; i <= 4; i++)
        world_hello(w, i, (const char *[]){"a", "b", "c", "d"}[i - 1], "f32/1");
    world_submit(w, 1, world_recipe(w, "max_steps: 9\nseed: [1, 2, 3]\n"), 1, false);
    advance_to(w, "train seed=3", REASON_VARIANTS);
    assert_told(w, "train seed=3", REASON_VARIANTS,
                "2 other variants train, which is as many as may at once");
}

static void test_explain__the_part_of_the_coordinator(void **state)
{
    struct world *w = *state;
    world_hello(w, 1, "a", "f32/1");
    submit(w, 1, 1);
    advance_to(w, "train", REASON_COORDINATOR);
    assert_told(w, "train", REASON_COORDINATOR, "the coordinator opens its state");
    struct sched_work work = world_next_work(w);
    world_work(w, &work);
    while (w->work_count == 0)
        assert_true(world_advance(w));
    assert_told(w, "train", REASON_COORDINATOR, "the coordinator folds a round");
    advance_to(w, "export", REASON_COORDINATOR);
    assert_told(w, "export", REASON_COORDINATOR, "the coordinator writes the log");
}

static void test_explain__a_work_that_failed_is_tried_again(void **state)
{
    struct world *w = *state;
    world_hello(w, 1, "a", "f32/1");
    submit(w, 1, 1);
    advance_to(w, "train", REASON_COORDINATOR);
    struct sched_work work = world_next_work(w);
    struct sched_event event = world_outcome(w, &work);
    event.done.error = ERR_DISK_FULL;
    world_step(w, event);
    assert_told(w, "train", REASON_BACK_OFF,
                "the disk is full; failures in a row: 0; tries again in 8 s");
    assert_advice(w, "train", REASON_BACK_OFF, "free space on the coordinator's disk");
}

static void test_explain__a_disk_that_is_nearly_full(void **state)
{
    struct world *w = *state;
    world_step(w, (struct sched_event){.kind = SCHED_DISK, .disk_low = true});
    world_hello(w, 1, "a", "f32/1");
    submit(w, 1, 2);
    assert_told(w, "prepare", REASON_DISK_LOW, "2 waiting: the coordinator's disk is nearly full");
}

static void test_explain__inputs_that_are_read_again(void **state)
{
    struct world *w = *state;
    world_hello(w, 1, "a", "f32/1");
    submit(w, 1, 1);
    struct world_grant grant = world_next_grant(w);
    world_fail(w, 1, grant.grant.fence, ERR_DIGEST);
    assert_told(w, "prepare", REASON_REREADS,
                "task 0 met a bad input; the coordinator reads its inputs again");
}

#define EXPLAIN_TEST(name)                                                                         \
    cmocka_unit_test_setup_teardown(test_explain__##name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXPLAIN_TEST(without_workers_the_first_stage_says_so),
        EXPLAIN_TEST(one_stage_is_told_alone),
        EXPLAIN_TEST(providers_say_what_they_could_do),
        EXPLAIN_TEST(nobody_of_the_profile),
        EXPLAIN_TEST(other_answers_than_the_job_was_begun_with),
        EXPLAIN_TEST(workers_that_leave_are_quiet_or_rest),
        EXPLAIN_TEST(workers_whose_time_is_nearly_over),
        EXPLAIN_TEST(a_name_in_quarantine),
        EXPLAIN_TEST(more_tasks_than_workers),
        EXPLAIN_TEST(what_runs_is_said_to_run),
        EXPLAIN_TEST(a_task_that_takes_much_longer_than_its_fellows),
        EXPLAIN_TEST(jobs_that_stand_still),
        EXPLAIN_TEST(variants_that_wait_for_others),
        EXPLAIN_TEST(the_part_of_the_coordinator),
        EXPLAIN_TEST(a_work_that_failed_is_tried_again),
        EXPLAIN_TEST(a_disk_that_is_nearly_full),
        EXPLAIN_TEST(inputs_that_are_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
