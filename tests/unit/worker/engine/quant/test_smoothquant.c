/* test_smoothquant.c - factors of channels against the formula in f64, and what they must not be.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/numeric/random.h"
#include "worker/engine/quant/smoothquant.h"

enum { COLUMNS = 24 };

static const struct channel_ties alone = {0};

static void fill(uint64_t key, float *values)
{
    for (size_t i = 0; i < COLUMNS; i++)
        values[i] = expf(8 * (random_uniform_f32(key, i) - 0.5f));
}

static void test_smoothquant__scales_follow_the_formula(void **state)
{
    (void)state;
    static const double alphas[] = {0, 0.25, 0.5, 0.85, 1};
    float max_x[COLUMNS], max_w[COLUMNS];
    float scales[COLUMNS];
    fill(1, max_x);
    fill(2, max_w);
    for (size_t a = 0; a < COUNT_OF(alphas); a++) {
        smoothquant_scales(&alone, COLUMNS, alphas[a], max_x, max_w, scales);
        for (size_t c = 0; c < COLUMNS; c++) {
            double wanted = pow((double)max_x[c], alphas[a]) / pow((double)max_w[c], 1 - alphas[a]);
            assert_true(fabs((double)scales[c] / wanted - 1) < 1e-7);
        }
    }
}

static void test_smoothquant__at_a_half_both_sides_have_the_same_range(void **state)
{
    (void)state;
    float max_x[COLUMNS], max_w[COLUMNS];
    float scales[COLUMNS];
    fill(3, max_x);
    fill(4, max_w);
    smoothquant_scales(&alone, COLUMNS, SMOOTHQUANT_ALPHA, max_x, max_w, scales);
    for (size_t c = 0; c < COLUMNS; c++) {
        double s = (double)scales[c];
        assert_true(fabs((double)max_x[c] / s / ((double)max_w[c] * s) - 1) < 1e-6);
    }
}

static void test_smoothquant__a_channel_without_range_on_a_side_keeps_factor_one(void **state)
{
    (void)state;
    float max_x[] = {0, 3, 0, 2}, max_w[] = {5, 0, 0, 0.5f};
    float scales[4];
    smoothquant_scales(&alone, 4, 0.5, max_x, max_w, scales);
    assert_true(scales[0] == 1 && scales[1] == 1 && scales[2] == 1);
    assert_true(scales[3] == 2);
}

static void test_smoothquant__factors_stay_within_their_bounds(void **state)
{
    (void)state;
    float max_x[] = {1e-38f, 3e38f, 1e-45f, 3e38f}, max_w[] = {3e38f, 1e-45f, 1, 1};
    float scales[4];
    for (int a = 0; a <= 10; a++) {
        smoothquant_scales(&alone, 4, a / 10.0, max_x, max_w, scales);
        for (size_t c = 0; c < 4; c++)
            assert_true(scales[c] >= CHANNEL_SCALE_MIN && scales[c] <= CHANNEL_SCALE_MAX);
    }
}

static void test_smoothquant__tied_channels_share_the_factor_of_their_largest(void **state)
{
    (void)state;
    /* two runs of three heads of width 4 */
    const struct channel_ties ties = {.width = 4, .repeat = 3};
    float max_x[COLUMNS], max_w[COLUMNS], tied_x[COLUMNS], tied_w[COLUMNS];
    float scales[COLUMNS], wanted[COLUMNS];
    fill(5, max_x);
    fill(6, max_w);
    for (size_t c = 0; c < COLUMNS; c++) {
        tied_x[c] = 0;
        tied_w[c] = 0;
        for (size_t o = 0; o < COLUMNS; o++) {
            if (o / 12 == c / 12 && o % 4 == c % 4) {
                tied_x[c] = fmaxf(tied_x[c], max_x[o]);
                tied_w[c] = fmaxf(tied_w[c], max_w[o]);
            }
        }
    }
    smoothquant_scales(&ties, COLUMNS, 0.5, max_x, max_w, scales);
    smoothquant_scales(&alone, COLUMNS, 0.5, tied_x, tied_w, wanted);
    assert_memory_equal(scales, wanted, sizeof scales);
    assert_true(scales[0] == scales[8] && scales[0] != scales[12] && scales[0] != scales[1]);
}

static void test_smoothquant__maxima_of_weights_are_over_all_layers_of_a_site(void **state)
{
    (void)state;
    const float first[] = {1, -7, 2, /**/ -3, 4, -0.5f}, second[] = {2, 8, -1};
    const float scales[] = {2, 0.5f, 1};
    float max[3] = {0};
    channel_scale_add_max(2, 3, first, max);
    assert_true(max[0] == 3 && max[1] == 7 && max[2] == 2);
    channel_scale_add_max(1, 3, second, max);
    assert_true(max[0] == 3 && max[1] == 8 && max[2] == 2);
    float scaled[6];
    for (size_t i = 0; i < 6; i++)
        scaled[i] = first[i];
    channel_scale_apply(2, 3, scales, scaled);
    const float wanted[] = {2, -3.5f, 2, -6, 2, -0.5f};
    assert_memory_equal(scaled, wanted, sizeof wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smoothquant__scales_follow_the_formula),
        cmocka_unit_test(test_smoothquant__at_a_half_both_sides_have_the_same_range),
        cmocka_unit_test(test_smoothquant__a_channel_without_range_on_a_side_keeps_factor_one),
        cmocka_unit_test(test_smoothquant__factors_stay_within_their_bounds),
        cmocka_unit_test(test_smoothquant__tied_channels_share_the_factor_of_their_largest),
        cmocka_unit_test(test_smoothquant__maxima_of_weights_are_over_all_layers_of_a_site),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
