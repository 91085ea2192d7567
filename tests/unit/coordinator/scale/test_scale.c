/* test_scale.c - how many workers are started, and who may go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "yard.h"

static struct yard yard;

static const char local[] = "providers:\n  - {kind: local, max: 6, idle_timeout: 5s}\n";
static const char slurm[] =
    "providers:\n  - {kind: slurm, max: 8, backlog: 2, idle_timeout: 5s, time_limit: 1h}\n";
static const char both[] = "providers:\n"
                           "  - {name: here, kind: local, max: 2, idle_timeout: 5s}\n"
                           "  - {name: there, kind: slurm, max: 8, idle_timeout: 5s}\n";

static void begin(const char *providers)
{
    yard_init(&yard, providers);
}

static void end(void)
{
    assert_string_equal(yard.failure, "");
    yard_fini(&yard);
}

static void test_scale__a_target_is_reached_and_left_again(void **state)
{
    (void)state;
    begin(local);
    yard_target(&yard, "local", 4);
    yard_run(&yard, 2000);
    assert_int_equal(yard_workers(&yard, 0), 4);
    assert_int_equal(yard_row(&yard, 0).running, 4);
    assert_string_equal(yard_row(&yard, 0).state.data, "ok");
    yard_target(&yard, "local", 1);
    yard_run(&yard, 3000);
    assert_int_equal(yard_workers(&yard, 0), 1);
    assert_int_equal(yard.starts, 4);
    assert_int_equal(yard.drains, 3);
    yard_target(&yard, "local", 0);
    yard_run(&yard, 3000);
    assert_int_equal(yard_used(&yard, 0), 0);
    end();
}

static void test_scale__without_work_nobody_is_started(void **state)
{
    (void)state;
    begin(local);
    yard_run(&yard, 60000);
    assert_int_equal(yard.starts, 0);
    end();
}

static void test_scale__auto_has_as_many_as_there_is_work_for(void **state)
{
    (void)state;
    begin(local);
    yard.now = 3;
    yard_run(&yard, 3000);
    assert_int_equal(yard_workers(&yard, 0), 3);
    yard.now = 50;
    yard_run(&yard, 3000);
    assert_int_equal(yard_workers(&yard, 0), 6); /* its max */
    yard.now = 2;
    yard_run(&yard, 4000);
    assert_int_equal(yard_workers(&yard, 0), 6); /* idle_timeout is 5 s */
    yard_run(&yard, 3000);
    assert_int_equal(yard_workers(&yard, 0), 2);
    end();
}

static void test_scale__work_behind_other_work_starts_nobody_but_keeps_who_is_there(void **state)
{
    (void)state;
    begin(local);
    yard.now = 1;
    yard.soon = 6;
    yard_run(&yard, 10000);
    assert_int_equal(yard.starts, 1);
    yard.now = 6;
    yard_run(&yard, 3000);
    yard.now = 1;
    yard_run(&yard, 15000); /* longer than idle_timeout, but soon all are wanted */
    assert_int_equal(yard_workers(&yard, 0), 6);
    yard_run(&yard, 10000); /* it did not come within four times idle_timeout */
    assert_int_equal(yard_workers(&yard, 0), 1);
    end();
}

static void test_scale__short_gaps_between_rounds_start_and_stop_nobody(void **state)
{
    (void)state;
    begin(local);
    for (int i = 0; i < 100; i++) {
        yard.now = i % 2 == 0 ? 4 : 0;
        yard_run(&yard, 1000);
    }
    assert_int_equal(yard.starts, 4);
    assert_int_equal(yard.drains, 0);
    end();
}

static void test_scale__min_is_kept_without_work(void **state)
{
    (void)state;
    begin(local);
    yard_auto(&yard, "local", 2, 5);
    yard_run(&yard, 30000);
    assert_int_equal(yard_workers(&yard, 0), 2);
    yard.now = 20;
    yard_run(&yard, 5000);
    assert_int_equal(yard_workers(&yard, 0), 5);
    end();
}

