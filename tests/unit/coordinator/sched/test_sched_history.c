/* test_sched_history.c - checkpoints are forgotten, named and gone back to; a job goes on from that
 * of another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "coordinator/sched/core.h"
#include "coordinator/sched/sched_history.h"
#include "world.h"

#define TWENTY                                                                                     \
    "micro_batch_size: 4\ngradient_accumulation_steps: 2\nmax_steps: 20\nsave_steps: 5\n"          \
    "eval_steps: 4\nevaluate: auto\n"

static void begin(struct world *w, const char *keys)
{
    world_hello(w, 1, "a", "f32/1,blas");
    world_submit(w, 1, world_recipe(w, keys), 3, true);
}

static const struct checkpoint_row *rows_of(const struct world *w, size_t job, size_t *count)
{
    return sched_job_checkpoints(w->s, job, count);
}

static struct digest digest_at(const struct world *w, uint64_t step)
{
    size_t count;
    const struct checkpoint_row *rows = rows_of(w, 0, &count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].step == step)
            return rows[i].digest;
    }
    fail_msg("no checkpoint after step %d", (int)step);
    return (struct digest){{0}};
}

/* "5 10 15- 20": steps of the first job, those undone with a dash. */
static void assert_steps(const struct world *w, const char *expected)
{
    char text[256] = "";
    size_t count, used = 0;
    const struct checkpoint_row *rows = rows_of(w, 0, &count);
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%d%s", i > 0 ? " " : "",
                                 (int)rows[i].step, rows[i].undone ? "-" : "");
    assert_string_equal(text, expected);
}

static void act(struct world *w, enum checkpoint_action action, uint64_t step, const char *tag)
{
    struct msg_checkpoint_control control = {.ticket = 7,
                                             .prefix = TEXT("last"),
                                             .action = (uint32_t)action,
                                             .digest = digest_at(w, step),
                                             .tag = text_of(tag)};
    world_history(w, &control);
}

static void forget(struct world *w, struct retention rules)
{
    struct msg_checkpoint_control control = {
        .ticket = 7, .prefix = TEXT("last"), .action = CHECKPOINT_FORGET, .rules = rules};
    world_history(w, &control);
}

static void assert_refused(const struct world *w, enum err error, const char *words)
{
    const struct sched_send *send = world_sent(w, MSG_STATUS, 0);
    assert_non_null(send);
    assert_int_equal(send->message.status.error, error);
    assert_non_null(strstr(send->message.status.detail.data, words));
    assert_int_equal(w->fx.record_count, 0);
}

static void assert_replays(struct world *w)
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

static void run(struct world *w)
{
    world_hello(w, 1, "a", "f32/1,blas");
    world_run(w);
}

