/* permute.c - six Feistel rounds over two halves of equal width, walked back into [0, n). */
#include "common/numeric/permute.h"

#include "common/base/check.h"

enum { ROUNDS = 6 };

/* Half the width of the smallest even number of bits that holds n - 1. */
static unsigned half_bits(uint64_t n)
{
    unsigned bits = n > 1 ? 64 - (unsigned)__builtin_clzll(n - 1) : 1;
    return (bits + 1) / 2;
}

/* The finalizer of SplitMix64 (Steele, Lea, Flood 2014) over half, round and key. */
static uint64_t mix(uint64_t key, unsigned round, uint64_t half)
{
    uint64_t z = key + 0x9e3779b97f4a7c15u * (half * ROUNDS + round + 1);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t forward(uint64_t key, unsigned bits, uint64_t value)
{
    uint64_t mask = ((uint64_t)1 << bits) - 1, left = value >> bits, right = value & mask;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t next = left ^ (mix(key, round, right) & mask);
        left = right;
        right = next;
    }
    return left << bits | right;
}

static uint64_t backward(uint64_t key, unsigned bits, uint64_t value)
{
    uint64_t mask = ((uint64_t)1 << bits) - 1, left = value >> bits, right = value & mask;
    for (unsigned round = ROUNDS; round-- > 0;) {
        uint64_t before = right ^ (mix(key, round, left) & mask);
        right = left;
        left = before;
    }
    return left << bits | right;
}

uint64_t permute_index(uint64_t key, uint64_t n, uint64_t index)
{
    ASSERT(index < n);
    do {
        index = forward(key, half_bits(n), index);
    } while (index >= n);
    return index;
}

uint64_t permute_inverse(uint64_t key, uint64_t n, uint64_t image)
{
    ASSERT(image < n);
    do {
        image = backward(key, half_bits(n), image);
    } while (image >= n);
    return image;
}
