/* test_grid.c - cells and codes held against compressed-tensors' own, and the rules around them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/mem.h"
#include "worker/engine/quant/grid.h"
#include "worker/engine/quant/grid_lanes.h"

#define GOLDEN "tests/golden/quantized/grid.safetensors"

enum { ROWS = 4, COLUMNS = 128, GROUP = 32, BLOCK_ROWS = 2 };

static const char *const strategies[] = {"tensor", "channel", "group", "block"};
static const char *const ranges[] = {"minmax", "mse", "importance"};

static struct grid_scheme scheme_of(unsigned bits, bool symmetric, enum grid_strategy strategy,
                                    enum grid_range range)
{
    bool grouped = strategy == GRID_GROUP || strategy == GRID_BLOCK;
    return (struct grid_scheme){.bits = bits,
                                .symmetric = symmetric,
                                .strategy = strategy,
                                .group_size = grouped ? GROUP : 0,
                                .block_rows = strategy == GRID_BLOCK ? BLOCK_ROWS : 0,
                                .range = range,
                                .scale_dtype = DTYPE_F32};
}

/* The tensor "CASE.what" of a scheme, or NULL. */
static const struct safetensor *golden_of(const struct safetensors *st, const struct grid_scheme *s,
                                          const char *what)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%u.%s.%s.%s.%s", s->bits, s->symmetric ? "sym" : "affine",
                   strategies[s->strategy], ranges[s->range], what);
    return safetensors_find(st, text_of(name));
}

static void check_scheme(const struct safetensors *st, const struct grid_scheme *scheme)
{
    static float w[ROWS * COLUMNS];
    float importance[COLUMNS], scale;
    int8_t codes[ROWS * COLUMNS];
    struct grid grid;
    memcpy(w, safetensors_find(st, TEXT("w"))->data.data, sizeof w);
    memcpy(importance, safetensors_find(st, TEXT("importance"))->data.data, sizeof importance);
    assert_int_equal(grid_init(&grid, scheme, ROWS, COLUMNS, "w", NULL), ERR_OK);
    grid_find(&grid, w, importance);
    const struct safetensor *scales = golden_of(st, scheme, "scale");
    const struct safetensor *zeros = golden_of(st, scheme, "zero");
    const struct safetensor *expected = golden_of(st, scheme, "codes");
    assert_non_null(scales);
    assert_int_equal(safetensors_element_count(scales), grid.down * grid.across);
    for (size_t i = 0; i < grid.down * grid.across; i++) {
        memcpy(&scale, scales->data.data + i * sizeof scale, sizeof scale);
        if (grid.scales[i] < scale || grid.scales[i] > scale ||
            grid.zeros[i] != (int8_t)zeros->data.data[i])
            fail_msg("%u bits, %s, %s, %s: cell %zu: expected %.9g, %d; found %.9g, %d",
                     scheme->bits, scheme->symmetric ? "symmetric" : "affine",
                     strategies[scheme->strategy], ranges[scheme->range], i, (double)scale,
                     (int8_t)zeros->data.data[i], (double)grid.scales[i], grid.zeros[i]);
    }
    for (size_t row = 0; row < ROWS; row++)
        grid_encode_row(&grid, row, w + row * COLUMNS, codes + row * COLUMNS);
    if (expected != NULL)
        assert_memory_equal(codes, expected->data.data, sizeof codes);
    grid_fini(&grid);
}

static void test_grid__cells_and_codes_are_those_of_compressed_tensors(void **state)
{
    static const unsigned bits[] = {2, 4, 8};
    struct safetensors st;
    (void)state;
    assert_int_equal(safetensors_open(&st, GOLDEN, NULL), ERR_OK);
    for (size_t b = 0; b < COUNT_OF(bits); b++)
        for (unsigned strategy = GRID_TENSOR; strategy <= GRID_BLOCK; strategy++)
            for (unsigned range = GRID_MINMAX; range <= GRID_IMPORTANCE; range++)
                for (unsigned symmetric = 0; symmetric < 2; symmetric++) {
                    struct grid_scheme scheme =
                        scheme_of(bits[b], symmetric != 0, (enum grid_strategy)strategy,
                                  (enum grid_range)range);
                    check_scheme(&st, &scheme);
                }
    safetensors_close(&st);
}

