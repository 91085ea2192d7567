/* test_svd.c - values and vectors against LAPACK's, and their bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "tests/unit/worker/engine/solve/solve_case.h"
#include "worker/engine/solve/svd.h"

void dgesvd_(const char *jobu, const char *jobv, const int *m, const int *n, double *a,
             const int *lda, double *s, double *u, const int *ldu, double *v, const int *ldv,
             double *work, const int *work_count, int *info);

struct found {
    double *u, *s, *v;
};

static struct found found_init(size_t rows, size_t columns, size_t rank)
{
    struct found f = {mem_alloc(rows * rank, sizeof(double)), mem_alloc(rank, sizeof(double)),
                      mem_alloc(columns * rank, sizeof(double))};
    assert_true(f.u != NULL && f.s != NULL && f.v != NULL);
    return f;
}

static void found_fini(struct found *f)
{
    mem_free(f->u);
    mem_free(f->s);
    mem_free(f->v);
}

static struct found decompose(struct kernel *kernel, size_t rows, size_t columns, const float *w,
                              size_t rank, size_t iterations)
{
    struct found f = found_init(rows, columns, rank);
    const struct svd_options options = {rank, iterations, 77};
    assert_int_equal(svd_truncate(kernel, rows, columns, w, &options, f.u, f.s, f.v), ERR_OK);
    return f;
}

/* All values of w, by LAPACK: row-major here is transposed there, which has the same values. */
static double *values_of_lapack(size_t rows, size_t columns, const float *w)
{
    int m = (int)columns, n = (int)rows, one = 1, info = -1, work_count = 8 * (m + n);
    double *a = mem_alloc(rows * columns, sizeof *a), none;
    double *s = mem_alloc(MIN(rows, columns), sizeof *s);
    double *work = mem_alloc((size_t)work_count, sizeof *work);
    assert_true(a != NULL && s != NULL && work != NULL);
    for (size_t i = 0; i < rows * columns; i++)
        a[i] = (double)w[i];
    dgesvd_("N", "N", &m, &n, a, &m, s, &none, &one, &none, &one, work, &work_count, &info);
    assert_int_equal(info, 0);
    mem_free(a);
    mem_free(work);
    return s;
}

/* What is left of w without the part that was found, as the root of a sum of squares. */
static double rest_of(size_t rows, size_t columns, size_t rank, const float *w,
                      const struct found *f)
{
    double sum = 0;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            double left = (double)w[i * columns + j];
            for (size_t k = 0; k < rank; k++)
                left -= f->u[i * rank + k] * f->s[k] * f->v[j * rank + k];
            sum += left * left;
        }
    return sqrt(sum);
}

static void check_orthonormal(size_t size, size_t rank, const double *basis)
{
    for (size_t a = 0; a < rank; a++)
        for (size_t b = 0; b <= a; b++) {
            double sum = 0;
            for (size_t i = 0; i < size; i++)
                sum += basis[i * rank + a] * basis[i * rank + b];
            assert_true(fabs(sum - (a == b ? 1 : 0)) < 1e-12);
        }
}

static void check_signs(size_t rows, size_t rank, const double *u)
{
    for (size_t k = 0; k < rank; k++) {
        size_t best = 0;
        for (size_t i = 1; i < rows; i++)
            best = fabs(u[i * rank + k]) > fabs(u[best * rank + k]) ? i : best;
        assert_true(u[best * rank + k] > 0);
    }
}

static const struct {
    size_t rows, columns, rank, iterations;
    double near; /* of values, beside the largest; small matrices are exact */
} cases[] = {
    {1, 1, 1, 0, 1e-14},      {5, 3, 3, 0, 1e-14},     {3, 5, 2, 0, 1e-14},
    {40, 130, 8, 0, 1e-14},   {130, 64, 64, 0, 1e-13}, {200, 72, 64, 0, 1e-13},
    {150, 200, 16, 40, 1e-3}, {300, 97, 4, 40, 1e-2},
};

static void test_svd__values_are_those_of_lapack(void **state)
{
    struct solve_kernels kernels;
    solve_kernels_init(&kernels);
    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        size_t rows = cases[c].rows, columns = cases[c].columns, rank = cases[c].rank;
        float *w = solve_case_weights(c, rows, columns);
        struct found f = decompose(kernels.kernel[0], rows, columns, w, rank, cases[c].iterations);
        double *all = values_of_lapack(rows, columns, w), tail = 0;
        for (size_t k = 0; k < rank; k++) {
            assert_true(k == 0 || f.s[k] <= f.s[k - 1]);
            if (fabs(f.s[k] - all[k]) > cases[c].near * all[0])
                fail_msg("case %zu: value %zu: expected %.17g, found %.17g", c, k, all[k], f.s[k]);
        }
        for (size_t k = rank; k < MIN(rows, columns); k++)
            tail += all[k] * all[k];
        assert_true(rest_of(rows, columns, rank, w, &f) <=
                    sqrt(tail) * (1 + cases[c].near) + 1e-13);
        check_orthonormal(rows, rank, f.u);
        check_orthonormal(columns, rank, f.v);
        check_signs(rows, rank, f.u);
        found_fini(&f);
        mem_free(all);
        mem_free(w);
    }
    solve_kernels_fini(&kernels);
}

