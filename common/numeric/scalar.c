/* scalar.c - argument reduction, Taylor series, and sums of two doubles where one is too short. */
#include "common/numeric/scalar.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/base/check.h"

#define INF          __builtin_inf()
#define NOT_A_NUMBER __builtin_nan("")

static const double LN2_HIGH = 0x1.62e42feep-1; /* 32 bits: times an exponent it is exact */
static const double LN2_LOW = 0x1.a39ef35793c76p-33;
static const double LN2[2] = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};
static const double HALF_PI[3] = {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54,
                                  -0x1.f1976b7ed8fbcp-110};

static uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static double of_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* 2^n for normal results: -1022 <= n <= 1023. */
static double power_of_two(int n)
{
    return of_bits((uint64_t)(n + 1023) << 52);
}

/* Nearest integer, |x| < 2^51, halves to even. */
static double nearest(double x)
{
    return (x + 0x1.8p52) - 0x1.8p52;
}

/* ---- pairs: high + low is the exact or nearly exact value, |low| at most half an ulp of high ----
 */

struct pair {
    double high, low;
};

static struct pair pair_add(double a, double b) /* exact (Knuth) */
{
    double sum = a + b, part = sum - a;
    return (struct pair){sum, (a - (sum - part)) + (b - part)};
}

static struct pair pair_quick(double a, double b) /* exact for |a| >= |b| (Dekker) */
{
    double sum = a + b;
    return (struct pair){sum, b - (sum - a)};
}

static struct pair pair_plus(struct pair a, struct pair b)
{
    struct pair s = pair_add(a.high, b.high);
    return pair_quick(s.high, s.low + (a.low + b.low));
}

static struct pair pair_times(struct pair a, struct pair b)
{
    double high = a.high * b.high;
    double low = __builtin_fma(a.high, b.high, -high) + (a.high * b.low + a.low * b.high);
    return pair_quick(high, low);
}

static struct pair pair_over(struct pair a, struct pair b)
{
    double q = a.high / b.high;
    double rest = __builtin_fma(-q, b.high, a.high) + (a.low - q * b.low);
    return pair_quick(q, rest / b.high);
}

/* ---- exponentials ---- */

/* x + low = n ln 2 + r; returns n and e^r - 1 as a pair. |x| < 1100. */
static struct pair exp_fraction(double x, double low, int *n_out)
{
    double n = nearest(x * 0x1.71547652b82fep+0);
    double exact = __builtin_fma(-n, LN2_HIGH, x); /* n * LN2_HIGH has at most 43 bits */
    struct pair r = pair_add(exact, -n * LN2_LOW);
    r = pair_quick(r.high, r.low + low);
    double z = r.high, q = 1.0 / 6227020800.0;
    q = q * z + 1.0 / 479001600.0;
    q = q * z + 1.0 / 39916800.0;
    q = q * z + 1.0 / 3628800.0;
    q = q * z + 1.0 / 362880.0;
    q = q * z + 1.0 / 40320.0;
    q = q * z + 1.0 / 5040.0;
    q = q * z + 1.0 / 720.0;
    q = q * z + 1.0 / 120.0;
    q = q * z + 1.0 / 24.0;
    q = q * z + 1.0 / 6.0;
    q = q * z + 0.5;
    *n_out = (int)n;
    return pair_quick(z, r.low + z * r.low + q * z * z);
}

/* e^(x + low), |low| tiny. */
static double exp_of(double x, double low)
{
    if (x > 710.0)
        return INF;
    if (x < -746.0)
        return 0.0;
    int n;
    struct pair t = exp_fraction(x, low, &n);
    int half = (n + 2048) / 2 - 1024; /* in two factors, so that a subnormal result rounds once */
    struct pair one = pair_add(1.0, t.high);
    double value = one.high + (one.low + t.low);
    return value * power_of_two(half) * power_of_two(n - half);
}

double scalar_exp(double x)
{
    return x != x ? x : exp_of(x, 0.0);
}

double scalar_expm1(double x)
{
    if (x != x || x == 0.0)
        return x;
    if (x > 40.0)
        return exp_of(x, 0.0); /* the 1 is below a quarter of an ulp */
    if (x < -40.0)
        return -1.0;
    int n;
    struct pair t = exp_fraction(x, 0.0, &n);
    double scale = power_of_two(n);
    struct pair sum = pair_add(scale - 1.0, scale * t.high);
    if (n > 53) /* scale - 1 was rounded: give back what it lost */
        sum.low += (scale - (scale - 1.0)) - 1.0;
    return sum.high + (sum.low + scale * t.low);
}

/* ---- logarithms ---- */

