/* convert_float.c - by bits, element by element. */
#include "common/formats/convert/convert_float.h"

#include <string.h>

#include "common/base/check.h"

/* Elements that a loop of known length takes. */
enum { TOGETHER = 256 };

enum { F16_EXPONENT_MAX = 0x1f, F32_EXPONENT_MAX = 0xff, BIAS_DIFFERENCE = 127 - 15 };

bool convert_float_is_plain(enum block_format format)
{
    return format == BLOCK_FORMAT_F32 || format == BLOCK_FORMAT_F16 || format == BLOCK_FORMAT_BF16;
}

bool convert_float_format_of(enum safetensors_dtype dtype, enum block_format *out)
{
    if (dtype != SAFETENSORS_F32 && dtype != SAFETENSORS_F16 && dtype != SAFETENSORS_BF16)
        return false;
    *out = dtype == SAFETENSORS_F32   ? BLOCK_FORMAT_F32
           : dtype == SAFETENSORS_F16 ? BLOCK_FORMAT_F16
                                      : BLOCK_FORMAT_BF16;
    return true;
}

enum safetensors_dtype convert_float_dtype_of(enum block_format format)
{
    ASSERT(convert_float_is_plain(format));
    return format == BLOCK_FORMAT_F32   ? SAFETENSORS_F32
           : format == BLOCK_FORMAT_F16 ? SAFETENSORS_F16
                                        : SAFETENSORS_BF16;
}

/* Without branches, so that loops become vectors. A subnormal half counts steps of 2^-24, the last
 * place of 0.5 in f32. */
static inline float f32_of_f16(uint16_t half)
{
    const uint32_t rebias = (uint32_t)BIAS_DIFFERENCE << 23,
                   infinity = (uint32_t)F16_EXPONENT_MAX << 23;
    uint32_t size = (half & 0x7fffu) << 13;
    uint32_t normal = size + rebias + (size >= infinity ? rebias : 0);
    uint32_t bits = 0x3f000000u | (half & 0x3ffu);
    float value;
    memcpy(&value, &bits, sizeof value);
    value -= 0.5f;
    memcpy(&bits, &value, sizeof bits);
    bits = (size >= 1u << 23 ? normal : bits) | (uint32_t)(half & 0x8000u) << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* `mantissa` without its low `drop` bits, rounded to even. */
static uint32_t round_off(uint32_t mantissa, uint32_t drop)
{
    uint32_t half = 1u << (drop - 1);
    uint32_t rest = mantissa & ((1u << drop) - 1);
    uint32_t kept = mantissa >> drop;
    return kept + (rest > half || (rest == half && (kept & 1u) != 0));
}

static uint16_t f16_of_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = (bits >> 16) & 0x8000u;
    uint32_t exponent = (bits >> 23) & F32_EXPONENT_MAX;
    uint32_t mantissa = bits & 0x7fffffu;
    if (exponent == F32_EXPONENT_MAX)
        return (uint16_t)(sign | 0x7c00u | (mantissa != 0 ? 0x200u | mantissa >> 13 : 0));
    if (exponent > BIAS_DIFFERENCE) { /* a carry out of the mantissa raises the exponent */
        uint32_t half = ((exponent - BIAS_DIFFERENCE) << 10) + round_off(mantissa, 13);
        return (uint16_t)(sign | (half < 0x7c00u ? half : 0x7c00u));
    }
    uint32_t drop = 13 + BIAS_DIFFERENCE + 1 - exponent;
    if (drop > 25)
        return (uint16_t)sign;
    return (uint16_t)(sign | round_off(mantissa | 0x800000u, drop));
}

static uint16_t bf16_of_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u); /* a NaN stays one */
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* With a constant `count` the loops become vectors. */
static inline void decode_halves(enum block_format format, size_t count, const uint8_t *from,
                                 float *restrict out)
{
    for (size_t i = 0; i < count && format == BLOCK_FORMAT_BF16; i++) {
        uint16_t half;
        memcpy(&half, from + i * sizeof half, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(&out[i], &bits, sizeof out[i]);
    }
    for (size_t i = 0; i < count && format == BLOCK_FORMAT_F16; i++) {
        uint16_t half;
        memcpy(&half, from + i * sizeof half, sizeof half);
        out[i] = f32_of_f16(half);
    }
}

void convert_float_decode(enum block_format format, size_t count, const void *from, float *out)
{
    ASSERT(convert_float_is_plain(format));
    const uint8_t *bytes = from;
    if (format == BLOCK_FORMAT_F32) {
        memcpy(out, bytes, count * sizeof *out);
        return;
    }
    size_t i = 0;
    for (; i + TOGETHER <= count; i += TOGETHER)
        decode_halves(format, TOGETHER, bytes + i * sizeof(uint16_t), out + i);
    decode_halves(format, count - i, bytes + i * sizeof(uint16_t), out + i);
}

void convert_float_encode(enum block_format format, size_t count, const float *from, void *out)
{
    ASSERT(convert_float_is_plain(format));
    uint8_t *bytes = out;
    if (format == BLOCK_FORMAT_F32) {
        memcpy(bytes, from, count * sizeof *from);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t half = format == BLOCK_FORMAT_BF16 ? bf16_of_f32(from[i]) : f16_of_f32(from[i]);
        memcpy(bytes + i * sizeof half, &half, sizeof half);
    }
}

bool convert_float_holds(enum block_format format, size_t count, const float *values)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t there[2] = {0};
        float back = 0.0f;
        convert_float_encode(format, 1, &values[i], there);
        convert_float_decode(format, 1, there, &back);
        if (memcmp(&back, &values[i], sizeof back) != 0)
            return false;
    }
    return true;
}
