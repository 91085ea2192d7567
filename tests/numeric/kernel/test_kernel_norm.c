/* test_kernel_norm.c - LayerNorm and RMSNorm with a gain offset: against f64 and its central
 * differences, and the same bits on every instruction set and number of threads.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "tests/numeric/kernel/rows_bench.h"

static const float EPS = 1e-5f;

static void use_layer_norm(struct rows_bench *b, struct kernel *k, float *out)
{
    const float *x = b->buffer[0], *weight = b->buffer[1], *dy = b->buffer[3];
    float *stats = out + N, *dweight = stats + 2 * T, *dbias = dweight + C;
    kernel_layer_norm(k, T, C, EPS, x, weight, b->buffer[2], out, stats);
    memcpy(out + 2 * N, b->buffer[4], N * sizeof(float));
    kernel_layer_norm_backward(k, T, C, x, weight, stats, dy, out + 2 * N, true, dweight, dbias);
    memcpy(out + 3 * N, dy, N * sizeof(float));
    kernel_layer_norm_backward(k, T, C, x, weight, stats, out + 3 * N, out + 3 * N, false, NULL,
                               NULL);
}

static void use_plain_layer_norm(struct rows_bench *b, struct kernel *k, float *out)
{
    memcpy(out, b->buffer[0], N * sizeof(float));
    kernel_layer_norm(k, T, C, EPS, out, b->buffer[1], NULL, out, out + N);
}

static void use_gain_offset(struct rows_bench *b, struct kernel *k, float *out)
{
    kernel_rms_norm(k, T, C, EPS, 1, b->buffer[0], b->buffer[1], out, out + N);
    kernel_rms_norm_backward(k, T, C, 1, b->buffer[0], b->buffer[1], out + N, b->buffer[3],
                             out + 2 * N, false, out + N + T);
}

static void test_norms__give_the_same_bits_on_every_row_and_thread_count(void **state)
{
    rows_bench_compare(*state, "layer_norm", use_layer_norm);
    rows_bench_compare(*state, "layer_norm without bias", use_plain_layer_norm);
    rows_bench_compare(*state, "rms_norm with offset", use_gain_offset);
}

/* ---- LayerNorm ---- */

/* sum of dy * layer_norm(x) over one row, with x[at] and weight[at] moved. */
static double layer_norm_f64(const float *x, const float *weight, const float *bias,
                             const float *dy, size_t at, double x_more, double weight_more)
{
    double mean = 0, square = 0, sum = 0;
    for (size_t c = 0; c < C; c++)
        mean += ((double)x[c] + (c == at ? x_more : 0)) / C;
    for (size_t c = 0; c < C; c++) {
        double d = (double)x[c] + (c == at ? x_more : 0) - mean;
        square += d * d / C;
    }
    for (size_t c = 0; c < C; c++) {
        double d = (double)x[c] + (c == at ? x_more : 0) - mean;
        double gain = (double)weight[c] + (c == at ? weight_more : 0);
        sum += (double)dy[c] * (d / sqrt(square + (double)EPS) * gain + (double)bias[c]);
    }
    return sum;
}

static void test_layer_norm__agrees_with_f64(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 40);
    const float *x = b->buffer[0], *weight = b->buffer[1], *bias = b->buffer[2];
    float *y = b->result, *stats = b->result + N, pick[C] = {0};
    for (size_t i = 0; i < N; i++) /* a mean that is large beside the deviation */
        b->buffer[0][i] += 30;
    kernel_layer_norm(rows_bench_best(b), T, C, EPS, x, weight, bias, y, stats);
    for (size_t t = 0; t < T; t++) {
        double mean = 0, square = 0;
        for (size_t c = 0; c < C; c++)
            mean += (double)x[t * C + c] / C;
        for (size_t c = 0; c < C; c++)
            square += ((double)x[t * C + c] - mean) * ((double)x[t * C + c] - mean) / C;
        assert_true(fabs((double)stats[2 * t] - mean) < 1e-5);
        assert_true(fabs((double)stats[2 * t + 1] * sqrt(square + (double)EPS) - 1) < 1e-5);
        for (size_t c = 0; c < C; c++) {
            pick[c] = 1;
            double wanted = layer_norm_f64(x + t * C, weight, bias, pick, c, 0, 0);
            pick[c] = 0;
            assert_true(fabs((double)y[t * C + c] - wanted) < 2e-5);
        }
    }
}

