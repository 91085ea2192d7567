/* rows_body.h - the bodies of the row kernels, compiled once an instruction set (SIMD body).
 *
 * The including file defines ROWS_TABLE, the name of the table, and is compiled with its own flags.
 * Every loop has the same shape: full groups of 16 lanes, then one partial group padded with +0.
 */
#include "common/base/check.h"
#include "worker/engine/kernel/f32x16.h"
#include "worker/engine/kernel/rows.h"

/* Runs `step` for each group of lanes; inside it `i` is the first element and `part` the number of
 * elements of a last partial group, 0 for a full one. */
#define FOR_LANES(count, step)                                                                     \
    do {                                                                                           \
        size_t i = 0, part = 0;                                                                    \
        for (; i + LANES <= (count); i += LANES) {                                                 \
            step;                                                                                  \
        }                                                                                          \
        part = (count)-i;                                                                          \
        if (part > 0) {                                                                            \
            step;                                                                                  \
        }                                                                                          \
    } while (0)

F32X16_INLINE f32x16 get(const float *from, size_t part)
{
    return part == 0 ? f32x16_load(from) : f32x16_load_part(from, part);
}

F32X16_INLINE void put(float *to, size_t part, f32x16 v)
{
    if (part == 0)
        f32x16_store(to, v);
    else
        f32x16_store_part(to, part, v);
}

static float lanes_max(size_t count, const float *x)
{
    float lane[LANES];
    f32x16 most = f32x16_all(-__builtin_inff());
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        f32x16 v = f32x16_load(x + i);
        most = f32x16_select(f32x16_less(most, v), v, most);
    }
    f32x16_store(lane, most);
    float best = lane[0];
    for (int l = 1; l < LANES; l++)
        best = best < lane[l] ? lane[l] : best;
    for (; i < count; i++)
        best = best < x[i] ? x[i] : best;
    return best;
}

static float lanes_sum(size_t count, const float *x)
{
    f32x16 sum = f32x16_all(0.0f);
    FOR_LANES(count, sum += get(x + i, part));
    return f32x16_sum(sum);
}

static float lanes_dot(size_t count, const float *x, const float *y)
{
    f32x16 sum = f32x16_all(0.0f);
    FOR_LANES(count, sum = f32x16_fma(get(x + i, part), get(y + i, part), sum));
    return f32x16_sum(sum);
}

static float lanes_exp_sum(size_t count, const float *x, float shift, float *y)
{
    f32x16 sum = f32x16_all(0.0f);
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        f32x16 e = f32x16_exp(f32x16_load(x + i) - f32x16_all(shift));
        f32x16_store(y + i, e);
        sum += e;
    }
    size_t part = count - i;
    if (part > 0) {
        f32x16_store_part(y + i, part,
                          f32x16_exp(f32x16_load_part(x + i, part) - f32x16_all(shift)));
        sum += f32x16_load_part(y + i, part);
    }
    return f32x16_sum(sum);
}

static void lanes_scale(size_t count, float scale, float *y)
{
    FOR_LANES(count, put(y + i, part, get(y + i, part) * f32x16_all(scale)));
}

static void lanes_add_scaled(size_t count, float scale, const float *x, float *y)
{
    f32x16 s = f32x16_all(scale);
    FOR_LANES(count, put(y + i, part, f32x16_fma(s, get(x + i, part), get(y + i, part))));
}

static void lanes_add(size_t count, const float *x, float *y)
{
    FOR_LANES(count, put(y + i, part, get(y + i, part) + get(x + i, part)));
}

static void lanes_mul_shifted(size_t count, const float *x, const float *dy, float shift, float *y)
{
    f32x16 s = f32x16_all(shift);
    FOR_LANES(count, put(y + i, part, get(x + i, part) * (get(dy + i, part) - s)));
}

static float rms_norm(size_t C, float eps, const float *x, const float *weight, float *y)
{
    float mean = lanes_dot(C, x, x) / (float)C;
    float inv = 1.0f / __builtin_sqrtf(mean + eps);
    f32x16 scale = f32x16_all(inv);
    FOR_LANES(C, put(y + i, part, get(x + i, part) * scale * get(weight + i, part)));
    return inv;
}

/* With g = dy * weight and s = sum(g x):  dx = g inv - x (s inv^3 / C). */
static void rms_norm_backward(size_t C, const float *x, const float *weight, float inv_rms,
                              const float *dy, bool accumulate, float *dx)
{
    f32x16 sum = f32x16_all(0.0f);
    FOR_LANES(C,
              sum = f32x16_fma(get(dy + i, part) * get(weight + i, part), get(x + i, part), sum));
    float pull = f32x16_sum(sum) * inv_rms * inv_rms * inv_rms / (float)C;
    f32x16 inv = f32x16_all(inv_rms), back = f32x16_all(-pull);
    if (accumulate)
        FOR_LANES(C, f32x16 g = get(dy + i, part) * get(weight + i, part) * inv;
                  put(dx + i, part, get(dx + i, part) + f32x16_fma(back, get(x + i, part), g)));
    else
        FOR_LANES(C, f32x16 g = get(dy + i, part) * get(weight + i, part) * inv;
                  put(dx + i, part, f32x16_fma(back, get(x + i, part), g)));
}