static void test_scale__no_more_than_backlog_wait_in_a_queue(void **state)
{
    (void)state;
    begin(slurm);
    yard.queue_ms = 1000000;
    yard_target(&yard, "slurm", 8);
    yard_run(&yard, 60000);
    assert_int_equal(yard_used(&yard, 0), 2);
    assert_int_equal(yard_row(&yard, 0).waiting, 2);
    assert_string_equal(yard_row(&yard, 0).state.data, "starting");
    end();
}

static void test_scale__what_waits_in_a_queue_is_cancelled_first(void **state)
{
    (void)state;
    begin(slurm);
    yard_target(&yard, "slurm", 2);
    yard_run(&yard, 15000);
    assert_int_equal(yard_workers(&yard, 0), 2);
    yard.queue_ms = 1000000;
    yard_target(&yard, "slurm", 4);
    yard_run(&yard, 10000);
    assert_int_equal(yard_used(&yard, 0), 4);
    yard_target(&yard, "slurm", 2);
    yard_run(&yard, 15000);
    assert_int_equal(yard.cancels, 2);
    assert_int_equal(yard.drains, 0);
    assert_int_equal(yard_used(&yard, 0), 2);
    end();
}

static void test_scale__a_place_in_the_queue_is_not_given_up_for_a_moment_without_work(void **state)
{
    (void)state;
    begin(slurm);
    yard.queue_ms = 100000;
    yard.now = 2;
    yard_run(&yard, 5000);
    yard.now = 0;
    yard_run(&yard, 5000);
    yard.now = 2;
    yard_run(&yard, 5000);
    assert_int_equal(yard.cancels, 0);
    yard.now = 0;
    yard_run(&yard, 20000);
    assert_int_equal(yard.cancels, 2);
    end();
}

static void test_scale__the_longest_idle_worker_goes_first(void **state)
{
    (void)state;
    begin(local);
    yard_target(&yard, "local", 3);
    yard.now = 3;
    yard_run(&yard, 4000);
    yard.now = 1; /* the second and third worker fall idle */
    yard_run(&yard, 1000);
    uint64_t oldest = 3;
    struct yard_place *place = yard_place_of(&yard, oldest);
    place->idle_since_ms -= 500;
    yard_target(&yard, "local", 2);
    yard_run(&yard, 100);
    assert_int_equal(yard.last_drained, oldest);
    end();
}

static void test_scale__under_a_lower_target_who_has_least_to_lose_goes(void **state)
{
    (void)state;
    begin(local);
    yard_target(&yard, "local", 3);
    yard.now = 3;
    yard_run(&yard, 4000);
    yard_place_of(&yard, 1)->lease_since_ms -= 900;
    yard_place_of(&yard, 3)->lease_since_ms -= 500;
    yard_target(&yard, "local", 2);
    yard_run(&yard, 100);
    assert_int_equal(yard.last_drained, 2);
    yard_run(&yard, 3000);
    assert_int_equal(yard_workers(&yard, 0), 2);
    end();
}

static void test_scale__workers_that_never_speak_pause_their_provider(void **state)
{
    (void)state;
    begin(local);
    yard.fails_boots[0] = true;
    yard_target(&yard, "local", 1);
    yard_run(&yard, 120000);
    assert_int_equal(yard.starts, LIMIT_SCALE_LOSSES);
    struct provider_row row = yard_row(&yard, 0);
    assert_string_equal(row.state.data, "paused");
    assert_non_null(strstr(row.detail.data, "exit 7"));
    assert_non_null(strstr(row.detail.data, "qctl workers scale"));
    yard.fails_boots[0] = false;
    yard_target(&yard, "local", 1);
    yard_run(&yard, 3000);
    assert_int_equal(yard_workers(&yard, 0), 1);
    assert_string_equal(yard_row(&yard, 0).state.data, "ok");
    end();
}

