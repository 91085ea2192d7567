/* random.h - random numbers as a function of where they are used, never a stream.
 *
 * A key is made from (seed, purpose, module, layer, round); a number is a function of key and
 * index. Nothing has state, so any worker computes any part in any order. The generator is
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC11).
 */
#ifndef COMMON_NUMERIC_RANDOM_H
#define COMMON_NUMERIC_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/span.h"

/* What the numbers are for; values stand in checkpoints' bytes and are never reused. */
enum random_purpose {
    RANDOM_INIT = 1,    /* first values of weights */
    RANDOM_DROPOUT = 2, /* masks */
    RANDOM_ORDER = 3,   /* order of samples */
    RANDOM_SAMPLE = 4,  /* generated text */
    RANDOM_SPLIT = 5,   /* held-out data */
    RANDOM_TEST = 6,
};

/* A key for everything that is not the index. `module` is random_name() of the module's name or 0.
 */
uint64_t random_key(uint64_t seed, enum random_purpose purpose, uint64_t module, uint64_t layer,
                    uint64_t round);

/* 64-bit FNV-1a of a name, as the `module` of a key. */
uint64_t random_name(struct text name);

/* The generator itself: 10 rounds over a 128-bit counter under a 64-bit key. */
void random_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Number `index` under `key`: uniform integers, uniform in [0, 1) with 24 or 53 bits, uniform
 * integer below `bound` (> 0; bias at most bound / 2^64), standard normal (Box & Muller 1958). */
uint32_t random_u32(uint64_t key, uint64_t index);
uint64_t random_u64(uint64_t key, uint64_t index);
float random_uniform_f32(uint64_t key, uint64_t index);
double random_uniform_f64(uint64_t key, uint64_t index);
uint64_t random_below(uint64_t key, uint64_t index, uint64_t bound);
float random_normal_f32(uint64_t key, uint64_t index);

/* The number that decides whether channel `channel` of the token at `place` (row << 32 | position)
 * is dropped. One Philox block serves channels base + j + {0, 16, 32, 48}, base a multiple of 64,
 * so that 16 lanes compute 64 neighbours without moving data. */
uint32_t random_dropout(uint64_t key, uint64_t place, uint32_t channel);

#endif
