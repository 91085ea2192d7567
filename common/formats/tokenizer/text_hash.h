/* text_hash.h - a quick hash of short texts for tables in memory. Its values are never stored and
 * never decide a result. */
#ifndef COMMON_FORMATS_TOKENIZER_TEXT_HASH_H
#define COMMON_FORMATS_TOKENIZER_TEXT_HASH_H

#include <stdint.h>
#include <string.h>

#include "common/base/span.h"

static inline uint64_t text_hash_mix(uint64_t v)
{
    v ^= v >> 32;
    v *= 0x9E3779B97F4A7C15ull;
    v ^= v >> 29;
    v *= 0xBF58476D1CE4E5B9ull;
    return v ^ v >> 32;
}

static inline uint64_t text_hash(struct text text)
{
    uint64_t hash = text.size;
    const char *at = text.data;
    size_t left = text.size;
    for (; left >= 8; at += 8, left -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15ull;
        hash ^= hash >> 29;
    }
    uint64_t rest = 0;
    for (size_t i = 0; i < left; i++)
        rest |= (uint64_t)(uint8_t)at[i] << 8 * i;
    return text_hash_mix(hash ^ rest);
}

#endif