/* x = m 2^e with m in [sqrt(1/2), sqrt(2)); x positive and finite. */
static double split_exponent(double x, int *e)
{
    int extra = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        extra = -54;
    }
    uint64_t bits = bits_of(x);
    int exponent = (int)(bits >> 52) - 1023;
    double m = of_bits((bits & 0xfffffffffffffu) | (uint64_t)1023 << 52);
    if (m >= 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        exponent++;
    }
    *e = exponent + extra;
    return m;
}

/* e ln 2 + log(1 + f) + c:  with s = f / (2 + f), log(1 + f) = 2 s + 2 s^3 / 3 + 2 s^5 / 5 + ...
 * = f - f^2 / 2 + s (f^2 / 2 + R), R the series from s^2 on. */
static double log_sum(int e, double f, double c)
{
    double s = f / (2.0 + f), z = s * s, q = 2.0 / 25.0;
    q = q * z + 2.0 / 23.0;
    q = q * z + 2.0 / 21.0;
    q = q * z + 2.0 / 19.0;
    q = q * z + 2.0 / 17.0;
    q = q * z + 2.0 / 15.0;
    q = q * z + 2.0 / 13.0;
    q = q * z + 2.0 / 11.0;
    q = q * z + 2.0 / 9.0;
    q = q * z + 2.0 / 7.0;
    q = q * z + 2.0 / 5.0;
    q = q * z + 2.0 / 3.0;
    double half = 0.5 * f * f;
    double low = s * (half + q * z) + ((double)e * LN2_LOW + c);
    struct pair sum = pair_add((double)e * LN2_HIGH, f);
    struct pair less = pair_add(sum.high, -half);
    double half_low = __builtin_fma(f, 0.5 * f, -half);
    return less.high + (less.low + ((sum.low - half_low) + low));
}

double scalar_log(double x)
{
    if (x != x || x == INF)
        return x;
    if (x <= 0.0)
        return x == 0.0 ? -INF : NOT_A_NUMBER;
    int e;
    double m = split_exponent(x, &e);
    return log_sum(e, m - 1.0, 0.0);
}

double scalar_log1p(double x)
{
    if (x != x || x == INF || x == 0.0)
        return x;
    if (x <= -1.0)
        return x == -1.0 ? -INF : NOT_A_NUMBER;
    if (x > -0.25 && x < 0.25)
        return log_sum(0, x, 0.0);
    struct pair u = pair_add(1.0, x);
    int e;
    double m = split_exponent(u.high, &e);
    return log_sum(e, m - 1.0, u.low / u.high);
}

/* log x as a pair, x positive and finite: the same series in pairs. */
static struct pair log_pair(double x)
{
    int e;
    double m = split_exponent(x, &e);
    struct pair s = pair_over((struct pair){m - 1.0, 0.0}, pair_add(m, 1.0));
    struct pair z = pair_times(s, s), q = {0.0, 0.0};
    for (int k = 43; k >= 1; k -= 2) {
        struct pair term = pair_over((struct pair){2.0, 0.0}, (struct pair){(double)k, 0.0});
        q = pair_plus(pair_times(q, z), term);
    }
    struct pair log_m = pair_times(q, s);
    struct pair log_2 = pair_times((struct pair){LN2[0], LN2[1]}, (struct pair){(double)e, 0.0});
    return pair_plus(log_2, log_m);
}

/* x^y for finite positive x. */
static double pow_positive(double x, double y)
{
    struct pair log_x = log_pair(x);
    double high = log_x.high * y;
    if (!(high > -800.0 && high < 800.0))
        return high > 0.0 ? INF : 0.0;
    double low = __builtin_fma(log_x.high, y, -high) + log_x.low * y;
    return exp_of(high, low);
}

static bool is_integral(double y)
{
    return y >= 0x1p52 || y <= -0x1p52 || nearest(y) == y;
}

static bool is_odd(double y)
{
    return is_integral(y) && y < 0x1p53 && y > -0x1p53 && !is_integral(y * 0.5);
}

double scalar_pow(double x, double y)
{
    if (y == 0.0 || x == 1.0)
        return 1.0;
    if (x != x || y != y)
        return NOT_A_NUMBER;
    bool negative = (bits_of(x) >> 63) != 0;
    double size = negative ? -x : x;
    double sign = negative && is_odd(y) ? -1.0 : 1.0;
    if (y == INF || y == -INF) {
        if (size == 1.0)
            return 1.0;
        return (size > 1.0) == (y > 0.0) ? INF : 0.0;
    }
    if (size == 0.0 || size == INF)
        return sign * ((size == 0.0) == (y > 0.0) ? 0.0 : INF);
    if (negative && !is_integral(y))
        return NOT_A_NUMBER;
    return sign * pow_positive(size, y);
}

