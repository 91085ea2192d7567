/* test_life.c - how the next process speaks of one that was killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/message/state.h"
#include "worker/loop/life.h"

#define MIB UINT64_C(1048576)

static int setup(void **state)
{
    static char folder[64];
    (void)snprintf(folder, sizeof folder, "/tmp/qfleet-life-XXXXXX");
    *state = mkdtemp(folder);
    return *state == NULL;
}

static int teardown(void **state)
{
    return rmdir(*state);
}

/* As a process that is killed: nothing is closed. */
static void die_at(const char *folder, uint64_t job, uint64_t rss_bytes, uint64_t limit_bytes)
{
    struct life life;
    life_open(&life, folder, "node", limit_bytes);
    life_note(&life, job, STAGE_KIND_TRAIN);
    life_grow(&life, rss_bytes);
    (void)close(life.fd);
}

static void expect(const char *folder, const char *words)
{
    struct life life;
    life_open(&life, folder, "node", 0);
    assert_string_equal(life.last_end, words);
    life_close(&life);
}

static void test_life__the_next_process_names_task_and_size(void **state)
{
    die_at(*state, 0x9c41e2b000000001, 40 * MIB, 100 * MIB);
    expect(*state, "its process before was killed at rss 40 MiB, stage train of job "
                   "9c41e2b000000001");
    expect(*state, "");
}

static void test_life__a_full_memory_is_named_with_its_limit(void **state)
{
    die_at(*state, 1, 99 * MIB, 100 * MIB);
    expect(*state, "killed, nearly out of memory rss 99 MiB, limit 100 MiB, stage train of job "
                   "0000000000000001");
}

static void test_life__slow_growth_is_kept_too(void **state)
{
    struct life life;
    uint64_t rss_bytes = 50 * MIB;
    life_open(&life, *state, "node", 100 * MIB);
    life_note(&life, 1, STAGE_KIND_TRAIN);
    for (; rss_bytes < 96 * MIB; rss_bytes += rss_bytes / 100)
        life_grow(&life, rss_bytes);
    (void)close(life.fd);
    life_open(&life, *state, "node", 0);
    assert_non_null(strstr(life.last_end, "nearly out of memory rss 9"));
    life_close(&life);
}

static void test_life__an_idle_process_leaves_no_words(void **state)
{
    die_at(*state, 0, 99 * MIB, 100 * MIB);
    expect(*state, "");
}

static void test_life__the_kernels_count_decides(void **state)
{
    (void)state;
    struct life life;
    char text[LIFE_TEXT_BYTES];
    life_open(&life, *state, "node", 128 * MIB);
    life_note(&life, 7, STAGE_KIND_EVALUATE);
    life_grow(&life, 64 * MIB);
    life_judge(&life.record, life.record.oom_kills + 1, text);
    assert_string_equal(text, "OOM_KILLED rss 64 MiB, limit 128 MiB, stage evaluate of job "
                              "0000000000000007");
    life.record.kind = STAGE_KIND_COUNT; /* of another build, or damaged */
    life_judge(&life.record, 99, text);
    assert_string_equal(text, "");
    life_close(&life);
}

static void test_life__a_folder_that_cannot_be_written_is_no_error(void **state)
{
    (void)state;
    struct life life;
    life_open(&life, "/nonexistent", "node", 1);
    life_note(&life, 1, STAGE_KIND_TRAIN);
    life_grow(&life, 1);
    assert_string_equal(life.last_end, "");
    life_close(&life);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_life__##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_next_process_names_task_and_size),
        TEST(a_full_memory_is_named_with_its_limit),
        TEST(slow_growth_is_kept_too),
        TEST(an_idle_process_leaves_no_words),
        TEST(the_kernels_count_decides),
        TEST(a_folder_that_cannot_be_written_is_no_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