static void test_history__rules_forget_and_orphan_what_they_do_not_keep(void **state)
{
    struct world *w = world_of(state);
    size_t orphans;
    begin(w, TWENTY);
    world_run(w);
    assert_steps(w, "5 10 15 20");
    forget(w, (struct retention){0});
    assert_refused(w, ERR_USAGE, "--keep-last");
    forget(w, (struct retention){.keep_last = 2, .keep_tag = TEXT("nobody")});
    assert_refused(w, ERR_NOT_FOUND, "\"nobody\"");
    act(w, CHECKPOINT_FORGET, 20, "");
    assert_refused(w, ERR_STATE, "latest");
    forget(w, (struct retention){.keep_last = 2});
    const struct msg_checkpoint_controlled *reply =
        &world_sent(w, MSG_CHECKPOINT_CONTROLLED, 0)->message.checkpoint_controlled;
    assert_int_equal(reply->verdicts_count, 4);
    assert_true(text_is(reply->verdicts[0].why, "latest, last") ||
                text_is(reply->verdicts[0].why, "latest, best, last"));
    (void)sched_history_orphans(w->s, &orphans);
    size_t count;
    (void)rows_of(w, 0, &count);
    assert_int_equal(orphans, 2 * (4 - count)); /* states and ledgers */
    assert_replays(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
}

static void test_history__lost_after_forgetting_it_falls_back_to_what_is_kept(void **state)
{
    struct world *w = world_of(state);
    begin(w, "micro_batch_size: 4\ngradient_accumulation_steps: 2\nmax_steps: 20\nsave_steps: 5\n");
    world_run(w);
    act(w, CHECKPOINT_TAG, 5, "start");
    uint64_t folds = w->folds;
    forget(w, (struct retention){.keep_last = 1});
    struct digest last = digest_at(w, 20);
    assert_steps(w, "5 20");
    world_damage(w, last);
    act(w, CHECKPOINT_RESTORE, 5, "");
    run(w);
    assert_steps(w, "5 10 15 20"); /* made again, the same */
    assert_true(digest_equal(digest_at(w, 20), last));
    assert_int_equal(w->folds, folds + 15);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_replays(w);
}

static void test_history__restored_it_makes_the_same_again_and_all_that_rests_on_it(void **state)
{
    struct world *w = world_of(state);
    struct log_point before[WORLD_POINTS], after[WORLD_POINTS];
    begin(w, TWENTY);
    world_run(w);
    size_t points = world_points(w, before);
    uint64_t tasks = w->tasks_counted, folds = w->folds;
    act(w, CHECKPOINT_RESTORE, 10, "");
    assert_steps(w, "5 10 15- 20-");
    assert_true(world_points(w, after) < points);
    assert_replays(w);
    run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_steps(w, "5 10 15 20");
    assert_int_equal(w->folds, folds + 10);
    assert_int_equal(w->tasks_counted, tasks + 3); /* train, evaluate, export */
    assert_int_equal(world_points(w, after), points);
    for (size_t i = 0; i < points; i++)
        assert_true(after[i].step == before[i].step && after[i].loss <= before[i].loss &&
                    after[i].loss >= before[i].loss);
    assert_replays(w);
}

static void test_history__sent_back_by_mistake_it_goes_forward_again(void **state)
{
    struct world *w = world_of(state);
    begin(w, TWENTY);
    world_run(w);
    uint64_t folds = w->folds;
    struct log_point points[WORLD_POINTS];
    size_t count = world_points(w, points);
    act(w, CHECKPOINT_RESTORE, 5, "");
    assert_steps(w, "5 10- 15- 20-");
    act(w, CHECKPOINT_RESTORE, 20, "");
    assert_steps(w, "5 10 15 20");
    assert_replays(w);
    run(w);
    assert_int_equal(w->folds, folds);
    assert_int_equal(world_points(w, points), count);
    assert_int_equal(world_state(w, 0), JOB_DONE);
}

static void test_history__restored_while_a_round_runs_its_attempts_are_taken_back(void **state)
{
    struct world *w = world_of(state);
    begin(w, TWENTY);
    size_t count = 0;
    while (count < 2) {
        assert_true(world_advance(w));
        (void)rows_of(w, 0, &count);
    }
    while (w->grant_count == 0)
        assert_true(world_advance(w));
    struct world_grant late = world_next_grant(w);
    act(w, CHECKPOINT_RESTORE, 5, "");
    assert_non_null(world_sent(w, MSG_LEASE_CANCEL, 0));
    world_answer(w, late.peer, &late.grant);
    assert_int_equal(world_sent(w, MSG_RESULT_ACK, 0)->message.result_ack.error, ERR_FENCED);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_steps(w, "5 10 15 20");
    assert_int_equal(w->opens, w->closes);
}

static void test_history__a_profile_without_a_promise_drops_what_comes_after(void **state)
{
    struct world *w = world_of(state);
    begin(w, TWENTY "profile: blas\n");
    world_run(w);
    act(w, CHECKPOINT_TAG, 15, "good");
    act(w, CHECKPOINT_RESTORE, 10, "");
    assert_refused(w, ERR_STATE, "good");
    act(w, CHECKPOINT_UNTAG, 15, "good");
    act(w, CHECKPOINT_RESTORE, 10, "");
    assert_steps(w, "5 10");
    size_t orphans;
    (void)sched_history_orphans(w->s, &orphans);
    assert_int_equal(orphans, 4); /* states and ledgers of 15 and 20 can be pruned */
    run(w);
    assert_steps(w, "5 10 15 20");
    assert_replays(w);
}

static void test_history__tags_keep_move_and_go(void **state)
{
    struct world *w = world_of(state);
    size_t count;
    begin(w, TWENTY);
    world_run(w);
    act(w, CHECKPOINT_TAG, 5, "latest");
    assert_refused(w, ERR_USAGE, "tag");
    static const char *const refused[] = {
        "",    "8",   "007", "-x",   "a/b",
        "a b", "a,b", "a@b", "\xff", "an-old-name-that-is-longer-than-40-bytes-"};
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        act(w, CHECKPOINT_TAG, 5, refused[i]);
        assert_refused(w, ERR_USAGE, "a tag has");
    }
    act(w, CHECKPOINT_UNTAG, 5, "good");
    assert_refused(w, ERR_NOT_FOUND, "good");
    act(w, CHECKPOINT_TAG, 5, "good");
    act(w, CHECKPOINT_TAG, 5, "kept");
    assert_true(text_is(rows_of(w, 0, &count)[0].tags, "good,kept"));
    act(w, CHECKPOINT_TAG, 10, "good");
    assert_true(text_is(rows_of(w, 0, &count)[0].tags, "kept"));
    assert_true(text_is(rows_of(w, 0, &count)[1].tags, "good"));
    assert_replays(w);
    act(w, CHECKPOINT_FORGET, 10, "");
    assert_refused(w, ERR_STATE, "tag");
    act(w, CHECKPOINT_UNTAG, 10, "good");
    act(w, CHECKPOINT_FORGET, 10, "");
    assert_int_equal(w->fx.record_count, 1);
    assert_steps(w, "5 15 20");
}