/* ---- angles ---- */

/* x = n pi / 2 + r; returns r as a pair and n mod 4. |x| <= 2^30. */
static struct pair reduce_angle(double x, unsigned *quadrant)
{
    double n = nearest(x * 0x1.45f306dc9c883p-1);
    double a = n * HALF_PI[0], a_low = __builtin_fma(n, HALF_PI[0], -a);
    double b = n * HALF_PI[1], b_low = __builtin_fma(n, HALF_PI[1], -b);
    struct pair first = pair_add(x, -a);
    struct pair second = pair_add(first.high, -a_low);
    struct pair third = pair_add(second.high, -b);
    double rest = ((first.low + second.low) + third.low) - b_low - n * HALF_PI[2];
    *quadrant = (unsigned)((int64_t)n & 3);
    return pair_quick(third.high, rest);
}

static double sin_series(struct pair r)
{
    double z = r.high * r.high, q = 1.0 / 355687428096000.0;
    q = q * z - 1.0 / 1307674368000.0;
    q = q * z + 1.0 / 6227020800.0;
    q = q * z - 1.0 / 39916800.0;
    q = q * z + 1.0 / 362880.0;
    q = q * z - 1.0 / 5040.0;
    q = q * z + 1.0 / 120.0;
    q = q * z - 1.0 / 6.0;
    return r.high + (q * z * r.high + r.low * (1.0 - 0.5 * z));
}

static double cos_series(struct pair r)
{
    double z = r.high * r.high, q = 1.0 / 20922789888000.0;
    q = q * z - 1.0 / 87178291200.0;
    q = q * z + 1.0 / 479001600.0;
    q = q * z - 1.0 / 3628800.0;
    q = q * z + 1.0 / 40320.0;
    q = q * z - 1.0 / 720.0;
    q = q * z + 1.0 / 24.0;
    double half = 0.5 * z, one = 1.0 - half;
    return one + (((1.0 - one) - half) + (q * z * z - r.high * r.low));
}

static double circle(double x, unsigned turn)
{
    if (!(x >= -0x1p30 && x <= 0x1p30))
        return NOT_A_NUMBER;
    unsigned quadrant;
    struct pair r = reduce_angle(x, &quadrant);
    quadrant = (quadrant + turn) & 3;
    double value = (quadrant & 1) != 0 ? cos_series(r) : sin_series(r);
    return (quadrant & 2) != 0 ? -value : value;
}

double scalar_sin(double x)
{
    return x == 0.0 ? x : circle(x, 0);
}

double scalar_cos(double x)
{
    return circle(x, 1);
}

/* ---- sigmoid shapes ---- */

double scalar_tanh(double x)
{
    if (x != x || x == 0.0)
        return x;
    double size = x < 0.0 ? -x : x;
    double value = 1.0;
    if (size < 22.0) {
        double e = scalar_expm1(-2.0 * size);
        struct pair quotient = pair_over((struct pair){-e, 0.0}, pair_add(2.0, e));
        value = quotient.high;
    }
    return x < 0.0 ? -value : value;
}

/* erf x = 2 / sqrt(pi) e^(-x^2) x (1 + z/3 (1 + z/5 (1 + ...))), z = 2 x^2: all terms positive. */
static double erf_series(double x)
{
    double square = x * x, low = __builtin_fma(x, x, -square);
    struct pair sum = {1.0, 0.0}, z = {2.0 * square, 2.0 * low};
    for (int k = 121; k >= 3; k -= 2) {
        struct pair ratio = pair_over(z, (struct pair){(double)k, 0.0});
        sum = pair_plus((struct pair){1.0, 0.0}, pair_times(ratio, sum));
    }
    struct pair front = pair_times((struct pair){0x1.20dd750429b6dp+0, 0x1.1ae3a914fed80p-56},
                                   (struct pair){x, 0.0});
    struct pair product = pair_times(front, sum);
    return exp_of(-square, -low) * product.high;
}

/* 1 - erf x for x >= 3 by the continued fraction of Laplace: e^(-x^2) / sqrt(pi) / (x + 1/2 / (x +
 * ...)). */
static double erf_tail(double x)
{
    double fraction = x;
    for (int k = 60; k >= 1; k--)
        fraction = x + 0.5 * (double)k / fraction;
    return 0.5 * 0x1.20dd750429b6dp+0 * exp_of(-x * x, 0.0) / fraction;
}

