/* test_server_command.c - programs that end well, badly, never, or say too much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

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
        cmocka_unit_test(test_command__output_and_input_are_passed_on),
        cmocka_unit_test(test_command__a_failure_has_its_last_words),
        cmocka_unit_test(test_command__one_that_hangs_is_ended_with_its_children),
        cmocka_unit_test(test_command__a_grandchild_that_keeps_the_pipe_is_not_waited_for),
        cmocka_unit_test(test_command__endless_output_ends),
        cmocka_unit_test(test_command__a_program_that_is_not_there_is_an_error_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
