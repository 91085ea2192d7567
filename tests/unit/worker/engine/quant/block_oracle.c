/* block_oracle.c - written from the drawings alone, an element at a time. */
#include "tests/unit/worker/engine/quant/block_oracle.h"

#include <math.h>

#include "common/base/check.h"

static unsigned bits(const uint8_t *bytes, size_t byte, unsigned shift, unsigned width)
{
    return (unsigned)bytes[byte] >> shift & ((1u << width) - 1);
}

static double f16(const uint8_t *bytes)
{
    unsigned half = bytes[0] | (unsigned)bytes[1] << 8, exponent = half >> 10 & 31;
    double mantissa = half & 1023;
    double value = exponent == 0    ? ldexp(mantissa, -24)
                   : exponent == 31 ? (mantissa > 0 ? NAN : INFINITY)
                                    : ldexp(1024 + mantissa, (int)exponent - 25);
    return (half & 0x8000) != 0 ? -value : value;
}

static double nibble_of_16(const uint8_t *bytes, size_t i)
{
    return bits(bytes, i % 16, i < 16 ? 0 : 4, 4);
}

static double five_bits(const uint8_t *high, const uint8_t *low, size_t i)
{
    return nibble_of_16(low, i) + 16 * bits(high, i / 8, i % 8, 1);
}

/* Two bits of a plane in which half h has bytes 32h.., element 32 g + l of it at bits 2g. */
static double two_bits(const uint8_t *plane, size_t i)
{
    return bits(plane, i / 128 * 32 + i % 32, (unsigned)(i % 128 / 32) * 2, 2);
}

static double q3_k(const uint8_t *b, size_t i)
{
    size_t j = i / 16;
    double scale = (double)bits(b, 96 + j % 8, j < 8 ? 0 : 4, 4) +
                   16 * bits(b, 104 + j % 4, (unsigned)(j / 4) * 2, 2) - 32;
    double q = two_bits(b + 32, i) + 4 * bits(b, i % 32, (unsigned)(i / 32), 1) - 4;
    return f16(b + 108) * scale * q;
}

/* Q4_K and Q5_K: scale and minimum of group j from the 12 bytes at `s`. */
static double with_minimum(const uint8_t *b, size_t j, double q)
{
    const uint8_t *s = b + 4;
    double scale = j < 4 ? bits(s, j, 0, 6) : bits(s, j + 4, 0, 4) + 16 * bits(s, j - 4, 6, 2);
    double least = j < 4 ? bits(s, j + 4, 0, 6) : bits(s, j + 4, 4, 4) + 16 * bits(s, j, 6, 2);
    return f16(b) * scale * q - f16(b + 2) * least;
}

static double q6_k(const uint8_t *b, size_t i)
{
    size_t half = i / 128, g = i % 128 / 32, l = i % 32;
    double q = bits(b, half * 64 + g % 2 * 32 + l, g < 2 ? 0 : 4, 4) +
               16 * bits(b, 128 + half * 32 + l, (unsigned)g * 2, 2);
    return f16(b + 208) * (double)(int8_t)b[192 + i / 16] * (q - 32);
}

static double tq1_0(const uint8_t *b, size_t i)
{
    size_t byte = i < 160 ? i % 32 : i < 240 ? 32 + (i - 160) % 16 : 48 + (i - 240) % 4;
    size_t digit = i < 160 ? i / 32 : i < 240 ? (i - 160) / 16 : (i - 240) / 4;
    unsigned rest = b[byte];
    for (; digit > 0; digit--)
        rest = rest * 3 % 256;
    return f16(b + 52) * ((double)(rest * 3 / 256) - 1);
}

static double f32(const uint8_t *b)
{
    unsigned word = b[0] | (unsigned)b[1] << 8 | (unsigned)b[2] << 16 | (unsigned)b[3] << 24;
    unsigned exponent = word >> 23 & 255, mantissa = word & 0x7fffff;
    double value = exponent == 0     ? ldexp(mantissa, -149)
                   : exponent == 255 ? (mantissa > 0 ? NAN : INFINITY)
                                     : ldexp(0x800000 + mantissa, (int)exponent - 150);
    return word >> 31 != 0 ? -value : value;
}

