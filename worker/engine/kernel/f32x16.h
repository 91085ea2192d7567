/* f32x16.h - sixteen f32 lanes, as the instruction set of the including file offers them (SIMD).
 *
 * The one vocabulary in which row kernels are written: rows_body.inc is compiled once an
 * instruction set, and every operation below is a correctly rounded IEEE operation a lane, so the
 * bits cannot differ. Included by kernel bodies only.
 */
#ifndef WORKER_ENGINE_KERNEL_F32X16_H
#define WORKER_ENGINE_KERNEL_F32X16_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

enum { LANES = 16 };

typedef float f32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));

#define F32X16_INLINE static inline __attribute__((always_inline, unused))

F32X16_INLINE f32x16 f32x16_all(float value)
{
    return (f32x16){value, value, value, value, value, value, value, value,
                    value, value, value, value, value, value, value, value};
}

F32X16_INLINE u32x16 f32x16_words(uint32_t value)
{
    return (u32x16){value, value, value, value, value, value, value, value,
                    value, value, value, value, value, value, value, value};
}

F32X16_INLINE f32x16 f32x16_load(const float *from)
{
    f32x16 v;
    memcpy(&v, from, sizeof(v));
    return v;
}

F32X16_INLINE void f32x16_store(float *to, f32x16 v)
{
    memcpy(to, &v, sizeof(v));
}

/* The first `count` (< 16) lanes; the others are +0, or stay unwritten. */
F32X16_INLINE f32x16 f32x16_load_part(const float *from, size_t count)
{
#if defined(__AVX512F__)
    return (f32x16)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
#else
    float part[LANES] = {0};
    for (size_t i = 0; i < count; i++)
        part[i] = from[i];
    return f32x16_load(part);
#endif
}

F32X16_INLINE void f32x16_store_part(float *to, size_t count, f32x16 v)
{
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)v);
#else
    float part[LANES];
    f32x16_store(part, v);
    for (size_t i = 0; i < count; i++)
        to[i] = part[i];
#endif
}

