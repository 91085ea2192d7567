/* dtype.c - one row per element type. */
#include "worker/engine/tensor/dtype.h"

#include <string.h>

#include "common/base/check.h"

struct dtype_row {
    const char *name;
    size_t size_bytes;
};

static const struct dtype_row rows[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 4},
    [DTYPE_F16] = {"F16", 2},
    [DTYPE_BF16] = {"BF16", 2},
};

size_t dtype_size_bytes(enum dtype dtype)
{
    ASSERT((unsigned)dtype < DTYPE_COUNT);
    return rows[dtype].size_bytes;
}

const char *dtype_name(enum dtype dtype)
{
    ASSERT((unsigned)dtype < DTYPE_COUNT);
    return rows[dtype].name;
}

/* IEEE 754 binary16: 1 sign, 5 exponent, 10 mantissa bits. */
static uint32_t bits_of_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu, mantissa = half & 0x3ffu;
    if (exponent == 0x1f)
        return sign | 0x7f800000u | mantissa << 13;
    if (exponent != 0)
        return sign | (exponent + 112) << 23 | mantissa << 13;
    if (mantissa == 0)
        return sign;
    for (exponent = 113; (mantissa & 0x400u) == 0; exponent--)
        mantissa <<= 1;
    return sign | exponent << 23 | (mantissa & 0x3ffu) << 13;
}

static float decode_element(enum dtype dtype, const uint8_t *from)
{
    uint32_t bits = 0;
    uint16_t half;
    if (dtype == DTYPE_F32) {
        memcpy(&bits, from, sizeof bits);
    } else {
        memcpy(&half, from, sizeof half);
        bits = dtype == DTYPE_BF16 ? (uint32_t)half << 16 : bits_of_f16(half);
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void dtype_decode(enum dtype dtype, size_t count, const void *from, float *out)
{
    size_t size = dtype_size_bytes(dtype);
    for (size_t i = 0; i < count; i++)
        out[i] = decode_element(dtype, (const uint8_t *)from + i * size);
}
