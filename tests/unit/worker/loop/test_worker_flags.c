/* test_worker_flags.c - the command line and what Slurm says beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base/check.h"
#include "worker/loop/worker_flags.h"

enum { NOW_S = 1000000 };

/* Flags and the command line they borrow from. */
struct line {
    struct worker_flags flags;
    char texts[16][64];
};

static enum err read_with(const char *const *words, size_t count,
                          const struct worker_surroundings *around, struct line *line,
                          struct err_text *et)
{
    char(*texts)[64] = line->texts;
    char *argv[16] = {NULL};
    assert_true(count < COUNT_OF(argv));
    for (size_t i = 0; i < count; i++) {
        assert_true(strlen(words[i]) < sizeof texts[i]);
        memcpy(texts[i], words[i], strlen(words[i]) + 1);
        argv[i] = texts[i];
    }
    *et = (struct err_text){""};
    return worker_flags_read((int)count, argv, around, &line->flags, et);
}

#define READ(around, line, et, ...)                                                                \
    read_with((const char *const[]){"qfleet-worker", "--coordinator", "ipc:///x", __VA_ARGS__},    \
              COUNT_OF(((const char *const[]){"", "", "", __VA_ARGS__})), around, line, et)

static void test_flags__a_slurm_job_is_place_and_name(void **state)
{
    (void)state;
    struct worker_surroundings around = {
        .slurm_job_id = "4711", .slurm_ntasks = "1", .slurm_procid = "0", .unix_s = NOW_S};
    struct line line;
    struct err_text et;
    assert_int_equal(READ(&around, &line, &et, "--provider", "cluster"), ERR_OK);
    assert_string_equal(line.flags.options.allocation, "4711");
    assert_string_equal(line.flags.options.name, "cluster-4711");
    around.slurm_ntasks = "3";
    around.slurm_procid = "2";
    assert_int_equal(READ(&around, &line, &et, "--provider", "cluster"), ERR_OK);
    assert_string_equal(line.flags.options.name, "cluster-4711-2");
    assert_int_equal(READ(&around, &line, &et, "--provider", "cluster", "--name", "mine"), ERR_OK);
    assert_string_equal(line.flags.options.name, "mine");
}

static void test_flags__without_a_provider_slurm_gives_no_place(void **state)
{
    (void)state;
    const struct worker_surroundings around = {.slurm_job_id = "4711", .unix_s = NOW_S};
    struct line line;
    struct err_text et;
    assert_int_equal(READ(&around, &line, &et, "--threads", "1"), ERR_OK);
    assert_null(line.flags.options.allocation);
    assert_null(line.flags.options.name);
}

static void test_flags__the_sooner_end_counts(void **state)
{
    (void)state;
    struct worker_surroundings around = {.slurm_job_end_time = "1000090", .unix_s = NOW_S};
    struct line line;
    struct err_text et;
    assert_int_equal(READ(&around, &line, &et, "--threads", "1"), ERR_OK);
    assert_true(line.flags.options.time_limit_ms == 90000);
    assert_int_equal(READ(&around, &line, &et, "--time-limit", "60"), ERR_OK);
    assert_true(line.flags.options.time_limit_ms == 60000);
    assert_int_equal(READ(&around, &line, &et, "--time-limit", "600"), ERR_OK);
    assert_true(line.flags.options.time_limit_ms == 90000);
    assert_int_equal(READ(&around, &line, &et, "--time-limit", "0"), ERR_OK);
    assert_true(line.flags.options.time_limit_ms == 0);
    around.slurm_job_end_time = NULL;
    assert_int_equal(READ(&around, &line, &et, "--threads", "1"), ERR_OK);
    assert_true(line.flags.options.time_limit_ms == 0);
}

static void test_flags__an_end_that_is_too_near_or_no_number_is_refused(void **state)
{
    (void)state;
    struct worker_surroundings around = {.unix_s = NOW_S};
    struct line line;
    struct err_text et;
    assert_int_equal(READ(&around, &line, &et, "--time-limit", "3"), ERR_USAGE);
    assert_non_null(strstr(et.text, "--time-limit"));
    assert_int_equal(READ(&around, &line, &et, "--time-limit", "-5"), ERR_USAGE);
    around.slurm_job_end_time = "soon";
    assert_int_equal(READ(&around, &line, &et, "--threads", "1"), ERR_USAGE);
    assert_non_null(strstr(et.text, "SLURM_JOB_END_TIME"));
    around.slurm_job_end_time = "999";
    assert_int_equal(READ(&around, &line, &et, "--threads", "1"), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags__a_slurm_job_is_place_and_name),
        cmocka_unit_test(test_flags__without_a_provider_slurm_gives_no_place),
        cmocka_unit_test(test_flags__the_sooner_end_counts),
        cmocka_unit_test(test_flags__an_end_that_is_too_near_or_no_number_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
