/* test_range_search.c - ranges against plain implementations of the field's rules (the golden file
 * of tests/golden/calibration/make.py), against exhaustive search, and against themselves scaled.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/calibration/moving_average.h"
#include "common/calibration/range_search.h"
#include "common/calibration/site_range.h"
#include "common/formats/json/json_read.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"

#define GOLDEN "tests/golden/calibration/expected.json"

enum { EXPONENT = -5, FINE_MIN = 1024, COUNTS_MAX = 2 * STATISTICS_BINS };

struct one {
    int32_t exponent;
    uint64_t counts[COUNTS_MAX];
    struct histogram h;
};

static void make(struct one *one, uint32_t bins, int32_t exponent)
{
    memset(one, 0, sizeof *one);
    one->exponent = exponent;
    one->h = (struct histogram){bins, true, 1, &one->exponent, one->counts};
}

static const struct range unknown = {-INFINITY, INFINITY};

static struct range search(const struct histogram *h, enum range_search_method method,
                           struct range_grid grid, struct range extremes)
{
    const struct range_search_input input = {.extremes = extremes, .histogram = h};
    struct range range;
    assert_int_equal(range_search(method, &range_search_defaults, &grid, &input, &range), ERR_OK);
    assert_true(range.min <= range.max);
    return range;
}

/* ---- the golden file ---- */

static double number(struct json_value object, const char *key)
{
    double value = 0.0;
    assert_int_equal(json_read_f64(object, key, &value, NULL), ERR_OK);
    return value;
}

static double item(struct json_value array, size_t index)
{
    double value = 0.0;
    assert_int_equal(json_read_as_f64(json_read_item(array, index), &value, NULL), ERR_OK);
    return value;
}

static struct range_grid grid_of(struct json_value row)
{
    struct range_grid grid = {.bits = (unsigned)number(row, "bits")};
    assert_int_equal(json_read_bool(row, "signed", &grid.is_signed, NULL), ERR_OK);
    assert_int_equal(json_read_bool(row, "symmetric", &grid.is_symmetric, NULL), ERR_OK);
    return grid;
}

/* counts_of() of make.py. */
static void fill_side(struct one *one, struct json_value row, const char *sign)
{
    const struct json_value side = json_read_find(row, sign);
    const bool above = strcmp(sign, "high") == 0;
    const uint64_t decay = (uint64_t)item(side, 1);
    const size_t used = (size_t)item(side, 2), outliers = (size_t)item(side, 4);
    uint64_t level = (uint64_t)item(side, 0) << 16;
    uint64_t noise = (uint64_t)number(row, "seed") + (above ? 0 : 1);
    uint64_t counts[STATISTICS_BINS] = {0};
    for (size_t i = 0; i < used; i++) {
        noise = noise * 6364136223846793005u + 1442695040888963407u;
        counts[i] = (level >> 16) + (noise >> 40) % (1 + (level >> 20));
        level = level * decay >> 16;
    }
    counts[0] += (uint64_t)item(side, 3);
    for (size_t k = 0; k < outliers; k++)
        counts[used - 1 - k * k] += 1 + k;
    for (size_t i = 0; i < one->h.bins; i++)
        one->counts[above ? one->h.bins + i : one->h.bins - 1 - i] = counts[i];
}

static void make_case(struct one *one, struct json_value row)
{
    make(one, (uint32_t)number(row, "bins"), EXPONENT);
    fill_side(one, row, "low");
    fill_side(one, row, "high");
}