double scalar_erf(double x)
{
    if (x != x || x == 0.0)
        return x;
    double size = x < 0.0 ? -x : x;
    double value = size < 3.0 ? erf_series(size) : size < 6.0 ? 1.0 - erf_tail(size) : 1.0;
    return x < 0.0 ? -value : value;
}

/* ---- f32 ---- */

static uint32_t bits_of_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static float of_bits_f32(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* x = n ln 2 + r; returns e^r - 1 and n + 1.5 * 2^23. Step by step what f32x16_exp_fraction
 * (worker/engine/kernel/f32x16.h) does in each lane, as exp, tanh and erf below. */
static float exp_fraction_f32(float x, float *shifted)
{
    const float magic = 0x1.8p23f;
    *shifted = __builtin_fmaf(x, 0x1.715476p+0f, magic);
    float n = *shifted - magic;
    float r = __builtin_fmaf(n, -0x1.62e43p-1f, x);
    r = __builtin_fmaf(n, 0x1.05c61p-29f, r);
    float q = 1.0f / 5040.0f;
    q = __builtin_fmaf(q, r, 1.0f / 720.0f);
    q = __builtin_fmaf(q, r, 1.0f / 120.0f);
    q = __builtin_fmaf(q, r, 1.0f / 24.0f);
    q = __builtin_fmaf(q, r, 1.0f / 6.0f);
    q = __builtin_fmaf(q, r, 0.5f);
    return __builtin_fmaf(q, r * r, r);
}

float scalar_exp_f32(float x)
{
    float shifted;
    if (x != x)
        return x;
    x = x > 89.0f ? 89.0f : x;
    x = x < -105.0f ? -105.0f : x;
    float p = exp_fraction_f32(x, &shifted) + 1.0f;
    uint32_t exponent = bits_of_f32(shifted) - bits_of_f32(0x1.8p23f) + 512u;
    uint32_t half = exponent >> 1, rest = exponent - half;
    return p * of_bits_f32((half - (256u - 127u)) << 23) *
           of_bits_f32((rest - (256u - 127u)) << 23);
}

float scalar_tanh_f32(float x)
{
    float size = x < 0.0f ? -x : x, shifted;
    if (x != x || x == 0.0f)
        return x;
    size = size > 10.0f ? 10.0f : size;
    float p = exp_fraction_f32(size * -2.0f, &shifted);
    float scale = of_bits_f32((bits_of_f32(shifted) - bits_of_f32(0x1.8p23f) + 127u) << 23);
    float e = __builtin_fmaf(p, scale, scale - 1.0f), value = -e / (2.0f + e);
    return x < 0.0f ? -value : value;
}

/* Below 1 the series of erf x / x - 1 in x^2, whose coefficients are 2 / sqrt(pi) (-1)^n / (n! (2n
 * + 1)), less 1 for n = 0. Above, 1 - exp(-x^2) f with f = exp(x^2) erfc(x) by its Taylor series in
 * (x - 2) / (x + 2) around 0. */
float scalar_erf_f32(float x)
{
    static const float near[] = {1.48071928e-8f, -1.63658447e-7f, 1.64621144e-6f, -1.49256504e-5f,
                                 1.20553330e-4f, -8.54832702e-4f, 5.22397762e-3f, -2.68661706e-2f,
                                 1.12837917e-1f, -3.76126389e-1f, 1.28379167e-1f};
    static const float far[] = {-9.81977030e-4f, -8.47143252e-4f, 6.99746174e-3f,  3.73289240e-3f,
                                -7.89785810e-2f, 2.41658194e-1f,  -4.27185847e-1f, 2.55395676e-1f};
    float size = x < 0.0f ? -x : x;
    if (x != x || x == 0.0f)
        return x;
    size = size > 4.0f ? 4.0f : size;
    float square = size * size, t = (size - 2.0f) / (size + 2.0f), p = near[0], q = far[0];
    for (size_t i = 1; i < COUNT_OF(near); i++)
        p = __builtin_fmaf(p, square, near[i]);
    for (size_t i = 1; i < COUNT_OF(far); i++)
        q = __builtin_fmaf(q, t, far[i]);
    float value = size < 1.0f ? __builtin_fmaf(p, size, size) : 1.0f - scalar_exp_f32(-square) * q;
    return x < 0.0f ? -value : value;
}

float scalar_log_f32(float x)
{
    return (float)scalar_log((double)x);
}

float scalar_log1p_f32(float x)
{
    return (float)scalar_log1p((double)x);
}

float scalar_sin_f32(float x)
{
    return (float)scalar_sin((double)x);
}

float scalar_cos_f32(float x)
{
    return (float)scalar_cos((double)x);
}

float scalar_pow_f32(float x, float y)
{
    return (float)scalar_pow((double)x, (double)y);
}
