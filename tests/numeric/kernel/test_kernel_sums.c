/* test_kernel_sums.c - statistics of columns and their products: element by element as plain loops
 * have them, and the same bits on every instruction set and number of threads.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "tests/numeric/kernel/rows_bench.h"
#include "worker/engine/kernel/columns.h"
#include "worker/engine/kernel/gram.h"

/* Rows of x that are seen first: what comes later continues their sums. */
enum { FIRST = 11, WIDTH = 37, WIDE = 300, WIDE_T = 19 };

struct sums {
    double squares[C], sizes[C], wide[C];
    float least[C], most[C];
};

static void sum(struct kernel *k, const float *x, struct sums *s)
{
    static const size_t parts[2][2] = {{0, FIRST}, {FIRST, T - FIRST}};
    *s = (struct sums){0};
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        const float *at = x + parts[i][0] * C;
        columns_add_squares(k, parts[i][1], C, at, s->squares);
        columns_add_sizes(k, parts[i][1], C, at, s->sizes);
        columns_widen_range(k, parts[i][1], C, at, s->least, s->most);
        kernel_add_wide(k, C, at, s->wide);
    }
}

/* Doubles as the floats of their halves, so that every bit is compared; all NaN are one. */
static float *put_doubles(size_t count, const double *values, float *out)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t bits;
        double value = isnan(values[i]) ? 0 : values[i];
        memcpy(&bits, &value, sizeof bits);
        for (size_t part = 0; part < 4; part++)
            *out++ = (float)(bits >> (16 * part) & 0xffff);
    }
    return out;
}

static void use_sums(struct rows_bench *b, struct kernel *k, float *out)
{
    struct sums s;
    sum(k, b->buffer[0], &s);
    out = put_doubles(C, s.squares, out);
    out = put_doubles(C, s.sizes, out);
    out = put_doubles(C, s.wide, out);
    memcpy(out, s.least, sizeof s.least);
    memcpy(out + C, s.most, sizeof s.most);
}

static void use_gram(struct rows_bench *b, struct kernel *k, float *out)
{
    static double triangle[WIDTH * (WIDTH + 1) / 2];
    static float panel[GRAM_PANEL * WIDTH];
    memset(triangle, 0, sizeof triangle);
    gram_add(k, FIRST, WIDTH, b->buffer[0], panel, triangle);
    gram_add(k, T, WIDTH, b->buffer[1], panel, triangle);
    (void)put_doubles(WIDTH * (WIDTH + 1) / 2, triangle, out);
}

static void test_sums__give_the_same_bits_on_every_row_and_thread_count(void **state)
{
    _Static_assert((3 * 4 + 2) * C <= 4 * N, "the results fit");
    _Static_assert(4 * WIDTH * (WIDTH + 1) / 2 <= 4 * N, "the results fit");
    rows_bench_compare(*state, "sums", use_sums);
    rows_bench_compare(*state, "gram", use_gram);
}

static void test_sums__of_a_column_are_one_chain_down_the_rows(void **state)
{
    struct rows_bench *b = *state;
    struct sums s;
    rows_bench_draw(b, 170);
    const float *x = b->buffer[0];
    sum(rows_bench_best(b), x, &s);
    for (size_t c = 0; c < C; c++) {
        double squares = 0, sizes = 0;
        float least = 0, most = 0;
        for (size_t t = 0; t < T; t++) {
            double value = (double)x[t * C + c];
            squares += value * value;
            sizes += fabs(value);
            least = fminf(least, x[t * C + c]);
            most = fmaxf(most, x[t * C + c]);
        }
        assert_true(s.squares[c] == squares && s.sizes[c] == sizes);
        assert_true(s.least[c] == least && s.most[c] == most);
        assert_true(s.wide[c] == (double)x[c] + (double)x[FIRST * C + c]);
    }
}

static void test_sums__pass_over_nan_in_a_range_and_show_it_in_a_sum(void **state)
{
    struct rows_bench *b = *state;
    const float x[] = {1, NAN, -3};
    double squares = 0;
    float least = INFINITY, most = -INFINITY;
    columns_widen_range(rows_bench_best(b), 3, 1, x, &least, &most);
    columns_add_squares(rows_bench_best(b), 3, 1, x, &squares);
    assert_true(least == -3 && most == 1 && isnan(squares));
}

/* More than one panel, so that products beside and below the diagonal's blocks are seen. */
static void test_gram__adds_products_of_f32_chains_in_f64(void **state)
{
    struct rows_bench *b = *state;
    _Static_assert((int)WIDE > (int)GRAM_PANEL && (int)(WIDE * WIDE_T) <= (int)N, "in a buffer");
    double *triangle = mem_alloc(WIDE * (WIDE + 1) / 2, sizeof *triangle), *at = triangle;
    float *panel = mem_alloc(GRAM_PANEL * WIDE, sizeof *panel);
    assert_true(triangle != NULL && panel != NULL);
    rows_bench_draw(b, 180);
    const float *x = b->buffer[0], *y = b->buffer[1];
    gram_add(rows_bench_best(b), WIDE_T, WIDE, x, panel, triangle);
    gram_add(rows_bench_best(b), FIRST, WIDE, y, panel, triangle);
    for (size_t i = 0; i < WIDE; i++)
        for (size_t j = i; j < WIDE; j++) {
            float first = 0, second = 0;
            for (size_t t = 0; t < WIDE_T; t++)
                first = fmaf(x[t * WIDE + i], x[t * WIDE + j], first);
            for (size_t t = 0; t < FIRST; t++)
                second = fmaf(y[t * WIDE + i], y[t * WIDE + j], second);
            assert_true(*at++ == (double)first + (double)second);
        }
    mem_free(triangle);
    mem_free(panel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums__give_the_same_bits_on_every_row_and_thread_count),
        cmocka_unit_test(test_sums__of_a_column_are_one_chain_down_the_rows),
        cmocka_unit_test(test_sums__pass_over_nan_in_a_range_and_show_it_in_a_sum),
        cmocka_unit_test(test_gram__adds_products_of_f32_chains_in_f64),
    };
    return cmocka_run_group_tests(tests, rows_bench_setup, rows_bench_teardown);
}
