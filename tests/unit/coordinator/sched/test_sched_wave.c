/* test_sched_wave.c - waves of a stage open one after the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/message/state.h"
#include "coordinator/sched/tasks.h"
#include "world.h"

static const struct wave_layout layout = {.shards = 2, .groups = 3, .periods = 3};

static void test_wave__places_cover_the_tasks_in_order(void **state)
{
    (void)state;
    uint32_t task = 0;
    for (uint32_t period = 0; period < 3; period++) {
        for (int is_group = 0; is_group < 2; is_group++) {
            uint32_t end = task + (is_group ? 3 : 2);
            for (uint32_t i = 0; task < end; i++, task++) {
                struct wave_place place = wave_place(&layout, task);
                assert_int_equal(place.period, period);
                assert_int_equal(place.is_group, is_group);
                assert_int_equal(place.index, i);
                assert_int_equal(wave_task(&layout, place), task);
                assert_int_equal(wave_end(&layout, task), end);
            }
        }
    }
    assert_int_equal(task, wave_task_count(&layout));
}

static const struct task_result done = {0};

static void finish(struct tasks *tasks, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++)
        tasks_finish(tasks, i, &done, TEXT("w"));
}

/* The tasks that wait are exactly first..end-1. */
static void assert_waiting(const struct tasks *tasks, uint32_t first, uint32_t end)
{
    for (uint32_t i = 0; i < tasks->count; i++)
        assert_int_equal(bitset_has(&tasks->waiting, i), i >= first && i < end);
}

static void test_tasks__waves_open_when_the_one_before_is_complete(void **state)
{
    (void)state;
    struct tasks tasks = {0};
    assert_int_equal(tasks_start_waves(&tasks, &layout), ERR_OK);
    assert_int_equal(tasks.count, 15);
    assert_waiting(&tasks, 0, 2);
    tasks_finish(&tasks, 1, &done, TEXT("w"));
    assert_waiting(&tasks, 0, 1);
    tasks_finish(&tasks, 0, &done, TEXT("w"));
    assert_waiting(&tasks, 2, 5);
    finish(&tasks, 2, 5);
    assert_waiting(&tasks, 5, 7);
    finish(&tasks, 5, 15);
    assert_waiting(&tasks, 0, 0);
    assert_int_equal(tasks.done, 15);
    tasks_fini(&tasks);
}

static void test_tasks__lost_result_closes_later_waves(void **state)
{
    (void)state;
    struct tasks tasks = {0};
    assert_int_equal(tasks_start_waves(&tasks, &layout), ERR_OK);
    finish(&tasks, 0, 8);
    assert_waiting(&tasks, 8, 10);
    tasks_undo(&tasks, 6);
    assert_waiting(&tasks, 6, 7);
    assert_false(tasks_is_open(&tasks, 8));
    tasks_undo(&tasks, 3);
    tasks_undo(&tasks, 0);
    assert_waiting(&tasks, 0, 1);
    tasks_await(&tasks, 8); /* an attempt of a closed wave ends */
    assert_waiting(&tasks, 0, 1);
    tasks_finish(&tasks, 9, &done, TEXT("w")); /* another one was faster */
    finish(&tasks, 0, 1);
    assert_waiting(&tasks, 3, 4);
    finish(&tasks, 3, 4);
    assert_waiting(&tasks, 6, 7);
    finish(&tasks, 6, 7);
    assert_waiting(&tasks, 8, 9);
    finish(&tasks, 8, 9);
    assert_waiting(&tasks, 10, 12);
    tasks_fini(&tasks);
}

/* What is true of waves must be true after any order of events. */
static void test_tasks__any_order_keeps_the_open_wave_right(void **state)
{
    (void)state;
    static const struct wave_layout layouts[] = {{1, 1, 1}, {1, 4, 3}, {3, 1, 5}, {4, 5, 4}};
    uint64_t random = 7;
    for (size_t k = 0; k < 200; k++) {
        const struct wave_layout *l = &layouts[k % 4];
        struct tasks tasks = {0};
        assert_int_equal(tasks_start_waves(&tasks, l), ERR_OK);
        for (int event = 0; event < 300; event++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint32_t i = (uint32_t)(random >> 33) % tasks.count;
            if (tasks.items[i].result != NULL && (random >> 20) % 8 == 0)
                tasks_undo(&tasks, i);
            else if (tasks.items[i].result == NULL &&
                     (tasks_is_open(&tasks, i) || (random >> 20) % 64 == 0))
                tasks_finish(&tasks, i, &done, TEXT("w"));
            uint32_t first = 0;
            while (first < tasks.count && tasks.items[first].result != NULL)
                first++;
            uint32_t end = first < tasks.count ? wave_end(l, first) : tasks.count;
            assert_int_equal(tasks.open_end, end);
            for (uint32_t t = 0; t < tasks.count; t++)
                assert_int_equal(bitset_has(&tasks.waiting, t),
                                 t < end && tasks.items[t].result == NULL);
        }
        tasks_fini(&tasks);
    }
}