static struct json_doc *open_golden(void)
{
    struct json_doc *doc = NULL;
    struct err_text et = {""};
    if (json_read_open(GOLDEN, 0, &doc, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return doc;
}

static void find_case(struct json_value root, struct text name, struct one *one)
{
    struct json_cursor c = {0};
    struct text found = {0};
    while (json_read_next(json_read_find(root, "cases"), &c)) {
        assert_int_equal(json_read_text(c.value, "name", &found, NULL), ERR_OK);
        if (text_equal(found, name)) {
            make_case(one, c.value);
            return;
        }
    }
    fail_msg("no case %.*s", TEXT_ARGS(name));
}

static void test_range_search__ends_where_the_published_rules_end(void **state)
{
    (void)state;
    struct json_doc *doc = open_golden();
    struct json_value root = json_read_root(doc);
    struct json_cursor c = {0};
    size_t checked = 0;
    while (json_read_next(json_read_find(root, "searches"), &c)) {
        struct one one;
        struct text name = {0}, method = {0};
        assert_int_equal(json_read_text(c.value, "case", &name, NULL), ERR_OK);
        assert_int_equal(json_read_text(c.value, "method", &method, NULL), ERR_OK);
        find_case(root, name, &one);
        struct range_grid grid = grid_of(c.value);
        struct range found = search(&one.h, range_search_find_method(method), grid, unknown);
        double width = ldexp(1.0, EXPONENT) / MAX(1.0, (double)FINE_MIN / one.h.bins);
        if ((double)found.min != number(c.value, "low") * width ||
            (double)found.max != number(c.value, "high") * width)
            fail_msg("%.*s of %.*s, %u bits%s%s: found %g to %g, expected %g to %g",
                     TEXT_ARGS(method), TEXT_ARGS(name), grid.bits, grid.is_signed ? " signed" : "",
                     grid.is_symmetric ? " symmetric" : "", (double)found.min / width,
                     (double)found.max / width, number(c.value, "low"), number(c.value, "high"));
        checked++;
    }
    assert_int_equal(checked, 8 * 5 * 4);
    json_read_close(&doc);
}

static void test_range_grid__scales_are_those_of_torch(void **state)
{
    (void)state;
    struct json_doc *doc = open_golden();
    struct json_cursor c = {0};
    while (json_read_next(json_read_find(json_read_root(doc), "scales"), &c)) {
        struct range_grid grid = grid_of(c.value);
        struct range range = {(float)number(c.value, "min"), (float)number(c.value, "max")};
        struct range_scale found = range_grid_scale(&grid, range);
        assert_true(found.scale == (float)number(c.value, "scale"));
        assert_true((double)found.zero == number(c.value, "zero"));
    }
    assert_int_equal(c.count, 8 * 9);
    json_read_close(&doc);
}

static void test_moving_average__has_the_bits_of_torch(void **state)
{
    (void)state;
    struct json_doc *doc = open_golden();
    struct json_value averages = json_read_find(json_read_root(doc), "averages");
    struct json_value records = json_read_find(averages, "records");
    const size_t columns = (size_t)number(averages, "columns");
    const size_t rows = json_read_count(records) / (2 * columns);
    float each[512], whole[512], min, max;
    assert_true(rows * columns * 2 <= COUNT_OF(each) && rows > 1);
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < columns; k++) {
            float *record = each + 2 * (r * columns + k);
            record[0] = (float)item(records, 2 * (r * columns + k));
            record[1] = (float)item(records, 2 * (r * columns + k) + 1);
            whole[2 * r] = k == 0 ? record[0] : MIN(whole[2 * r], record[0]);
            whole[2 * r + 1] = k == 0 ? record[1] : MAX(whole[2 * r + 1], record[1]);
        }
    moving_average_fold(MOVING_AVERAGE_CONSTANT, whole, rows, 1, &min, &max);
    assert_true(min == (float)item(json_read_find(averages, "whole"), 0));
    assert_true(max == (float)item(json_read_find(averages, "whole"), 1));
    for (size_t k = 0; k < columns; k++) {
        moving_average_fold(MOVING_AVERAGE_CONSTANT, each + 2 * k, rows, columns, &min, &max);
        assert_true(min == (float)item(json_read_find(averages, "each"), 2 * k));
        assert_true(max == (float)item(json_read_find(averages, "each"), 2 * k + 1));
    }
    json_read_close(&doc);
}

/* ---- against exhaustive search ---- */

/* Values of several shapes, counted. */
static void draw(struct one *one, uint32_t bins, uint64_t seed)
{
    make(one, bins, HISTOGRAM_EXPONENT_MIN);
    for (uint64_t i = 0; i < 20000; i++) {
        float x = random_normal_f32(seed, 2 * i);
        if (seed % 3 == 1)
            x = x * x * x; /* heavy tails */
        if (seed % 4 == 2)
            x = x < 0.0f ? 0.05f * x : x;
        if (i % 5000 == 0)
            x *= 12.0f;
        histogram_add(&one->h, 0, &x, 1);
    }
}

/* Mean squared error of a range, from the definition: a fine bin is its middle, a coarse one many
 * places. */
static double error_of(const struct one *one, struct range_grid grid, double low, double high)
{
    const int32_t qmin = range_grid_min(&grid), qmax = range_grid_max(&grid);
    const uint32_t places = one->h.bins < FINE_MIN ? 128 : 1;
    double scale =
        grid.is_symmetric ? MAX(-low, high) / ((qmax - qmin) / 2.0) : (high - low) / (qmax - qmin);
    double zero =
        grid.is_symmetric ? (grid.is_signed ? 0 : 1 << (grid.bits - 1)) : qmin + rint(-low / scale);
    double sum = 0.0, total = 0.0, width = ldexp(1.0, one->exponent);
    for (size_t i = 0; i < 2 * (size_t)one->h.bins; i++)
        for (uint32_t k = 0; k < places && one->counts[i] > 0; k++) {
            double x = ((double)i - one->h.bins + (k + 0.5) / places) * width;
            double code = fmin(fmax(rint(x / scale) + zero, qmin), qmax);
            double error = (code - zero) * scale - x, share = (double)one->counts[i] / places;
            sum += share * error * error;
            total += share;
        }
    return sum / total;
}

/* Cut-offs eight to a bin: none is better by more than what one step of the bins is worth. */
static void test_range_search__no_even_cut_off_is_better_than_mse(void **state)
{
    (void)state;
    const struct range_grid grids[] = {{8, true, true}, {8, false, true}, {4, true, true}};
    for (uint64_t seed = 0; seed < 3; seed++)
        for (size_t g = 0; g < COUNT_OF(grids); g++) {
            struct one one;
            draw(&one, 1024, seed);
            double width = ldexp(1.0, one.exponent), best = INFINITY, on_bins = INFINITY;
            for (int k = 64 * 8; k <= 1024 * 8; k += 2) {
                double error = error_of(&one, grids[g], -k * width / 8, k * width / 8);
                best = MIN(best, error);
                if (k % 8 == 4)
                    on_bins = MIN(on_bins, error);
            }
            struct range found = search(&one.h, RANGE_SEARCH_MSE, grids[g], unknown);
            double error = error_of(&one, grids[g], (double)found.min, (double)found.max);
            assert_true(fabs(error - on_bins) <= 1e-9 * on_bins);
            assert_true(error <= 1.02 * best);
        }
}

/* All windows of a column's histogram: end-by-end search ends near the best of them. */
static void test_range_search__no_window_is_much_better_than_mse(void **state)
{
    (void)state;
    const struct range_grid grids[] = {{8, false, false}, {8, true, false}, {4, false, false}};
    for (uint64_t seed = 0; seed < 10; seed++)
        for (size_t g = 0; g < COUNT_OF(grids); g++) {
            struct one one;
            draw(&one, STATISTICS_BINS_CHANNEL, seed);
            double width = ldexp(1.0, one.exponent), best = INFINITY;
            for (int low = 0; low <= STATISTICS_BINS_CHANNEL; low++)
                for (int high = 1; high <= STATISTICS_BINS_CHANNEL; high++) {
                    double error = error_of(&one, grids[g], -MAX(low - 0.5, 0.0) * width,
                                            (high - 0.5) * width);
                    best = MIN(best, error);
                }
            struct range found = search(&one.h, RANGE_SEARCH_MSE, grids[g], unknown);
            double error = error_of(&one, grids[g], (double)found.min, (double)found.max);
            assert_true(error <= 1.05 * best);
        }
}

static void test_range_grid__error_is_that_of_the_definition(void **state)
{
    (void)state;
    const struct range_grid grids[] = {{8, true, true}, {8, false, false}, {4, true, false}};
    for (uint64_t seed = 0; seed < 6; seed++)
        for (size_t g = 0; g < COUNT_OF(grids); g++) {
            struct one one;
            draw(&one, STATISTICS_BINS, seed);
            struct range range = search(&one.h, RANGE_SEARCH_PERCENTILE, grids[g], unknown);
            struct range_scale scale = range_grid_scale(&grids[g], range);
            struct range_grid_error error = range_grid_error(&grids[g], scale, &one.h, 0);
            double wanted = error_of(&one, grids[g], (double)range.min, (double)range.max);
            assert_true(fabs(error.mean_square - wanted) <= 1e-4 * wanted);
            assert_true(error.clipped < 0.0004);
        }
}

static void test_range_grid__error_counts_what_is_beyond_the_codes(void **state)
{
    (void)state;
    const struct range_grid grid = {8, true, true};
    const float x[] = {-1.0f, 0.5f, 1.0f, 3.0f, -1.275f, -1.29f, 1.27f, 1.28f};
    struct one one;
    make(&one, STATISTICS_BINS, HISTOGRAM_EXPONENT_MIN);
    histogram_add(&one.h, 0, x, COUNT_OF(x));
    assert_true(range_grid_error(&grid, (struct range_scale){0.01f, 0}, &one.h, 0).clipped ==
                3.0 / 8.0);
    assert_true(range_grid_error(&grid, (struct range_scale){0.03f, 0}, &one.h, 0).clipped == 0.0);
}

/* ---- against itself ---- */

static void test_range_search__scales_with_the_values(void **state)
{
    (void)state;
    const struct range_grid grids[] = {{8, true, true}, {8, false, false}, {4, true, false}};
    for (uint64_t seed = 1; seed < 3; seed++)
        for (enum range_search_method m = RANGE_SEARCH_PERCENTILE; m < RANGE_SEARCH_METHOD_COUNT;
             m++)
            for (size_t g = 0; g < COUNT_OF(grids); g++) {
                struct one one;
                draw(&one, STATISTICS_BINS, seed);
                struct range a = search(&one.h, m, grids[g], unknown);
                one.exponent += 20;
                struct range b = search(&one.h, m, grids[g], unknown);
                assert_true(ldexpf(a.min, 20) == b.min && ldexpf(a.max, 20) == b.max);
            }
}

static void test_range_search__stays_within_the_extremes(void **state)
{
    (void)state;
    const float x[] = {-0.75f, 5.1f, 5.2f, 5.3f, 1.0f};
    const struct range extremes = {-0.75f, 5.3f};
    struct one one;
    make(&one, STATISTICS_BINS, HISTOGRAM_EXPONENT_MIN);
    histogram_add(&one.h, 0, x, COUNT_OF(x));
    for (enum range_search_method m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++) {
        if (m == RANGE_SEARCH_MOVING_AVERAGE)
            continue;
        struct range even = search(&one.h, m, (struct range_grid){8, true, true}, extremes);
        struct range ends = search(&one.h, m, (struct range_grid){8, false, false}, extremes);
        assert_true(even.min == -even.max && even.max <= 5.3f && even.max > 4.9f);
        assert_true(ends.min >= -0.75f && ends.max <= 5.3f && ends.max > 4.9f);
    }
}

static void test_range_search__of_zeros_is_a_grid_that_holds_zero(void **state)
{
    (void)state;
    const float zeros[] = {0.0f, -0.0f};
    struct one one;
    make(&one, STATISTICS_BINS, HISTOGRAM_EXPONENT_MIN);
    histogram_add(&one.h, 0, zeros, 2);
    for (enum range_search_method m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++)
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            const struct range_grid grid = {8, true, symmetric};
            if (m == RANGE_SEARCH_MOVING_AVERAGE)
                continue;
            struct range range = search(&one.h, m, grid, (struct range){0.0f, 0.0f});
            assert_true(range.min == 0.0f && range.max == 0.0f);
            assert_true(range_grid_scale(&grid, range).scale == FLT_EPSILON);
        }
}

