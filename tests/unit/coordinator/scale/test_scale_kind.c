/* test_scale_kind.c - workers and machines that are not alike: profiles, memory, pods. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "yard.h"

static struct yard yard;

static const char local[] = "providers:\n  - {kind: local, max: 6, idle_timeout: 5s}\n";

static void begin(const char *providers)
{
    yard_init(&yard, providers);
}

static void end(void)
{
    assert_string_equal(yard.failure, "");
    yard_fini(&yard);
}

static void test_scale_kind__work_of_a_profile_nobody_here_offers_starts_nobody(void **state)
{
    (void)state;
    begin(local);
    yard.now = 1;
    yard_run(&yard, 3000); /* it is learned what its workers offer */
    assert_int_equal(yard_workers(&yard, 0), 1);
    struct scale_event tick = yard_tick(&yard);
    struct demand demand = {.profile = TEXT("cuda"), .now = 5, .soon = 5};
    struct scale_effects effects;
    tick.demands = &demand;
    assert_int_equal(scale_step(yard.scale, &tick, &effects), ERR_OK);
    assert_int_equal(effects.count, 0);
    end();
}

static void test_scale_kind__a_pod_is_ended_by_its_engine(void **state)
{
    (void)state;
    begin("providers:\n  - {kind: kubernetes, deployment: w, max: 5, idle_timeout: 5s}\n");
    yard_target(&yard, "kubernetes", 3);
    yard_run(&yard, 15000);
    assert_int_equal(yard_workers(&yard, 0), 3);
    yard_target(&yard, "kubernetes", 1);
    yard_run(&yard, 15000);
    assert_int_equal(yard_workers(&yard, 0), 1);
    assert_int_equal(yard.drains, 0);
    assert_int_equal(yard.cancels, 2);
    end();
}

static void test_scale_kind__pods_that_still_drain_are_no_replicas(void **state)
{
    (void)state;
    begin("providers:\n  - {kind: kubernetes, deployment: w, max: 8, idle_timeout: 5s}\n");
    yard.drain_ms = 20000;
    yard_target(&yard, "kubernetes", 4);
    yard_run(&yard, 15000);
    for (int i = 0; i < 6; i++) { /* totals are checked by the yard */
        yard_target(&yard, "kubernetes", i % 2 == 0 ? 2 : 4);
        yard_run(&yard, 9000);
    }
    yard_target(&yard, "kubernetes", 2);
    yard_run(&yard, 5000);
    yard_restart(&yard);
    yard_target(&yard, "kubernetes", 3);
    yard_run(&yard, 60000);
    assert_int_equal(yard_workers(&yard, 0), 3);
    end();
}

static void test_scale_kind__work_too_large_for_its_workers_starts_nobody_and_says_so(void **state)
{
    (void)state;
    begin("providers:\n  - {kind: local, max: 6, memory: 400MiB, idle_timeout: 5s}\n");
    yard.now = 3;
    yard.memory_needed = 500 << 20;
    yard_run(&yard, 60000);
    assert_int_equal(yard.starts, 0);
    assert_non_null(strstr(yard_row(&yard, 0).detail.data, "500 MiB a worker"));
    yard.memory_needed = 300 << 20;
    yard_run(&yard, 3000);
    assert_int_equal(yard_workers(&yard, 0), 3);
    assert_string_equal(yard_row(&yard, 0).detail.data, "");
    end();
    begin(local); /* what its workers have is seen */
    yard.now = 3;
    yard.memory_needed = 500 << 20;
    yard.memory_bytes = 400 << 20;
    yard_run(&yard, 60000);
    assert_int_equal(yard.starts, 3);
    assert_int_equal(yard_used(&yard, 0), 0);
    end();
}

static void test_scale_kind__small_workers_take_what_large_ones_leave(void **state)
{
    (void)state;
    begin("providers:\n  - {name: large, kind: local, max: 2, memory: 8GiB}\n"
          "  - {name: small, kind: local, max: 2, memory: 1GiB}\n");
    const struct demand demand_rows[] = {
        {.profile = TEXT("f32/1"), .memory_bytes = 4ull << 30, .now = 2, .soon = 2},
        {.profile = TEXT("f32/1"), .memory_bytes = 1 << 20, .now = 2, .soon = 2}};
    struct scale_event tick = yard_tick(&yard);
    struct scale_effects effects;
    tick.demands = demand_rows;
    tick.demand_count = 2;
    assert_int_equal(scale_step(yard.scale, &tick, &effects), ERR_OK);
    assert_int_equal(effects.count, 2);
    assert_int_equal(effects.rows[0].count, 2);
    assert_int_equal(effects.rows[1].count, 2);
    end();
}

static void test_scale_kind__a_pod_that_goes_on_after_it_was_cancelled_counts_again(void **state)
{
    (void)state;
    begin("providers:\n  - {kind: kubernetes, deployment: w, max: 5, idle_timeout: 5s}\n");
    yard_target(&yard, "kubernetes", 3);
    yard_run(&yard, 15000);
    yard.ignores_cancels = true;
    yard_target(&yard, "kubernetes", 2);
    yard_run(&yard, 10000);
    yard.ignores_cancels = false;
    assert_int_equal(yard_workers(&yard, 0), 3);
    yard_run(&yard, 60000);
    assert_int_equal(yard_workers(&yard, 0), 2);
    assert_int_equal(yard_row(&yard, 0).leaving, 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scale_kind__work_of_a_profile_nobody_here_offers_starts_nobody),
        cmocka_unit_test(test_scale_kind__a_pod_is_ended_by_its_engine),
        cmocka_unit_test(test_scale_kind__pods_that_still_drain_are_no_replicas),
        cmocka_unit_test(test_scale_kind__work_too_large_for_its_workers_starts_nobody_and_says_so),
        cmocka_unit_test(test_scale_kind__small_workers_take_what_large_ones_leave),
        cmocka_unit_test(test_scale_kind__a_pod_that_goes_on_after_it_was_cancelled_counts_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
