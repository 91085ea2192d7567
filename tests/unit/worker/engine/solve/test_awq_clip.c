/* test_awq_clip.c - bounds of cells against all bounds tried in doubles. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "tests/unit/worker/engine/solve/solve_case.h"
#include "worker/engine/solve/awq_clip.h"
#include "worker/engine/solve/gram_error.h"

enum { COLUMNS = 96, ROWS = 40, TOKENS = 400 };

/* Weights with tails, times scales, and their input's Gram matrix. */
struct module {
    double *gram;
    float *weights, *clipped, scales[COLUMNS];
    struct awq_input input;
};

static struct module module_create(uint64_t seed)
{
    struct module m = {.gram = solve_case_gram(seed, COLUMNS, TOKENS, 10),
                       .weights = solve_case_weights(seed + 1, ROWS, COLUMNS),
                       .clipped = mem_alloc(ROWS * COLUMNS, sizeof *m.clipped)};
    assert_non_null(m.clipped);
    for (size_t c = 0; c < COLUMNS; c++)
        m.scales[c] = 0.5f + 2 * random_uniform_f32(seed + 2, c);
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        m.weights[i] *= m.scales[i % COLUMNS];
        if (random_uniform_f32(seed + 3, i) < 0.01f)
            m.weights[i] *= 4;
    }
    memcpy(m.clipped, m.weights, ROWS * COLUMNS * sizeof *m.clipped);
    m.input = (struct awq_input){.columns = COLUMNS, .tokens = TOKENS, .gram = m.gram};
    return m;
}

static void module_destroy(struct module *m)
{
    mem_free(m->gram);
    mem_free(m->weights);
    mem_free(m->clipped);
}

static const struct grid_scheme schemes[] = {
    {.bits = 4,
     .symmetric = true,
     .strategy = GRID_GROUP,
     .group_size = 32,
     .scale_dtype = DTYPE_F32},
    {.bits = 3, .strategy = GRID_GROUP, .group_size = 48, .scale_dtype = DTYPE_BF16},
    {.bits = 4, .symmetric = true, .strategy = GRID_CHANNEL, .scale_dtype = DTYPE_F16},
    {.bits = 4,
     .strategy = GRID_BLOCK,
     .group_size = 24,
     .block_rows = 8,
     .scale_dtype = DTYPE_F32},
    {.bits = 4, .symmetric = true, .strategy = GRID_TENSOR, .scale_dtype = DTYPE_F32}};

/* ---- the same in doubles ---- */

/* The error of one cell clamped to `bound`, its columns alone. */
static double plain_cell_error(const struct module *m, const struct grid *grid, size_t row0,
                               size_t column0, float bound)
{
    size_t n = grid->cell_columns;
    float x[ROWS * COLUMNS];
    double sum = 0, delta[COLUMNS];
    for (size_t r = 0; r < grid->cell_rows; r++) {
        for (size_t c = 0; c < n; c++)
            x[r * n + c] =
                fminf(fmaxf(m->weights[(row0 + r) * COLUMNS + column0 + c], -bound), bound);
    }
    struct grid_cell cell = grid_cell_find(&grid->scheme, grid->cell_rows, n, n, x, NULL);
    for (size_t r = 0; r < grid->cell_rows; r++) {
        for (size_t c = 0; c < n; c++) {
            int code = grid_cell_code(&grid->scheme, cell, x[r * n + c]);
            float w = m->weights[(row0 + r) * COLUMNS + column0 + c];
            delta[c] =
                ((double)grid_cell_value(cell, code) - (double)w) / (double)m->scales[column0 + c];
        }
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < n; j++)
                sum += delta[i] * m->gram[(column0 + i) * COLUMNS + column0 + j] * delta[j];
        }
    }
    return sum / TOKENS;
}

static float largest(const float *w, const struct grid *grid, size_t row0, size_t column0)
{
    float most = 0;
    for (size_t r = row0; r < row0 + grid->cell_rows; r++) {
        for (size_t c = column0; c < column0 + grid->cell_columns; c++)
            most = fmaxf(most, fabsf(w[r * COLUMNS + c]));
    }
    return most;
}