static void test_tasks__shards_are_not_measured_by_groups(void **state)
{
    (void)state;
    struct tasks tasks = {0};
    assert_int_equal(tasks_start_waves(&tasks, &layout), ERR_OK);
    tasks_add_time(&tasks, 0, 10);
    tasks_add_time(&tasks, 2, 5000);
    assert_int_equal(tasks_median_ms(tasks_times_of(&tasks, 6)), 10);
    assert_int_equal(tasks_median_ms(tasks_times_of(&tasks, 7)), 5000);
    tasks_fini(&tasks);
}

static int setup(void **state)
{
    (void)world_setup(state);
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
    world_hello(w, 3, "c", "f32/1");
    return 0;
}

/* Answers all until the oldest grant is a task of replay. */
static void run_to_replay(struct world *w)
{
    while (w->grant_count == 0 || w->grants[0].grant.spec.kind != STAGE_KIND_REPLAY) {
        struct world_grant grant = world_next_grant(w);
        world_answer(w, grant.peer, &grant.grant);
    }
}

/* Answers the oldest grant, which is of task `index`. */
static void answer(struct world *w, uint32_t index)
{
    struct world_grant grant = world_next_grant(w);
    assert_int_equal(grant.grant.index, index);
    world_answer(w, grant.peer, &grant.grant);
}

static const struct artifact_ref *input_of(const struct task_spec *spec, const char *name)
{
    for (uint32_t i = 0; i < spec->inputs_count; i++) {
        if (text_is(spec->inputs[i].name, name))
            return &spec->inputs[i];
    }
    return NULL;
}

static void test_wave__tasks_are_granted_wave_by_wave(void **state)
{
    struct world *w = *state;
    world_quantize(w, 1, "scheme: W4A16, method: gptq");
    run_to_replay(w);
    assert_int_equal(w->grant_count, 2); /* two shards, and three workers */
    answer(w, 0);
    assert_int_equal(w->grant_count, 1);
    answer(w, 1);
    assert_int_equal(w->grant_count, 3);
    for (uint32_t i = 2; i < 10; i++)
        answer(w, i);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
}

static void test_wave__task_is_told_its_place_and_what_was_made_before(void **state)
{
    struct world *w = *state;
    world_quantize(w, 1, "scheme: W4A16, method: gptq");
    run_to_replay(w);
    const struct task_spec *spec = &w->grants[1].grant.spec;
    assert_int_equal(spec->round, 0);
    assert_int_equal(spec->first, 1);
    assert_int_equal(spec->total, 2);
    assert_non_null(input_of(spec, "calib_rows"));
    assert_null(input_of(spec, "hidden"));
    answer(w, 0);
    answer(w, 1);
    spec = &w->grants[2].grant.spec;
    assert_int_equal(spec->kind, STAGE_KIND_QUANTIZE);
    assert_int_equal(spec->round, 0);
    assert_int_equal(spec->first, 2);
    assert_int_equal(spec->end, 3);
    assert_int_equal(spec->total, 6); /* groups of all periods */
    assert_non_null(input_of(spec, "gram/0"));
    assert_non_null(input_of(spec, "gram/1"));
    assert_null(input_of(spec, "tensors/0"));
    for (uint32_t i = 2; i < 5; i++)
        answer(w, i);
    spec = &w->grants[0].grant.spec;
    assert_int_equal(spec->kind, STAGE_KIND_REPLAY);
    assert_int_equal(spec->round, 1);
    assert_int_equal(spec->first, 0);
    assert_int_equal(spec->total, 2);
    assert_non_null(input_of(spec, "hidden"));
    assert_non_null(input_of(spec, "tensors/2"));
    assert_null(input_of(spec, "gram/0"));
}