/* (rows, columns) of rank `rank` with values 1, 1/2, 1/4, ... and a little noise. */
static float *decaying(size_t rows, size_t columns, size_t rank, double noise)
{
    float *w = mem_alloc(rows * columns, sizeof *w);
    double *a = mem_alloc(rows * rank + columns * rank, sizeof *a), *b = a + rows * rank;
    assert_true(w != NULL && a != NULL);
    for (size_t i = 0; i < (rows + columns) * rank; i++)
        a[i] = (double)random_normal_f32(5, i);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            double sum = noise * (double)random_normal_f32(6, i * columns + j), size = 1;
            for (size_t k = 0; k < rank; k++, size /= 2)
                sum += size * a[i * rank + k] * b[j * rank + k];
            w[i * columns + j] = (float)sum;
        }
    mem_free(a);
    return w;
}

static void test_svd__few_iterations_find_values_that_stand_out(void **state)
{
    enum { ROWS = 260, COLUMNS = 330, RANK = 6 };
    struct solve_kernels kernels;
    solve_kernels_init(&kernels);
    (void)state;
    float *w = decaying(ROWS, COLUMNS, RANK, 1e-4);
    double *all = values_of_lapack(ROWS, COLUMNS, w);
    struct found f = decompose(kernels.kernel[0], ROWS, COLUMNS, w, RANK, 2);
    for (size_t k = 0; k < RANK; k++)
        assert_true(fabs(f.s[k] - all[k]) <= 1e-12 * all[0]);
    found_fini(&f);
    mem_free(all);
    mem_free(w);
    solve_kernels_fini(&kernels);
}

static void test_svd__bits_are_the_same_on_every_kernel(void **state)
{
    struct solve_kernels kernels;
    solve_kernels_init(&kernels);
    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        size_t rows = cases[c].rows, columns = cases[c].columns, rank = cases[c].rank;
        float *w = solve_case_weights(c + 50, rows, columns);
        struct found first = decompose(kernels.kernel[0], rows, columns, w, rank, 2);
        for (size_t k = 1; k < kernels.count; k++) {
            struct found other = decompose(kernels.kernel[k], rows, columns, w, rank, 2);
            assert_memory_equal(other.u, first.u, rows * rank * sizeof *first.u);
            assert_memory_equal(other.s, first.s, rank * sizeof *first.s);
            assert_memory_equal(other.v, first.v, columns * rank * sizeof *first.v);
            found_fini(&other);
        }
        found_fini(&first);
        mem_free(w);
    }
    solve_kernels_fini(&kernels);
}

static void test_svd__a_matrix_of_lower_rank_has_zeros(void **state)
{
    static const size_t sides[] = {40, 200}; /* decomposed whole, and by iteration */
    struct solve_kernels kernels;
    solve_kernels_init(&kernels);
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sides); i++) {
        size_t n = sides[i];
        float *w = decaying(n, n + 3, 2, 0), *zero = mem_alloc(n * n, sizeof *zero);
        struct found f = decompose(kernels.kernel[0], n, n + 3, w, 4, 2);
        assert_true(f.s[1] > 0 && f.s[2] < 1e-5 * f.s[0] && f.s[3] < 1e-5 * f.s[0]);
        assert_true(rest_of(n, n + 3, 4, w, &f) < 1e-4 * f.s[0]);
        found_fini(&f);
        f = decompose(kernels.kernel[0], n, n, zero, 4, 2);
        for (size_t k = 0; k < 4; k++)
            assert_true(f.s[k] == 0);
        for (size_t k = 0; k < 4 * n; k++)
            assert_true(isfinite(f.u[k]) && isfinite(f.v[k]));
        found_fini(&f);
        mem_free(w);
        mem_free(zero);
    }
    solve_kernels_fini(&kernels);
}

static void test_svd__is_an_error_without_memory(void **state)
{
    struct solve_kernels kernels;
    solve_kernels_init(&kernels);
    (void)state;
    const float w[1] = {-3};
    const struct svd_options options = {.rank = 1};
    double u[1], s[1], v[1];
    mem_fault_after(1);
    assert_int_equal(svd_truncate(kernels.kernel[0], 1, 1, w, &options, u, s, v),
                     ERR_OUT_OF_MEMORY);
    mem_fault_after(0);
    assert_int_equal(svd_truncate(kernels.kernel[0], 1, 1, w, &options, u, s, v), ERR_OK);
    assert_true(u[0] == 1 && s[0] == 3 && v[0] == -1);
    solve_kernels_fini(&kernels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_svd__values_are_those_of_lapack),
        cmocka_unit_test(test_svd__few_iterations_find_values_that_stand_out),
        cmocka_unit_test(test_svd__bits_are_the_same_on_every_kernel),
        cmocka_unit_test(test_svd__a_matrix_of_lower_rank_has_zeros),
        cmocka_unit_test(test_svd__is_an_error_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