/* The cell's bound has the least error of the ten, and its weights are what it leaves of them. */
static size_t check_cell(const struct module *m, const struct grid *grid, size_t row0,
                         size_t column0)
{
    float most = largest(m->weights, grid, row0, column0);
    float bound = largest(m->clipped, grid, row0, column0);
    double best = DBL_MAX;
    bool one_of_ten = false;
    for (int i = 0; i < 10; i++) {
        float tried = i == 0 ? most : most * (1 - (float)i / 20);
        best = fmin(best, plain_cell_error(m, grid, row0, column0, tried));
        one_of_ten = one_of_ten || (tried <= bound && tried >= bound);
    }
    assert_true(one_of_ten);
    assert_true(plain_cell_error(m, grid, row0, column0, bound) <= best * (1 + 1e-4));
    for (size_t r = row0; r < row0 + grid->cell_rows; r++) {
        for (size_t c = column0; c < column0 + grid->cell_columns; c++) {
            float w = m->weights[r * COLUMNS + c], left = m->clipped[r * COLUMNS + c];
            float wanted = fminf(fmaxf(w, -bound), bound);
            assert_memory_equal(&left, &wanted, sizeof left);
        }
    }
    return bound < most;
}

/* The module's error with what the grid makes of `x`, from G in doubles. */
static double plain_error(const struct module *m, struct kernel *kernel,
                          const struct grid_scheme *scheme, const float *x)
{
    struct grid grid = {0};
    int8_t codes[COLUMNS];
    float *values = mem_alloc(ROWS * COLUMNS, sizeof *values);
    float *wanted = mem_alloc(ROWS * COLUMNS, sizeof *wanted);
    double error = 0;
    assert_true(values != NULL && wanted != NULL);
    assert_int_equal(grid_init(&grid, scheme, ROWS, COLUMNS, "test", NULL), ERR_OK);
    grid_find(&grid, x, NULL);
    for (size_t r = 0; r < ROWS; r++) {
        grid_encode_row(&grid, r, x + r * COLUMNS, codes);
        grid_decode_row(&grid, r, codes, values + r * COLUMNS);
    }
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        values[i] /= m->scales[i % COLUMNS];
        wanted[i] = m->weights[i] / m->scales[i % COLUMNS];
    }
    assert_int_equal(gram_error(kernel, ROWS, COLUMNS, wanted, values, m->gram, NULL, &error),
                     ERR_OK);
    grid_fini(&grid);
    mem_free(values);
    mem_free(wanted);
    return error / TOKENS;
}

static void test_awq_clip__bounds_are_the_best_of_those_tried(void **state)
{
    (void)state;
    struct solve_kernels kernels;
    struct awq_options options = awq_defaults();
    solve_kernels_init(&kernels);
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        struct module m = module_create(20 + i);
        struct grid grid = {0};
        struct awq_clip result;
        size_t clipped = 0;
        assert_int_equal(awq_clip(kernels.kernel[0], &schemes[i], &options, &m.input, m.scales,
                                  ROWS, m.clipped, &result),
                         ERR_OK);
        assert_int_equal(grid_init(&grid, &schemes[i], ROWS, COLUMNS, "test", NULL), ERR_OK);
        for (size_t r = 0; r < ROWS; r += grid.cell_rows) {
            for (size_t c = 0; c < COLUMNS; c += grid.cell_columns)
                clipped += check_cell(&m, &grid, r, c);
        }
        double before = plain_error(&m, kernels.kernel[0], &schemes[i], m.weights);
        double after = plain_error(&m, kernels.kernel[0], &schemes[i], m.clipped);
        print_message("%zu of %zu cells clipped, error %.4g after %.4g\n", clipped, result.cells,
                      result.error, result.error_plain);
        assert_int_equal(clipped, result.clipped);
        assert_int_equal(grid.down * grid.across, result.cells);
        assert_true(fabs(result.error_plain / before - 1) < 1e-4);
        assert_true(fabs(result.error / after - 1) < 1e-4);
        assert_true(clipped > 0 && result.error < result.error_plain);
        grid_fini(&grid);
        module_destroy(&m);
    }
    solve_kernels_fini(&kernels);
}