static void test_range_search__needs_something_seen(void **state)
{
    (void)state;
    const struct range_grid grid = {8, true, true};
    const float far[] = {-FLT_MAX, FLT_MAX, FLT_MAX, FLT_MAX};
    struct range_search_input input = {.extremes = unknown};
    struct range range;
    struct one one;
    for (enum range_search_method m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++)
        assert_int_equal(range_search(m, &range_search_defaults, &grid, &input, &range), ERR_STATE);
    make(&one, STATISTICS_BINS, HISTOGRAM_EXPONENT_MIN);
    input.histogram = &one.h;
    assert_int_equal(range_search(RANGE_SEARCH_MSE, &range_search_defaults, &grid, &input, &range),
                     ERR_STATE);
    input.records = far;
    input.record_count = 2;
    input.record_stride = 1;
    assert_int_equal(
        range_search(RANGE_SEARCH_MOVING_AVERAGE, &range_search_defaults, &grid, &input, &range),
        ERR_NOT_FINITE);
    assert_int_equal(range_search_find_method(TEXT("mean")), RANGE_SEARCH_METHOD_COUNT);
    assert_int_equal(range_search_find_method(TEXT("entropy")), RANGE_SEARCH_ENTROPY);
}

static void test_range_search__running_out_of_memory_is_an_error(void **state)
{
    (void)state;
    const struct range_grid grid = {8, true, true};
    struct one one;
    draw(&one, STATISTICS_BINS_CHANNEL, 1);
    const struct range_search_input input = {.extremes = unknown, .histogram = &one.h};
    for (enum range_search_method m = RANGE_SEARCH_PERCENTILE; m < RANGE_SEARCH_METHOD_COUNT; m++)
        for (size_t n = 1; n <= (m == RANGE_SEARCH_PERCENTILE ? 1 : 2); n++) {
            struct range range;
            (void)mem_fault_after(n);
            enum err err = range_search(m, &range_search_defaults, &grid, &input, &range);
            (void)mem_fault_after(0);
            assert_int_equal(err, ERR_OUT_OF_MEMORY);
        }
}

