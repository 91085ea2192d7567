/* test_scalar.c - accuracy of our functions against the C library in long double (64-bit mantissa
 * on x86-64), their special values, and golden bits, so that no compiler or machine changes them
 * unseen. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/numeric/random.h"
#include "common/numeric/scalar.h"

enum { SAMPLES = 40000 };

/* Distance of `got` from `exact` in units of the last place of a double (float) near exact. */
static double ulps_f64(double got, long double exact)
{
    if ((double)exact == got)
        return got == 0.0 || isinf(got)
                   ? 0.0
                   : (double)fabsl((exact - (long double)got) /
                                   (long double)(nextafter(fabs(got), INFINITY) - fabs(got)));
    int exponent;
    frexpl(exact, &exponent);
    long double ulp = ldexpl(1.0L, MAX(exponent - 53, -1074));
    return (double)fabsl(((long double)got - exact) / ulp);
}

static double ulps_f32(float got, long double exact)
{
    if (isinf(got))
        return fabsl(exact) > (long double)FLT_MAX ? 0.0 : INFINITY;
    int exponent;
    frexpl(exact, &exponent);
    long double ulp = ldexpl(1.0L, MAX(exponent - 24, -149));
    return (double)fabsl(((long double)got - exact) / ulp);
}

static double uniform(uint64_t index, double low, double high)
{
    return low + (high - low) * random_uniform_f64(11, index);
}

/* A value of any exponent in [2^low, 2^high), either sign when asked. */
static double spread(uint64_t index, double low, double high, bool both_signs)
{
    double value = exp2(uniform(2 * index, low, high));
    return both_signs && random_u32(12, index) % 2 == 0 ? -value : value;
}

struct function {
    const char *name;
    double (*ours)(double);
    long double (*exact)(long double);
    double low, high;                   /* uniform samples */
    double exponent_low, exponent_high; /* samples spread over exponents */
    bool both_signs;
    double ulps_max;
};

static const struct function functions[] = {
    {"exp", scalar_exp, expl, -745.0, 709.7, -60, 9.4, true, 1.0},
    {"expm1", scalar_expm1, expm1l, -45.0, 709.7, -60, 9.4, true, 1.0},
    {"log", scalar_log, logl, 0.4, 2.5, -1074, 1024, false, 1.0},
    {"log1p", scalar_log1p, log1pl, -0.999, 3.0, -60, 1023, false, 1.0},
    {"sin", scalar_sin, sinl, -10.0, 10.0, -30, 30, true, 1.0},
    {"cos", scalar_cos, cosl, -10.0, 10.0, -30, 30, true, 1.0},
    {"tanh", scalar_tanh, tanhl, -25.0, 25.0, -30, 5, true, 2.0},
    {"erf", scalar_erf, erfl, -6.5, 6.5, -30, 3, true, 2.0},
};

static void test_scalar__f64_functions_stay_within_their_ulps(void **state)
{
    (void)state;
    for (size_t f = 0; f < COUNT_OF(functions); f++) {
        const struct function *fn = &functions[f];
        double worst = 0.0, at = 0.0;
        for (uint64_t i = 0; i < SAMPLES; i++) {
            double x = i % 2 == 0 ? uniform(i, fn->low, fn->high)
                                  : spread(i, fn->exponent_low, fn->exponent_high, fn->both_signs);
            double off = ulps_f64(fn->ours(x), fn->exact((long double)x));
            if (off > worst) {
                worst = off;
                at = x;
            }
        }
        print_message("%-6s %.3f ulp at %a\n", fn->name, worst, at);
        assert_true(worst <= fn->ulps_max);
    }
}

static void test_scalar__pow_stays_within_one_ulp(void **state)
{
    (void)state;
    double worst = 0.0;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        double x = i % 2 == 0 ? uniform(3 * i, 0.5, 1.5) : spread(3 * i, -300, 300, false);
        double y = uniform(3 * i + 1, -1.0, 1.0) * 700.0 / (fabs(log(x)) + 1e-3);
        long double exact = powl((long double)x, (long double)y);
        worst = fmax(worst, ulps_f64(scalar_pow(x, y), exact));
    }
    for (uint64_t step = 1; step < 3000000; step += 977) { /* bias correction */
        worst = fmax(worst, ulps_f64(scalar_pow(0.999, (double)step),
                                     powl((long double)0.999, (long double)step)));
        worst = fmax(worst, ulps_f64(scalar_pow(0.9, (double)(step % 7000)),
                                     powl((long double)0.9, (long double)(step % 7000))));
    }
    print_message("pow    %.3f ulp\n", worst);
    assert_true(worst <= 1.0);
}

