/* test_cholesky.c - the factor against LAPACK's and against its own definition, and its bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "tests/unit/worker/engine/solve/solve_case.h"
#include "worker/engine/solve/cholesky.h"

void dpotrf_(const char *triangle, const int *n, double *a, const int *stride, int *info);

static double *copy(size_t n, const double *a)
{
    double *out = mem_alloc(n * n, sizeof(*out));
    assert_non_null(out);
    memcpy(out, a, n * n * sizeof(*out));
    return out;
}

/* NaN below the diagonal: nobody may look there. */
static void spoil_below(size_t n, double *a)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            a[i * n + j] = (double)NAN;
}

static const size_t sizes[] = {1, 2, 7, 8, 9, 24, 191, 192, 193, 200, 384, 391};

static void test_cholesky__agrees_with_lapack(void **state)
{
    struct solve_kernels kernels;
    solve_kernels_init(&kernels);
    (void)state;
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        size_t n = sizes[s];
        double *gram = solve_case_gram(s, n, n + 50, 3), *ours = copy(n, gram);
        double *theirs = copy(n, gram);
        int size = (int)n, info = -1;
        dpotrf_("L", &size, theirs, &size, &info); /* row-major above is column-major below */
        assert_int_equal(info, 0);
        assert_int_equal(cholesky_factor(kernels.kernel[0], n, ours, NULL), ERR_OK);
        for (size_t i = 0; i < n; i++)
            for (size_t j = i; j < n; j++) {
                double size_of = sqrt(gram[j * n + j]); /* no element of column j is larger */
                assert_true(fabs(ours[i * n + j] - theirs[i * n + j]) <= 1e-11 * size_of);
            }
        mem_free(gram);
        mem_free(ours);
        mem_free(theirs);
    }
    solve_kernels_fini(&kernels);
}

/* The definition, element by element. */
static void factor_plainly(size_t n, double *a)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = i; j < n; j++) {
            double sum = a[i * n + j];
            for (size_t k = 0; k < i; k++)
                sum = fma(-a[k * n + i], a[k * n + j], sum);
            a[i * n + j] = i == j ? sqrt(sum) : sum / a[i * n + i];
        }
}

static void test_cholesky__has_the_bits_of_its_definition_on_every_kernel(void **state)
{
    struct solve_kernels kernels;
    solve_kernels_init(&kernels);
    (void)state;
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        size_t n = sizes[s];
        double *gram = solve_case_gram(s + 30, n, n + 20, 50), *wanted = copy(n, gram);
        factor_plainly(n, wanted);
        spoil_below(n, gram);
        spoil_below(n, wanted);
        for (size_t k = 0; k < kernels.count; k++) {
            double *a = copy(n, gram);
            assert_int_equal(cholesky_factor(kernels.kernel[k], n, a, NULL), ERR_OK);
            assert_memory_equal(a, wanted, n * n * sizeof(*a));
            mem_free(a);
        }
        mem_free(gram);
        mem_free(wanted);
    }
    solve_kernels_fini(&kernels);
}

static void test_cholesky__names_the_pivot_that_is_not_positive(void **state)
{
    static const size_t pivots[] = {0, 1, 100, 191, 192, 250, 299};
    enum { N = 300 };
    struct solve_kernels kernels;
    solve_kernels_init(&kernels);
    (void)state;
    double *gram = solve_case_gram(77, N, N + 50, 3);
    for (size_t p = 0; p < COUNT_OF(pivots); p++)
        for (size_t k = 0; k < 3; k++) {
            static const double wrong[] = {-1, 0, (double)NAN};
            double *a = copy(N, gram);
            size_t at = pivots[p], pivot = N;
            for (size_t i = 0; i < N && k == 1; i++) /* a pivot that is exactly 0 */
                a[at * N + i] = a[i * N + at] = 0;
            a[at * N + at] = wrong[k];
            assert_int_equal(cholesky_factor(kernels.kernel[p % kernels.count], N, a, &pivot),
                             ERR_NOT_POSITIVE);
            assert_int_equal(pivot, at);
            mem_free(a);
        }
    double infinite = (double)INFINITY;
    assert_int_equal(cholesky_factor(kernels.kernel[0], 1, &infinite, NULL), ERR_NOT_POSITIVE);
    mem_free(gram);
    solve_kernels_fini(&kernels);
}

static void test_cholesky__is_an_error_without_memory_and_leaves_the_matrix(void **state)
{
    struct solve_kernels kernels;
    solve_kernels_init(&kernels);
    (void)state;
    double a[1] = {4};
    mem_fault_after(1);
    assert_int_equal(cholesky_factor(kernels.kernel[0], 1, a, NULL), ERR_OUT_OF_MEMORY);
    mem_fault_after(0);
    assert_true(a[0] == 4);
    assert_int_equal(cholesky_factor(kernels.kernel[0], 1, a, NULL), ERR_OK);
    assert_true(a[0] == 2);
    solve_kernels_fini(&kernels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cholesky__agrees_with_lapack),
        cmocka_unit_test(test_cholesky__has_the_bits_of_its_definition_on_every_kernel),
        cmocka_unit_test(test_cholesky__names_the_pivot_that_is_not_positive),
        cmocka_unit_test(test_cholesky__is_an_error_without_memory_and_leaves_the_matrix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
