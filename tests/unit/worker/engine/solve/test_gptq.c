/* test_gptq.c - against the paper's algorithm written plainly, and what must hold of any result. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "tests/unit/worker/engine/solve/solve_case.h"
#include "worker/engine/solve/gptq.h"
#include "worker/engine/solve/gram_error.h"

static const struct gptq_case {
    const char *name;
    size_t rows, columns, tokens;
    enum gptq_order order;
    struct grid_scheme scheme;
} cases[] = {
    {"int4 g32",
     30,
     96,
     300,
     GPTQ_ORDER_COLUMNS,
     {.bits = 4,
      .symmetric = true,
      .strategy = GRID_GROUP,
      .group_size = 32,
      .scale_dtype = DTYPE_BF16}},
    {"int4 g128 affine",
     49,
     384,
     800,
     GPTQ_ORDER_COLUMNS,
     {.bits = 4, .strategy = GRID_GROUP, .group_size = 128, .scale_dtype = DTYPE_F16}},
    {"int3 g20, groups across panels",
     7,
     100,
     200,
     GPTQ_ORDER_COLUMNS,
     {.bits = 3,
      .symmetric = true,
      .strategy = GRID_GROUP,
      .group_size = 20,
      .scale_dtype = DTYPE_F32}},
    {"int4 g256, wider than a span",
     5,
     512,
     700,
     GPTQ_ORDER_COLUMNS,
     {.bits = 4,
      .symmetric = true,
      .strategy = GRID_GROUP,
      .group_size = 256,
      .scale_dtype = DTYPE_BF16}},
    {"int2 g1",
     3,
     9,
     40,
     GPTQ_ORDER_COLUMNS,
     {.bits = 2,
      .symmetric = true,
      .strategy = GRID_GROUP,
      .group_size = 1,
      .scale_dtype = DTYPE_BF16}},
    {"group as wide as the matrix",
     26,
     40,
     90,
     GPTQ_ORDER_COLUMNS,
     {.bits = 4,
      .symmetric = true,
      .strategy = GRID_GROUP,
      .group_size = 40,
      .scale_dtype = DTYPE_BF16}},
    {"int8 a row",
     25,
     201,
     500,
     GPTQ_ORDER_COLUMNS,
     {.bits = 8, .symmetric = true, .strategy = GRID_CHANNEL, .scale_dtype = DTYPE_BF16}},
    {"int2 a row, mean square",
     24,
     64,
     200,
     GPTQ_ORDER_COLUMNS,
     {.bits = 2, .strategy = GRID_CHANNEL, .range = GRID_MSE, .scale_dtype = DTYPE_F16}},
    {"int4 a matrix",
     33,
     130,
     300,
     GPTQ_ORDER_COLUMNS,
     {.bits = 4, .symmetric = true, .strategy = GRID_TENSOR, .scale_dtype = DTYPE_BF16}},
    {"int4 blocks",
     12,
     48,
     200,
     GPTQ_ORDER_COLUMNS,
     {.bits = 4,
      .symmetric = true,
      .strategy = GRID_BLOCK,
      .group_size = 16,
      .block_rows = 4,
      .scale_dtype = DTYPE_BF16}},
    {"int4 g32 by diagonal",
     30,
     96,
     300,
     GPTQ_ORDER_DIAGONAL,
     {.bits = 4,
      .symmetric = true,
      .strategy = GRID_GROUP,
      .group_size = 32,
      .scale_dtype = DTYPE_BF16}},
    {"int4 a row by diagonal",
     50,
     140,
     300,
     GPTQ_ORDER_DIAGONAL,
     {.bits = 4, .strategy = GRID_CHANNEL, .scale_dtype = DTYPE_BF16}},
    {"int3 g20, importance",
     30,
     60,
     200,
     GPTQ_ORDER_COLUMNS,
     {.bits = 3,
      .strategy = GRID_GROUP,
      .group_size = 20,
      .range = GRID_IMPORTANCE,
      .scale_dtype = DTYPE_BF16}},
    {"int3 a row by diagonal, importance",
     30,
     60,
     200,
     GPTQ_ORDER_DIAGONAL,
     {.bits = 3,
      .symmetric = true,
      .strategy = GRID_CHANNEL,
      .range = GRID_IMPORTANCE,
      .scale_dtype = DTYPE_BF16}},
    {"one row",
     1,
     64,
     200,
     GPTQ_ORDER_COLUMNS,
     {.bits = 4,
      .symmetric = true,
      .strategy = GRID_GROUP,
      .group_size = 32,
      .scale_dtype = DTYPE_BF16}},
    {"one column",
     40,
     1,
     20,
     GPTQ_ORDER_COLUMNS,
     {.bits = 4, .symmetric = true, .strategy = GRID_CHANNEL, .scale_dtype = DTYPE_BF16}},
};

/* A case of groups by diagonal. */
enum { DAMP_PERCENT = 1, BY_DIAGONAL = 10 };

