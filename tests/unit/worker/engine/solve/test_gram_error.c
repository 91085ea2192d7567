/* test_gram_error.c - quadratic forms against the definition, and their bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "tests/unit/worker/engine/solve/solve_case.h"
#include "worker/engine/solve/gram_error.h"

static const struct {
    size_t rows, columns;
} shapes[] = {{1, 1}, {1, 7}, {3, 8}, {24, 40}, {25, 201}, {130, 9}, {49, 389}};

static double form(size_t columns, const float *w, const float *values, const double *gram)
{
    double sum = 0;
    for (size_t i = 0; i < columns; i++)
        for (size_t j = 0; j < columns; j++)
            sum += gram[i * columns + j] * ((double)values[i] - (double)w[i]) *
                   ((double)values[j] - (double)w[j]);
    return sum;
}

static void test_gram_error__is_the_sum_of_the_forms_of_rows(void **state)
{
    struct solve_kernels kernels;
    solve_kernels_init(&kernels);
    (void)state;
    for (size_t s = 0; s < COUNT_OF(shapes); s++) {
        size_t rows = shapes[s].rows, columns = shapes[s].columns;
        double *gram = solve_case_gram(3, columns, 50, 10);
        float *w = solve_case_weights(5, rows, columns);
        float *values = solve_case_weights(6, rows, columns);
        double row_errors[130], error, sum = 0;
        assert_int_equal(
            gram_error(kernels.kernel[0], rows, columns, w, values, gram, row_errors, &error),
            ERR_OK);
        for (size_t r = 0; r < rows; r++) {
            double wanted = form(columns, w + r * columns, values + r * columns, gram);
            assert_true(fabs(row_errors[r] - wanted) <= 1e-12 * wanted);
            sum += row_errors[r];
        }
        assert_true(error == sum && error > 0);
        mem_free(gram);
        mem_free(w);
        mem_free(values);
    }
    solve_kernels_fini(&kernels);
}

static void test_gram_error__has_the_same_bits_on_every_kernel_and_reads_half_of_gram(void **state)
{
    struct solve_kernels kernels;
    solve_kernels_init(&kernels);
    (void)state;
    for (size_t s = 0; s < COUNT_OF(shapes); s++) {
        size_t rows = shapes[s].rows, columns = shapes[s].columns;
        double *gram = solve_case_gram(13, columns, 20, 100);
        float *w = solve_case_weights(15, rows, columns);
        float *values = solve_case_weights(16, rows, columns);
        double first[130] = {0}, row_errors[130] = {0}, first_error = 0, error;
        for (size_t k = 0; k < kernels.count; k++) {
            assert_int_equal(gram_error(kernels.kernel[k], rows, columns, w, values, gram,
                                        k == 0 ? first : row_errors, &error),
                             ERR_OK);
            if (k == 0) {
                first_error = error;
                for (size_t i = 0; i < columns; i++)
                    for (size_t j = i + 1; j < columns; j++)
                        gram[i * columns + j] = (double)NAN;
                continue;
            }
            assert_memory_equal(first, row_errors, rows * sizeof(double));
            assert_memory_equal(&first_error, &error, sizeof(error));
        }
        assert_int_equal(
            gram_error(kernels.kernel[0], rows, columns, w, values, gram, NULL, &error), ERR_OK);
        assert_memory_equal(&first_error, &error, sizeof(error));
        mem_free(gram);
        mem_free(w);
        mem_free(values);
    }
    solve_kernels_fini(&kernels);
}

static void test_gram_error__is_an_error_without_memory(void **state)
{
    struct solve_kernels kernels;
    solve_kernels_init(&kernels);
    (void)state;
    double gram[1] = {2}, error = -1;
    float w[1] = {0}, values[1] = {3};
    for (size_t n = 1; n <= 2; n++) {
        mem_fault_after(n);
        assert_int_equal(gram_error(kernels.kernel[0], 1, 1, w, values, gram, NULL, &error),
                         ERR_OUT_OF_MEMORY);
        mem_fault_after(0);
        assert_true(error == -1);
    }
    assert_int_equal(gram_error(kernels.kernel[0], 1, 1, w, values, gram, NULL, &error), ERR_OK);
    assert_true(error == 18);
    solve_kernels_fini(&kernels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gram_error__is_the_sum_of_the_forms_of_rows),
        cmocka_unit_test(test_gram_error__has_the_same_bits_on_every_kernel_and_reads_half_of_gram),
        cmocka_unit_test(test_gram_error__is_an_error_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