static void test_history__tags_that_come_and_go_take_no_memory(void **state)
{
    struct world *w = world_of(state);
    struct job *job;
    size_t used = 0, texts = 0;
    begin(w, TWENTY);
    world_run(w);
    job = w->s->jobs[0];
    for (unsigned i = 0; i < 100; i++) {
        act(w, CHECKPOINT_TAG, 5, "good");
        act(w, CHECKPOINT_TAG, 10, "good");
        act(w, CHECKPOINT_TAG, 10, "kept");
        act(w, CHECKPOINT_UNTAG, 10, "kept");
        used = i == 0 ? job->arena.used_bytes : used;
        texts = i == 0 ? job->tag_texts.used_bytes : texts;
        assert_int_equal(job->arena.used_bytes, used);
        assert_int_equal(job->tag_texts.used_bytes, texts);
    }
    size_t count;
    assert_true(text_is(rows_of(w, 0, &count)[1].tags, "good"));
}

static void test_history__the_recipes_limit_forgets_and_prunes_on_the_way(void **state)
{
    struct world *w = world_of(state);
    begin(w, "micro_batch_size: 4\nmax_steps: 20\nsave_steps: 2\nsave_total_limit: 2\n"
             "evaluate: none\n");
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_steps(w, "18 20");
    assert_int_equal(w->prunes, 8);
    assert_replays(w);
}

static void test_history__another_jobs_checkpoint_is_refused_with_both_names(void **state)
{
    struct world *w = world_of(state);
    begin(w, TWENTY);
    world_run(w);
    struct digest digest = digest_at(w, 10);
    world_submit(w, 2, world_recipe(w, TWENTY "seed: 3\n"), 3, true);
    struct msg_checkpoint_control control = {
        .prefix = TEXT("last"), .action = CHECKPOINT_RESTORE, .digest = {{1}}};
    world_history(w, &control);
    assert_refused(w, ERR_NOT_FOUND, "no checkpoint");
    control.digest = digest;
    world_history(w, &control);
    size_t count;
    (void)rows_of(w, 1, &count);
    if (count == 0)
        assert_refused(w, ERR_STATE, "does not go into");
    control.prefix = TEXT("nobody");
    world_history(w, &control);
    assert_refused(w, ERR_NOT_FOUND, "not found");
}

static void test_history__a_fork_goes_on_from_its_start_and_does_not_go_before_it(void **state)
{
    struct world *w = world_of(state);
    struct rec_job_submitted record;
    size_t count;
    begin(w, TWENTY);
    world_run(w);
    struct digest last = digest_at(w, 20);
    uint64_t folds = w->folds;
    const struct checkpoint_row *rows = rows_of(w, 0, &count);
    world_job(w, 2, world_recipe(w, TWENTY), 3, true, &record);
    record.start = rows[1];
    struct sched_event event = {.kind = SCHED_SUBMIT, .peer = {900}};
    event.submit.record = &record;
    world_step(w, event);
    world_run(w);
    assert_int_equal(world_state(w, 1), JOB_DONE);
    assert_int_equal(w->folds, folds + 10);
    rows = rows_of(w, 1, &count);
    assert_int_equal(count, 2);
    assert_int_equal(rows[0].step, 15);
    assert_true(digest_equal(rows[0].parent, record.start.digest));
    assert_true(digest_equal(rows[1].digest, last));
    assert_replays(w);

    world_hello(w, 1, "a", "f32/1,blas");
    world_job(w, 3, world_recipe(w, "max_steps: 5\n"), 3, true, &record);
    record.start = rows_of(w, 0, &count)[1];
    world_step(w, event);
    world_run(w);
    assert_int_equal(world_state(w, 2), JOB_FAILED);
    assert_non_null(strstr(world_detail(w, 2).data, "raise max_steps"));
}

int main(void)
{
#define TEST(name)                                                                                 \
    cmocka_unit_test_setup_teardown(test_history__##name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(rules_forget_and_orphan_what_they_do_not_keep),
        TEST(lost_after_forgetting_it_falls_back_to_what_is_kept),
        TEST(restored_it_makes_the_same_again_and_all_that_rests_on_it),
        TEST(sent_back_by_mistake_it_goes_forward_again),
        TEST(restored_while_a_round_runs_its_attempts_are_taken_back),
        TEST(a_profile_without_a_promise_drops_what_comes_after),
        TEST(tags_keep_move_and_go),
        TEST(tags_that_come_and_go_take_no_memory),
        TEST(the_recipes_limit_forgets_and_prunes_on_the_way),
        TEST(another_jobs_checkpoint_is_refused_with_both_names),
        TEST(a_fork_goes_on_from_its_start_and_does_not_go_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