static void test_scalar__f32_functions_round_the_f64_value(void **state)
{
    (void)state;
    double worst = 0.0, worst_exp = 0.0, worst_tanh = 0.0, worst_erf = 0.0;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        float x = (float)spread(i, -20, 6, true), positive = fabsf(x);
        worst = fmax(worst, ulps_f32(scalar_log_f32(positive), logl((long double)positive)));
        worst = fmax(worst, ulps_f32(scalar_log1p_f32(positive), log1pl((long double)positive)));
        worst = fmax(worst, ulps_f32(scalar_sin_f32(x), sinl((long double)x)));
        worst = fmax(worst, ulps_f32(scalar_cos_f32(x), cosl((long double)x)));
        worst_tanh = fmax(worst_tanh, ulps_f32(scalar_tanh_f32(x), tanhl((long double)x)));
        worst_erf = fmax(worst_erf, ulps_f32(scalar_erf_f32(x), erfl((long double)x)));
        float u = (float)uniform(i, -5.0, 5.0);
        worst_tanh = fmax(worst_tanh, ulps_f32(scalar_tanh_f32(u), tanhl((long double)u)));
        worst_erf = fmax(worst_erf, ulps_f32(scalar_erf_f32(u), erfl((long double)u)));
        worst = fmax(worst, ulps_f32(scalar_pow_f32(positive, 1.7f),
                                     powl((long double)positive, (long double)1.7f)));
        float e = (float)uniform(i, -104.5, 89.0);
        worst_exp = fmax(worst_exp, ulps_f32(scalar_exp_f32(e), expl((long double)e)));
    }
    print_message("f32    %.3f ulp, exp_f32 %.3f, tanh_f32 %.3f, erf_f32 %.3f\n", worst, worst_exp,
                  worst_tanh, worst_erf);
    assert_true(worst <= 0.51);
    assert_true(worst_exp <= 1.0 && worst_erf <= 1.0 && worst_tanh <= 3.0);
}

static void test_scalar__special_values_are_those_of_ieee_754(void **state)
{
    (void)state;
    assert_true(scalar_exp(INFINITY) == INFINITY && scalar_exp(-INFINITY) == 0.0);
    assert_true(scalar_exp(710.0) == INFINITY && scalar_exp(0.0) == 1.0 && isnan(scalar_exp(NAN)));
    assert_true(scalar_exp(-745.1) == 0x1p-1074 && scalar_exp(-745.2) == 0.0);
    assert_true(scalar_expm1(-INFINITY) == -1.0 && scalar_expm1(INFINITY) == INFINITY);
    assert_true(signbit(scalar_expm1(-0.0)) && signbit(scalar_sin(-0.0)) &&
                signbit(scalar_tanh(-0.0)));
    assert_true(scalar_log(0.0) == -INFINITY && isnan(scalar_log(-1.0)) && scalar_log(1.0) == 0.0);
    assert_true(scalar_log(INFINITY) == INFINITY);
    assert_true(scalar_log1p(-1.0) == -INFINITY && isnan(scalar_log1p(-1.5)));
    assert_true(isnan(scalar_sin(INFINITY)) && isnan(scalar_cos(0x1p31)) && scalar_cos(0.0) == 1.0);
    assert_true(scalar_tanh(INFINITY) == 1.0 && scalar_erf(-INFINITY) == -1.0);
    assert_true(scalar_exp_f32(INFINITY) == INFINITY && scalar_exp_f32(-INFINITY) == 0.0f);
    assert_true(scalar_exp_f32(0.0f) == 1.0f && isnan(scalar_exp_f32(NAN)));
}

static void test_pow__special_values_are_those_of_the_c_library(void **state)
{
    (void)state;
    static const double values[] = {0.0,       -0.0, 1.0,    -1.0,    2.0,   -2.0,
                                    0.5,       -0.5, 3.0,    -3.0,    2.5,   INFINITY,
                                    -INFINITY, NAN,  0x1p53, -0x1p60, 1e300, 1e-300};
    for (size_t i = 0; i < COUNT_OF(values); i++)
        for (size_t j = 0; j < COUNT_OF(values); j++) {
            double expected = pow(values[i], values[j]), got = scalar_pow(values[i], values[j]);
            if (isnan(expected) ? !isnan(got)
                                : fabs(got - expected) > 1e-15 * fabs(expected) && got != expected)
                fail_msg("pow(%g, %g) = %g, not %g", values[i], values[j], got, expected);
        }
}

static void test_scalar__bits_are_golden(void **state)
{
    (void)state;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t f = 0; f < COUNT_OF(functions); f++)
        for (uint64_t i = 0; i < 1000; i++) {
            double y = functions[f].ours(((double)i - 500.0) * 0x1.9p-6);
            uint64_t bits;
            memcpy(&bits, &y, sizeof(bits));
            hash = isnan(y) ? hash : (hash ^ bits) * 0x100000001b3u;
        }
    assert_int_equal(hash, 0x4b57765fba3060d9u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar__f64_functions_stay_within_their_ulps),
        cmocka_unit_test(test_scalar__pow_stays_within_one_ulp),
        cmocka_unit_test(test_scalar__f32_functions_round_the_f64_value),
        cmocka_unit_test(test_scalar__special_values_are_those_of_ieee_754),
        cmocka_unit_test(test_pow__special_values_are_those_of_the_c_library),
        cmocka_unit_test(test_scalar__bits_are_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
