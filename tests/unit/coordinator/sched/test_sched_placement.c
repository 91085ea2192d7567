/* test_sched_placement.c - tasks go to workers that have the memory for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "coordinator/sched/sched_explain.h"
#include "world.h"

enum { ROWS_MAX = 64 };

#define MIB UINT64_C(1048576)

static void hello(struct world *w, uint64_t peer, const char *name, uint64_t memory_bytes)
{
    struct msg_hello hello = {.protocol = MESSAGE_PROTOCOL,
                              .role = PEER_WORKER,
                              .name = text_of(name),
                              .session = peer,
                              .threads = 1,
                              .memory_bytes = memory_bytes,
                              .isa = TEXT("portable"),
                              .profiles = TEXT("f32/1"),
                              .last_end = TEXT("OOM_KILLED rss 90 MiB, limit 91 MiB")};
    world_step(w, (struct sched_event){
                      .kind = SCHED_HELLO, .peer = (struct peer_id){peer}, .hello = &hello});
}

/* A job whose stages need so much each. */
static void submit(struct world *w, uint64_t request, uint64_t memory_bytes)
{
    struct rec_job_submitted record;
    world_job(w, request, world_recipe(w, "micro_batch_size: 8\nmax_steps: 20\n"), 1, false,
              &record);
    for (uint32_t i = 0; i < record.stages_count; i++)
        record.stages[i].memory_bytes = memory_bytes;
    struct sched_event event = {.kind = SCHED_SUBMIT, .peer = {900}};
    event.submit.ticket = request;
    event.submit.record = &record;
    world_step(w, event);
}

static const struct explain_row *find(struct world *w, enum reason reason)
{
    static struct explain_row rows[ROWS_MAX];
    struct sched_explain_view view = {.now = {w->now_ms * NS_PER_MS}};
    size_t count = sched_explain(w->s, 0, TEXT(""), &view, rows, ROWS_MAX);
    for (size_t i = 0; i < count; i++)
        if (rows[i].reason == (uint32_t)reason)
            return &rows[i];
    return NULL;
}

static void test_placement__small_workers_are_given_what_they_can_take(void **state)
{
    struct world *w = *state;
    hello(w, 1, "small", 100 * MIB);
    submit(w, 1, 200 * MIB);
    assert_int_equal(w->grant_count, 0);
    submit(w, 2, 50 * MIB); /* behind it, and not held up by it */
    assert_int_equal(w->grant_count, 1);
    assert_int_equal(w->grants[0].peer.v, 1);
    size_t before = w->grant_count;
    hello(w, 2, "large", 200 * MIB); /* just enough */
    assert_true(w->grant_count > before);
    assert_int_equal(w->grants[before].peer.v, 2);
    assert_true(w->grants[before].grant.job != w->grants[0].grant.job);
}

static void test_placement__a_worker_of_unknown_size_takes_anything(void **state)
{
    struct world *w = *state;
    hello(w, 1, "unknown", 0);
    submit(w, 1, 200 * MIB);
    assert_int_equal(w->grant_count, 1);
}

static void test_placement__explain_names_what_is_missing(void **state)
{
    struct world *w = *state;
    char text[LIMIT_TEXT_BYTES + 1];
    hello(w, 1, "small", 100 * MIB);
    submit(w, 1, 200 * MIB);
    const struct explain_row *row = find(w, REASON_MEMORY);
    assert_non_null(row);
    (void)snprintf(text, sizeof text, "%.*s", TEXT_ARGS(row->detail));
    assert_string_equal(text, "a task needs 200.0 MiB beside the base; 1 of 1 workers have less, "
                              "100.0 MiB at most");
    (void)snprintf(text, sizeof text, "%.*s", TEXT_ARGS(row->advice));
    assert_string_equal(text, "start a worker with --memory 201MiB or more");
    hello(w, 2, "large", 200 * MIB);
    row = find(w, REASON_MEMORY);
    assert_true(row == NULL || row->advice.size == 0);
}

/* Says hello as the next process of a name, whose first died at a task of the job. */
static size_t deaths(struct world *w, uint64_t peer, uint64_t job, const char *end)
{
    struct msg_hello hello = {.protocol = MESSAGE_PROTOCOL,
                              .role = PEER_WORKER,
                              .name = TEXT("large"),
                              .session = peer,
                              .profiles = TEXT("f32/1"),
                              .last_end = text_of(end),
                              .last_job = job};
    size_t count = 0;
    world_step(w, (struct sched_event){
                      .kind = SCHED_HELLO, .peer = (struct peer_id){peer}, .hello = &hello});
    for (size_t i = 0; i < w->fx.record_count; i++)
        count += w->fx.records[i].number == REC_WORKER_DIED;
    return count;
}

static void test_placement__a_death_is_in_the_log_of_its_job_once(void **state)
{
    struct world *w = *state;
    submit(w, 1, 200 * MIB);
    struct job_row row;
    sched_job_row(w->s, 0, &row);
    assert_int_equal(deaths(w, 1, 0, ""), 0);
    assert_int_equal(deaths(w, 2, row.job, "OOM_KILLED rss 90 MiB, limit 91 MiB"), 1);
    assert_int_equal(deaths(w, 2, row.job, "OOM_KILLED rss 90 MiB, limit 91 MiB"), 0);
    assert_int_equal(deaths(w, 3, row.job + 1, "of a job that there is not"), 0);
    assert_int_equal(deaths(w, 4, row.job, "two\nlines"), 0);
}

/* A large stage waits while workers come and go; explain counts those that are there. */
static void test_placement__what_waits_is_taken_by_whoever_is_large_enough(void **state)
{
    struct world *w = *state;
    hello(w, 1, "small", 100 * MIB);
    submit(w, 1, UINT64_MAX);
    assert_non_null(find(w, REASON_MEMORY));
    hello(w, 2, "larger", UINT64_C(1) << 63);
    hello(w, 3, "tiny", 1);
    assert_int_equal(w->grant_count, 0);
    const struct explain_row *row = find(w, REASON_MEMORY);
    assert_non_null(row);
    assert_non_null(strstr(row->detail.data, "3 of 3 workers have less"));
    world_step(w, (struct sched_event){.kind = SCHED_GONE, .peer = {2}});
    row = find(w, REASON_MEMORY);
    assert_non_null(row);
    assert_null(strstr(row->detail.data, "3 of 3"));
    hello(w, 4, "unknown", 0); /* it says nothing of its memory: it takes anything */
    assert_int_equal(w->grant_count, 1);
    assert_int_equal(w->grants[0].peer.v, 4);
}

static void test_placement__needs_survive_a_restart(void **state)
{
    struct world *w = *state;
    submit(w, 1, 200 * MIB);
    world_restart(w);
    hello(w, 1, "small", 100 * MIB);
    assert_int_equal(w->grant_count, 0);
    hello(w, 2, "large", 300 * MIB);
    assert_int_equal(w->grant_count, 1);
    assert_int_equal(w->grants[0].peer.v, 2);
}

int main(void)
{
#define TEST(name)                                                                                 \
    cmocka_unit_test_setup_teardown(test_placement__##name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(small_workers_are_given_what_they_can_take),
        TEST(a_worker_of_unknown_size_takes_anything),
        TEST(explain_names_what_is_missing),
        TEST(a_death_is_in_the_log_of_its_job_once),
        TEST(what_waits_is_taken_by_whoever_is_large_enough),
        TEST(needs_survive_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
