/* test_kernel_activate.c - activations, soft caps and BitNet's eight bits: against f64 and its
 * central differences, and the same bits on every instruction set and number of threads.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/numeric/scalar.h"
#include "tests/numeric/kernel/rows_bench.h"

static const float CAP = 5.0f;

static double silu_f64(double x)
{
    return x / (1 + exp(-x));
}

static double gelu_tanh_f64(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}

static double gelu_erf_f64(double x)
{
    return 0.5 * x * (1 + erf(x / sqrt(2)));
}

static double relu_squared_f64(double x)
{
    return x > 0 ? x * x : 0;
}

static double relu_f64(double x)
{
    return x > 0 ? x : 0;
}

static double soft_cap_f64(double x)
{
    return (double)CAP * tanh(x / (double)CAP);
}

static const struct act {
    const char *name;
    enum kernel_act act;
    double (*exact)(double x);
} acts[] = {{"silu", KERNEL_ACT_SILU, silu_f64},
            {"gelu_tanh", KERNEL_ACT_GELU_TANH, gelu_tanh_f64},
            {"gelu_erf", KERNEL_ACT_GELU_ERF, gelu_erf_f64},
            {"relu_squared", KERNEL_ACT_RELU_SQUARED, relu_squared_f64},
            {"relu", KERNEL_ACT_RELU, relu_f64}};

/* On one side of 0, where relu has a corner. */
static double slope_of(double (*exact)(double x), double x)
{
    double h = fmin(1e-6 * fmax(1, fabs(x)), fabs(x) / 2);
    return (exact(x + h) - exact(x - h)) / (2 * h);
}

/* ---- the same bits ---- */

static void use_act(struct rows_bench *b, struct kernel *k, enum kernel_act act, float *out)
{
    kernel_gated(k, act, N, b->buffer[0], b->buffer[1], out);
    memcpy(out + N, b->buffer[0], N * sizeof(float));
    memcpy(out + 2 * N, b->buffer[2], N * sizeof(float));
    kernel_gated_backward(k, act, N, out + N, b->buffer[1], out + 2 * N, out + N, out + 2 * N);
    kernel_activate(k, act, N, b->buffer[0], out + 3 * N);
    kernel_activate_backward(k, act, N, b->buffer[3], out + 3 * N, out + 3 * N);
}

static void use_silu(struct rows_bench *b, struct kernel *k, float *out)
{
    use_act(b, k, KERNEL_ACT_SILU, out);
}

static void use_gelu_tanh(struct rows_bench *b, struct kernel *k, float *out)
{
    use_act(b, k, KERNEL_ACT_GELU_TANH, out);
}

static void use_gelu_erf(struct rows_bench *b, struct kernel *k, float *out)
{
    use_act(b, k, KERNEL_ACT_GELU_ERF, out);
}

static void use_relu_squared(struct rows_bench *b, struct kernel *k, float *out)
{
    use_act(b, k, KERNEL_ACT_RELU_SQUARED, out);
}

static void use_relu(struct rows_bench *b, struct kernel *k, float *out)
{
    use_act(b, k, KERNEL_ACT_RELU, out);
}

static void use_soft_cap(struct rows_bench *b, struct kernel *k, float *out)
{
    kernel_soft_cap(k, N, CAP, b->buffer[0], out);
    kernel_soft_cap_backward(k, N, CAP, out, b->buffer[1], out + N);
    memcpy(out + 2 * N, b->buffer[2], N * sizeof(float));
    kernel_soft_cap(k, N, 1e-3f, out + 2 * N, out + 2 * N);
}

static void use_round_int8(struct rows_bench *b, struct kernel *k, float *out)
{
    kernel_round_int8(k, T, C, b->buffer[0], out);
    memcpy(out + N, b->buffer[1], N * sizeof(float));
    kernel_round_int8(k, T, C, out + N, out + N);
}

static void use_round_grid8(struct rows_bench *b, struct kernel *k, float *out)
{
    kernel_round_grid8(k, T, C, 0, b->buffer[0], out);
    memcpy(out + N, b->buffer[1], N * sizeof(float));
    kernel_round_grid8(k, T, C, 0.01f, out + N, out + N);
}