static void test_scale__failed_commands_are_tried_later_and_later_then_not(void **state)
{
    (void)state;
    begin(slurm);
    yard.fails_commands[0] = true;
    yard_target(&yard, "slurm", 1);
    yard_run(&yard, 10000);
    assert_in_range(yard.starts, 2, 4);
    assert_string_equal(yard_row(&yard, 0).state.data, "back-off");
    yard_run(&yard, 3600000);
    assert_int_equal(yard.starts, LIMIT_SCALE_FAILURES);
    assert_string_equal(yard_row(&yard, 0).state.data, "paused");
    assert_non_null(strstr(yard_row(&yard, 0).detail.data, "sbatch: error"));
    end();
}

static void test_scale__after_a_start_that_failed_it_is_asked_what_came_of_it(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        begin(slurm);
        yard.queue_ms = 1000000;
        yard.hides_starts[0] = i == 0;
        yard.mumbles_starts[0] = i == 1;
        yard_target(&yard, "slurm", 1);
        yard_run(&yard, 120000);
        assert_int_equal(yard.starts, 1);
        assert_int_equal(yard_row(&yard, 0).waiting, 1);
        end();
    }
}

static void test_scale__a_job_that_ran_before_it_could_be_cancelled_is_drained(void **state)
{
    (void)state;
    begin(slurm);
    yard_target(&yard, "slurm", 1);
    yard_run(&yard, 15000);
    yard.queue_ms = 2000;
    yard.boot_ms = 8000;
    yard.command_ms = 3000;
    yard_target(&yard, "slurm", 2);
    yard_run(&yard, 4000);
    yard_target(&yard, "slurm", 1); /* it begins while scancel is on its way */
    yard_run(&yard, 60000);
    assert_int_equal(yard.cancels, 1);
    assert_int_equal(yard.drains, 1);
    assert_int_equal(yard_used(&yard, 0), 1);
    assert_int_equal(yard_row(&yard, 0).leaving, 0);
    end();
}

static void test_scale__who_left_by_himself_is_soon_replaced(void **state)
{
    (void)state;
    begin("providers:\n  - {kind: slurm, max: 2, time_limit: 1h}\n");
    yard_target(&yard, "slurm", 2);
    for (int i = 0; i < 4; i++) {
        yard_run(&yard, 40000 + (uint64_t)i * 7000); /* nothing happens, and little is asked */
        assert_int_equal(yard_workers(&yard, 0), 2);
        yard_place_of(&yard, yard.last_worker)->state = YARD_DRAINING;
        yard_run(&yard, 9000);
        assert_int_equal(yard_workers(&yard, 0), 2);
    }
    assert_in_range(yard.questions, 10, 40);
    end();
}

static void test_scale__a_worker_lost_after_it_worked_is_replaced_without_blame(void **state)
{
    (void)state;
    begin(local);
    yard_target(&yard, "local", 2);
    for (int i = 0; i < 10; i++) {
        yard_run(&yard, 15000);
        assert_int_equal(yard_workers(&yard, 0), 2);
        struct yard_place *place = yard_place_of(&yard, yard.last_worker);
        place->state = YARD_OVER;
        place->has_failed = true;
        place->worker = 0;
    }
    yard_run(&yard, 3000);
    assert_int_equal(yard_workers(&yard, 0), 2);
    end();
}

static void test_scale__a_provider_that_does_not_answer_starts_nothing(void **state)
{
    (void)state;
    begin(slurm);
    yard.fails_questions[0] = true;
    yard.now = 5;
    yard_run(&yard, 60000);
    assert_int_equal(yard.starts, 0);
    assert_string_equal(yard_row(&yard, 0).state.data, "unknown");
    assert_non_null(strstr(yard_row(&yard, 0).detail.data, "squeue: error"));
    yard.fails_questions[0] = false;
    yard_run(&yard, 60000);
    assert_int_equal(yard_workers(&yard, 0), 5);
    end();
}

