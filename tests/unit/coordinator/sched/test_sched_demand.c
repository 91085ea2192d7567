/* test_sched_demand.c - what work there is for how many workers, who may be let go, and what is
 * remembered of targets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "coordinator/sched/demand.h"
#include "coordinator/sched/target.h"
#include "world.h"

static struct demand demand_of(const struct world *w, const char *profile)
{
    struct demand rows[DEMAND_ROWS_MAX], sum = {0};
    size_t count = demand_rows(w->s, rows, DEMAND_ROWS_MAX);
    for (size_t i = 0; i < count; i++) {
        sum.now += text_is(rows[i].profile, profile) ? rows[i].now : 0;
        sum.soon += text_is(rows[i].profile, profile) ? rows[i].soon : 0;
    }
    return sum;
}

static void hello(struct world *w, uint64_t peer, const char *name, uint32_t ends_in_s)
{
    struct msg_hello hello = {.protocol = MESSAGE_PROTOCOL,
                              .role = PEER_WORKER,
                              .name = text_of(name),
                              .session = peer,
                              .threads = 1,
                              .isa = TEXT("portable"),
                              .profiles = TEXT("f32/1"),
                              .provider = TEXT("cluster"),
                              .allocation = text_of(name),
                              .ends_in_s = ends_in_s};
    world_step(w, (struct sched_event){
                      .kind = SCHED_HELLO, .peer = (struct peer_id){peer}, .hello = &hello});
}

static struct demand_load load_of(const struct world *w, uint64_t worker)
{
    struct demand_load rows[16];
    size_t count = demand_loads(w->s, (struct instant){w->now_ms * NS_PER_MS}, rows, 16);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].worker == worker)
            return rows[i];
    }
    return (struct demand_load){0};
}

static void test_demand__tasks_that_run_or_could_run_count(void **state)
{
    struct world *w = *state;
    assert_int_equal(demand_of(w, "f32/1").now, 0);
    world_submit(w, 1, world_recipe(w, "evaluate: only\nval_set_size: 3\n"), 7, false);
    assert_int_equal(demand_of(w, "f32/1").now, 7);
    world_hello(w, 1, "a", "f32/1");
    assert_int_equal(demand_of(w, "f32/1").now, 7); /* those that it holds, too */
    struct world_grant grant = world_next_grant(w);
    world_answer(w, grant.peer, &grant.grant);
    assert_int_equal(demand_of(w, "f32/1").now, 6);
}

static void test_demand__what_waits_for_a_narrow_stage_counts_as_soon_only(void **state)
{
    struct world *w = *state;
    world_submit(w, 1, world_recipe(w, "micro_batch_size: 16\nval_set_size: 3\n"), 4, false);
    assert_int_equal(demand_of(w, "f32/1").now, 5); /* shards and init */
    assert_int_equal(demand_of(w, "f32/1").soon, 5);
    world_hello(w, 1, "a", "f32/1");
    while (demand_of(w, "f32/1").now > 1)
        assert_true(world_advance(w)); /* until pack is left alone */
    assert_int_equal(demand_of(w, "f32/1").now, 1);
    assert_int_equal(demand_of(w, "f32/1").soon, 16); /* the ranges of a round */
}

static void test_demand__a_round_counts_with_its_ranges_also_while_it_is_folded(void **state)
{
    struct world *w = *state;
    world_submit(w, 1, world_recipe(w, "micro_batch_size: 16\n"), 2, false);
    world_hello(w, 1, "a", "f32/1");
    uint32_t seen = 0;
    while (world_advance(w)) {
        if (w->folds == 0 || world_state(w, 0) != JOB_RUNNING)
            continue;
        struct stage_row rows[16];
        (void)sched_job_stages(w->s, 0, (struct instant){0}, rows, 16);
        for (size_t i = 0; i < 16 && seen < 4; i++) {
            if (rows[i].kind == STAGE_KIND_TRAIN && rows[i].state == STAGE_RUNNING) {
                assert_int_equal(demand_of(w, "f32/1").now, 16);
                seen++;
            }
        }
    }
    assert_int_equal(seen, 4);
    assert_int_equal(demand_of(w, "f32/1").now, 0); /* the job is done */
}

static void test_demand__a_paused_job_wants_nobody(void **state)
{
    struct world *w = *state;
    world_submit(w, 1, world_recipe(w, ""), 4, false);
    assert_true(demand_of(w, "f32/1").now > 0);
    world_control(w, "last", JOB_ACTION_PAUSE);
    assert_int_equal(demand_of(w, "f32/1").now, 0);
    assert_int_equal(demand_of(w, "f32/1").soon, 0);
}