struct fixture {
    struct solve_kernels kernels;
};

static int set_up(void **state)
{
    struct fixture *f = mem_alloc(1, sizeof(*f));
    assert_non_null(f);
    solve_kernels_init(&f->kernels);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    solve_kernels_fini(&f->kernels);
    mem_free(f);
    return 0;
}

/* The diagonal of gram, for GRID_IMPORTANCE; NULL for other schemes. */
static float *importance_of(const struct gptq_case *c, const double *gram)
{
    if (c->scheme.range != GRID_IMPORTANCE)
        return NULL;
    float *importance = mem_alloc(c->columns, sizeof(*importance));
    assert_non_null(importance);
    for (size_t j = 0; j < c->columns; j++)
        importance[j] = (float)gram[j * c->columns + j];
    return importance;
}

/* Runs one case; the caller frees result. */
static void run(struct kernel *kernel, const struct gptq_case *c, const double *gram,
                const float *w, struct gptq_result *result)
{
    struct gptq_options options = {.damp = DAMP_PERCENT / 100.0, .order = c->order};
    struct gptq *gptq = NULL;
    struct err_text text = {{0}};
    float *importance = importance_of(c, gram);
    assert_int_equal(gptq_create(kernel, &options, c->columns, gram, &gptq), ERR_OK);
    assert_int_equal(
        gptq_quantize(kernel, gptq, &c->scheme, c->rows, w, importance, c->name, &text, result),
        ERR_OK);
    mem_free(importance);
    gptq_destroy(&gptq);
}

static void round_to_nearest(const struct gptq_case *c, const double *gram, const float *w,
                             float *values)
{
    float *importance = importance_of(c, gram);
    struct grid grid;
    int8_t codes[1024];
    assert_int_equal(grid_init(&grid, &c->scheme, c->rows, c->columns, c->name, NULL), ERR_OK);
    grid_find(&grid, w, importance);
    for (size_t r = 0; r < c->rows; r++) {
        grid_encode_row(&grid, r, w + r * c->columns, codes);
        grid_decode_row(&grid, r, codes, values + r * c->columns);
    }
    grid_fini(&grid);
    mem_free(importance);
}

/* ---- the paper ---- */

void dpotrf_(const char *triangle, const int *n, double *a, const int *stride, int *info);
void dpotri_(const char *triangle, const int *n, double *a, const int *stride, int *info);

/* h (n, n) symmetric becomes the upper Cholesky factor of its inverse, row-major. */
static void invert_and_factor(size_t n, double *h)
{
    int size = (int)n, info = -1;
    dpotrf_("L", &size, h, &size, &info);
    assert_int_equal(info, 0);
    dpotri_("L", &size, h, &size, &info);
    assert_int_equal(info, 0);
    dpotrf_("L", &size, h, &size, &info); /* row-major above is column-major below */
    assert_int_equal(info, 0);
}

static const double *sort_keys;

static int by_key(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    if (sort_keys[x] != sort_keys[y])
        return sort_keys[x] < sort_keys[y] ? 1 : -1;
    return (x > y) - (x < y);
}

/* Algorithm 1 of arXiv 2210.17323 without its blocks: each column is rounded and its error, over
 * the diagonal of the inverse's factor, is taken out of all later columns. */
