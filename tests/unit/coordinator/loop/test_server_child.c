/* test_server_child.c - workers' processes: told to go, told twice, and what they write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/loop/server_child.h"

struct yard {
    uv_loop_t loop;
    struct server_child_set *set;
    char folder[64];
    int ended;
    bool has_failed;
    char detail[256];
};

static void on_end(void *context, const struct server_child *child, bool has_failed,
                   const char *detail)
{
    struct yard *yard = context;
    assert_string_equal(child->allocation, "1.1");
    yard->ended++;
    yard->has_failed = has_failed;
    (void)snprintf(yard->detail, sizeof yard->detail, "%s", detail);
}

static void begin(struct yard *yard, const char *script)
{
    struct err_text et = {""};
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    const struct provider_command what = {
        .argv = argv, .argc = 3, .is_worker = true, .allocation = "1.1", .worker = "here-1"};
    *yard = (struct yard){.folder = "/tmp/qfleet-child-XXXXXX"};
    assert_non_null(mkdtemp(yard->folder));
    assert_int_equal(uv_loop_init(&yard->loop), 0);
    assert_int_equal(server_child_create(&yard->loop, yard->folder, on_end, yard, &yard->set),
                     ERR_OK);
    assert_int_equal(server_child_start(yard->set, "here", "", &what, &et), ERR_OK);
}

static void log_path(const struct yard *yard, char out[128])
{
    (void)snprintf(out, 128, "%s/workers/here-1.log", yard->folder);
}

static void end(struct yard *yard)
{
    char path[128];
    server_child_destroy(&yard->set);
    assert_int_equal(uv_loop_close(&yard->loop), 0);
    log_path(yard, path);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/workers", yard->folder);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(yard->folder), 0);
}

static void wait_for_log(const struct yard *yard, off_t size)
{
    char path[128];
    struct stat status;
    log_path(yard, path);
    for (int i = 0; i < 1000; i++) {
        if (stat(path, &status) == 0 && status.st_size >= size)
            return;
        (void)usleep(10000);
    }
    fail_msg("the log does not grow to %lld bytes", (long long)size);
}

static void test_child__sigterm_reaches_what_it_started(void **state)
{
    (void)state;
    struct yard yard;
    begin(&yard,
          "trap 'wait; exit 0' TERM; (trap 'echo gone; exit' TERM; echo up; while :; do sleep "
          "0.1; done) & wait");
    wait_for_log(&yard, 3);
    server_child_terminate(yard.set, TEXT("1.1"));
    (void)uv_run(&yard.loop, UV_RUN_DEFAULT);
    assert_int_equal(yard.ended, 1);
    assert_false(yard.has_failed);
    wait_for_log(&yard, 8);
    end(&yard);
}

static void test_child__one_that_ignores_it_is_killed_the_second_time(void **state)
{
    (void)state;
    struct yard yard;
    begin(&yard, "trap '' TERM; echo up; while :; do sleep 1; done");
    wait_for_log(&yard, 3);
    server_child_terminate(yard.set, TEXT("1.1"));
    (void)usleep(300000);
    (void)uv_run(&yard.loop, UV_RUN_NOWAIT);
    assert_int_equal(yard.ended, 0);
    server_child_terminate(yard.set, TEXT("other"));
    server_child_terminate(yard.set, TEXT("1.1"));
    (void)uv_run(&yard.loop, UV_RUN_DEFAULT);
    assert_int_equal(yard.ended, 1);
    assert_string_equal(yard.detail, "killed by signal 9: up");
    end(&yard);
}

static void test_child__a_log_stays_within_bounds_and_keeps_its_end(void **state)
{
    (void)state;
    struct yard yard;
    struct stat status;
    char path[128];
    begin(&yard,
          "trap 'echo last words; exit 3' TERM; head -c 6000000 /dev/zero | tr '\\0' x; echo; "
          "echo middle; while :; do sleep 0.1; done");
    wait_for_log(&yard, 6000008);
    server_child_bound_logs(yard.set);
    log_path(&yard, path);
    assert_int_equal(stat(path, &status), 0);
    assert_in_range(status.st_size, 1000, 1 << 20);
    server_child_terminate(yard.set, TEXT("1.1"));
    (void)uv_run(&yard.loop, UV_RUN_DEFAULT);
    assert_string_equal(yard.detail, "exit code 3: last words");
    assert_int_equal(stat(path, &status), 0);
    assert_in_range(status.st_size, 1000, 1 << 20); /* it went on at the end */
    end(&yard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child__sigterm_reaches_what_it_started),
        cmocka_unit_test(test_child__one_that_ignores_it_is_killed_the_second_time),
        cmocka_unit_test(test_child__a_log_stays_within_bounds_and_keeps_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