/* ---- from statistics ---- */

enum { COLUMNS = 6, TOKENS = 200, ROWS = 1 };

static void test_site_range__of_a_column_is_that_of_its_values(void **state)
{
    (void)state;
    const struct statistics_ask ask = {TEXT("site"), COLUMNS, STATISTICS_KINDS & ~1u};
    const struct statistics_plan plan = {&ask, 1, ROWS, TEXT("f32/1")};
    struct statistics *stats = NULL;
    static float x[TOKENS * COLUMNS];
    for (size_t i = 0; i < COUNT_OF(x); i++)
        x[i] = ldexpf(random_normal_f32(3, i), (int)(i % COLUMNS));
    assert_int_equal(statistics_create(&plan, 1, &stats), ERR_OK);
    statistics_start(stats, 0);
    const struct statistics_seen seen = {.tokens = TOKENS, .x = x};
    assert_int_equal(statistics_observe(stats, 0, &seen), ERR_OK);
    assert_int_equal(statistics_end(stats), ERR_OK);
    for (enum range_search_method m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++) {
        const struct range_grid grid = {8, true, false};
        struct range each[COLUMNS], whole;
        assert_int_equal(
            site_range_find(stats, &stats->sites[0], m, &range_search_defaults, &grid, true, each),
            ERR_OK);
        assert_int_equal(site_range_find(stats, &stats->sites[0], m, &range_search_defaults, &grid,
                                         false, &whole),
                         ERR_OK);
        for (size_t c = 0; c < COLUMNS; c++) {
            float min = x[c], max = x[c];
            for (size_t t = 0; t < TOKENS; t++) {
                min = MIN(min, x[t * COLUMNS + c]);
                max = MAX(max, x[t * COLUMNS + c]);
            }
            assert_true(each[c].min >= min && each[c].max <= max);
            assert_true(each[c].max - each[c].min > 0.6f * (max - min));
            assert_true(whole.min <= 0.5f * each[c].min || m == RANGE_SEARCH_PERCENTILE);
            if (m == RANGE_SEARCH_MINMAX || m == RANGE_SEARCH_MOVING_AVERAGE) /* one row */
                assert_true(each[c].min == min && each[c].max == max);
        }
    }
    statistics_destroy(&stats);
}

