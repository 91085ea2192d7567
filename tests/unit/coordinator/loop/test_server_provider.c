/* test_server_provider.c - commands of providers, one after the other, until somebody says stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/loop/server_provider.h"

static const struct provider_site site = {
    .program = "w", .coordinator = "tcp://127.0.0.1:1", .fleet = "f"};

static void on_news(void *context)
{
    ++*(int *)context;
}

static void on_crash(void *context, const char *provider, const char *allocation)
{
    (void)context;
    fail_msg("%s %s", provider, allocation);
}

/* A PATH with an sbatch that gives out job 7 and leaves a letter a call in `calls`. */
static void make_sbatch(char *folder, char *calls, size_t size)
{
    char path[300];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(calls, size, "%s/calls", folder);
    (void)snprintf(path, sizeof path, "%s/sbatch", folder);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    (void)fprintf(out, "#!/bin/sh\nprintf x >>%s\necho 7\n", calls);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(path, 0700), 0);
    assert_int_equal(setenv("PATH", folder, 1), 0);
}

/* Two jobs are asked for; returns how many were. */
static long submit_two(bool is_stopped)
{
    static const char text[] = "providers: [{name: c, kind: slurm, max: 4, time_limit: 1h}]";
    char folder[] = "/tmp/qfleet-provider-XXXXXX", calls[300];
    uv_loop_t loop;
    struct providers providers;
    struct server_provider *runner;
    struct stat status;
    struct scale_event event;
    int news = 0;
    make_sbatch(folder, calls, sizeof calls);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(providers_read((struct span){(const uint8_t *)text, sizeof text - 1}, "t", 1,
                                    &providers, NULL),
                     ERR_OK);
    const struct server_provider_options options = {.loop = &loop,
                                                    .data_folder = folder,
                                                    .incarnation = 1,
                                                    .site = &site,
                                                    .news = on_news,
                                                    .crash = on_crash,
                                                    .context = &news};
    const struct scale_effect effect = {
        .kind = SCALE_START, .provider = TEXT("c"), .count = 2, .total = 2};
    assert_int_equal(server_provider_create(&options, &runner), ERR_OK);
    assert_int_equal(server_provider_run(runner, &providers.rows[0], &effect, NULL, 0), ERR_OK);
    if (is_stopped)
        server_provider_stop(runner);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(news, 1);
    assert_false(server_provider_is_busy(runner));
    assert_true(server_provider_next(runner, &event));
    assert_int_equal(event.kind, SCALE_STARTED);
    server_provider_destroy(&runner);
    providers_fini(&providers);
    assert_int_equal(stat(calls, &status), 0);
    (void)unlink(calls);
    char path[300];
    (void)snprintf(path, sizeof path, "%s/sbatch", folder);
    (void)unlink(path);
    (void)rmdir(folder);
    return (long)status.st_size;
}

static void test_server_provider__commands_are_run_one_after_the_other(void **state)
{
    (void)state;
    assert_int_equal(submit_two(false), 2);
}

/* The loop may be closing its handles by then: a command begun now would have to come to its end.
 */
static void test_server_provider__after_a_stop_no_command_follows_the_one_that_is_out(void **state)
{
    (void)state;
    assert_int_equal(submit_two(true), 1);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* sbatch does not read its script */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_provider__commands_are_run_one_after_the_other),
        cmocka_unit_test(test_server_provider__after_a_stop_no_command_follows_the_one_that_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