static void test_activations__give_the_same_bits_on_every_row_and_thread_count(void **state)
{
    rows_bench_compare(*state, "silu", use_silu);
    rows_bench_compare(*state, "gelu_tanh", use_gelu_tanh);
    rows_bench_compare(*state, "gelu_erf", use_gelu_erf);
    rows_bench_compare(*state, "relu_squared", use_relu_squared);
    rows_bench_compare(*state, "relu", use_relu);
    rows_bench_compare(*state, "soft_cap", use_soft_cap);
    rows_bench_compare(*state, "round_int8", use_round_int8);
    rows_bench_compare(*state, "round_grid8", use_round_grid8);
}

/* ---- right ---- */

/* Every exponent of f32, so that flat ends and infinities are met. */
static void draw_all_exponents(struct rows_bench *b)
{
    rows_bench_draw(b, 90);
    for (size_t i = 0; i < N; i++)
        b->buffer[0][i] = ldexpf(b->buffer[0][i], (int)(i % 41) - 20);
}

static void test_activate__agrees_with_f64_and_central_differences(void **state)
{
    struct rows_bench *b = *state;
    draw_all_exponents(b);
    const float *x = b->buffer[0], *dy = b->buffer[1];
    float *y = b->result, *dx = b->result + N;
    for (size_t a = 0; a < COUNT_OF(acts); a++) {
        kernel_activate(rows_bench_best(b), acts[a].act, N, x, y);
        kernel_activate_backward(rows_bench_best(b), acts[a].act, N, x, dy, dx);
        for (size_t i = 0; i < N; i++) {
            double v = (double)x[i], size = fabs(acts[a].exact(v));
            double slope = slope_of(acts[a].exact, v);
            if (fabs((double)y[i] - acts[a].exact(v)) > 3e-7 * fmax(fabs(v), size) ||
                fabs((double)dx[i] - (double)dy[i] * slope) >
                    3e-6 * (1 + fabs(slope)) * fabs((double)dy[i]))
                fail_msg("%s(%a) = %a, slope times %a is %a", acts[a].name, v, (double)y[i],
                         (double)dy[i], (double)dx[i]);
        }
    }
}

static void test_gated__is_the_activation_times_the_other_half(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 100);
    const float *gate = b->buffer[0], *up = b->buffer[1], *dy = b->buffer[2];
    float *y = b->result, *dgate = b->result + N, *dup = b->result + 2 * N;
    for (size_t a = 0; a < COUNT_OF(acts); a++) {
        kernel_gated(rows_bench_best(b), acts[a].act, N, gate, up, y);
        kernel_gated_backward(rows_bench_best(b), acts[a].act, N, gate, up, dy, dgate, dup);
        for (size_t i = 0; i < N; i++) {
            double g = (double)gate[i], u = (double)up[i], d = (double)dy[i];
            double value = acts[a].exact(g), slope = slope_of(acts[a].exact, g);
            assert_true(fabs((double)y[i] - value * u) < 1e-6 * (1 + fabs(value * u)));
            assert_true(fabs((double)dup[i] - value * d) < 1e-6 * (1 + fabs(value * d)));
            assert_true(fabs((double)dgate[i] - d * u * slope) < 3e-6 * (1 + fabs(d * u * slope)));
        }
    }
}

static void test_soft_cap__agrees_with_f64_and_central_differences(void **state)
{
    struct rows_bench *b = *state;
    draw_all_exponents(b);
    const float *x = b->buffer[0], *dy = b->buffer[1];
    float *y = b->result, *dx = b->result + N;
    kernel_soft_cap(rows_bench_best(b), N, CAP, x, y);
    kernel_soft_cap_backward(rows_bench_best(b), N, CAP, y, dy, dx);
    for (size_t i = 0; i < N; i++) {
        double v = (double)x[i], wanted = soft_cap_f64(v);
        assert_true(fabs((double)y[i] - wanted) <= 3e-7 * fabs(wanted));
        assert_true(fabs((double)dx[i] - (double)dy[i] * slope_of(soft_cap_f64, v)) < 2e-6);
    }
}