static void test_grid__scales_are_rounded_before_codes_are_taken(void **state)
{
    static const enum dtype dtypes[] = {DTYPE_BF16, DTYPE_F16};
    const float x[] = {0.9f, -0.3f, 0.8437f, 1.0f / 3};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(dtypes); i++) {
        struct grid_scheme scheme = scheme_of(8, true, GRID_CHANNEL, GRID_MINMAX);
        scheme.scale_dtype = dtypes[i];
        struct grid_cell cell = grid_cell_find(&scheme, 1, COUNT_OF(x), 0, x, NULL);
        uint32_t bits;
        memcpy(&bits, &cell.scale, sizeof bits);
        assert_int_equal(bits & (dtypes[i] == DTYPE_BF16 ? 0xffffu : 0x1fffu), 0);
        float exact = 0.9f / 127.5f, step = dtypes[i] == DTYPE_BF16 ? 0x1p-8f : 0x1p-11f;
        assert_true(fabsf(cell.scale - exact) <= exact * step);
        for (size_t k = 0; k < COUNT_OF(x); k++) {
            int code = grid_cell_code(&scheme, cell, x[k]);
            float error = fabsf(grid_cell_value(cell, code) - x[k]);
            assert_true(error <= cell.scale * 0.5001f || code == 127);
        }
    }
}

static void test_grid__numbers_at_the_edge_of_a_type_have_scales_of_it(void **state)
{
    static const struct {
        enum dtype dtype;
        float most, scale;
    } rows[] = {
        {DTYPE_F16, 3e38f, 65504.0f},    {DTYPE_F16, 0x1p-24f * 7.5f, 0x1p-24f},
        {DTYPE_F16, 0x1p-30f, 0x1p-10f}, {DTYPE_BF16, 0, 0x1p-7f},
        {DTYPE_F32, 0, 0x1p-23f},        {DTYPE_BF16, 3.4e38f, 0x1.1p125f},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct grid_scheme scheme = scheme_of(4, true, GRID_CHANNEL, GRID_MINMAX);
        scheme.scale_dtype = rows[i].dtype;
        struct grid_cell cell = grid_cell_of_range(&scheme, -rows[i].most, rows[i].most / 2);
        if (cell.scale < rows[i].scale || cell.scale > rows[i].scale)
            fail_msg("row %zu: expected %a, found %a", i, (double)rows[i].scale,
                     (double)cell.scale);
    }
}

static void test_grid__a_wide_affine_range_does_not_overflow(void **state)
{
    struct grid_scheme scheme = scheme_of(4, false, GRID_CHANNEL, GRID_MSE);
    const float x[] = {-3.4e38f, 3.4e38f, 0, 1e-30f};
    (void)state;
    struct grid_cell cell = grid_cell_find(&scheme, 1, COUNT_OF(x), 0, x, NULL);
    assert_true(isfinite(cell.scale) && cell.scale > 0);
    assert_int_equal(grid_cell_code(&scheme, cell, x[0]), -8);
    assert_int_equal(grid_cell_code(&scheme, cell, x[1]), 7);
}

static void test_grid__lines_in_any_order_give_the_same_cells(void **state)
{
    enum { N = 96 };
    static float w[N * N];
    struct grid_scheme scheme = scheme_of(4, false, GRID_GROUP, GRID_MSE);
    struct grid whole, lines;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(w); i++)
        w[i] = (float)((i * 2654435761u >> 7) % 2000) / 1000 - 1;
    assert_int_equal(grid_init(&whole, &scheme, N, N, "w", NULL), ERR_OK);
    assert_int_equal(grid_init(&lines, &scheme, N, N, "w", NULL), ERR_OK);
    grid_find(&whole, w, NULL);
    for (size_t line = lines.down; line > 0; line--)
        grid_find_line(&lines, line - 1, w, NULL);
    assert_memory_equal(whole.scales, lines.scales, N * N / GROUP * sizeof(float));
    assert_memory_equal(whole.zeros, lines.zeros, N * N / GROUP);
    grid_fini(&whole);
    grid_fini(&lines);
}

static void test_grid__searches_lower_the_error_of_outliers(void **state)
{
    float x[64], importance[64];
    struct grid_scheme scheme = scheme_of(4, true, GRID_CHANNEL, GRID_IMPORTANCE);
    (void)state;
    for (size_t i = 0; i < COUNT_OF(x); i++) {
        x[i] = (float)(i % 7) / 10 - 0.3f;
        importance[i] = 1;
    }
    x[5] = 4; /* nothing is multiplied with it */
    importance[5] = 0;
    float weighted = grid_cell_find(&scheme, 1, 64, 0, x, importance).scale;
    float plain = grid_cell_find(&scheme, 1, 64, 0, x, NULL).scale;
    assert_true(weighted < plain / 4);
}

