/* test_optimizer.c - AdamW against the formula in f64, rates of the schedules, clipping. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/numeric/optimizer.h"
#include "common/numeric/random.h"
#include "common/numeric/schedule.h"

enum { N = 1003, STEPS = 30 };

static const struct optimizer_adamw adamw = {0.9, 0.999, 1e-8, 0.01};

static void test_adamw__follows_the_published_update(void **state)
{
    (void)state;
    static float value[N], m[N], v[N], gradient[N];
    static double value_f64[N], m_f64[N], v_f64[N];
    for (size_t i = 0; i < N; i++) {
        value_f64[i] = (double)(value[i] = random_normal_f32(1, i));
        m_f64[i] = v_f64[i] = (double)(m[i] = v[i] = 0.0f);
    }
    for (uint64_t t = 1; t <= STEPS; t++) {
        double rate = 1e-2 / (double)t, scale = 0.25;
        struct optimizer_step step = optimizer_plan(&adamw, t, rate, scale);
        for (size_t i = 0; i < N; i++)
            gradient[i] = random_normal_f32(1 + t, i);
        optimizer_apply(&step, N, value, m, v, gradient);
        for (size_t i = 0; i < N; i++) {
            double g = (double)gradient[i] * scale;
            m_f64[i] = 0.9 * m_f64[i] + 0.1 * g;
            v_f64[i] = 0.999 * v_f64[i] + 0.001 * g * g;
            double m_hat = m_f64[i] / (1 - pow(0.9, (double)t));
            double v_hat = v_f64[i] / (1 - pow(0.999, (double)t));
            value_f64[i] -= rate * 0.01 * value_f64[i];
            value_f64[i] -= rate * m_hat / (sqrt(v_hat) + 1e-8);
        }
    }
    for (size_t i = 0; i < N; i++)
        assert_true(fabs((double)value[i] - value_f64[i]) < 1e-5);
}

static void test_adamw__has_the_same_bits_however_the_range_is_cut(void **state)
{
    (void)state;
    static float whole[3][N], parts[3][N], gradient[N];
    for (size_t i = 0; i < N; i++) {
        gradient[i] = random_normal_f32(7, i) * (i % 5 == 0 ? 1e-30f : 1.0f);
        whole[0][i] = parts[0][i] = random_normal_f32(8, i);
        whole[1][i] = parts[1][i] = random_normal_f32(9, i);
        whole[2][i] = parts[2][i] = random_uniform_f32(10, i);
    }
    struct optimizer_step step = optimizer_plan(&adamw, 3, 1e-3, 1.0);
    optimizer_apply(&step, N, whole[0], whole[1], whole[2], gradient);
    for (size_t begin = 0, size = 1; begin < N; begin += size, size = size % 13 + 1)
        optimizer_apply(&step, MIN(size, N - begin), parts[0] + begin, parts[1] + begin,
                        parts[2] + begin, gradient + begin);
    assert_memory_equal(whole, parts, sizeof(whole));
}

static void test_clip__brings_the_norm_down_and_never_up(void **state)
{
    (void)state;
    assert_true(optimizer_clip(0.5, 1.0) == 1.0);
    assert_true(fabs(optimizer_clip(4.0, 1.0) - 1.0 / 4.000001) < 1e-15);
    assert_true(optimizer_clip(4.0, 0.0) == 1.0);
    assert_true(optimizer_clip(0.0, 1.0) == 1.0);
}

static void test_sum_squares__is_right_and_folds_over_chunks(void **state)
{
    (void)state;
    static float x[3 * OPTIMIZER_CHUNK + 17];
    double exact = 0;
    for (size_t i = 0; i < COUNT_OF(x); i++) {
        x[i] = random_normal_f32(3, i);
        exact += (double)x[i] * (double)x[i];
    }
    double chunk[4];
    for (size_t i = 0; i < 4; i++)
        chunk[i] =
            optimizer_chunk_squares(MIN((size_t)OPTIMIZER_CHUNK, COUNT_OF(x) - i * OPTIMIZER_CHUNK),
                                    x + i * OPTIMIZER_CHUNK);
    double sum = optimizer_sum_squares(COUNT_OF(x), x);
    assert_true(fabs(sum - exact) < 1e-9 * exact);
    assert_true(sum == (chunk[0] + chunk[1]) + (chunk[2] + chunk[3]));
    assert_true(optimizer_sum_squares(0, x) == 0.0);
}

static void test_schedule__warms_up_from_zero_and_decays_as_named(void **state)
{
    (void)state;
    struct schedule s = {
        .kind = SCHEDULE_COSINE, .peak = 2e-4, .warmup_steps = 10, .total_steps = 110};
    assert_true(schedule_rate(&s, 0) == 0.0);
    assert_true(fabs(schedule_rate(&s, 5) - 1e-4) < 1e-18);
    assert_true(schedule_rate(&s, 10) == 2e-4);
    assert_true(fabs(schedule_rate(&s, 60) - 1e-4) < 1e-18);
    assert_true(fabs(schedule_rate(&s, 35) - 2e-4 * 0.5 * (1 + sqrt(0.5))) < 1e-18);
    assert_true(schedule_rate(&s, 110) == 0.0 && schedule_rate(&s, 500) == 0.0);
    s.minimum_ratio = 0.1;
    assert_true(fabs(schedule_rate(&s, 110) - 2e-5) < 1e-18);
    s.kind = SCHEDULE_LINEAR;
    assert_true(fabs(schedule_rate(&s, 85) - 5e-5) < 1e-18 && schedule_rate(&s, 110) == 0.0);
    s.kind = SCHEDULE_CONSTANT;
    assert_true(schedule_rate(&s, 3) == 2e-4 * 0.3 && schedule_rate(&s, 1000) == 2e-4);
    s.warmup_steps = 0;
    assert_true(schedule_rate(&s, 0) == 2e-4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adamw__follows_the_published_update),
        cmocka_unit_test(test_adamw__has_the_same_bits_however_the_range_is_cut),
        cmocka_unit_test(test_clip__brings_the_norm_down_and_never_up),
        cmocka_unit_test(test_sum_squares__is_right_and_folds_over_chunks),
        cmocka_unit_test(test_schedule__warms_up_from_zero_and_decays_as_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
