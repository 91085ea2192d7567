/* random.c - Philox4x32-10 and what is drawn from it. */
#include "common/numeric/random.h"

#include "common/base/check.h"
#include "common/numeric/scalar.h"

enum { ROUNDS = 10 };

void random_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * x0, p1 = (uint64_t)0xCD9E8D57u * x2;
        x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
        x1 = (uint32_t)p1;
        x2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
        x3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

/* One block under a 64-bit key: counter = low, high, with the last word telling uses apart. */
static void block(uint64_t key, uint64_t low, uint32_t high, uint32_t use, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)low, (uint32_t)(low >> 32), high, use};
    const uint32_t words[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    random_philox(counter, words, out);
}

enum { USE_DROPOUT = 0, USE_KEY = 1, USE_NUMBER = 2 };

static uint64_t absorb(uint64_t key, uint64_t value, uint32_t place)
{
    uint32_t out[4];
    block(key, value, place, USE_KEY, out);
    return (uint64_t)out[1] << 32 | out[0];
}

uint64_t random_key(uint64_t seed, enum random_purpose purpose, uint64_t module, uint64_t layer,
                    uint64_t round)
{
    uint64_t key = absorb(seed, (uint64_t)purpose, 0);
    key = absorb(key, module, 1);
    key = absorb(key, layer, 2);
    return absorb(key, round, 3);
}

uint64_t random_name(struct text name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < name.size; i++)
        hash = (hash ^ (uint8_t)name.data[i]) * 0x100000001b3u;
    return hash;
}

uint32_t random_u32(uint64_t key, uint64_t index)
{
    uint32_t out[4];
    block(key, index / 4, 0, USE_NUMBER, out);
    return out[index % 4];
}

uint64_t random_u64(uint64_t key, uint64_t index)
{
    uint32_t out[4];
    block(key, index, 1, USE_NUMBER, out);
    return (uint64_t)out[1] << 32 | out[0];
}

float random_uniform_f32(uint64_t key, uint64_t index)
{
    return (float)(random_u32(key, index) >> 8) * 0x1p-24f;
}

double random_uniform_f64(uint64_t key, uint64_t index)
{
    return (double)(random_u64(key, index) >> 11) * 0x1p-53;
}

uint64_t random_below(uint64_t key, uint64_t index, uint64_t bound)
{
    ASSERT(bound > 0);
    uint64_t x = random_u64(key, index);
    uint64_t x_high = x >> 32, x_low = x & 0xffffffffu;
    uint64_t b_high = bound >> 32, b_low = bound & 0xffffffffu;
    uint64_t middle = x_high * b_low + (x_low * b_low >> 32);
    uint64_t other = x_low * b_high + (middle & 0xffffffffu);
    return x_high * b_high + (middle >> 32) + (other >> 32); /* upper half of x * bound */
}

float random_normal_f32(uint64_t key, uint64_t index)
{
    uint32_t out[4];
    block(key, index, 2, USE_NUMBER, out);
    uint64_t a = (uint64_t)out[1] << 32 | out[0], b = (uint64_t)out[3] << 32 | out[2];
    double radius_uniform =
        ((double)(a >> 11) + 1.0) * 0x1p-53; /* (0, 1]: the logarithm is finite */
    double angle = (double)(b >> 11) * 0x1p-53 * 0x1.921fb54442d18p+2;
    return (float)(__builtin_sqrt(-2.0 * scalar_log(radius_uniform)) * scalar_cos(angle));
}

uint32_t random_dropout(uint64_t key, uint64_t place, uint32_t channel)
{
    uint32_t out[4];
    block(key, place, (channel & ~63u) + (channel & 15u), USE_DROPOUT, out);
    return out[channel >> 4 & 3];
}