/* a * b + c with one rounding. */
F32X16_INLINE f32x16 f32x16_fma(f32x16 a, f32x16 b, f32x16 c)
{
#if defined(__AVX512F__)
    return (f32x16)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
    union {
        f32x16 whole;
        __m256 half[2];
    } x = {a}, y = {b}, z = {c};
    z.half[0] = _mm256_fmadd_ps(x.half[0], y.half[0], z.half[0]);
    z.half[1] = _mm256_fmadd_ps(x.half[1], y.half[1], z.half[1]);
    return z.whole;
#else
    f32x16 out;
    for (int i = 0; i < LANES; i++)
        out[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return out;
#endif
}

F32X16_INLINE u32x16 f32x16_bits(f32x16 v)
{
    return (u32x16)v;
}

F32X16_INLINE f32x16 f32x16_of_bits(u32x16 v)
{
    return (f32x16)v;
}

/* yes where mask is all ones, no where it is zero. */
F32X16_INLINE f32x16 f32x16_select(u32x16 mask, f32x16 yes, f32x16 no)
{
    return (f32x16)((mask & (u32x16)yes) | (~mask & (u32x16)no));
}

F32X16_INLINE u32x16 f32x16_less(f32x16 a, f32x16 b)
{
    return (u32x16)(a < b);
}

/* The lanes meet in pairs (l, l + 8), (l, l + 4), (l, l + 2), (l, l + 1). */
F32X16_INLINE float f32x16_sum(f32x16 v)
{
    float lane[LANES];
    f32x16_store(lane, v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

/* Exact values of 16 bf16 or f16 elements. */
F32X16_INLINE f32x16 f32x16_from_bf16(const void *from)
{
    uint16_t half[LANES];
    memcpy(half, from, sizeof(half));
#if defined(__AVX512F__)
    __m256i narrow;
    memcpy(&narrow, half, sizeof(narrow));
    return (f32x16)_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
#elif defined(__AVX2__)
    union {
        f32x16 whole;
        __m256i part[2];
    } v;
    for (size_t i = 0; i < 2; i++) {
        __m128i narrow;
        memcpy(&narrow, half + i * 8, sizeof(narrow));
        v.part[i] = _mm256_slli_epi32(_mm256_cvtepu16_epi32(narrow), 16);
    }
    return v.whole;
#else
    u32x16 wide;
    for (int i = 0; i < LANES; i++)
        wide[i] = (uint32_t)half[i] << 16;
    return (f32x16)wide;
#endif
}

F32X16_INLINE f32x16 f32x16_from_f16(const void *from)
{
#if defined(__AVX512F__)
    __m256i narrow;
    memcpy(&narrow, from, sizeof(narrow));
    return (f32x16)_mm512_cvtph_ps(narrow);
#elif defined(__F16C__)
    union {
        f32x16 whole;
        __m256 part[2];
    } v;
    for (size_t i = 0; i < 2; i++) {
        __m128i narrow;
        memcpy(&narrow, (const char *)from + i * sizeof(narrow), sizeof(narrow));
        v.part[i] = _mm256_cvtph_ps(narrow);
    }
    return v.whole;
#else
    /* The 15 lower bits moved to the top of an f32 mantissa read as value * 2^-112; the product is
     * exact, also for subnormals. The largest exponent means infinity or NaN and is put back. */
    uint16_t half[LANES];
    memcpy(half, from, sizeof(half));
    u32x16 wide;
    for (int i = 0; i < LANES; i++)
        wide[i] = half[i];
    u32x16 magnitude = (wide & f32x16_words(0x7fff)) << 13;
    u32x16 special = (u32x16)((wide & f32x16_words(0x7c00)) == f32x16_words(0x7c00));
    u32x16 value = (u32x16)((f32x16)magnitude * f32x16_all(0x1p112f));
    value |= special & (magnitude | f32x16_words(0x7f800000));
    return (f32x16)(value | (wide & f32x16_words(0x8000)) << 16);
#endif
}

/* x = n ln 2 + r; returns e^r - 1, a Taylor series to the seventh power, and n + 1.5 * 2^23. */
F32X16_INLINE f32x16 f32x16_exp_fraction(f32x16 x, f32x16 *shifted)
{
    const f32x16 magic = f32x16_all(0x1.8p23f);
    *shifted = f32x16_fma(x, f32x16_all(0x1.715476p+0f), magic);
    f32x16 n = *shifted - magic;
    f32x16 r = f32x16_fma(n, f32x16_all(-0x1.62e43p-1f), x);
    r = f32x16_fma(n, f32x16_all(0x1.05c61p-29f), r);
    f32x16 q = f32x16_all(1.0f / 5040.0f);
    q = f32x16_fma(q, r, f32x16_all(1.0f / 720.0f));
    q = f32x16_fma(q, r, f32x16_all(1.0f / 120.0f));
    q = f32x16_fma(q, r, f32x16_all(1.0f / 24.0f));
    q = f32x16_fma(q, r, f32x16_all(1.0f / 6.0f));
    q = f32x16_fma(q, r, f32x16_all(0.5f));
    return f32x16_fma(q, r * r, r);
}

/* e^x, the steps of scalar_exp_f32 (common/numeric/scalar.c): scaled by 2^n in two factors so that
 * subnormal results round once. */
F32X16_INLINE f32x16 f32x16_exp(f32x16 x)
{
    f32x16 shifted;
    x = f32x16_select(f32x16_less(f32x16_all(89.0f), x), f32x16_all(89.0f), x);
    x = f32x16_select(f32x16_less(x, f32x16_all(-105.0f)), f32x16_all(-105.0f), x);
    f32x16 p = f32x16_exp_fraction(x, &shifted) + f32x16_all(1.0f);
    u32x16 exponent = f32x16_bits(shifted) - f32x16_bits(f32x16_all(0x1.8p23f));
    exponent += f32x16_words(512);
    u32x16 half = exponent >> 1;
    u32x16 rest = exponent - half;
    p = p * f32x16_of_bits((half - f32x16_words(256 - 127)) << 23);
    return p * f32x16_of_bits((rest - f32x16_words(256 - 127)) << 23);
}

/* The steps of scalar_tanh_f32: -e / (2 + e) with e = exp(-2 |x|) - 1, and x's sign. */
F32X16_INLINE f32x16 f32x16_tanh(f32x16 x)
{
    const f32x16 one = f32x16_all(1.0f), most = f32x16_all(10.0f);
    u32x16 sign = f32x16_bits(x) & f32x16_words(0x80000000u);
    f32x16 size = f32x16_of_bits(f32x16_bits(x) ^ sign), shifted;
    size = f32x16_select(f32x16_less(most, size), most, size);
    f32x16 p = f32x16_exp_fraction(size * f32x16_all(-2.0f), &shifted);
    u32x16 n = f32x16_bits(shifted) - f32x16_bits(f32x16_all(0x1.8p23f));
    f32x16 scale = f32x16_of_bits((n + f32x16_words(127)) << 23);
    f32x16 e = f32x16_fma(p, scale, scale - one);
    f32x16 value = e / (f32x16_all(2.0f) + e);
    return f32x16_of_bits((f32x16_bits(value) & f32x16_words(0x7fffffffu)) | sign);
}

/* The steps of scalar_erf_f32: a Taylor series below 1; above, 1 - exp(-x^2) f(x) with f's series
 * in (x - 2) / (x + 2). */
F32X16_INLINE f32x16 f32x16_erf(f32x16 x)
{
    static const float near[] = {1.48071928e-8f, -1.63658447e-7f, 1.64621144e-6f, -1.49256504e-5f,
                                 1.20553330e-4f, -8.54832702e-4f, 5.22397762e-3f, -2.68661706e-2f,
                                 1.12837917e-1f, -3.76126389e-1f, 1.28379167e-1f};
    static const float far[] = {-9.81977030e-4f, -8.47143252e-4f, 6.99746174e-3f,  3.73289240e-3f,
                                -7.89785810e-2f, 2.41658194e-1f,  -4.27185847e-1f, 2.55395676e-1f};
    const f32x16 one = f32x16_all(1.0f), two = f32x16_all(2.0f), most = f32x16_all(4.0f);
    u32x16 sign = f32x16_bits(x) & f32x16_words(0x80000000u);
    f32x16 size = f32x16_of_bits(f32x16_bits(x) ^ sign);
    size = f32x16_select(f32x16_less(most, size), most, size);
    f32x16 square = size * size, t = (size - two) / (size + two);
    f32x16 p = f32x16_all(near[0]), q = f32x16_all(far[0]);
    for (size_t i = 1; i < sizeof(near) / sizeof(near[0]); i++)
        p = f32x16_fma(p, square, f32x16_all(near[i]));
    for (size_t i = 1; i < sizeof(far) / sizeof(far[0]); i++)
        q = f32x16_fma(q, t, f32x16_all(far[i]));
    f32x16 below = f32x16_fma(p, size, size), above = one - f32x16_exp(-square) * q;
    f32x16 value = f32x16_select(f32x16_less(size, one), below, above);
    return f32x16_of_bits((f32x16_bits(value) & f32x16_words(0x7fffffffu)) | sign);
}

#endif