static void test_scale__the_first_provider_is_filled_first_and_a_paused_one_is_passed(void **state)
{
    (void)state;
    begin(both);
    yard.now = 3;
    yard_run(&yard, 15000);
    assert_int_equal(yard_workers(&yard, 0), 2);
    assert_int_equal(yard_workers(&yard, 1), 1);
    end();
    begin(both);
    yard.now = 3;
    yard.fails_boots[0] = true;
    yard_run(&yard, 60000);
    assert_string_equal(yard_row(&yard, 0).state.data, "paused");
    assert_int_equal(yard_workers(&yard, 1), 3);
    end();
}

static void test_scale__a_low_disk_starts_nobody(void **state)
{
    (void)state;
    begin(local);
    yard.is_disk_low = true;
    yard.now = 5;
    yard_run(&yard, 30000);
    assert_int_equal(yard.starts, 0);
    assert_string_equal(yard_row(&yard, 0).state.data, "disk-low");
    assert_non_null(strstr(yard_row(&yard, 0).detail.data, "disk is nearly full"));
    yard.is_disk_low = false;
    yard_run(&yard, 3000);
    assert_int_equal(yard_workers(&yard, 0), 5);
    assert_string_equal(yard_row(&yard, 0).state.data, "ok");
    end();
}

static void test_scale__after_a_restart_workers_are_known_again_and_nobody_is_started(void **state)
{
    (void)state;
    begin(local);
    yard_target(&yard, "local", 4);
    yard_run(&yard, 5000);
    uint32_t starts = yard.starts;
    yard_restart(&yard);
    yard_target(&yard, "local", 4);
    yard_run(&yard, 20000);
    assert_int_equal(yard.starts, starts);
    assert_int_equal(yard_workers(&yard, 0), 4);
    yard_target(&yard, "local", 1);
    yard_run(&yard, 5000);
    assert_int_equal(yard_workers(&yard, 0), 1);
    end();
}

static void test_scale__a_file_read_again_counts_and_workers_stay_known(void **state)
{
    (void)state;
    begin("providers:\n  - {kind: local, max: 6, min: 3, idle_timeout: 2s}\n");
    yard_run(&yard, 3000);
    assert_int_equal(yard_workers(&yard, 0), 3);
    yard_reload(&yard, "providers:\n  - {kind: local, max: 6, min: 1, idle_timeout: 2s}\n");
    yard_run(&yard, 5000);
    assert_int_equal(yard.starts, 3);
    assert_int_equal(yard_workers(&yard, 0), 1);
    yard_reload(&yard, "providers:\n  - {kind: local, max: 2, target: 2}\n");
    yard_run(&yard, 5000);
    assert_int_equal(yard_workers(&yard, 0), 2);
    yard_reload(&yard, "providers:\n  - {kind: local, max: 2, target: 1}\n");
    yard_run(&yard, 5000);
    assert_int_equal(yard_workers(&yard, 0), 1);
    end();
}

static void test_scale__workers_of_nobody_count_for_auto(void **state)
{
    (void)state;
    begin(local);
    struct scale_event tick = yard_tick(&yard);
    struct demand demand = {.profile = TEXT("f32/1"), .now = 3, .soon = 3};
    struct demand_load other[2] = {
        {.worker = 90, .profiles = TEXT("f32/1"), .state = WORKER_READY, .is_connected = true},
        {.worker = 91, .profiles = TEXT("cuda"), .state = WORKER_READY, .is_connected = true}};
    struct scale_effects effects;
    tick.demands = &demand;
    tick.loads = other;
    tick.load_count = 2;
    assert_int_equal(scale_step(yard.scale, &tick, &effects), ERR_OK);
    assert_int_equal(effects.count, 1);
    assert_int_equal(effects.rows[0].kind, SCALE_START);
    assert_int_equal(effects.rows[0].count, 2); /* one of them offers the profile */
    assert_int_equal(scale_desired(yard.scale), 3);
    end();
}