static void test_site_range__without_the_statistic_is_refused(void **state)
{
    (void)state;
    const struct statistics_ask ask = {TEXT("site"), 1, STATISTICS_HISTOGRAM};
    const struct statistics_plan plan = {&ask, 1, 1, TEXT("f32/1")};
    const struct range_grid grid = {8, true, true};
    const float x = 2.0f;
    struct statistics *stats = NULL;
    struct range range;
    assert_int_equal(statistics_create(&plan, 1, &stats), ERR_OK);
    assert_int_equal(site_range_find(stats, &stats->sites[0], RANGE_SEARCH_MSE,
                                     &range_search_defaults, &grid, false, &range),
                     ERR_STATE);
    statistics_start(stats, 0);
    const struct statistics_seen seen = {.tokens = 1, .x = &x};
    assert_int_equal(statistics_observe(stats, 0, &seen), ERR_OK);
    assert_int_equal(statistics_end(stats), ERR_OK);
    for (enum range_search_method m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++)
        for (int each = 0; each < 2; each++) {
            bool there = range_search_kinds(m, each) == STATISTICS_HISTOGRAM;
            assert_int_equal(site_range_find(stats, &stats->sites[0], m, &range_search_defaults,
                                             &grid, each, &range),
                             there ? ERR_OK : ERR_STATE);
        }
    statistics_destroy(&stats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range_search__ends_where_the_published_rules_end),
        cmocka_unit_test(test_range_grid__scales_are_those_of_torch),
        cmocka_unit_test(test_moving_average__has_the_bits_of_torch),
        cmocka_unit_test(test_range_search__no_even_cut_off_is_better_than_mse),
        cmocka_unit_test(test_range_search__no_window_is_much_better_than_mse),
        cmocka_unit_test(test_range_grid__error_is_that_of_the_definition),
        cmocka_unit_test(test_range_grid__error_counts_what_is_beyond_the_codes),
        cmocka_unit_test(test_range_search__scales_with_the_values),
        cmocka_unit_test(test_range_search__stays_within_the_extremes),
        cmocka_unit_test(test_range_search__of_zeros_is_a_grid_that_holds_zero),
        cmocka_unit_test(test_range_search__needs_something_seen),
        cmocka_unit_test(test_range_search__running_out_of_memory_is_an_error),
        cmocka_unit_test(test_site_range__of_a_column_is_that_of_its_values),
        cmocka_unit_test(test_site_range__without_the_statistic_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