static void test_demand__a_job_whose_workers_left_wants_others(void **state)
{
    struct world *w = *state;
    world_submit(w, 1, world_recipe(w, ""), 4, false);
    world_hello(w, 1, "a", "f32/1"); /* the job is begun with its answer */
    world_step(w, (struct sched_event){.kind = SCHED_LEAVE,
                                       .peer = {1},
                                       .leave = &(struct msg_leave){.reason = TEXT("")}});
    assert_true(demand_of(w, "f32/1").now > 0);
}

/* A job whose stages need more the later they come. */
static void submit_growing(struct world *w)
{
    struct rec_job_submitted record;
    world_job(w, 1, world_recipe(w, "micro_batch_size: 16\nval_set_size: 3\n"), 4, false, &record);
    for (uint32_t i = 0; i < record.stages_count; i++)
        record.stages[i].memory_bytes = (uint64_t)(i + 1) << 20;
    struct sched_event event = {.kind = SCHED_SUBMIT, .peer = {900}};
    event.submit.ticket = 1;
    event.submit.record = &record;
    world_step(w, event);
}

static void test_demand__tasks_of_another_size_are_another_row_the_largest_first(void **state)
{
    struct world *w = *state;
    struct demand rows[DEMAND_ROWS_MAX];
    submit_growing(w);
    size_t count = demand_rows(w->s, rows, DEMAND_ROWS_MAX);
    uint32_t shards = 0, others = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 || rows[i - 1].memory_bytes >= rows[i].memory_bytes);
        shards += rows[i].memory_bytes == 1 << 20 ? rows[i].now : 0;
        others += rows[i].memory_bytes > 1 << 20 ? rows[i].now : 0;
    }
    assert_int_equal(shards, 4);
    assert_int_equal(others, 1); /* init */
    assert_int_equal(demand_rows(w->s, rows, 1), 1);
    assert_int_equal(rows[0].now, 5); /* without room they are not told apart */
}

static void test_demand__of_variants_only_so_many_train_soon(void **state)
{
    struct world *w = *state;
    world_submit(w, 1, world_recipe(w, "micro_batch_size: 16\nseed: [1, 2, 3, 4]\n"), 1, false);
    world_hello(w, 1, "a", "f32/1");
    uint32_t most = 0;
    do
        most = MAX(most, demand_of(w, "f32/1").soon);
    while (world_advance(w));
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_in_range(most, LIMIT_VARIANTS_OPEN * 16, LIMIT_VARIANTS_OPEN * 16 + 4);
}

static void test_demand__a_worker_that_went_says_why(void **state)
{
    struct world *w = *state;
    hello(w, 1, "asked", 0);
    hello(w, 2, "silent", 0);
    hello(w, 3, "crashed", 0);
    world_step(w, (struct sched_event){.kind = SCHED_LEAVE,
                                       .peer = {1},
                                       .leave = &(struct msg_leave){.reason = TEXT("by hand")}});
    world_step(w, (struct sched_event){.kind = SCHED_CRASHED, .worker = 3});
    world_tick(w, LIMIT_WORKER_LOST_MS + 1000);
    struct worker_row rows[4];
    size_t count = sched_worker_rows(w->s, (struct instant){w->now_ms * NS_PER_MS}, rows, 4);
    assert_int_equal(count, 3);
    assert_true(text_is(rows[0].detail, "by hand"));
    assert_true(text_is(rows[1].detail, "its process ended without a word"));
    assert_true(text_is(rows[2].detail, "it fell silent"));
}

static void test_demand__a_load_tells_what_a_worker_has_at_hand(void **state)
{
    struct world *w = *state;
    hello(w, 1, "w1", 600);
    w->now_ms += 3000;
    struct demand_load load = load_of(w, 1);
    assert_int_equal(load.lease_count, 0);
    assert_int_equal(load.idle_ms, 3000);
    assert_int_equal(load.ends_in_ms, 597000);
    assert_true(text_is(load.provider, "cluster") && text_is(load.allocation, "w1"));
    world_submit(w, 1, world_recipe(w, "evaluate: only\nval_set_size: 3\n"), 1, false);
    w->now_ms += 2000;
    load = load_of(w, 1);
    assert_int_equal(load.lease_count, 1);
    assert_int_equal(load.idle_ms, 0);
    assert_int_equal(load.at_risk_ms, 2000);
}

static void test_demand__who_is_let_go_takes_no_more_and_says_why(void **state)
{
    struct world *w = *state;
    hello(w, 1, "same", 0);
    hello(w, 2, "same", 0);
    world_step(w, (struct sched_event){.kind = SCHED_LET_GO,
                                       .let_go = {.worker = 2, .reason = TEXT("no work for it")}});
    assert_int_equal(w->fx.send_count, 1);
    assert_int_equal(w->fx.sends[0].peer.v, 2);
    assert_int_equal(w->fx.sends[0].number, MSG_DRAIN);
    assert_true(load_of(w, 2).is_draining);
    assert_false(load_of(w, 1).is_draining);
    world_submit(w, 1, world_recipe(w, "evaluate: only\nval_set_size: 3\n"), 4, false);
    assert_int_equal(load_of(w, 2).lease_count, 0);
    struct worker_row rows[4];
    size_t count = sched_worker_rows(w->s, (struct instant){w->now_ms * NS_PER_MS}, rows, 4);
    assert_int_equal(count, 2);
    assert_true(text_is(rows[1].detail, "no work for it"));
    assert_true(text_is(rows[1].provider, "cluster"));
}

