/* test_kernel_rows.c - row kernels: right against f64, and the same bits on every instruction set
 * and number of threads, for awkward sizes and values; backward passes against central differences.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/digest/digest.h"
#include "common/mem/mem.h"
#include "common/numeric/float_rules.h"
#include "common/numeric/optimizer.h"
#include "common/numeric/random.h"
#include "common/numeric/scalar.h"
#include "tests/numeric/kernel/rows_bench.h"
#include "worker/engine/kernel/lanes.h"

static void use_rms_norm(struct rows_bench *b, struct kernel *k, float *out)
{
    kernel_rms_norm(k, T, C, 1e-5f, 0, b->buffer[0], b->buffer[1], out, out + N);
    memcpy(out + 2 * N, b->buffer[2], N * sizeof(float));
    kernel_rms_norm_backward(k, T, C, 0, b->buffer[0], b->buffer[1], out + N, b->buffer[3],
                             out + 2 * N, true, out + N + T);
    kernel_rms_norm_backward(k, T, C, 0, b->buffer[0], b->buffer[1], out + N, b->buffer[3],
                             out + 3 * N, false, NULL);
}

static void use_gated(struct rows_bench *b, struct kernel *k, float *out)
{
    kernel_gated(k, KERNEL_ACT_SILU, N, b->buffer[0], b->buffer[1], out);
    kernel_gated_backward(k, KERNEL_ACT_SILU, N, b->buffer[0], b->buffer[1], b->buffer[2], out + N,
                          out + 2 * N);
}

static void use_dropout(struct rows_bench *b, struct kernel *k, float *out)
{
    const struct kernel_dropout dropout = {.key = 99, .p = 0.25f, .places = b->places};
    kernel_dropout(k, T, C, &dropout, b->buffer[0], false, out);
    memcpy(out + N, b->buffer[1], N * sizeof(float));
    kernel_dropout(k, T, C, &dropout, b->buffer[0], true, out + N);
}

static void use_elementwise(struct rows_bench *b, struct kernel *k, float *out)
{
    memcpy(out, b->buffer[0], N * sizeof(float));
    kernel_add(k, N, b->buffer[1], out);
    memcpy(out + N, b->buffer[0], N * sizeof(float));
    kernel_add_scaled(k, N, 0.37f, b->buffer[1], out + N);
    kernel_scale(k, N, 1.0f / 3.0f, out + N);
    kernel_exp(k, N, b->buffer[0], out + 2 * N);
    kernel_decode(k, N, DTYPE_F16, b->buffer[1], out + 3 * N);
}

static void use_lookup(struct rows_bench *b, struct kernel *k, float *out)
{
    kernel_gather(k, T, C, b->ids, b->buffer[0], DTYPE_BF16, out);
    kernel_scatter_add(k, T, C, b->ids, b->buffer[1], out + N);
    kernel_decode(k, N, DTYPE_BF16, b->buffer[1], out + 2 * N);
}

static void use_lanes(struct rows_bench *b, struct kernel *k, float *out)
{
    const struct lanes *lanes = kernel_lanes(k);
    float_rules_set();
    for (size_t count = 0; count < 70; count++) {
        float *o = out + 8 * count;
        o[0] = lanes->max(count, b->buffer[0]);
        o[1] = lanes->sum(count, b->buffer[0]);
        o[2] = lanes->dot(count, b->buffer[0], b->buffer[1]);
        o[3] = lanes->exp_sum(count, b->buffer[0], 0.7f, out + N);
        lanes->scale(count, 1.1f, out + N);
        lanes->add_scaled(count, 0.9f, b->buffer[1], out + N);
        lanes->add(count, b->buffer[2], out + N);
        lanes->mul_shifted(count, b->buffer[0], b->buffer[1], 0.3f, out + 2 * N + 70 * count);
    }
}

static void use_sums(struct rows_bench *b, struct kernel *k, float *out)
{
    double squares = kernel_sum_squares(k, N, b->buffer[0]);
    memcpy(out, &squares, sizeof(squares));
    out[2] = (float)kernel_first_not_finite(k, N, b->buffer[0]);
}

static void test_rows__give_the_same_bits_on_every_row_and_thread_count(void **state)
{
    rows_bench_compare(*state, "rms_norm", use_rms_norm);
    rows_bench_compare(*state, "gated", use_gated);
    rows_bench_compare(*state, "dropout", use_dropout);
    rows_bench_compare(*state, "elementwise", use_elementwise);
    rows_bench_compare(*state, "lookup", use_lookup);
    rows_bench_compare(*state, "lanes", use_lanes);
    rows_bench_compare(*state, "sums", use_sums);
}

static void test_rms_norm__agrees_with_f64_forward_and_backward(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 7);
    const float *x = b->buffer[0], *weight = b->buffer[1], *dy = b->buffer[2];
    float *y = b->result, *inv = b->result + N, *dx = b->result + 2 * N,
          *dweight = b->result + 3 * N;
    memset(dweight, 0, C * sizeof(float));
    kernel_rms_norm(rows_bench_best(b), T, C, 1e-5f, 0, x, weight, y, inv);
    kernel_rms_norm_backward(rows_bench_best(b), T, C, 0, x, weight, inv, dy, dx, false, dweight);
    double dweight_f64[C] = {0};
    for (size_t t = 0; t < T; t++) {
        double square = 0, pull = 0;
        for (size_t c = 0; c < C; c++)
            square += (double)x[t * C + c] * (double)x[t * C + c];
        double r = 1 / sqrt(square / C + 1e-5);
        assert_true(fabs((double)inv[t] - r) < 1e-6 * r);
        for (size_t c = 0; c < C; c++)
            pull += (double)dy[t * C + c] * (double)weight[c] * (double)x[t * C + c];
        for (size_t c = 0; c < C; c++) {
            double xi = (double)x[t * C + c], g = (double)dy[t * C + c] * (double)weight[c];
            assert_true(fabs((double)y[t * C + c] - xi * r * (double)weight[c]) < 1e-5);
            assert_true(fabs((double)dx[t * C + c] - (g * r - xi * r * r * r * pull / C)) < 1e-5);
            dweight_f64[c] += (double)dy[t * C + c] * xi * r;
        }
    }
    for (size_t c = 0; c < C; c++)
        assert_true(fabs((double)dweight[c] - dweight_f64[c]) < 1e-4);
}

static void test_gated__with_silu_agrees_with_f64_forward_and_backward(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 17);
    const float *gate = b->buffer[0], *up = b->buffer[1], *dy = b->buffer[2];
    float *y = b->result, *dgate = b->result + N, *dup = b->result + 2 * N;
    kernel_gated(rows_bench_best(b), KERNEL_ACT_SILU, N, gate, up, y);
    kernel_gated_backward(rows_bench_best(b), KERNEL_ACT_SILU, N, gate, up, dy, dgate, dup);
    for (size_t i = 0; i < N; i++) {
        double g = (double)gate[i], u = (double)up[i], d = (double)dy[i], s = 1 / (1 + exp(-g));
        assert_true(fabs((double)y[i] - g * s * u) < 2e-6 * (1 + fabs(g * u)));
        assert_true(fabs((double)dup[i] - d * g * s) < 2e-6 * (1 + fabs(d * g)));
        assert_true(fabs((double)dgate[i] - d * u * s * (1 + g * (1 - s))) <
                    4e-6 * (1 + fabs(d * u)));
    }
}

static void test_exp__has_the_bits_of_the_scalar_function(void **state)
{
    struct rows_bench *b = *state;
    for (uint64_t start = 0; start < (uint64_t)1 << 32; start += 509 * (uint64_t)N) {
        for (size_t i = 0; i < N; i++) {
            uint32_t bits = (uint32_t)(start + i * 509);
            memcpy(&b->buffer[0][i], &bits, sizeof(bits));
        }
        kernel_exp(rows_bench_best(b), N, b->buffer[0], b->result);
        for (size_t i = 0; i < N; i++)
            assert_false(rows_bench_differs(b->result[i], scalar_exp_f32(b->buffer[0][i])));
    }
}

static void test_dropout__follows_the_named_random_numbers(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 5);
    const struct kernel_dropout dropout = {
        .key = 0x123456789abcdefu, .p = 0.25f, .places = b->places};
    kernel_dropout(rows_bench_best(b), T, C, &dropout, b->buffer[0], false, b->result);
    size_t dropped = 0;
    for (size_t t = 0; t < T; t++)
        for (uint32_t c = 0; c < C; c++) {
            bool drop = random_dropout(dropout.key, b->places[t], c) < 0x40000000u;
            float expected = drop ? 0.0f : b->buffer[0][t * C + c] * (1.0f / 0.75f);
            assert_false(rows_bench_differs(b->result[t * C + c], expected));
            dropped += drop;
        }
    assert_in_range(dropped, N / 5, N * 3 / 10);
}

static void test_dropout__does_not_depend_on_the_batch(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 5);
    struct kernel_dropout dropout = {.key = 77, .p = 0.5f, .places = b->places};
    kernel_dropout(rows_bench_best(b), T, C, &dropout, b->buffer[0], false, b->expected);
    for (size_t t = 0; t < T; t++) {
        dropout.places = &b->places[t];
        kernel_dropout(rows_bench_best(b), 1, C, &dropout, b->buffer[0] + t * C, false,
                       b->result + t * C);
    }
    assert_memory_equal(b->result, b->expected, N * sizeof(float));
}

static void test_lookup__gathers_decoded_rows_and_scatters_in_token_order(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 3);
    kernel_gather(rows_bench_best(b), T, C, b->ids, b->buffer[0], DTYPE_F32, b->result);
    for (size_t t = 0; t < T; t++)
        assert_memory_equal(b->result + t * C, b->buffer[0] + b->ids[t] * C, C * sizeof(float));
    memset(b->result, 0, V * C * sizeof(float));
    memset(b->expected, 0, V * C * sizeof(float));
    kernel_scatter_add(rows_bench_best(b), T, C, b->ids, b->buffer[1], b->result);
    for (size_t t = 0; t < T; t++)
        for (size_t c = 0; c < C; c++)
            b->expected[b->ids[t] * C + c] += b->buffer[1][t * C + c];
    assert_memory_equal(b->result, b->expected, V * C * sizeof(float));
}

static void test_sums__cross_many_chunks_with_the_bits_of_the_coordinator(void **state)
{
    struct rows_bench *b = *state;
    size_t count = 3000001;
    float *x = mem_alloc(count, sizeof(float));
    assert_non_null(x);
    for (size_t i = 0; i < count; i++)
        x[i] = random_uniform_f32(8, i) - 0.5f;
    double expected = optimizer_sum_squares(count, x), rough = (double)count / 12;
    assert_true(fabs(expected - rough) < 0.01 * rough);
    for (size_t k = 0; k < b->count; k++)
        assert_true(kernel_sum_squares(b->kernel[k], count, x) == expected);
    assert_int_equal(kernel_first_not_finite(rows_bench_best(b), count, x), count);
    x[2900000] = INFINITY;
    x[2500000] = NAN;
    assert_int_equal(kernel_first_not_finite(rows_bench_best(b), count, x), 2500000);
    mem_free(x);
}

static void test_known_answer__is_one_digest_on_every_row(void **state)
{
    static const char golden[] = "d335729d9a677c91d40b1ed925e0424e8b77cf2f7e367c83d277ffe584791b40";
    static uint8_t answer[KERNEL_KNOWN_ANSWER_BYTES];
    struct rows_bench *b = *state;
    for (size_t k = 0; k < b->count; k++) {
        char hex[DIGEST_HEX_BYTES];
        assert_int_equal(kernel_known_answer(b->kernel[k], answer), ERR_OK);
        digest_hex(digest_of((struct span){answer, sizeof(answer)}), hex);
        assert_string_equal(hex, golden);
    }
}

static void test_create__refuses_what_it_cannot_hold(void **state)
{
    (void)state;
    struct kernel *kernel = NULL;
    assert_int_equal(kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, 0, &kernel), ERR_LIMIT);
    assert_int_equal(
        kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, KERNEL_THREADS_MAX + 1, &kernel),
        ERR_LIMIT);
    for (size_t n = 1;; n++) { /* every allocation fails in its turn */
        mem_fault_after(n);
        enum err err = kernel_create(KERNEL_PROFILE_BLAS, KERNEL_ISA_BEST, 2, &kernel);
        mem_fault_after(0);
        if (err == ERR_OK)
            break;
        assert_int_equal(err, ERR_OUT_OF_MEMORY);
        assert_null(kernel);
    }
    kernel_destroy(&kernel);
    assert_null(kernel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows__give_the_same_bits_on_every_row_and_thread_count),
        cmocka_unit_test(test_rms_norm__agrees_with_f64_forward_and_backward),
        cmocka_unit_test(test_gated__with_silu_agrees_with_f64_forward_and_backward),
        cmocka_unit_test(test_exp__has_the_bits_of_the_scalar_function),
        cmocka_unit_test(test_dropout__follows_the_named_random_numbers),
        cmocka_unit_test(test_dropout__does_not_depend_on_the_batch),
        cmocka_unit_test(test_lookup__gathers_decoded_rows_and_scatters_in_token_order),
        cmocka_unit_test(test_sums__cross_many_chunks_with_the_bits_of_the_coordinator),
        cmocka_unit_test(test_known_answer__is_one_digest_on_every_row),
        cmocka_unit_test(test_create__refuses_what_it_cannot_hold),
    };
    return cmocka_run_group_tests(tests, rows_bench_setup, rows_bench_teardown);
}
