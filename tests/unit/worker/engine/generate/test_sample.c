/* test_sample.c - which token is drawn, and which cannot be. */
#include "worker/engine/generate/sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/base/check.h"

enum { V = 5, DRAWS = 4000 };

static const float logits[V] = {1.0f, 3.0f, 2.0f, 3.0f, -1.0f};
static const uint8_t nothing_seen[V];

static void count_draws(const struct generate_options *options, const uint8_t *seen,
                        size_t counts[V])
{
    struct sample_candidate candidates[V];
    for (size_t i = 0; i < V; i++)
        counts[i] = 0;
    for (uint64_t i = 0; i < DRAWS; i++)
        counts[sample_token(options, logits, V, seen, i, candidates)]++;
}

static void test_sample__temperature_zero_takes_the_first_of_the_largest(void **state)
{
    (void)state;
    struct generate_options options = {.temperature = 0, .top_p = 1, .repetition_penalty = 1};
    size_t counts[V];
    count_draws(&options, nothing_seen, counts);
    assert_int_equal(counts[1], DRAWS);
}

static void test_sample__draws_follow_the_softmax(void **state)
{
    (void)state;
    struct generate_options options = {
        .seed = 3, .temperature = 1, .top_p = 1, .repetition_penalty = 1};
    static const double share[V] = {0.0538, 0.3975, 0.1462, 0.3975, 0.0073}; /* softmax */
    size_t counts[V];
    count_draws(&options, nothing_seen, counts);
    for (size_t i = 0; i < V; i++) {
        double found = (double)counts[i] / DRAWS;
        assert_true(found > share[i] - 0.03 && found < share[i] + 0.03);
    }
}

static void test_sample__top_k_and_top_p_cut_the_tail(void **state)
{
    (void)state;
    struct generate_options options = {
        .temperature = 1, .top_k = 2, .top_p = 1, .repetition_penalty = 1};
    size_t counts[V];
    count_draws(&options, nothing_seen, counts);
    assert_true(counts[1] > 0 && counts[3] > 0 && counts[1] + counts[3] == DRAWS);
    options.top_k = 0;
    options.top_p = 0.9; /* 0.3975 + 0.3975 + 0.1462 reaches it */
    count_draws(&options, nothing_seen, counts);
    assert_true(counts[2] > 0 && counts[0] == 0 && counts[4] == 0);
    options.top_p = 0;
    count_draws(&options, nothing_seen, counts);
    assert_int_equal(counts[1], DRAWS);
}

static void test_sample__penalty_pushes_seen_tokens_down(void **state)
{
    (void)state;
    static const uint8_t seen[V] = {0, 1, 0, 1, 1};
    struct generate_options options = {.temperature = 0, .top_p = 1, .repetition_penalty = 2};
    size_t counts[V];
    count_draws(&options, seen, counts);
    assert_int_equal(counts[2], DRAWS);
}

static void test_sample__the_same_seed_and_index_draw_the_same(void **state)
{
    (void)state;
    struct generate_options a = {.seed = 1, .temperature = 1, .top_p = 1, .repetition_penalty = 1};
    struct generate_options b = a;
    struct sample_candidate candidates[V];
    size_t differ = 0;
    b.seed = 2;
    for (uint64_t i = 0; i < 100; i++) {
        uint32_t first = sample_token(&a, logits, V, nothing_seen, i, candidates);
        assert_int_equal(first, sample_token(&a, logits, V, nothing_seen, i, candidates));
        differ += first != sample_token(&b, logits, V, nothing_seen, i, candidates);
    }
    assert_true(differ > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample__temperature_zero_takes_the_first_of_the_largest),
        cmocka_unit_test(test_sample__draws_follow_the_softmax),
        cmocka_unit_test(test_sample__top_k_and_top_p_cut_the_tail),
        cmocka_unit_test(test_sample__penalty_pushes_seen_tokens_down),
        cmocka_unit_test(test_sample__the_same_seed_and_index_draw_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
