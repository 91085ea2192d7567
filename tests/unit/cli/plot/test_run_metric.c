/* test_run_metric.c - pace, and which numbers a log point has. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/plot/log_filter.h"
#include "cli/plot/pace.h"
#include "cli/plot/run_metric.h"
#include "common/base/check.h"

/* A step a second, 500 tokens each; an evaluation after every fourth, which takes half a second. */
static size_t fill(struct log_point *points, size_t steps)
{
    size_t count = 0;
    uint64_t unix_ms = 1000000;
    for (uint64_t step = 1; step <= steps; step++) {
        unix_ms += 1000;
        points[count++] =
            (struct log_point){.step = step, .loss = 2, .tokens = 500 * step, .unix_ms = unix_ms};
        if (step % 4 == 0)
            points[count++] =
                (struct log_point){.step = step, .is_eval = true, .unix_ms = unix_ms += 500};
    }
    return count;
}

static void test_pace__counts_evaluations_as_time(void **state)
{
    (void)state;
    struct log_point points[64];
    size_t count = fill(points, 16);
    struct pace pace = pace_of(points, count, 100);
    double seconds = 9 + 2 * 0.5; /* steps 7 to 16 */
    assert_true(fabs(pace.tokens_per_s - 500 * 9 / seconds) < 1e-9);
    assert_true(fabs(pace.seconds_left - 84 * seconds / 9) < 1e-9);
}

static void test_pace__looks_back_ten_seconds_where_steps_are_fast(void **state)
{
    (void)state;
    static struct log_point points[400];
    for (uint64_t i = 0; i < 400; i++) /* a step in 50 ms; the last ones in 500 */
        points[i] = (struct log_point){.step = i + 1,
                                       .tokens = 100 * (i + 1),
                                       .unix_ms = 1000 + 50 * i + (i >= 395 ? 450 * (i - 394) : 0)};
    struct pace pace = pace_of(points, 400, 500);
    /* 5 steps of half a second, and 150 of the others in the 7.5 s before. */
    assert_true(fabs(pace.tokens_per_s - 100 * 155 / 10.0) < 1e-9);
}

static void test_pace__is_unknown_before_the_second_point_and_zero_at_the_end(void **state)
{
    (void)state;
    struct log_point points[8];
    size_t count = fill(points, 3);
    assert_true(pace_of(points, 0, 100).seconds_left < 0);
    assert_true(pace_of(points, 1, 100).seconds_left < 0);
    assert_true(pace_of(points, 1, 100).tokens_per_s == 0);
    assert_true(pace_of(points, count, 0).seconds_left < 0);
    assert_true(pace_of(points, count, 3).seconds_left == 0);
}

static void test_pace__is_of_the_variant_that_moved_last(void **state)
{
    (void)state;
    struct log_point points[4] = {
        {.step = 1, .tokens = 10, .unix_ms = 1000},
        {.step = 1, .tokens = 10, .unix_ms = 1000, .variant = 1},
        {.step = 2, .tokens = 20, .unix_ms = 2000},
        {.step = 2, .tokens = 40, .unix_ms = 2000, .variant = 1},
    };
    assert_true(pace_of(points, 4, 9).tokens_per_s == 30);
    assert_true(pace_of(points, 3, 9).tokens_per_s == 10);
}

static void test_pace__steps_that_are_computed_again_have_no_speed(void **state)
{
    (void)state;
    const struct log_point before = {.step = 9, .tokens = 90, .unix_ms = 9000};
    const struct log_point again = {.step = 8, .tokens = 80, .unix_ms = 9500};
    assert_true(isnan(pace_between(&before, &again)));
    assert_true(isnan(pace_between(NULL, &again)));
}

static size_t taken(uint64_t steps, uint64_t ms_a_step, uint64_t steps_total, uint64_t *last)
{
    struct log_filter filter = {0};
    size_t count = 0;
    for (uint64_t step = 1; step <= steps; step++) {
        const struct log_point point = {.step = step, .unix_ms = 1000000 + ms_a_step * step};
        if (log_filter_takes(&filter, &point, steps_total)) {
            count++;
            *last = step;
        }
    }
    return count;
}