static void follow_the_paper(const struct gptq_case *c, const double *gram, const float *weights,
                             struct grid *grid, int8_t *codes)
{
    size_t n = c->columns;
    double *h = mem_alloc(n * n, sizeof(*h)), *w = mem_alloc(c->rows * n, sizeof(*w));
    double *diagonal = mem_alloc(n, sizeof(*diagonal)), mean = 0;
    float *moved = mem_alloc(n, sizeof(*moved)), *importance = importance_of(c, gram);
    size_t *order = mem_alloc(n, sizeof(*order));
    bool moving = c->scheme.strategy == GRID_GROUP && c->order == GPTQ_ORDER_COLUMNS;
    assert_true(h != NULL && w != NULL && diagonal != NULL && moved != NULL && order != NULL);
    assert_int_equal(grid_init(grid, &c->scheme, c->rows, n, c->name, NULL), ERR_OK);
    grid_find(grid, weights, importance);
    for (size_t j = 0; j < n; j++) {
        order[j] = j;
        diagonal[j] = gram[j * n + j];
        mean += 2 * diagonal[j] / (double)c->tokens / (double)n;
    }
    sort_keys = diagonal;
    if (c->order == GPTQ_ORDER_DIAGONAL)
        qsort(order, n, sizeof(*order), by_key);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            h[i * n + j] = 2 * gram[order[i] * n + order[j]] / (double)c->tokens +
                           (i == j ? mean * DAMP_PERCENT / 100 : 0);
    invert_and_factor(n, h);
    for (size_t r = 0; r < c->rows; r++)
        for (size_t j = 0; j < n; j++)
            w[r * n + j] = (double)weights[r * n + order[j]];
    for (size_t j = 0; j < n; j++)
        for (size_t r = 0; r < c->rows; r++) {
            double *row = w + r * n;
            size_t column = order[j];
            if (moving && j % c->scheme.group_size == 0) {
                for (size_t i = 0; i < c->scheme.group_size; i++)
                    moved[i] = (float)row[j + i];
                grid_set(grid, r, j,
                         grid_cell_find(&c->scheme, 1, c->scheme.group_size, n, moved,
                                        importance != NULL ? importance + j : NULL));
            }
            struct grid_cell cell = grid_at(grid, r, column);
            int code = grid_cell_code(&c->scheme, cell, (float)row[j]);
            codes[r * n + column] = (int8_t)code;
            double error = (row[j] - (double)grid_cell_value(cell, code)) / h[j * n + j];
            for (size_t i = j; i < n; i++)
                row[i] -= error * h[j * n + i];
        }
    mem_free(h);
    mem_free(w);
    mem_free(diagonal);
    mem_free(moved);
    mem_free(importance);
    mem_free(order);
}

static void test_gptq__gives_the_codes_and_scales_of_the_paper(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct gptq_case *c = &cases[i];
        double *gram = solve_case_gram(i, c->columns, c->tokens, 3);
        float *w = solve_case_weights(100 + i, c->rows, c->columns);
        int8_t *codes = mem_alloc(c->rows * c->columns, 1);
        struct gptq_result result;
        struct grid grid;
        assert_non_null(codes);
        run(f->kernels.kernel[0], c, gram, w, &result);
        follow_the_paper(c, gram, w, &grid, codes);
        assert_int_equal(grid.down * grid.across, result.grid.down * result.grid.across);
        for (size_t k = 0; k < grid.down * grid.across; k++)
            if (grid.scales[k] != result.grid.scales[k] || grid.zeros[k] != result.grid.zeros[k])
                fail_msg("%s: scale %zu", c->name, k);
        for (size_t k = 0; k < c->rows * c->columns; k++)
            if (codes[k] != result.codes[k])
                fail_msg("%s: code %zu is %d, in the paper %d", c->name, k, result.codes[k],
                         codes[k]);
        grid_fini(&grid);
        gptq_result_fini(&result);
        mem_free(codes);
        mem_free(gram);
        mem_free(w);
    }
}

/* ---- what must hold ---- */

