/* test_kernel_columns.c - biases, blocks of columns and rotation: element by element, and the same
 * bits on every instruction set and number of threads.
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
#include "worker/engine/kernel/columns.h"
#include "worker/engine/kernel/rope.h"

/* Heads of T tokens with a rest that no head takes: HEADS * D <= C. */
enum { HEADS = 7, D = 28, ROTARY = 12 };

static void use_bias(struct rows_bench *b, struct kernel *k, float *out)
{
    memcpy(out, b->buffer[0], N * sizeof(float));
    kernel_add_bias(k, T, C, b->buffer[1], out);
    memcpy(out + N, b->buffer[2], C * sizeof(float));
    kernel_bias_gradient(k, T, C, b->buffer[0], out + N);
}

static void use_columns(struct rows_bench *b, struct kernel *k, float *out)
{
    memcpy(out, b->buffer[1], N * sizeof(float));
    memcpy(out + N, b->buffer[1], N * sizeof(float));
    kernel_copy_columns(k, T, 61, b->buffer[0] + 11, C, out + 17, 80);
    kernel_add_columns(k, T, 61, b->buffer[0] + 11, C, out + N + 17, 80);
}

/* Products of columns over all rows, but as they are met in two parts. */
static void use_products(struct rows_bench *b, struct kernel *k, size_t first, float *sums)
{
    const float *x = b->buffer[0], *y = b->buffer[1], *factors = b->buffer[2];
    memcpy(sums, b->buffer[2] + C, C * sizeof(float));
    columns_add_products(k, first, C, x, C, y, C, factors, sums);
    columns_add_products(k, T - first, C, x + first * C, C, y + first * C, C, factors, sums);
}

static void use_factors(struct rows_bench *b, struct kernel *k, float *out)
{
    memcpy(out, b->buffer[1], N * sizeof(float));
    columns_scale(k, T, 61, b->buffer[2], b->buffer[0] + 11, C, true, out + 17, 80);
    use_products(b, k, T, out + N);
}

static void use_heads(struct rows_bench *b, struct kernel *k, float *out)
{
    static float table[V * ROTARY];
    double frequency[ROTARY / 2];
    for (size_t i = 0; i < ROTARY / 2; i++)
        frequency[i] = 1 / (double)(1 + i);
    rope_table(V, ROTARY / 2, frequency, 1.3, table);
    memcpy(out, b->buffer[0], N * sizeof(float));
    rope_apply(k, T, HEADS, D, ROTARY, b->ids, table, false, out);
    memcpy(out + N, b->buffer[0], N * sizeof(float));
    rope_apply(k, T, HEADS, D, ROTARY, b->ids, table, true, out + N);
}

static void test_columns__give_the_same_bits_on_every_row_and_thread_count(void **state)
{
    rows_bench_compare(*state, "bias", use_bias);
    rows_bench_compare(*state, "columns", use_columns);
    rows_bench_compare(*state, "factors", use_factors);
    rows_bench_compare(*state, "heads", use_heads);
}

/* The head has the tokens of a row in blocks; where it cuts depends on the rows beside it. */
static void test_columns__products_do_not_show_where_they_are_cut(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 125);
    use_products(b, rows_bench_best(b), T, b->result);
    for (size_t first = 0; first < T; first++) {
        use_products(b, rows_bench_best(b), first, b->result + N);
        assert_memory_equal(b->result + N, b->result, C * sizeof(float));
    }
}

static void test_bias__is_added_to_every_row_and_its_gradient_sums_them_in_order(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 120);
    use_bias(b, rows_bench_best(b), b->result);
    for (size_t c = 0; c < C; c++) {
        float sum = b->buffer[2][c];
        for (size_t t = 0; t < T; t++) {
            assert_true(b->result[t * C + c] == b->buffer[0][t * C + c] + b->buffer[1][c]);
            sum += b->buffer[0][t * C + c];
        }
        assert_true(b->result[N + c] == sum);
    }
}