static void rms_norm_weight(size_t T, size_t C, size_t count, const float *x, const float *inv_rms,
                            const float *dy, float *dweight)
{
    for (size_t t = 0; t < T; t++) {
        const float *xt = x + t * C, *dyt = dy + t * C;
        f32x16 inv = f32x16_all(inv_rms[t]);
        FOR_LANES(count, put(dweight + i, part,
                             f32x16_fma(get(dyt + i, part), get(xt + i, part) * inv,
                                        get(dweight + i, part))));
    }
}

F32X16_INLINE f32x16 sigmoid(f32x16 x)
{
    f32x16 one = f32x16_all(1.0f);
    return one / (one + f32x16_exp(-x));
}

static void silu_mul(size_t count, const float *gate, const float *up, float *y)
{
    FOR_LANES(count, f32x16 g = get(gate + i, part);
              put(y + i, part, g * sigmoid(g) * get(up + i, part)));
}

/* d(g s)/dg = s (1 + g (1 - s)) with s = sigmoid(g). */
static void silu_mul_backward(size_t count, const float *gate, const float *up, const float *dy,
                              float *dgate, float *dup)
{
    f32x16 one = f32x16_all(1.0f);
    FOR_LANES(count, f32x16 g = get(gate + i, part); f32x16 d = get(dy + i, part);
              f32x16 u = get(up + i, part); f32x16 s = sigmoid(g);
              put(dgate + i, part, d * u * (s * f32x16_fma(g, one - s, one)));
              put(dup + i, part, d * (g * s)));
}

/* high:low = a * factor, a lane at a time. */
F32X16_INLINE void multiply_wide(u32x16 a, uint32_t factor, u32x16 *high, u32x16 *low)
{
#if defined(__AVX512F__)
    __m512i f = _mm512_set1_epi32((int)factor);
    __m512i even = _mm512_mul_epu32((__m512i)a, f);
    __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)a, 32), f);
    *high = (u32x16)_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
    *low = (u32x16)_mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
#else
    uint32_t in[LANES], top[LANES], bottom[LANES];
    memcpy(in, &a, sizeof(in));
    for (int l = 0; l < LANES; l++) {
        uint64_t product = (uint64_t)in[l] * factor;
        top[l] = (uint32_t)(product >> 32);
        bottom[l] = (uint32_t)product;
    }
    memcpy(high, top, sizeof(top));
    memcpy(low, bottom, sizeof(bottom));
#endif
}

/* random_dropout for channels base + {0, 16, 32, 48} + lane: one Philox4x32-10 block a lane. */
F32X16_INLINE void dropout_numbers(uint64_t key, uint64_t place, uint32_t base, u32x16 out[4])
{
    const u32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    u32x16 x0 = u32x16_all((uint32_t)place), x1 = u32x16_all((uint32_t)(place >> 32));
    u32x16 x2 = u32x16_all(base) + lane, x3 = u32x16_all(0);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        u32x16 high0, low0, high1, low1;
        multiply_wide(x0, 0xD2511F53u, &high0, &low0);
        multiply_wide(x2, 0xCD9E8D57u, &high1, &low1);
        x0 = high1 ^ x1 ^ u32x16_all(k0);
        x1 = low1;
        x2 = high0 ^ x3 ^ u32x16_all(k1);
        x3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

static void dropout(size_t C, uint64_t key, uint64_t place, uint32_t threshold, float scale,
                    const float *x, bool accumulate, float *y)
{
    const f32x16 zero = f32x16_all(0.0f), factor = f32x16_all(scale);
    for (size_t base = 0; base < C; base += 4 * LANES) {
        u32x16 number[4];
        dropout_numbers(key, place, (uint32_t)base, number);
        for (size_t w = 0; w < 4 && base + w * LANES < C; w++) {
            size_t i = base + w * LANES;
            size_t part = C - i < LANES ? C - i : 0;
            u32x16 dropped = (u32x16)(number[w] < u32x16_all(threshold));
            f32x16 v = f32x16_select(dropped, zero, get(x + i, part) * factor);
            put(y + i, part, accumulate ? get(y + i, part) + v : v);
        }
    }
}

static void exp_span(size_t count, const float *x, float *y)
{
    FOR_LANES(count, put(y + i, part, f32x16_exp(get(x + i, part))));
}

static void decode(size_t count, enum dtype dtype, const void *from, float *y)
{
    if (dtype == DTYPE_F32) {
        memmove(y, from, count * sizeof(float));
        return;
    }
    ASSERT(dtype == DTYPE_F16 || dtype == DTYPE_BF16);
    const uint16_t *half = from;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        f32x16_store(y + i,
                     dtype == DTYPE_F16 ? f32x16_from_f16(half + i) : f32x16_from_bf16(half + i));
    if (i < count) {
        uint16_t rest[LANES] = {0};
        memcpy(rest, half + i, (count - i) * sizeof(rest[0]));
        f32x16_store_part(y + i, count - i,
                          dtype == DTYPE_F16 ? f32x16_from_f16(rest) : f32x16_from_bf16(rest));
    }
}

const struct rows ROWS_TABLE = {
    .lanes = {.max = lanes_max,
              .sum = lanes_sum,
              .dot = lanes_dot,
              .exp_sum = lanes_exp_sum,
              .scale = lanes_scale,
              .add_scaled = lanes_add_scaled,
              .add = lanes_add,
              .mul_shifted = lanes_mul_shifted},
    .rms_norm = rms_norm,
    .rms_norm_backward = rms_norm_backward,
    .rms_norm_weight = rms_norm_weight,
    .silu_mul = silu_mul,
    .silu_mul_backward = silu_mul_backward,
    .dropout = dropout,
    .exp = exp_span,
    .decode = decode,
};