static void test_gptq__loses_less_than_rounding_to_nearest_and_says_how_much(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct gptq_case *c = &cases[i];
        size_t count = c->rows * c->columns;
        double *gram = solve_case_gram(i + 20, c->columns, c->tokens, 30), ours, nearest;
        float *w = solve_case_weights(200 + i, c->rows, c->columns);
        float *values = mem_alloc(count, sizeof(*values));
        struct gptq_result result;
        assert_non_null(values);
        run(f->kernels.kernel[0], c, gram, w, &result);
        for (size_t r = 0; r < c->rows; r++) {
            grid_decode_row(&result.grid, r, result.codes + r * c->columns, values);
            assert_memory_equal(values, result.values + r * c->columns, c->columns * sizeof(float));
        }
        round_to_nearest(c, gram, w, values);
        assert_int_equal(gram_error(f->kernels.kernel[0], c->rows, c->columns, w, result.values,
                                    gram, NULL, &ours),
                         ERR_OK);
        assert_int_equal(
            gram_error(f->kernels.kernel[0], c->rows, c->columns, w, values, gram, NULL, &nearest),
            ERR_OK);
        assert_true(fabs(ours - result.error) <= 1e-9 * ours);
        if (c->columns == 1)
            assert_true(ours == nearest);
        else
            assert_true(ours < 0.9 * nearest);
        gptq_result_fini(&result);
        mem_free(values);
        mem_free(gram);
        mem_free(w);
    }
}

static void test_gptq__has_the_same_bits_on_every_kernel(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct gptq_case *c = &cases[i];
        size_t count = c->rows * c->columns;
        double *gram = solve_case_gram(i + 40, c->columns, c->columns / 2 + 3, 1000);
        float *w = solve_case_weights(300 + i, c->rows, c->columns);
        struct gptq_result first, other;
        run(f->kernels.kernel[0], c, gram, w, &first);
        for (size_t j = 0; j < c->columns; j++) /* only one half of gram is read */
            for (size_t k = j + 1; k < c->columns; k++)
                gram[j * c->columns + k] = (double)NAN;
        for (size_t k = 1; k < f->kernels.count; k++) {
            run(f->kernels.kernel[k], c, gram, w, &other);
            assert_memory_equal(first.codes, other.codes, count);
            assert_memory_equal(first.values, other.values, count * sizeof(float));
            assert_memory_equal(first.grid.scales, other.grid.scales,
                                first.grid.down * first.grid.across * sizeof(float));
            assert_memory_equal(&first.error, &other.error, sizeof(double));
            gptq_result_fini(&other);
        }
        gptq_result_fini(&first);
        mem_free(gram);
        mem_free(w);
    }
}

static void test_gptq__rounds_to_nearest_where_inputs_are_not_correlated(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct gptq_case *c = &cases[i];
        double *gram = mem_alloc(c->columns * c->columns, sizeof(*gram));
        float *w = solve_case_weights(400 + i, c->rows, c->columns);
        float *values = mem_alloc(c->rows * c->columns, sizeof(*values));
        struct gptq_result result;
        assert_true(gram != NULL && values != NULL);
        for (size_t j = 0; j < c->columns; j++)
            gram[j * c->columns + j] = 1 + (double)(j * 7 % 5);
        run(f->kernels.kernel[0], c, gram, w, &result);
        round_to_nearest(c, gram, w, values);
        assert_memory_equal(values, result.values, c->rows * c->columns * sizeof(float));
        gptq_result_fini(&result);
        mem_free(gram);
        mem_free(values);
        mem_free(w);
    }
}

/* A factor of all activations changes nothing, as long as it is a power of two. */
static void test_gptq__does_not_see_how_gram_is_scaled(void **state)
{
    struct fixture *f = *state;
    const struct gptq_case *c = &cases[1];
    double *gram = solve_case_gram(9, c->columns, c->tokens, 9);
    float *w = solve_case_weights(500, c->rows, c->columns);
    struct gptq_result first, other;
    run(f->kernels.kernel[0], c, gram, w, &first);
    for (size_t j = 0; j < c->columns * c->columns; j++)
        gram[j] *= 0x1p-20;
    run(f->kernels.kernel[0], c, gram, w, &other);
    assert_memory_equal(first.codes, other.codes, c->rows * c->columns);
    assert_true(first.error == other.error * 0x1p20);
    gptq_result_fini(&first);
    gptq_result_fini(&other);
    mem_free(gram);
    mem_free(w);
}

