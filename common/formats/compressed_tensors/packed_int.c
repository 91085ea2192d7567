/* packed_int.c - bits in and out of words. */
#include "common/formats/compressed_tensors/packed_int.h"

enum { WORD_BYTES = 4, WORD_BITS = 32 };

size_t packed_int_words(unsigned bits, size_t count)
{
    return count / WORD_BITS * bits + (count % WORD_BITS * bits + WORD_BITS - 1) / WORD_BITS;
}

static void put_word(uint8_t *to, uint32_t word)
{
    for (unsigned i = 0; i < WORD_BYTES; i++)
        to[i] = (uint8_t)(word >> 8 * i);
}

static uint32_t word_at(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

void packed_int_encode(unsigned bits, size_t count, const int8_t *codes, size_t stride,
                       uint8_t *words)
{
    int offset = 1 << (bits - 1);
    uint64_t held = 0;
    unsigned held_bits = 0;
    for (size_t i = 0; i < count; i++) {
        held |= (uint64_t)(uint32_t)(codes[i * stride] + offset) << held_bits;
        held_bits += bits;
        if (held_bits >= WORD_BITS) {
            put_word(words, (uint32_t)held);
            words += WORD_BYTES;
            held >>= WORD_BITS;
            held_bits -= WORD_BITS;
        }
    }
    if (held_bits > 0)
        put_word(words, (uint32_t)held);
}

void packed_int_decode(unsigned bits, size_t count, const uint8_t *words, size_t word_stride,
                       int8_t *codes)
{
    int offset = 1 << (bits - 1);
    uint32_t mask = (1u << bits) - 1;
    uint64_t held = 0;
    unsigned held_bits = 0;
    for (size_t i = 0; i < count; i++) {
        if (held_bits < bits) {
            held |= (uint64_t)word_at(words) << held_bits;
            words += word_stride * WORD_BYTES;
            held_bits += WORD_BITS;
        }
        codes[i] = (int8_t)((int)((uint32_t)held & mask) - offset);
        held >>= bits;
        held_bits -= bits;
    }
}