static void test_columns__touch_their_block_and_nothing_else(void **state)
{
    struct rows_bench *b = *state;
    enum { WIDTH = 37, FROM = 50, TO = 90 };
    rows_bench_draw(b, 130);
    const float *from = b->buffer[0], *before = b->buffer[1];
    memcpy(b->result, before, N * sizeof(float));
    memcpy(b->result + N, before, N * sizeof(float));
    kernel_copy_columns(rows_bench_best(b), T, WIDTH, from + 5, FROM, b->result + 9, TO);
    kernel_add_columns(rows_bench_best(b), T, WIDTH, from + 5, FROM, b->result + N + 9, TO);
    for (size_t i = 0; i < N; i++) {
        size_t t = i / TO, c = i % TO;
        bool inside = t < T && c >= 9 && c < 9 + WIDTH;
        float moved = inside ? from[t * FROM + c - 9 + 5] : 0;
        assert_true(b->result[i] == (inside ? moved : before[i]));
        assert_true(b->result[N + i] == (inside ? before[i] + moved : before[i]));
    }
    kernel_copy_columns(rows_bench_best(b), T, 0, from, FROM, b->result, TO);
    kernel_copy_columns(rows_bench_best(b), 0, WIDTH, from, FROM, b->result, TO);
}

static void test_rope__turns_the_first_part_of_a_head_and_scales_it(void **state)
{
    struct rows_bench *b = *state;
    rows_bench_draw(b, 150);
    use_heads(b, rows_bench_best(b), b->result);
    const float *x = b->buffer[0], *y = b->result;
    for (size_t t = 0; t < T; t++)
        for (size_t head = 0; head < HEADS; head++)
            for (size_t i = 0; i < D; i++) {
                size_t at = (t * HEADS + head) * D, pair = i % (ROTARY / 2);
                double angle = (double)b->ids[t] / (double)(1 + pair);
                double low = (double)x[at + pair], high = (double)x[at + pair + ROTARY / 2];
                double wanted = i < ROTARY / 2 ? low * cos(angle) - high * sin(angle)
                                               : high * cos(angle) + low * sin(angle);
                if (i < ROTARY)
                    assert_true(fabs((double)y[at + i] - 1.3 * wanted) < 1e-6);
                else
                    assert_true(y[at + i] == x[at + i]);
            }
}

/* The gradient of a rotation: <rope(x), dy> = <x, inverse rope(dy)> for any x and dy. */
static void test_rope__inverse_is_the_transposed_rotation(void **state)
{
    struct rows_bench *b = *state;
    static float table[V * ROTARY];
    double frequency[ROTARY / 2] = {1, 0.5, 0.25, 0.1, 0.01, 0.001};
    rows_bench_draw(b, 160);
    rope_table(V, ROTARY / 2, frequency, 0.7, table);
    for (size_t t = 0; t < T; t++) {
        double forward = 0, backward = 0, size = 0;
        float *x = b->result, *dy = b->result + D;
        memcpy(x, b->buffer[0] + t * D, D * sizeof(float));
        memcpy(dy, b->buffer[1] + t * D, D * sizeof(float));
        rope_apply(rows_bench_best(b), 1, 1, D, ROTARY, b->ids + t, table, false, x);
        rope_apply(rows_bench_best(b), 1, 1, D, ROTARY, b->ids + t, table, true, dy);
        for (size_t i = 0; i < D; i++) {
            forward += (double)x[i] * (double)b->buffer[1][t * D + i];
            backward += (double)dy[i] * (double)b->buffer[0][t * D + i];
            size += fabs((double)x[i]);
        }
        assert_true(fabs(forward - backward) < 1e-6 * size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns__give_the_same_bits_on_every_row_and_thread_count),
        cmocka_unit_test(test_bias__is_added_to_every_row_and_its_gradient_sums_them_in_order),
        cmocka_unit_test(test_columns__products_do_not_show_where_they_are_cut),
        cmocka_unit_test(test_columns__touch_their_block_and_nothing_else),
        cmocka_unit_test(test_rope__turns_the_first_part_of_a_head_and_scales_it),
        cmocka_unit_test(test_rope__inverse_is_the_transposed_rotation),
    };
    return cmocka_run_group_tests(tests, rows_bench_setup, rows_bench_teardown);
}