static void test_scale__a_place_that_is_no_id_is_nobodys(void **state)
{
    (void)state;
    begin("providers:\n  - {kind: kubernetes, deployment: w, max: 5, idle_timeout: 5s}\n");
    yard_run(&yard, 2000);
    struct scale_event tick = yard_tick(&yard);
    struct demand_load other = {.worker = 90,
                                .profiles = TEXT("f32/1"),
                                .provider = TEXT("kubernetes"),
                                .allocation = TEXT("--kubeconfig=/tmp/mine"),
                                .state = WORKER_READY,
                                .idle_ms = 100000,
                                .is_connected = true};
    struct scale_effects effects;
    tick.loads = &other;
    tick.load_count = 1;
    assert_int_equal(scale_step(yard.scale, &tick, &effects), ERR_OK);
    assert_int_equal(yard_row(&yard, 0).running, 0);
    for (size_t i = 0; i < effects.count; i++)
        assert_int_not_equal(effects.rows[i].kind, SCALE_CANCEL);
    end();
}

static void test_scale__a_provider_of_another_kind_forgets_its_places(void **state)
{
    (void)state;
    begin("providers:\n  - {name: here, kind: slurm, max: 4, time_limit: 1h}\n");
    yard.queue_ms = 1000000;
    yard_target(&yard, "here", 2);
    yard_run(&yard, 5000);
    assert_int_equal(yard_row(&yard, 0).waiting, 2);
    memset(yard.places, 0, sizeof yard.places);
    yard.commands[0].is_out = false;
    yard_reload(&yard, "providers:\n  - {name: here, kind: local, max: 4, target: 1}\n");
    yard_run(&yard, 5000);
    assert_int_equal(yard_workers(&yard, 0), 1);
    assert_int_equal(yard_row(&yard, 0).waiting, 0);
    end();
}

static void test_scale__a_worker_that_never_speaks_and_stays_is_told_twice(void **state)
{
    (void)state;
    begin(local);
    yard.boot_ms = 100000000;
    yard_target(&yard, "local", 1);
    yard_run(&yard, 1000);
    struct scale_event tick = yard_tick(&yard);
    struct scale_effects effects;
    uint32_t told = 0;
    for (int s = 0; s < 400; s++) { /* it does not go */
        tick.now.ns += NS_PER_S;
        assert_int_equal(scale_step(yard.scale, &tick, &effects), ERR_OK);
        for (size_t i = 0; i < effects.count; i++) {
            told += effects.rows[i].kind == SCALE_CANCEL;
            struct scale_event done = tick;
            done.provider = TEXT("local");
            done.kind = effects.rows[i].kind == SCALE_CANCEL ? SCALE_CANCELLED : SCALE_STARTED;
            done.answer.error = done.kind == SCALE_STARTED ? ERR_IO : ERR_OK;
            struct scale_effects none;
            if (effects.rows[i].kind != SCALE_DRAIN)
                assert_int_equal(scale_step(yard.scale, &done, &none), ERR_OK);
        }
    }
    assert_in_range(told, 2, 3);
    scale_destroy(&yard.scale);
    providers_fini(&yard.providers);
}

static void test_scale__a_preview_says_what_would_be_done_and_does_nothing(void **state)
{
    (void)state;
    begin(local);
    yard_target(&yard, "local", 3);
    yard_run(&yard, 3000);
    struct scale_event tick = yard_tick(&yard);
    struct rec_scale_target target = {.provider = TEXT("local"), .target = 5};
    struct scale_effects effects;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    assert_int_equal(scale_preview(yard.scale, &target, &tick, &arena, &effects), ERR_OK);
    assert_int_equal(effects.count, 1);
    assert_int_equal(effects.rows[0].kind, SCALE_START);
    assert_int_equal(effects.rows[0].count, 2);
    assert_int_equal(effects.rows[0].total, 5);
    target.target = 1;
    assert_int_equal(scale_preview(yard.scale, &target, &tick, &arena, &effects), ERR_OK);
    assert_int_equal(effects.count, 2);
    assert_int_equal(effects.rows[0].kind, SCALE_DRAIN);
    arena_fini(&arena);
    yard_run(&yard, 5000);
    assert_int_equal(yard_workers(&yard, 0), 3);
    end();
}

