/* test_scale_answer.c - what whoever asked for workers is told, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "yard.h"

static struct yard yard;

static void begin(const char *providers)
{
    yard_init(&yard, providers);
}

static void end(void)
{
    assert_string_equal(yard.failure, "");
    yard_fini(&yard);
}

static void test_scale_answer__over_ssh_each_host_is_tried_before_anybody_rests(void **state)
{
    (void)state;
    begin("providers:\n  - {kind: ssh, hosts: [a, b, c, d], idle_timeout: 5s}\n");
    yard.fails_boots[0] = true;
    yard.boot_ms = YARD_STEP_MS;
    yard_target(&yard, "ssh", 1);
    yard_run(&yard, LIMIT_SCALE_REST_MS);
    assert_int_equal(yard.starts, 4);
    assert_string_equal(yard_row(&yard, 0).state.data, "back-off");
    yard.now_ms +=
        LIMIT_SCALE_REST_MS; /* who looks before the next start is told of the last one */
    assert_string_equal(yard_row(&yard, 0).state.data, "back-off");
    yard_run(&yard, 120000);
    assert_int_equal(yard.starts, 4 * LIMIT_SCALE_LOSSES);
    assert_string_equal(yard_row(&yard, 0).state.data, "paused");
    end();
}

static void test_scale_answer__whoever_asked_sees_when_there_is_an_answer(void **state)
{
    (void)state;
    begin("providers:\n  - {kind: slurm, max: 8, backlog: 2, time_limit: 1h}\n");
    yard.command_ms = 5 * YARD_STEP_MS;
    yard.queue_ms = 1000000;
    yard_target(&yard, "slurm", 1);
    yard_run(&yard, 2 * YARD_STEP_MS); /* squeue */
    assert_true(yard_row(&yard, 0).is_asking);
    yard_run(&yard, 5 * YARD_STEP_MS); /* sbatch */
    assert_true(yard_row(&yard, 0).is_asking);
    yard_run(&yard, 5 * YARD_STEP_MS);
    assert_false(yard_row(&yard, 0).is_asking); /* it waits in the queue */
    assert_int_equal(yard_row(&yard, 0).waiting, 1);
    yard.fails_commands[0] = true;
    yard_target(&yard, "slurm", 2);
    yard_run(&yard, 2 * YARD_STEP_MS);
    assert_true(yard_row(&yard, 0).is_asking);
    yard_run(&yard,
             5 * YARD_STEP_MS); /* it is asked what came of it; that the start failed stands */
    assert_false(yard_row(&yard, 0).is_asking);
    assert_string_equal(yard_row(&yard, 0).state.data, "back-off");
    end();
    begin("providers:\n  - {kind: local, max: 6}\n");
    yard_target(&yard, "local", 1);
    yard_run(&yard, 2 * YARD_STEP_MS);
    assert_true(yard_row(&yard, 0).is_asking); /* its worker did not speak yet */
    yard_run(&yard, 3000);
    assert_false(yard_row(&yard, 0).is_asking);
    yard_restart(&yard);
    yard_target(&yard, "local", 2);
    yard_run(&yard, YARD_STEP_MS);
    assert_true(yard_row(&yard, 0).is_asking); /* it listens first */
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scale_answer__over_ssh_each_host_is_tried_before_anybody_rests),
        cmocka_unit_test(test_scale_answer__whoever_asked_sees_when_there_is_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