/* ---- degenerate Gram matrices ---- */

static void kill_column(size_t n, size_t column, double *gram)
{
    for (size_t i = 0; i < n; i++)
        gram[i * n + column] = gram[column * n + i] = 0;
}

static void test_gptq__drops_the_weights_of_dead_columns(void **state)
{
    struct fixture *f = *state;
    static const size_t dead[] = {0, 5, 31, 32, 95};
    for (int all = 0; all < 2; all++)
        for (int order = 0; order < 2; order++) {
            struct gptq_case c = cases[order == 0 ? 0 : BY_DIAGONAL];
            struct gptq_options options = {.damp = 0.01, .order = c.order};
            double *gram = solve_case_gram(3, c.columns, c.tokens, 3), error;
            float *w = solve_case_weights(600, c.rows, c.columns);
            struct gptq *gptq = NULL;
            struct gptq_result result;
            for (size_t j = 0; j < (all ? c.columns : COUNT_OF(dead)); j++)
                kill_column(c.columns, all ? j : dead[j], gram);
            assert_int_equal(gptq_create(f->kernels.kernel[0], &options, c.columns, gram, &gptq),
                             ERR_OK);
            assert_int_equal(gptq_dead_count(gptq), all ? c.columns : COUNT_OF(dead));
            assert_int_equal(gptq_quantize(f->kernels.kernel[0], gptq, &c.scheme, c.rows, w, NULL,
                                           "w", NULL, &result),
                             ERR_OK);
            for (size_t r = 0; r < c.rows; r++)
                for (size_t j = 0; j < (all ? c.columns : COUNT_OF(dead)); j++)
                    assert_true(result.values[r * c.columns + (all ? j : dead[j])] == 0);
            assert_int_equal(gram_error(f->kernels.kernel[0], c.rows, c.columns, w, result.values,
                                        gram, NULL, &error),
                             ERR_OK);
            assert_true(fabs(error - result.error) <= 1e-9 * error);
            gptq_result_fini(&result);
            gptq_destroy(&gptq);
            mem_free(gram);
            mem_free(w);
        }
}

static void test_gptq__moves_errors_between_equal_columns(void **state)
{
    struct fixture *f = *state;
    const struct gptq_case *c = &cases[7];
    size_t n = c->columns;
    double *gram = mem_alloc(n * n, sizeof(*gram)), ours, nearest;
    float *w = solve_case_weights(700, c->rows, n);
    float *values = mem_alloc(c->rows * n, sizeof(*values));
    struct gptq_result result;
    assert_true(gram != NULL && values != NULL);
    for (size_t i = 0; i < n * n; i++) /* all columns are one and the same */
        gram[i] = 5;
    run(f->kernels.kernel[0], c, gram, w, &result);
    round_to_nearest(c, gram, w, values);
    assert_int_equal(
        gram_error(f->kernels.kernel[0], c->rows, n, w, result.values, gram, NULL, &ours), ERR_OK);
    assert_int_equal(gram_error(f->kernels.kernel[0], c->rows, n, w, values, gram, NULL, &nearest),
                     ERR_OK);
    assert_true(ours < nearest / 10); /* only the last column's error is left */
    gptq_result_fini(&result);
    mem_free(gram);
    mem_free(values);
    mem_free(w);
}

static void test_gptq__damps_more_until_the_factor_exists(void **state)
{
    static const struct {
        double damp, off, told;
        enum err err;
    } rows[] = {
        {0.01, 0.5, 0.01, ERR_OK},
        {0, 0.5, 0, ERR_OK},
        {0, 1, 0.01, ERR_OK},
        {0.01, 1.05, 0.1, ERR_OK},
        {0, 1.05, 0.1, ERR_OK},
        {0.01, 1.5, 1, ERR_OK},
        {0, 1.5, 0, ERR_NOT_POSITIVE},
        {0.001, 1.5, 0, ERR_NOT_POSITIVE},
        {0.01, 2.5, 0, ERR_NOT_POSITIVE},
        {0.01, (double)NAN, 0, ERR_NOT_FINITE},
        {0.01, (double)INFINITY, 0, ERR_NOT_FINITE},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        double gram[4] = {1, rows[i].off, rows[i].off, 1};
        struct gptq_options options = {.damp = rows[i].damp};
        struct gptq *gptq = NULL;
        assert_int_equal(gptq_create(f->kernels.kernel[0], &options, 2, gram, &gptq), rows[i].err);
        assert_true((gptq != NULL) == (rows[i].err == ERR_OK));
        if (gptq != NULL)
            assert_true(fabs(gptq_damp(gptq) - rows[i].told) < 1e-12);
        gptq_destroy(&gptq);
    }
    double below[1] = {-1};
    struct gptq_options options = {.damp = 0.01};
    struct gptq *gptq = NULL;
    assert_int_equal(gptq_create(f->kernels.kernel[0], &options, 1, below, &gptq), ERR_NOT_FINITE);
}

