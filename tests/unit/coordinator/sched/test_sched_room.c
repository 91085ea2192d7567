/* test_sched_room.c - what a training's checkpoints will take is asked for before its first round.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "world.h"

enum { STATE_BYTES = 8 * 3 }; /* of the first state of the world, with both moments */

/* Goes on until a training opens; that work, which is not done. */
static struct sched_work next_open(struct world *w)
{
    for (;;) {
        if (w->work_count > 0 && w->works[0].kind == SCHED_WORK_OPEN)
            return world_next_work(w);
        if (!world_advance(w))
            fail_msg("nothing opens");
    }
}

static struct sched_room room_of_job(struct world *w, const char *keys)
{
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, keys), 3, false);
    return next_open(w).room;
}

static void test_room__is_that_of_every_checkpoint_where_none_goes(void **state)
{
    struct sched_room room = room_of_job(world_of(state), "max_steps: 21\nsave_steps: 5\n");
    assert_int_equal(room.count, 5); /* 5, 10, 15, 20 and the end */
    assert_int_equal(room.size_bytes, STATE_BYTES);
    assert_int_equal(room.others_bytes, 0);
}

static void test_room__a_limit_needs_two_more_for_the_best_and_the_newest(void **state)
{
    struct sched_room room =
        room_of_job(world_of(state), "max_steps: 200\nsave_steps: 2\nsave_total_limit: 3\n");
    assert_int_equal(room.count, 5);
}

static void test_room__a_limit_beyond_what_is_made_needs_what_is_made(void **state)
{
    struct sched_room room =
        room_of_job(world_of(state), "max_steps: 4\nsave_steps: 2\nsave_total_limit: 1000000\n");
    assert_int_equal(room.count, 2);
}

static void test_room__variants_that_come_after_are_thought_of(void **state)
{
    struct sched_room room =
        room_of_job(world_of(state), "seed: [1, 2, 3]\nmax_steps: 20\nsave_steps: 5\n");
    assert_int_equal(room.count, 3 * 4);
}

static void test_room__others_at_work_have_theirs_and_who_has_begun_is_not_asked(void **state)
{
    struct world *w = world_of(state);
    assert_int_equal(room_of_job(w, "max_steps: 20\nsave_steps: 5\n").count, 4);
    world_restart(w); /* it opens again */
    world_hello(w, 1, "a", "f32/1");
    struct sched_work first = next_open(w);
    world_work(w, &first);
    world_submit(w, 2, world_recipe(w, "max_steps: 6\nsave_steps: 2\nseed: 5\n"), 3, false);
    struct sched_work second = next_open(w);
    assert_true(second.job != first.job);
    assert_int_equal(second.room.count, 3);
    /* 4 of the first, or as many as it still makes by then */
    assert_true(second.room.others_bytes > 0);
    assert_true(second.room.others_bytes <= 4 * STATE_BYTES);
    world_work(w, &second);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
    world_restart(w);
}

static void test_room__it_waits_and_says_why(void **state)
{
    struct world *w = world_of(state);
    world_hello(w, 1, "a", "f32/1");
    world_submit(w, 1, world_recipe(w, "max_steps: 20\nsave_steps: 5\n"), 3, false);
    struct sched_work work = next_open(w);
    struct sched_event event = world_outcome(w, &work);
    event.done.error = ERR_DISK_FULL;
    event.done.detail = TEXT("no room for its checkpoints: 4 of them");
    for (unsigned i = 0; i < 3 * LIMIT_TASK_ATTEMPTS; i++) { /* however often */
        world_step(w, event);
        assert_true(text_is(world_detail(w, 0),
                            "no room for its checkpoints: 4 of them; tries again in 8 s"));
        world_tick(w, 8000);
        work = next_open(w);
        assert_int_equal(work.room.count, 4);
    }
    world_beat(w, 1, NULL, 0);
    world_work(w, &work);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_room__##name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(is_that_of_every_checkpoint_where_none_goes),
        TEST(a_limit_needs_two_more_for_the_best_and_the_newest),
        TEST(a_limit_beyond_what_is_made_needs_what_is_made),
        TEST(variants_that_come_after_are_thought_of),
        TEST(others_at_work_have_theirs_and_who_has_begun_is_not_asked),
        TEST(it_waits_and_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