static void test_tanh_and_erf__have_the_bits_of_the_scalar_functions(void **state)
{
    struct rows_bench *b = *state;
    float *x = b->buffer[0];
    for (uint64_t start = 0; start < (uint64_t)1 << 32; start += 4099 * (uint64_t)N) {
        for (size_t i = 0; i < N; i++) {
            uint32_t bits = (uint32_t)(start + i * 4099);
            memcpy(&x[i], &bits, sizeof(bits));
        }
        kernel_soft_cap(rows_bench_best(b), N, 1, x, b->result);
        kernel_activate(rows_bench_best(b), KERNEL_ACT_GELU_ERF, N, x, b->result + N);
        for (size_t i = 0; i < N; i++) {
            float share = 0.5f * (1.0f + scalar_erf_f32(x[i] * 0x1.6a09e6p-1f));
            assert_false(rows_bench_differs(b->result[i], scalar_tanh_f32(x[i])));
            assert_false(rows_bench_differs(b->result[N + i], x[i] * share));
        }
    }
}

static void test_round_int8__is_the_reference_quantizer(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 110);
    for (size_t c = 0; c < C; c++) /* a token below the floor of the scale */
        b->buffer[0][C + c] *= 1e-7f;
    kernel_round_int8(rows_bench_best(b), T, C, b->buffer[0], b->result);
    for (size_t t = 0; t < T; t++) {
        const float *x = b->buffer[0] + t * C;
        float largest = 1e-5f;
        for (size_t c = 0; c < C; c++)
            largest = fmaxf(largest, fabsf(x[c]));
        float scale = 127.0f / largest;
        for (size_t c = 0; c < C; c++) {
            float steps = fminf(fmaxf(rintf(x[c] * scale), -128), 127);
            assert_true(b->result[t * C + c] == steps / scale);
        }
    }
}

static void test_round_int8__rounds_halves_to_even_and_keeps_nothing_as_nothing(void **state)
{
    struct rows_bench *b = *state;
    enum { WIDTH = 8 };
    static const float x[2][WIDTH] = {{0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 126.5f, -127, 3}};
    static const float wanted[2][WIDTH] = {{0, 2, 2, 0, -2, 126, -127, 3}};
    float y[2][WIDTH];
    kernel_round_int8(rows_bench_best(b), 2, WIDTH, x[0], y[0]);
    for (size_t i = 0; i < WIDTH; i++)
        assert_true(y[0][i] == wanted[0][i] && y[1][i] == wanted[1][i]);
}

static void test_round_grid8__is_the_reference_quantizer(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 111);
    for (size_t c = 0; c < C; c++) /* a token of nothing */
        b->buffer[0][C + c] = 0;
    for (unsigned turn = 0; turn < 2; turn++) {
        float given = turn == 0 ? 0 : 0.004f;
        kernel_round_grid8(rows_bench_best(b), T, C, given, b->buffer[0], b->result);
        for (size_t t = 0; t < T; t++) {
            const float *x = b->buffer[0] + t * C;
            float largest = 0;
            for (size_t c = 0; c < C; c++)
                largest = fmaxf(largest, fabsf(x[c]));
            float own = largest > 0 ? largest / 127.5f : 0x1p-23f, s = turn == 0 ? own : given;
            for (size_t c = 0; c < C; c++) {
                float code = fminf(fmaxf(rintf(x[c] / s), -128), 127);
                assert_true(b->result[t * C + c] == code * s);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations__give_the_same_bits_on_every_row_and_thread_count),
        cmocka_unit_test(test_activate__agrees_with_f64_and_central_differences),
        cmocka_unit_test(test_gated__is_the_activation_times_the_other_half),
        cmocka_unit_test(test_soft_cap__agrees_with_f64_and_central_differences),
        cmocka_unit_test(test_tanh_and_erf__have_the_bits_of_the_scalar_functions),
        cmocka_unit_test(test_round_int8__is_the_reference_quantizer),
        cmocka_unit_test(test_round_int8__rounds_halves_to_even_and_keeps_nothing_as_nothing),
        cmocka_unit_test(test_round_grid8__is_the_reference_quantizer),
    };
    return cmocka_run_group_tests(tests, rows_bench_setup, rows_bench_teardown);
}