/* ---- errors ---- */

static void test_gptq__refuses_groups_that_do_not_divide_the_width(void **state)
{
    struct fixture *f = *state;
    double gram[4] = {1, 0, 0, 1};
    float w[2] = {1, 2};
    struct gptq_options options = {.damp = 0.01};
    struct grid_scheme scheme = cases[0].scheme; /* groups of 32, a matrix of 2 columns */
    struct gptq *gptq = NULL;
    struct gptq_result result = {.error = -1};
    struct err_text text = {{0}};
    assert_int_equal(gptq_create(f->kernels.kernel[0], &options, 2, gram, &gptq), ERR_OK);
    assert_int_equal(
        gptq_quantize(f->kernels.kernel[0], gptq, &scheme, 1, w, NULL, "layer.w", &text, &result),
        ERR_SHAPE);
    assert_non_null(strstr(text.text, "layer.w"));
    assert_true(result.error == -1 && result.codes == NULL);
    gptq_destroy(&gptq);
}

static void test_gptq__is_an_error_without_memory(void **state)
{
    struct fixture *f = *state;
    struct kernel *kernel = f->kernels.kernel[0];
    double gram[4] = {2, 1, 1, 2};
    float w[2] = {1, 2};
    struct gptq_options options = {.damp = 0.01, .order = GPTQ_ORDER_DIAGONAL};
    struct grid_scheme scheme = {.bits = 4, .strategy = GRID_CHANNEL, .scale_dtype = DTYPE_F32};
    struct gptq *gptq = NULL;
    struct gptq_result result = {.error = -1};
    size_t n = 0;
    for (enum err err = ERR_OUT_OF_MEMORY; err != ERR_OK;) {
        mem_fault_after(++n);
        err = gptq_create(kernel, &options, 2, gram, &gptq);
        mem_fault_after(0);
        assert_true(err == ERR_OK ? gptq != NULL : err == ERR_OUT_OF_MEMORY && gptq == NULL);
    }
    assert_true(n > 6);
    n = 0;
    for (enum err err = ERR_OUT_OF_MEMORY; err != ERR_OK;) {
        mem_fault_after(++n);
        err = gptq_quantize(kernel, gptq, &scheme, 1, w, NULL, "w", NULL, &result);
        mem_fault_after(0);
        assert_true(err == ERR_OK ? result.codes != NULL
                                  : err == ERR_OUT_OF_MEMORY && result.error == -1);
    }
    assert_true(n > 5);
    gptq_result_fini(&result);
    gptq_destroy(&gptq);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gptq__gives_the_codes_and_scales_of_the_paper),
        cmocka_unit_test(test_gptq__loses_less_than_rounding_to_nearest_and_says_how_much),
        cmocka_unit_test(test_gptq__has_the_same_bits_on_every_kernel),
        cmocka_unit_test(test_gptq__rounds_to_nearest_where_inputs_are_not_correlated),
        cmocka_unit_test(test_gptq__does_not_see_how_gram_is_scaled),
        cmocka_unit_test(test_gptq__drops_the_weights_of_dead_columns),
        cmocka_unit_test(test_gptq__moves_errors_between_equal_columns),
        cmocka_unit_test(test_gptq__damps_more_until_the_factor_exists),
        cmocka_unit_test(test_gptq__refuses_groups_that_do_not_divide_the_width),
        cmocka_unit_test(test_gptq__is_an_error_without_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