static void test_log_filter__takes_a_hundredth_or_half_a_minute_and_the_last(void **state)
{
    (void)state;
    uint64_t last = 0;
    assert_int_equal(taken(10000, 10, 10000, &last), 101);
    assert_int_equal(last, 10000);
    assert_int_equal(taken(20, 10, 20, &last), 20);
    assert_int_equal(taken(1000, 10000, 1000000, &last), 334); /* a step in ten seconds */
    assert_int_equal(taken(10000, 1, 0, &last), 1);            /* nobody knows how far it is */
}

static void test_log_filter__variants_and_evaluations_have_their_own_lines(void **state)
{
    (void)state;
    struct log_filter filter = {0};
    struct log_point point = {.step = 1, .unix_ms = 1000};
    assert_true(log_filter_takes(&filter, &point, 1000));
    point.is_eval = true;
    assert_true(log_filter_takes(&filter, &point, 1000));
    point.variant = 1;
    assert_true(log_filter_takes(&filter, &point, 1000));
    point.step = 2;
    assert_false(log_filter_takes(&filter, &point, 1000));
    point.variant = LIMIT_VARIANTS;
    assert_false(log_filter_takes(&filter, &point, 1000));
}

static void test_run_metric__tags_are_unique_and_words_have_titles(void **state)
{
    (void)state;
    const struct run_metric *metric, *other;
    for (size_t i = 0; (metric = run_metric_at(i)) != NULL; i++) {
        assert_non_null(run_metric_title(metric->word));
        assert_non_null(strstr(run_metric_words(), metric->word));
        assert_true(strncmp(metric->tag, metric->is_eval ? "eval/" : "train/", 5) == 0);
        for (size_t k = 0; k < i && (other = run_metric_at(k)) != NULL; k++)
            assert_string_not_equal(metric->tag, other->tag);
    }
    assert_null(run_metric_title("losses"));
}

static void test_run_metric__a_word_has_at_most_four_series(void **state)
{
    (void)state;
    const struct run_metric *metric, *other;
    for (size_t i = 0; (metric = run_metric_at(i)) != NULL; i++) {
        size_t same = 0;
        for (size_t k = 0; (other = run_metric_at(k)) != NULL; k++)
            same += strcmp(other->word, metric->word) == 0;
        assert_in_range(same, 1, 4);
    }
}

static void test_run_metric__only_pairs_have_rewards_and_only_tokens_a_perplexity(void **state)
{
    (void)state;
    const struct log_point tokens = {.is_eval = true, .loss = 1};
    const struct log_point pairs = {
        .is_eval = true, .loss = 1, .pairs = 4, .reward_chosen = 0.5, .reward_rejected = 0.25};
    const struct run_metric *metric;
    for (size_t i = 0; (metric = run_metric_at(i)) != NULL; i++) {
        if (strcmp(metric->tag, "eval/perplexity") == 0) {
            assert_true(fabs(metric->value(&tokens, NULL) - 2.718281828459045) < 1e-12);
            assert_true(isnan(metric->value(&pairs, NULL)));
        }
        if (strcmp(metric->tag, "eval/rewards/margins") == 0) {
            assert_true(isnan(metric->value(&tokens, NULL)));
            assert_true(metric->value(&pairs, NULL) == 0.25);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pace__counts_evaluations_as_time),
        cmocka_unit_test(test_pace__looks_back_ten_seconds_where_steps_are_fast),
        cmocka_unit_test(test_pace__is_unknown_before_the_second_point_and_zero_at_the_end),
        cmocka_unit_test(test_pace__is_of_the_variant_that_moved_last),
        cmocka_unit_test(test_pace__steps_that_are_computed_again_have_no_speed),
        cmocka_unit_test(test_log_filter__takes_a_hundredth_or_half_a_minute_and_the_last),
        cmocka_unit_test(test_log_filter__variants_and_evaluations_have_their_own_lines),
        cmocka_unit_test(test_run_metric__tags_are_unique_and_words_have_titles),
        cmocka_unit_test(test_run_metric__a_word_has_at_most_four_series),
        cmocka_unit_test(test_run_metric__only_pairs_have_rewards_and_only_tokens_a_perplexity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
