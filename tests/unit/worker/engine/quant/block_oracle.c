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