static void test_wave__lost_result_stops_later_waves_until_it_is_made_again(void **state)
{
    struct world *w = *state;
    world_quantize(w, 1, "scheme: W4A16, method: gptq");
    run_to_replay(w);
    struct world_grant shard = w->grants[1];
    answer(w, 0);
    answer(w, 1);
    world_damage(w, world_result(w, &shard.grant, 0).result.outputs[1].digest); /* for group 0 */
    answer(w, 2);                                                               /* cannot be read */
    struct sched_work verify = world_next_work(w);
    assert_int_equal(verify.kind, SCHED_WORK_VERIFY);
    world_work(w, &verify);
    assert_int_equal(w->fx.records[0].number, REC_ARTIFACT_LOST);
    assert_non_null(world_sent(w, MSG_LEASE_CANCEL, 1)); /* tasks 3 and 4 */
    struct world_grant last = w->grants[w->grant_count - 1];
    assert_int_equal(last.grant.index, 1);
    assert_int_equal(world_sent(w, MSG_LEASE_GRANT, 0)->message.lease_grant.index, 1);
    assert_null(world_sent(w, MSG_LEASE_GRANT, 1));
    w->grant_count = 0;
    world_answer(w, last.peer, &last.grant);
    for (int i = 0; i < 5; i++) {
        world_run(w);
        w->now_ms += 3000;
        for (uint64_t peer = 1; peer <= 3; peer++)
            world_beat(w, peer, NULL, 0);
    }
    assert_int_equal(world_state(w, 0), JOB_DONE);
    /* prepare (2), pack, choose, replay (10 and one again), assemble, verify, compare (2), report
     */
    assert_int_equal(w->tasks_counted, 2 + 1 + 1 + 11 + 1 + 1 + 2 + 1);
}

static void test_wave__restart_goes_on_in_the_open_wave(void **state)
{
    struct world *w = *state;
    world_quantize(w, 1, "scheme: W4A16, method: gptq");
    run_to_replay(w);
    answer(w, 0);
    answer(w, 1);
    answer(w, 2);
    world_restart(w);
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
    assert_int_equal(w->grant_count, 2);
    assert_int_equal(w->grants[0].grant.index, 3);
    assert_int_equal(w->grants[1].grant.index, 4);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
}

struct search {
    struct digest digest;
    bool found;
};

static void look(void *context, struct digest digest)
{
    struct search *search = context;
    search->found |= digest_equal(digest, search->digest);
}

static bool is_root(const struct world *w, struct digest digest)
{
    struct search search = {.digest = digest};
    sched_each_root(w->s, look, &search);
    return search.found;
}

static void test_wave__what_shards_hand_on_is_kept_while_it_is_read(void **state)
{
    struct world *w = *state;
    world_quantize(w, 1, "scheme: W4A16, method: gptq");
    run_to_replay(w);
    struct world_grant shard = w->grants[0];
    struct task_result first = world_result(w, &shard.grant, 0).result;
    struct digest hidden = first.outputs[0].digest, gram = first.outputs[1].digest;
    for (uint32_t i = 0; i < 5; i++) {
        answer(w, i);
        assert_true(is_root(w, hidden)); /* period 0, and shards of period 1 */
    }
    for (uint32_t i = 5; i < 10; i++) {
        answer(w, i);
        assert_true(i == 9 || is_root(w, hidden));
    }
    assert_false(is_root(w, hidden)); /* period 2 is open */
    assert_false(is_root(w, gram));
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_false(is_root(w, hidden));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_wave__##name, setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wave__places_cover_the_tasks_in_order),
        cmocka_unit_test(test_tasks__waves_open_when_the_one_before_is_complete),
        cmocka_unit_test(test_tasks__lost_result_closes_later_waves),
        cmocka_unit_test(test_tasks__any_order_keeps_the_open_wave_right),
        cmocka_unit_test(test_tasks__shards_are_not_measured_by_groups),
        TEST(tasks_are_granted_wave_by_wave),
        TEST(task_is_told_its_place_and_what_was_made_before),
        TEST(lost_result_stops_later_waves_until_it_is_made_again),
        TEST(restart_goes_on_in_the_open_wave),
        TEST(what_shards_hand_on_is_kept_while_it_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
