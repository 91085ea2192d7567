/* test_stage_set.c - sets of stages, and the members of rows that hold them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/message/stage_set.h"

static const uint32_t places[] = {0, 1, 63, 64, 127, 128, 191, 192, 255};

static void test_stage_set__every_index_is_a_member_of_its_own(void **state)
{
    (void)state;
    struct stage_set all = {{0}};
    assert_true(stage_set_is_empty(all));
    for (uint32_t i = 0; i < LIMIT_JOB_STAGES; i++) {
        struct stage_set one = stage_set_of(i);
        assert_int_equal(stage_set_first(one), i);
        assert_false(stage_set_is_within(one, all));
        assert_true(stage_set_has_all(all, i));
        assert_false(stage_set_has_all(all, i + 1));
        all = stage_set_union(all, one);
        assert_true(stage_set_is_within(one, all));
        stage_set_remove(&one, i);
        assert_true(stage_set_is_empty(one));
    }
    assert_true(stage_set_has_all(all, LIMIT_JOB_STAGES));
    stage_set_remove(&all, 200);
    assert_false(stage_set_has_all(all, LIMIT_JOB_STAGES));
    assert_true(stage_set_is_empty(stage_set_without(all, all)));
}

static void test_stage_set__a_plan_keeps_all_of_it(void **state)
{
    (void)state;
    struct stage_set set = {{0}};
    struct stage_plan plan = {.variant = 3};
    for (size_t i = 0; i < COUNT_OF(places); i++)
        stage_set_add(&set, places[i]);
    stage_set_to_plan(set, &plan);
    assert_int_equal(plan.needs, (uint64_t)1 << 63 | 3); /* where jobs of 64 stages have it */
    assert_int_equal(plan.variant, 3);
    struct stage_set again = stage_set_of_plan(&plan);
    assert_memory_equal(&again, &set, sizeof set);
}

static void test_stage_set__a_row_lists_it(void **state)
{
    (void)state;
    struct stage_set set = {{0}};
    struct stage_ref refs[COUNT_OF(places)];
    struct stage_row row = {.index = 255};
    for (size_t i = 0; i < COUNT_OF(places); i++)
        stage_set_add(&set, places[i]);
    stage_set_to_row(set, refs, COUNT_OF(places), &row);
    assert_int_equal(row.after_count, COUNT_OF(places));
    for (size_t i = 0; i < COUNT_OF(places); i++)
        assert_int_equal(row.after[i].stage, places[i]);
    struct stage_set again = stage_set_of_row(&row);
    assert_memory_equal(&again, &set, sizeof set);
}

static void test_stage_set__a_row_of_others_is_read_as_far_as_it_makes_sense(void **state)
{
    (void)state;
    struct stage_ref refs[] = {{.stage = LIMIT_JOB_STAGES}, {.stage = UINT32_MAX}, {.stage = 70}};
    struct stage_row row = {.needs = 5, .after = refs, .after_count = COUNT_OF(refs)};
    struct stage_set set = stage_set_of_row(&row);
    assert_true(stage_set_has(set, 0) && stage_set_has(set, 2) && stage_set_has(set, 70));
    assert_false(stage_set_has(set, 255));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stage_set__every_index_is_a_member_of_its_own),
        cmocka_unit_test(test_stage_set__a_plan_keeps_all_of_it),
        cmocka_unit_test(test_stage_set__a_row_lists_it),
        cmocka_unit_test(test_stage_set__a_row_of_others_is_read_as_far_as_it_makes_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