static void check(const struct msg_scale *request, enum err expected, const char *words)
{
    struct rec_scale_target record;
    struct err_text et = {""};
    assert_int_equal(scale_check(yard.scale, request, &record, &et), expected);
    assert_non_null(strstr(et.text, words));
}

static void test_scale__requests_beyond_the_file_are_refused_with_its_bounds(void **state)
{
    (void)state;
    begin(both);
    check(&(struct msg_scale){.target = 1}, ERR_USAGE, "here, there");
    check(&(struct msg_scale){.provider = TEXT("where")}, ERR_NOT_FOUND, "here, there");
    check(&(struct msg_scale){.provider = TEXT("here"), .target = 3}, ERR_USAGE, "at most 2");
    check(&(struct msg_scale){.provider = TEXT("there"), .is_auto = true, .min = 4, .max = 3},
          ERR_USAGE, "4..3");
    check(&(struct msg_scale){.provider = TEXT("there"), .is_auto = true, .min = 1, .max = 9},
          ERR_USAGE, "at most 8");
    check(&(struct msg_scale){.provider = TEXT("there"), .is_auto = true, .min = 1, .max = 8},
          ERR_OK, "");
    end();
}

/* Everything at random, then a quiet end: what is wanted is there, and stays as it is. */
static void run_seed(uint64_t seed)
{
    yard_init(&yard, both);
    yard.random = seed;
    yard.chance_lost = 2000;
    for (int i = 0; i < 60; i++) {
        yard.now = (uint32_t)yard_random(&yard, 12);
        yard.soon = (uint32_t)yard_random(&yard, 12);
        yard.queue_ms = yard_random(&yard, 20000);
        yard.boot_ms = yard_random(&yard, 3000);
        yard.command_ms = yard_random(&yard, 2000);
        yard.is_disk_low = yard_random(&yard, 10) == 0;
        for (uint32_t site = 0; site < 2; site++) {
            yard.fails_commands[site] = yard_random(&yard, 5) == 0;
            yard.fails_questions[site] = yard_random(&yard, 5) == 0;
            yard.fails_boots[site] = yard_random(&yard, 8) == 0;
        }
        if (yard_random(&yard, 8) == 0)
            yard_restart(&yard);
        if (yard_random(&yard, 3) == 0)
            yard_target(&yard, yard_random(&yard, 2) == 0 ? "here" : "there",
                        (uint32_t)yard_random(&yard, 9));
        else if (yard_random(&yard, 2) == 0)
            yard_auto(&yard, yard_random(&yard, 2) == 0 ? "here" : "there", 0, 0);
        yard_run(&yard, 1000 + yard_random(&yard, 20000));
    }
    yard.chance_lost = 0;
    yard.is_disk_low = false;
    yard.command_ms = yard.queue_ms = yard.boot_ms = 500;
    for (uint32_t site = 0; site < 2; site++)
        yard.fails_commands[site] = yard.fails_questions[site] = yard.fails_boots[site] = false;
    yard_run(&yard, 30000); /* what had failed before is told */
    yard.now = yard.soon = 7;
    yard_auto(&yard, "here", 0, 0);
    yard_auto(&yard, "there", 0, 0);
    yard_run(&yard, 120000);
    if (yard.failure[0] != '\0')
        print_message("seed %llu: %s\n", (unsigned long long)seed, yard.failure);
    assert_string_equal(yard.failure, "");
    if (yard_workers(&yard, UINT32_MAX) != 7)
        print_message("seed %llu\n", (unsigned long long)seed);
    assert_int_equal(yard_workers(&yard, UINT32_MAX), 7);
    uint32_t starts = yard.starts, drains = yard.drains + yard.cancels;
    yard_run(&yard, 60000);
    assert_int_equal(yard.starts, starts);
    assert_int_equal(yard.drains + yard.cancels, drains);
    yard_fini(&yard);
}

