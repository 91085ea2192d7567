/* test_nearest.c - what was probably meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/base/nearest.h"

static void test_nearest__distance_counts_typing_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        size_t distance;
    } rows[] = {
        {"", "", 0},       {"", "abc", 3},           {"abc", "abc", 0},
        {"abc", "abd", 1}, {"abc", "ab", 1},         {"sumbit", "submit", 1},
        {"ab", "ba", 1},   {"kitten", "sitting", 3}, {"abcdef", "badcfe", 3},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(nearest_distance(text_of(rows[i].a), text_of(rows[i].b)),
                         rows[i].distance);
        assert_int_equal(nearest_distance(text_of(rows[i].b), text_of(rows[i].a)),
                         rows[i].distance);
    }
}

static void test_nearest__words_beyond_the_bound_are_far_from_all(void **state)
{
    (void)state;
    char longest[NEAREST_BYTES_MAX + 1];
    memset(longest, 'a', sizeof longest);
    struct text text = {longest, sizeof longest};
    assert_int_equal(nearest_distance(text, text), NEAREST_BYTES_MAX);
}

static void test_nearest__the_best_offer_stands_and_far_ones_do_not(void **state)
{
    (void)state;
    struct nearest nearest = {0};
    nearest_offer(&nearest, TEXT("learnin_rate"), "lr_scheduler");
    assert_null(nearest.word);
    nearest_offer(&nearest, TEXT("learnin_rate"), "learning_rates");
    nearest_offer(&nearest, TEXT("learnin_rate"), "learning_rate");
    nearest_offer(&nearest, TEXT("learnin_rate"), "learnings_rate");
    assert_string_equal(nearest.word, "learning_rate");
    assert_int_equal(nearest.distance, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nearest__distance_counts_typing_mistakes),
        cmocka_unit_test(test_nearest__words_beyond_the_bound_are_far_from_all),
        cmocka_unit_test(test_nearest__the_best_offer_stands_and_far_ones_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