static double normal_level(size_t code)
{
    static const float level[16] = {-1.0f,        -0.69619280f, -0.52507305f,  -0.39491749f,
                                    -0.28444138f, -0.18477343f, -0.091050036f, 0,
                                    0.079580300f, 0.16093020f,  0.24611230f,   0.33791524f,
                                    0.44070983f,  0.56261700f,  0.72295684f,   1.0f};
    return (double)level[code];
}

/* One bit sign, two of exponent, one of mantissa, by their table. */
static double float_level(size_t code)
{
    static const float level[8] = {0, 0.0625f, 8, 12, 4, 6, 2, 3};
    return (double)((code < 8 ? level[code] : 0 - level[code - 8]) / 12);
}

double block_oracle_value(enum dtype dtype, const uint8_t *b, size_t i)
{
    static const double level[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
    switch ((int)dtype) {
    case DTYPE_Q4_0:
        return f16(b) * (nibble_of_16(b + 2, i) - 8);
    case DTYPE_Q4_1:
        return f16(b) * nibble_of_16(b + 4, i) + f16(b + 2);
    case DTYPE_Q5_0:
        return f16(b) * (five_bits(b + 2, b + 6, i) - 16);
    case DTYPE_Q5_1:
        return f16(b) * five_bits(b + 4, b + 8, i) + f16(b + 2);
    case DTYPE_Q8_0:
        return f16(b) * (double)(int8_t)b[2 + i];
    case DTYPE_IQ4_NL:
        return f16(b) * level[(size_t)nibble_of_16(b + 2, i)];
    case DTYPE_Q2_K:
        return f16(b + 80) * bits(b, i / 16, 0, 4) * two_bits(b + 16, i) -
               f16(b + 82) * bits(b, i / 16, 4, 4);
    case DTYPE_Q3_K:
        return q3_k(b, i);
    case DTYPE_Q4_K:
        return with_minimum(b, i / 32, bits(b, 16 + i / 64 * 32 + i % 32, i / 32 % 2 * 4, 4));
    case DTYPE_Q5_K:
        return with_minimum(b, i / 32,
                            bits(b, 48 + i / 64 * 32 + i % 32, i / 32 % 2 * 4, 4) +
                                16 * bits(b, 16 + i % 32, (unsigned)(i / 32), 1));
    case DTYPE_Q6_K:
        return q6_k(b, i);
    case DTYPE_TQ1_0:
        return tq1_0(b, i);
    case DTYPE_TQ2_0:
        return f16(b + 64) * (two_bits(b, i) - 1);
    case DTYPE_GRID4:
        return f32(b) * (nibble_of_16(b + 5, i) - 8 - (double)(int8_t)b[4]);
    case DTYPE_GRID8:
        return f32(b) * ((double)(int8_t)b[5 + i] - (double)(int8_t)b[4]);
    case DTYPE_NF4:
        return f32(b) * normal_level((size_t)nibble_of_16(b + 4, i));
    case DTYPE_FP4:
        return f32(b) * float_level((size_t)nibble_of_16(b + 4, i));
    default:
        ASSERT(!dtype_is_plain(dtype));
        return NAN;
    }
}

size_t block_oracle_scales(enum dtype dtype, size_t at[2])
{
    at[0] = 0;
    at[1] = 2;
    switch ((int)dtype) {
    case DTYPE_Q4_1:
    case DTYPE_Q5_1:
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        return 2;
    case DTYPE_Q2_K:
        at[0] = 80;
        at[1] = 82;
        return 2;
    case DTYPE_Q3_K:
    case DTYPE_Q6_K:
    case DTYPE_TQ1_0:
    case DTYPE_TQ2_0:
        at[0] = dtype_block_bytes(dtype) - 2;
        return 1;
    default:
        return 1;
    }
}