static void test_awq_clip__bits_depend_on_neither_threads_nor_instruction_set(void **state)
{
    (void)state;
    struct solve_kernels kernels;
    struct awq_options options = awq_defaults();
    solve_kernels_init(&kernels);
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        struct module m = module_create(30 + i);
        float *first = mem_alloc(ROWS * COLUMNS, sizeof *first);
        struct awq_clip wanted = {0}, result = {0};
        assert_non_null(first);
        memcpy(first, m.weights, ROWS * COLUMNS * sizeof *first);
        for (size_t k = 0; k < kernels.count; k++) {
            memcpy(m.clipped, m.weights, ROWS * COLUMNS * sizeof *first);
            assert_int_equal(awq_clip(kernels.kernel[k], &schemes[i], &options, &m.input, m.scales,
                                      ROWS, k == 0 ? first : m.clipped, k == 0 ? &wanted : &result),
                             ERR_OK);
            if (k == 0)
                continue;
            assert_memory_equal(m.clipped, first, ROWS * COLUMNS * sizeof *first);
            assert_memory_equal(&result, &wanted, sizeof result);
        }
        mem_free(first);
        module_destroy(&m);
    }
    solve_kernels_fini(&kernels);
}

/* Integers from -8 to 7 in every cell: the full range has no error. */
static void test_awq_clip__weights_on_their_grid_stay(void **state)
{
    (void)state;
    struct solve_kernels kernels;
    struct awq_options options = awq_defaults();
    struct grid_scheme scheme = {
        .bits = 4, .strategy = GRID_GROUP, .group_size = 32, .scale_dtype = DTYPE_BF16};
    struct module m = module_create(40);
    struct awq_clip result;
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        float code = floorf(16 * random_uniform_f32(1, i)) - 8;
        m.weights[i] = i % 32 == 0 ? -8 : i % 32 == 1 ? 7 : code;
    }
    memcpy(m.clipped, m.weights, ROWS * COLUMNS * sizeof *m.clipped);
    solve_kernels_init(&kernels);
    assert_int_equal(
        awq_clip(kernels.kernel[0], &scheme, &options, &m.input, NULL, ROWS, m.clipped, &result),
        ERR_OK);
    assert_int_equal(result.clipped, 0);
    assert_true(result.error <= 0 && result.error_plain <= 0);
    assert_memory_equal(m.clipped, m.weights, ROWS * COLUMNS * sizeof *m.clipped);
    module_destroy(&m);
    solve_kernels_fini(&kernels);
}

static void test_awq_clip__what_fails_leaves_the_weights(void **state)
{
    (void)state;
    struct solve_kernels kernels;
    struct awq_options options = awq_defaults();
    struct module m = module_create(50);
    struct awq_clip result;
    size_t faults = 0, bytes = ROWS * COLUMNS * sizeof *m.clipped;
    solve_kernels_init(&kernels);
    for (enum err err = ERR_OUT_OF_MEMORY; err != ERR_OK; faults++) {
        assert_memory_equal(m.clipped, m.weights, bytes);
        (void)mem_fault_after(faults + 1);
        err = awq_clip(kernels.kernel[0], &schemes[0], &options, &m.input, m.scales, ROWS,
                       m.clipped, &result);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
    }
    assert_true(faults > 8 && memcmp(m.clipped, m.weights, bytes) != 0);
    memcpy(m.clipped, m.weights, bytes);
    m.gram[95 * COLUMNS + 95] = INFINITY;
    assert_int_equal(awq_clip(kernels.kernel[0], &schemes[0], &options, &m.input, m.scales, ROWS,
                              m.clipped, &result),
                     ERR_NOT_FINITE);
    assert_memory_equal(m.clipped, m.weights, bytes);
    module_destroy(&m);
    solve_kernels_fini(&kernels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_awq_clip__bounds_are_the_best_of_those_tried),
        cmocka_unit_test(test_awq_clip__bits_depend_on_neither_threads_nor_instruction_set),
        cmocka_unit_test(test_awq_clip__weights_on_their_grid_stay),
        cmocka_unit_test(test_awq_clip__what_fails_leaves_the_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