static void test_layer_norm__backward_agrees_with_central_differences(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 50);
    const float *x = b->buffer[0], *weight = b->buffer[1], *bias = b->buffer[2];
    const float *dy = b->buffer[3];
    float *y = b->result, *stats = b->result + N, *dx = b->result + 2 * N;
    float *dweight = b->result + 3 * N, *dbias = dweight + C;
    const double h = 1e-4;
    memset(dweight, 0, 2 * C * sizeof(float));
    kernel_layer_norm(rows_bench_best(b), T, C, EPS, x, weight, bias, y, stats);
    kernel_layer_norm_backward(rows_bench_best(b), T, C, x, weight, stats, dy, dx, false, dweight,
                               dbias);
    for (size_t c = 0; c < C; c++) {
        double weight_slope = 0, bias_slope = 0;
        for (size_t t = 0; t < T; t++) {
            const float *xt = x + t * C, *dyt = dy + t * C;
            double slope = (layer_norm_f64(xt, weight, bias, dyt, c, h, 0) -
                            layer_norm_f64(xt, weight, bias, dyt, c, -h, 0)) /
                           (2 * h);
            assert_true(fabs((double)dx[t * C + c] - slope) < 2e-5);
            weight_slope += (layer_norm_f64(xt, weight, bias, dyt, c, 0, h) -
                             layer_norm_f64(xt, weight, bias, dyt, c, 0, -h)) /
                            (2 * h);
            bias_slope += (double)dyt[c];
        }
        assert_true(fabs((double)dweight[c] - weight_slope) < 1e-4);
        assert_true(fabs((double)dbias[c] - bias_slope) < 1e-4);
    }
}

static void test_layer_norm__sums_of_weights_do_not_depend_on_the_batch(void **state)
{
    struct rows_bench *b = *state;
    enum { FIRST = 10 };
    rows_bench_draw(b, 60);
    const float *x = b->buffer[0], *weight = b->buffer[1], *dy = b->buffer[3];
    float *y = b->result, *stats = b->result + N, *dx = b->result + 2 * N;
    float *whole = b->expected, *parts = b->result + 3 * N;
    struct kernel *k = rows_bench_best(b);
    memset(whole, 0, 2 * C * sizeof(float));
    memset(parts, 0, 2 * C * sizeof(float));
    kernel_layer_norm(k, T, C, EPS, x, weight, NULL, y, stats);
    kernel_layer_norm_backward(k, T, C, x, weight, stats, dy, dx, false, whole, whole + C);
    kernel_layer_norm_backward(k, FIRST, C, x, weight, stats, dy, y, false, parts, parts + C);
    kernel_layer_norm_backward(k, T - FIRST, C, x + FIRST * C, weight, stats + 2 * FIRST,
                               dy + FIRST * C, y + FIRST * C, false, parts, parts + C);
    assert_memory_equal(parts, whole, 2 * C * sizeof(float));
    assert_memory_equal(y, dx, N * sizeof(float));
}

/* ---- RMSNorm ---- */

static void test_rms_norm__an_offset_is_a_larger_weight(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 70);
    const float *x = b->buffer[0], *weight = b->buffer[1], *dy = b->buffer[3];
    float *larger = b->buffer[2], *y = b->result, *inv = b->result + N, *dx = b->result + 2 * N;
    float *wanted = b->expected, *wanted_dx = b->expected + 2 * N;
    struct kernel *k = rows_bench_best(b);
    for (size_t c = 0; c < C; c++)
        larger[c] = 1 + weight[c];
    memset(inv, 0, N * sizeof(float));
    memset(wanted + N, 0, N * sizeof(float));
    kernel_rms_norm(k, T, C, EPS, 1, x, weight, y, inv);
    kernel_rms_norm(k, T, C, EPS, 0, x, larger, wanted, wanted + N);
    kernel_rms_norm_backward(k, T, C, 1, x, weight, inv, dy, dx, false, inv + T);
    kernel_rms_norm_backward(k, T, C, 0, x, larger, inv, dy, wanted_dx, false, wanted + N + T);
    assert_memory_equal(y, wanted, 3 * N * sizeof(float));
}

static void test_rms_norm__without_an_offset_a_negative_zero_stays_one(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 80);
    for (size_t c = 0; c < C; c++)
        b->buffer[1][c] = -0.0f;
    kernel_rms_norm(rows_bench_best(b), T, C, EPS, 0, b->buffer[0], b->buffer[1], b->result,
                    b->result + N);
    for (size_t i = 0; i < N; i++)
        assert_true(b->result[i] == 0 && signbit(b->result[i]) != signbit(b->buffer[0][i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms__give_the_same_bits_on_every_row_and_thread_count),
        cmocka_unit_test(test_layer_norm__agrees_with_f64),
        cmocka_unit_test(test_layer_norm__backward_agrees_with_central_differences),
        cmocka_unit_test(test_layer_norm__sums_of_weights_do_not_depend_on_the_batch),
        cmocka_unit_test(test_rms_norm__an_offset_is_a_larger_weight),
        cmocka_unit_test(test_rms_norm__without_an_offset_a_negative_zero_stays_one),
    };
    return cmocka_run_group_tests(tests, rows_bench_setup, rows_bench_teardown);
}