/* Ten shards of ten seconds each, computed by one worker without an end. */
static void learn_times(struct world *w)
{
    world_submit(w, 1, world_recipe(w, "evaluate: only\nval_set_size: 3\n"), 40, false);
    hello(w, 1, "forever", 0);
    for (int i = 0; i < 5; i++) {
        struct world_grant grant = world_next_grant(w);
        w->now_ms += 10000;
        world_answer(w, grant.peer, &grant.grant);
    }
}

static void test_demand__a_worker_gets_no_task_that_it_will_not_live_to_end(void **state)
{
    struct world *w = *state;
    learn_times(w);
    hello(w, 2, "short", 5);
    assert_int_equal(load_of(w, 2).lease_count, 0);
    hello(w, 3, "long", 600);
    assert_true(load_of(w, 3).lease_count > 0);
    hello(w, 4, "short-too", 5); /* stands first in line, and does not hold up the next */
    hello(w, 5, "longer", 700);
    assert_int_equal(load_of(w, 4).lease_count, 0);
    assert_true(load_of(w, 5).lease_count > 0);
}

static void scale(struct world *w, const char *provider, uint32_t target)
{
    struct rec_scale_target record = {
        .provider = text_of(provider), .target = target, .reason = TEXT("night")};
    world_step(w, (struct sched_event){.kind = SCHED_SCALE,
                                       .peer = {90},
                                       .scale = {.ticket = 7, .record = &record}});
}

static void test_target__the_last_one_survives_a_restart(void **state)
{
    struct world *w = *state;
    scale(w, "cluster", 3);
    const struct sched_send *send = world_sent(w, MSG_STATUS, 0);
    assert_non_null(send);
    assert_int_equal(send->message.status.ticket, 7);
    assert_int_equal(send->message.status.error, ERR_OK);
    assert_int_equal(w->fx.record_count, 1);
    assert_int_equal(w->fx.records[0].number, REC_SCALE_TARGET);
    scale(w, "cluster", 5);
    scale(w, "local", 1);
    world_restart(w);
    assert_int_equal(target_of(w->s, TEXT("cluster"))->target, 5);
    assert_int_equal(target_of(w->s, TEXT("local"))->target, 1);
    assert_true(text_is(target_of(w->s, TEXT("local"))->reason, "night"));
    assert_null(target_of(w->s, TEXT("other")));
}

static void test_target__the_longest_standing_makes_room(void **state)
{
    struct world *w = *state;
    char name[32];
    for (int i = 0; i < LIMIT_TARGETS; i++) {
        (void)snprintf(name, sizeof name, "p%d", i);
        scale(w, name, 1);
    }
    scale(w, "p0", 2); /* it is the newest now */
    scale(w, "one-more", 3);
    assert_int_equal(world_sent(w, MSG_STATUS, 0)->message.status.error, ERR_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(target_of(w->s, TEXT("one-more"))->target, 3);
        assert_int_equal(target_of(w->s, TEXT("p0"))->target, 2);
        assert_null(target_of(w->s, TEXT("p1")));
        assert_non_null(target_of(w->s, TEXT("p2")));
        world_restart(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_demand__tasks_that_run_or_could_run_count, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(
            test_demand__what_waits_for_a_narrow_stage_counts_as_soon_only, world_setup,
            world_teardown),
        cmocka_unit_test_setup_teardown(
            test_demand__a_round_counts_with_its_ranges_also_while_it_is_folded, world_setup,
            world_teardown),
        cmocka_unit_test_setup_teardown(test_demand__a_paused_job_wants_nobody, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_demand__a_job_whose_workers_left_wants_others,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(
            test_demand__tasks_of_another_size_are_another_row_the_largest_first, world_setup,
            world_teardown),
        cmocka_unit_test_setup_teardown(test_demand__of_variants_only_so_many_train_soon,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_demand__a_worker_that_went_says_why, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_demand__a_load_tells_what_a_worker_has_at_hand,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_demand__who_is_let_go_takes_no_more_and_says_why,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(
            test_demand__a_worker_gets_no_task_that_it_will_not_live_to_end, world_setup,
            world_teardown),
        cmocka_unit_test_setup_teardown(test_target__the_last_one_survives_a_restart, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_target__the_longest_standing_makes_room, world_setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