static void check_table(const struct grid_lanes *table, const float *x, const float *importance,
                        size_t count)
{
    const struct grid_lanes *plain = &grid_lanes_portable;
    const struct grid_measure m = {0.37f, -3, -8, 7, 1 / 0.4f};
    int8_t codes[2][100];
    float low[2] = {0}, high[2] = {0};
    float sums[2][3] = {{plain->error_2_4(&m, count, x), plain->error_3(&m, count, x),
                         plain->error_3_weighted(&m, count, x, importance)},
                        {table->error_2_4(&m, count, x), table->error_3(&m, count, x),
                         table->error_3_weighted(&m, count, x, importance)}};
    assert_memory_equal(sums[0], sums[1], sizeof sums[0]);
    plain->range(count, x, &low[0], &high[0]);
    table->range(count, x, &low[1], &high[1]);
    assert_memory_equal(&low[0], &low[1], sizeof low[0]);
    assert_memory_equal(&high[0], &high[1], sizeof high[0]);
    plain->encode(&m, count, x, codes[0]);
    table->encode(&m, count, x, codes[1]);
    assert_memory_equal(codes[0], codes[1], count);
}

static void test_grid__every_table_gives_the_same_bits(void **state)
{
    float x[100], importance[100];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(x); i++) {
        x[i] = (float)(i * 2654435761u % 10007) / 1000 - 5;
        importance[i] = (float)(i * 40503u % 97);
    }
    x[7] = 0;
    x[8] = 3e38f;
    for (size_t count = 0; count <= COUNT_OF(x); count++) {
        check_table(grid_lanes_best(), x, importance, count);
#if defined(__x86_64__)
        if (__builtin_cpu_supports("avx2"))
            check_table(&grid_lanes_avx2, x, importance, count);
#endif
    }
}

static void test_grid__shapes_that_do_not_fit_are_named(void **state)
{
    struct grid_scheme scheme = scheme_of(4, true, GRID_GROUP, GRID_MINMAX);
    struct err_text et = {""};
    struct grid grid;
    (void)state;
    assert_int_equal(grid_init(&grid, &scheme, 3, 100, "layers.0.up", &et), ERR_SHAPE);
    assert_string_equal(et.text,
                        "layers.0.up: 100 columns are not whole groups of 32; choose a group size "
                        "that divides them, or leave the tensor out (ignore)");
    scheme = scheme_of(4, true, GRID_BLOCK, GRID_MINMAX);
    assert_int_equal(grid_init(&grid, &scheme, 3, 64, "w", &et), ERR_SHAPE);
    scheme = scheme_of(9, true, GRID_CHANNEL, GRID_MINMAX);
    assert_int_equal(grid_init(&grid, &scheme, 3, 64, "w", &et), ERR_UNSUPPORTED);
    scheme = scheme_of(4, true, GRID_CHANNEL, GRID_MINMAX);
    scheme.scale_dtype = DTYPE_Q4_0;
    assert_int_equal(grid_init(&grid, &scheme, 3, 64, "w", &et), ERR_UNSUPPORTED);
}

static void test_grid__out_of_memory_is_an_error(void **state)
{
    struct grid_scheme scheme = scheme_of(4, true, GRID_CHANNEL, GRID_MINMAX);
    struct grid grid;
    (void)state;
    for (size_t n = 1; n <= 2; n++) {
        (void)mem_fault_after(n);
        assert_int_equal(grid_init(&grid, &scheme, 3, 64, "w", NULL), ERR_OUT_OF_MEMORY);
    }
    (void)mem_fault_after(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid__cells_and_codes_are_those_of_compressed_tensors),
        cmocka_unit_test(test_grid__scales_are_rounded_before_codes_are_taken),
        cmocka_unit_test(test_grid__numbers_at_the_edge_of_a_type_have_scales_of_it),
        cmocka_unit_test(test_grid__a_wide_affine_range_does_not_overflow),
        cmocka_unit_test(test_grid__lines_in_any_order_give_the_same_cells),
        cmocka_unit_test(test_grid__searches_lower_the_error_of_outliers),
        cmocka_unit_test(test_grid__every_table_gives_the_same_bits),
        cmocka_unit_test(test_grid__shapes_that_do_not_fit_are_named),
        cmocka_unit_test(test_grid__out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests_name("grid", tests, NULL, NULL);
}