static void test_scale__whatever_happens_the_rules_hold_and_it_comes_to_rest(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        run_seed(seed);
}

static void test_scale__whenever_memory_ran_out_the_target_is_reached_later(void **state)
{
    (void)state;
    size_t asked = 1;
    for (size_t n = 1; n <= asked; n++) {
        begin(n % 2 == 0 ? slurm : local);
        yard_target(&yard, n % 2 == 0 ? "slurm" : "local", 2);
        yard.may_run_out = true;
        (void)mem_fault_after(n);
        yard_run(&yard, 5000);
        size_t count = mem_fault_after(0);
        asked = MAX(asked, MIN(count, (size_t)200));
        yard.may_run_out = false;
        yard_run(&yard, 60000);
        assert_int_equal(yard_workers(&yard, 0), 2);
        end();
    }
    assert_in_range(asked, 5, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scale__a_target_is_reached_and_left_again),
        cmocka_unit_test(test_scale__without_work_nobody_is_started),
        cmocka_unit_test(test_scale__auto_has_as_many_as_there_is_work_for),
        cmocka_unit_test(test_scale__work_behind_other_work_starts_nobody_but_keeps_who_is_there),
        cmocka_unit_test(test_scale__short_gaps_between_rounds_start_and_stop_nobody),
        cmocka_unit_test(test_scale__min_is_kept_without_work),
        cmocka_unit_test(test_scale__no_more_than_backlog_wait_in_a_queue),
        cmocka_unit_test(test_scale__what_waits_in_a_queue_is_cancelled_first),
        cmocka_unit_test(
            test_scale__a_place_in_the_queue_is_not_given_up_for_a_moment_without_work),
        cmocka_unit_test(test_scale__the_longest_idle_worker_goes_first),
        cmocka_unit_test(test_scale__under_a_lower_target_who_has_least_to_lose_goes),
        cmocka_unit_test(test_scale__workers_that_never_speak_pause_their_provider),
        cmocka_unit_test(test_scale__failed_commands_are_tried_later_and_later_then_not),
        cmocka_unit_test(test_scale__after_a_start_that_failed_it_is_asked_what_came_of_it),
        cmocka_unit_test(test_scale__a_job_that_ran_before_it_could_be_cancelled_is_drained),
        cmocka_unit_test(test_scale__who_left_by_himself_is_soon_replaced),
        cmocka_unit_test(test_scale__a_worker_lost_after_it_worked_is_replaced_without_blame),
        cmocka_unit_test(test_scale__a_provider_that_does_not_answer_starts_nothing),
        cmocka_unit_test(test_scale__the_first_provider_is_filled_first_and_a_paused_one_is_passed),
        cmocka_unit_test(test_scale__a_low_disk_starts_nobody),
        cmocka_unit_test(test_scale__after_a_restart_workers_are_known_again_and_nobody_is_started),
        cmocka_unit_test(test_scale__a_file_read_again_counts_and_workers_stay_known),
        cmocka_unit_test(test_scale__workers_of_nobody_count_for_auto),
        cmocka_unit_test(test_scale__a_place_that_is_no_id_is_nobodys),
        cmocka_unit_test(test_scale__a_provider_of_another_kind_forgets_its_places),
        cmocka_unit_test(test_scale__a_worker_that_never_speaks_and_stays_is_told_twice),
        cmocka_unit_test(test_scale__a_preview_says_what_would_be_done_and_does_nothing),
        cmocka_unit_test(test_scale__requests_beyond_the_file_are_refused_with_its_bounds),
        cmocka_unit_test(test_scale__whatever_happens_the_rules_hold_and_it_comes_to_rest),
        cmocka_unit_test(test_scale__whenever_memory_ran_out_the_target_is_reached_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
