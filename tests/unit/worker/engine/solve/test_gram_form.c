/* test_gram_form.c - the fast error form against plain sums in doubles, and its bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "tests/unit/worker/engine/solve/solve_case.h"
#include "worker/engine/solve/gram_form.h"

enum { TOKENS = 700 };

/* dw G dw^T / tokens over columns [first, first + count). */
static double plain_error(size_t columns, const double *gram, size_t first, size_t count,
                          const float *delta)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            size_t low = first + MAX(i, j), high = first + MIN(i, j);
            sum += (double)delta[i] * gram[low * columns + high] * (double)delta[j];
        }
    }
    return sum / TOKENS;
}

static void check_form(struct kernel *kernel, size_t columns, size_t first, size_t count,
                       size_t rows)
{
    double *gram = solve_case_gram(columns + first, columns, TOKENS, 30);
    double *errors = mem_alloc(rows, sizeof *errors), total = 0;
    float *delta = solve_case_weights(rows, rows, count + 3);
    struct gram_form form = {0};
    assert_true(errors != NULL);
    for (size_t i = 0; i < columns; i++) { /* what must not be read */
        for (size_t j = i + 1; j < columns; j++)
            gram[i * columns + j] = NAN;
    }
    assert_int_equal(gram_form_init(&form, kernel, columns, gram, TOKENS, first, count, rows), 0);
    gram_form_errors(&form, rows, delta, count + 3, errors);
    for (size_t r = 0; r < rows; r++) {
        double wanted = plain_error(columns, gram, first, count, delta + r * (count + 3));
        assert_true(fabs(errors[r] / wanted - 1) < 1e-5);
        total += errors[r];
    }
    assert_true(gram_form_sum(rows, errors) >= total && gram_form_sum(rows, errors) <= total);
    gram_form_fini(&form);
    mem_free(gram);
    mem_free(delta);
    mem_free(errors);
}

static void test_gram_form__errors_are_those_of_plain_sums(void **state)
{
    (void)state;
    static const struct {
        size_t columns, first, count, rows;
    } cases[] = {{1, 0, 1, 1},      {7, 0, 7, 3},       {256, 0, 256, 5},     {257, 0, 257, 70},
                 {600, 0, 600, 65}, {600, 128, 128, 9}, {600, 300, 300, 130}, {513, 512, 1, 2}};
    struct solve_kernels kernels;
    solve_kernels_init(&kernels);
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check_form(kernels.kernel[0], cases[i].columns, cases[i].first, cases[i].count,
                   cases[i].rows);
    solve_kernels_fini(&kernels);
}

static void test_gram_form__bits_depend_on_neither_threads_nor_instruction_set(void **state)
{
    (void)state;
    enum { COLUMNS = 530, ROWS = 131 };
    struct solve_kernels kernels;
    double *gram = solve_case_gram(1, COLUMNS, TOKENS, 100);
    float *delta = solve_case_weights(2, ROWS, COLUMNS);
    double errors[SOLVE_KERNELS_MAX][ROWS];
    solve_kernels_init(&kernels);
    assert_true(kernels.count > 1);
    for (size_t k = 0; k < kernels.count; k++) {
        struct gram_form form = {0};
        assert_int_equal(
            gram_form_init(&form, kernels.kernel[k], COLUMNS, gram, TOKENS, 0, COLUMNS, ROWS), 0);
        gram_form_errors(&form, ROWS, delta, COLUMNS, errors[k]);
        gram_form_fini(&form);
        assert_memory_equal(errors[k], errors[0], sizeof errors[0]);
    }
    solve_kernels_fini(&kernels);
    mem_free(gram);
    mem_free(delta);
}

static void test_gram_form__what_is_not_finite_is_refused(void **state)
{
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY, 1e300};
    struct solve_kernels kernels;
    double *gram = solve_case_gram(1, 300, TOKENS, 100);
    solve_kernels_init(&kernels);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct gram_form form = {0};
        double kept = gram[299 * 300 + 5];
        gram[299 * 300 + 5] = bad[i];
        assert_int_equal(gram_form_init(&form, kernels.kernel[0], 300, gram, TOKENS, 0, 300, 1),
                         ERR_NOT_FINITE);
        assert_null(form.panels);
        gram[299 * 300 + 5] = kept;
    }
    solve_kernels_fini(&kernels);
    mem_free(gram);
}

static void test_gram_form__without_memory_nothing_is_left(void **state)
{
    (void)state;
    struct solve_kernels kernels;
    double *gram = solve_case_gram(1, 40, TOKENS, 100);
    solve_kernels_init(&kernels);
    for (size_t n = 1; n <= 2; n++) {
        struct gram_form form = {0};
        (void)mem_fault_after(n);
        assert_int_equal(gram_form_init(&form, kernels.kernel[0], 40, gram, TOKENS, 0, 40, 1),
                         ERR_OUT_OF_MEMORY);
        (void)mem_fault_after(0);
        assert_null(form.panels);
    }
    solve_kernels_fini(&kernels);
    mem_free(gram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gram_form__errors_are_those_of_plain_sums),
        cmocka_unit_test(test_gram_form__bits_depend_on_neither_threads_nor_instruction_set),
        cmocka_unit_test(test_gram_form__what_is_not_finite_is_refused),
        cmocka_unit_test(test_gram_form__without_memory_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
