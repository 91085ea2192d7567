/* test_server_command.c - programs that end well, badly, never, or say too much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/loop/server_command.h"

struct outcome {
    int count;
    enum err err;
    char output[64], detail[256];
    size_t size;
};

static void on_done(void *context, const struct server_command_result *result)
{
    struct outcome *outcome = context;
    outcome->count++;
    outcome->err = result->err;
    outcome->size = result->output.size;
    (void)snprintf(outcome->output, sizeof outcome->output, "%.*s",
                   (int)(result->output.size < 60 ? result->output.size : 60), result->output.data);
    (void)snprintf(outcome->detail, sizeof outcome->detail, "%.*s", TEXT_ARGS(result->detail));
}

static struct outcome run(const char *script, const char *input, uint32_t timeout_ms)
{
    uv_loop_t loop;
    struct outcome outcome = {0};
    struct server_command *command;
    struct err_text et = {""};
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    const struct provider_command what = {
        .argv = argv, .argc = 3, .input = text_of(input), .timeout_ms = timeout_ms};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(server_command_start(&loop, &what, on_done, &outcome, &command, &et), ERR_OK);
    assert_int_equal(outcome.count, 0);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(uv_loop_close(&loop), 0);
    return outcome;
}

static void test_command__output_and_input_are_passed_on(void **state)
{
    (void)state;
    struct outcome outcome = run("cat; echo end", "a script\n", 60000);
    assert_int_equal(outcome.err, ERR_OK);
    assert_string_equal(outcome.output, "a script\nend\n");
}

static void test_command__a_failure_has_its_last_words(void **state)
{
    (void)state;
    struct outcome outcome = run("echo first >&2; echo 'no such partition' >&2; exit 3", "", 60000);
    assert_int_equal(outcome.err, ERR_IO);
    assert_string_equal(outcome.detail, "no such partition");
    outcome = run("exit 3", "", 60000);
    assert_string_equal(outcome.detail, "exit code 3");
    outcome = run("kill -9 $$", "", 60000);
    assert_string_equal(outcome.detail, "killed by signal 9");
}

static void test_command__one_that_hangs_is_ended_with_its_children(void **state)
{
    (void)state;
    struct outcome outcome = run("echo waiting >&2; sleep 600 & sleep 600", "", 300);
    assert_int_equal(outcome.err, ERR_TIMEOUT);
    assert_non_null(strstr(outcome.detail, "waiting"));
}

static void test_command__a_grandchild_that_keeps_the_pipe_is_not_waited_for(void **state)
{
    (void)state;
    struct outcome outcome = run("sleep 5 & echo done", "", 60000);
    assert_int_equal(outcome.err, ERR_OK);
    assert_string_equal(outcome.output, "done\n");
}

static void test_command__a_program_is_looked_for_where_a_shell_would(void **state)
{
    (void)state;
    assert_true(server_command_exists("/bin/sh", ""));
    assert_false(server_command_exists("/bin", NULL)); /* a folder */
    assert_false(server_command_exists("/nowhere/sh", "/bin"));
    assert_true(server_command_exists("sh", "/nowhere:/bin"));
    assert_true(server_command_exists("sh", "/nowhere::/bin:"));
    assert_false(server_command_exists("sh", "/nowhere:/etc:"));
    assert_false(server_command_exists("sh", ""));
    assert_true(server_command_exists("sh", NULL));        /* who knows */
    assert_false(server_command_exists("passwd", "/etc")); /* a file that is no program */
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* What a program leaves behind in its group goes with it, whether or not it holds a pipe. */
static void test_command__nothing_of_it_stays(void **state)
{
    (void)state;
    char path[64], script[256];
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "/tmp/qfleet-left-%d-%d", (int)getpid(), i);
        (void)snprintf(script, sizeof script, "(trap '' TERM; sleep 2; : > %s) %s & echo done",
                       path, i == 0 ? "" : ">/dev/null 2>&1");
        assert_int_equal(run(script, "", 60000).err, ERR_OK);
        (void)usleep(2500000);
        assert_false(is_there(path));
    }
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void test_command__one_that_is_out_at_the_end_ends_with_the_loop(void **state)
{
    (void)state;
    uv_loop_t loop;
    char path[64], script[128];
    struct outcome outcome = {0};
    struct server_command *command;
    struct err_text et = {""};
    (void)snprintf(path, sizeof path, "/tmp/qfleet-out-%d", (int)getpid());
    (void)snprintf(script, sizeof script, "trap '' TERM HUP; sleep 2; : > %s", path);
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    const struct provider_command what = {.argv = argv, .argc = 3, .timeout_ms = 60000};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(server_command_start(&loop, &what, on_done, &outcome, &command, &et), ERR_OK);
    uv_walk(&loop, close_handle, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    server_command_destroy(&command);
    assert_null(command);
    (void)usleep(2500000);
    assert_false(is_there(path));
    assert_int_equal(outcome.count, 0);
}

static void test_command__endless_output_ends(void **state)
{
    (void)state;
    struct outcome outcome = run("yes", "", 60000);
    assert_int_equal(outcome.err, ERR_LIMIT);
    assert_true(outcome.size <= 4 << 20);
    outcome = run("head -c 100000 /dev/zero >&2; echo >&2; echo last words >&2; exit 1", "", 60000);
    assert_string_equal(outcome.detail, "last words");
}

static void test_command__a_program_that_is_not_there_is_an_error_at_once(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct outcome outcome = {0};
    struct server_command *command;
    struct err_text et = {""};
    const char *argv[] = {"/nowhere/sbatch", NULL};
    const struct provider_command what = {.argv = argv, .argc = 1, .input = TEXT("x")};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(server_command_start(&loop, &what, on_done, &outcome, &command, &et), ERR_IO);
    assert_non_null(strstr(et.text, "/nowhere/sbatch"));
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(outcome.count, 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command__a_program_is_looked_for_where_a_shell_would),
        cmocka_unit_test(test_command__output_and_input_are_passed_on),
        cmocka_unit_test(test_command__a_failure_has_its_last_words),
        cmocka_unit_test(test_command__one_that_hangs_is_ended_with_its_children),
        cmocka_unit_test(test_command__a_grandchild_that_keeps_the_pipe_is_not_waited_for),
        cmocka_unit_test(test_command__nothing_of_it_stays),
        cmocka_unit_test(test_command__one_that_is_out_at_the_end_ends_with_the_loop),
        cmocka_unit_test(test_command__endless_output_ends),
        cmocka_unit_test(test_command__a_program_that_is_not_there_is_an_error_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
