/* test_histogram.c - order never shows: not of values, not of merges, not of growth. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/calibration/histogram.h"
#include "common/numeric/random.h"

enum { BINS = 64, CHANNELS = 3, VALUES = 600, PARTS = 7 };

struct made {
    int32_t exponents[CHANNELS];
    uint64_t counts[CHANNELS * 2 * BINS];
    struct histogram h;
};

static void make(struct made *m, bool is_signed, size_t channels)
{
    memset(m, 0, sizeof *m);
    m->h = (struct histogram){BINS, is_signed, channels, m->exponents, m->counts};
    histogram_clear(&m->h);
}

static void assert_same(const struct made *a, const struct made *b)
{
    assert_memory_equal(a->exponents, b->exponents, sizeof a->exponents);
    assert_memory_equal(a->counts, b->counts, sizeof a->counts);
}

/* Values of widely differing size, both zeros, the ends of f32, edges of bins. */
static float value_of(uint64_t seed, uint64_t i)
{
    const float odd[] = {0.0f,      -0.0f, 0x1p-149f, -0x1p-126f, 0x1.fffffep127f,
                         -0x1p127f, 1.0f,  -2.0f};
    uint64_t pick = random_u64(seed, 2 * i);
    if (seed % 4 == 3 && pick % 16 == 0)
        return odd[pick / 16 % COUNT_OF(odd)];
    int exponent = (int)(pick % (seed % 4 == 0 ? 4 : 60)) - 30;
    return ldexpf(random_normal_f32(seed, 2 * i + 1), exponent);
}

static void fill(uint64_t seed, float x[VALUES])
{
    for (uint64_t i = 0; i < VALUES; i++)
        x[i] = value_of(seed, i);
}

/* The definition, one value at a time, once the exponent is known. */
static void count_plainly(struct made *m, size_t channel, const float *x, size_t count,
                          size_t stride)
{
    double largest = 0.0;
    int e = HISTOGRAM_EXPONENT_MIN;
    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)x[i * stride]));
    while (largest >= ldexp(BINS, e))
        e++;
    m->exponents[channel] = e;
    for (size_t i = 0; i < count; i++) {
        double v = (double)x[i * stride];
        size_t bin = (size_t)floor(ldexp(fabs(v), -e));
        size_t place = !m->h.is_signed ? bin : v < 0.0 ? BINS - 1 - bin : BINS + bin;
        m->counts[channel * histogram_width(&m->h) + place]++;
    }
}

static void test_histogram__counts_as_defined(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        float x[VALUES];
        struct made fast, plain;
        fill(seed, x);
        for (int is_signed = 0; is_signed < 2; is_signed++) {
            make(&fast, is_signed, 1);
            make(&plain, is_signed, 1);
            histogram_add(&fast.h, 0, x, VALUES);
            count_plainly(&plain, 0, x, VALUES, 1);
            assert_same(&fast, &plain);
            assert_int_equal(histogram_total(&fast.h, 0), VALUES);
            make(&fast, is_signed, CHANNELS);
            make(&plain, is_signed, CHANNELS);
            histogram_add_columns(&fast.h, x, VALUES / CHANNELS);
            for (size_t c = 0; c < CHANNELS; c++)
                count_plainly(&plain, c, x + c, VALUES / CHANNELS, CHANNELS);
            assert_same(&fast, &plain);
        }
    }
}

