/* dtype.c - one row per element type. */
#include "worker/engine/tensor/dtype.h"

#include <string.h>

#include "common/base/check.h"

struct dtype_row {
    const char *name;
    uint16_t block_elements, block_bytes;
};

static const struct dtype_row rows[DTYPE_COUNT] = {
#define DTYPE_ROW(id, number, elements, bytes) [DTYPE_##id] = {#id, elements, bytes},
    BLOCK_FORMAT_ROWS(DTYPE_ROW)
#undef DTYPE_ROW
#define DTYPE_ROW(id, elements, bytes) [DTYPE_##id] = {#id, elements, bytes},
        BLOCK_FORMAT_ENGINE_ROWS(DTYPE_ROW)
#undef DTYPE_ROW
};

#define DTYPE_CHECK(id, number, elements, bytes)                                                   \
    _Static_assert((elements) > 0 && ((elements) & ((elements)-1)) == 0 &&                         \
                       (elements) <= DTYPE_BLOCK_ELEMENTS_MAX,                                     \
                   #id ": a power of two, so that spans of one type are spans of another");
BLOCK_FORMAT_ROWS(DTYPE_CHECK)
#undef DTYPE_CHECK

size_t dtype_block_elements(enum dtype dtype)
{
    ASSERT((unsigned)dtype < DTYPE_COUNT);
    return rows[dtype].block_elements;
}

size_t dtype_block_bytes(enum dtype dtype)
{
    ASSERT((unsigned)dtype < DTYPE_COUNT);
    return rows[dtype].block_bytes;
}

size_t dtype_span_bytes(enum dtype dtype, size_t count)
{
    size_t elements = dtype_block_elements(dtype);
    ASSERT(count % elements == 0);
    return count / elements * rows[dtype].block_bytes;
}

bool dtype_is_plain(enum dtype dtype)
{
    return dtype_block_elements(dtype) == 1;
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
    ASSERT(dtype_is_plain(dtype));
    size_t size = dtype_block_bytes(dtype);
    for (size_t i = 0; i < count; i++)
        out[i] = decode_element(dtype, (const uint8_t *)from + i * size);
}