static void test_histogram__any_cut_and_order_gives_equal_bytes(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        float x[VALUES];
        struct made whole, parts[PARTS], one;
        fill(seed, x);
        bool is_signed = seed % 2 == 0;
        make(&whole, is_signed, CHANNELS);
        histogram_add_columns(&whole.h, x, VALUES / CHANNELS);
        for (size_t p = 0; p < PARTS; p++)
            make(&parts[p], is_signed, CHANNELS);
        for (size_t row = 0; row < VALUES / CHANNELS; row++) { /* rows to parts at random */
            size_t p = random_u64(seed + 1000, row) % PARTS;
            histogram_add_columns(&parts[p].h, x + row * CHANNELS, 1);
        }
        while (true) { /* two parts at random become one */
            size_t left[PARTS], count = 0;
            for (size_t p = 0; p < PARTS; p++)
                if (parts[p].h.channels > 0)
                    left[count++] = p;
            if (count == 1) {
                assert_same(&parts[left[0]], &whole);
                break;
            }
            size_t a = random_u64(seed + 2000, count) % count;
            size_t b = (a + 1 + random_u64(seed + 3000, count) % (count - 1)) % count;
            assert_int_equal(histogram_merge(&parts[left[a]].h, &parts[left[b]].h), ERR_OK);
            parts[left[b]].h.channels = 0;
        }
        make(&one, is_signed, 1);
        histogram_add(&one.h, 0, x, VALUES / 2);
        assert_true(histogram_is_least(&one.h, 0));
    }
}

static void test_histogram__magnitudes_of_signed_are_those_counted_as_such(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        float x[VALUES];
        struct made both, magnitudes;
        uint64_t folded[BINS];
        fill(seed, x);
        make(&both, true, 1);
        make(&magnitudes, false, 1);
        histogram_add(&both.h, 0, x, VALUES);
        histogram_add(&magnitudes.h, 0, x, VALUES);
        histogram_magnitudes(&both.h, 0, folded);
        assert_int_equal(both.exponents[0], magnitudes.exponents[0]);
        assert_memory_equal(folded, magnitudes.counts, sizeof folded);
    }
}

static void test_histogram__edges_are_multiples_of_the_width(void **state)
{
    (void)state;
    struct made m;
    make(&m, true, 1);
    const float x[] = {-3.0f, 1.5f};
    histogram_add(&m.h, 0, x, 2);
    assert_int_equal(m.exponents[0], 2 - 6); /* 64 bins up to 4 */
    assert_true(histogram_edge(&m.h, 0, 0) == -4.0);
    assert_true(histogram_edge(&m.h, 0, BINS) == 0.0);
    assert_true(histogram_edge(&m.h, 0, 2 * BINS) == 4.0);
    assert_int_equal(m.counts[BINS + 24], 1);
    assert_int_equal(m.counts[BINS - 1 - 48], 1);
}

static void test_histogram__exponent_is_least_and_ends_at_the_floor(void **state)
{
    (void)state;
    assert_int_equal(histogram_exponent(2048, 0.0f), HISTOGRAM_EXPONENT_MIN);
    assert_int_equal(histogram_exponent(2048, 0x1p-149f), HISTOGRAM_EXPONENT_MIN);
    assert_int_equal(histogram_exponent(2048, 1.0f), 1 - 11);
    assert_int_equal(histogram_exponent(2048, 0x1.fffffep-1f), 0 - 11);
    assert_int_equal(histogram_exponent(2, 0x1.fffffep127f), 127);
}

static void test_histogram__merge_beyond_63_bits_is_refused(void **state)
{
    (void)state;
    struct made a, b, before;
    make(&a, false, 2);
    make(&b, false, 2);
    a.counts[5] = 7;
    a.counts[BINS + 3] = (uint64_t)INT64_MAX - 4;
    b.counts[3] = 9;
    b.counts[BINS + 60] = 5;
    before = a;
    assert_int_equal(histogram_merge(&a.h, &b.h), ERR_OVERFLOW);
    assert_same(&a, &before);
    b.counts[BINS + 60] = 4;
    assert_int_equal(histogram_merge(&a.h, &b.h), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histogram__counts_as_defined),
        cmocka_unit_test(test_histogram__any_cut_and_order_gives_equal_bytes),
        cmocka_unit_test(test_histogram__magnitudes_of_signed_are_those_counted_as_such),
        cmocka_unit_test(test_histogram__edges_are_multiples_of_the_width),
        cmocka_unit_test(test_histogram__exponent_is_least_and_ends_at_the_floor),
        cmocka_unit_test(test_histogram__merge_beyond_63_bits_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
