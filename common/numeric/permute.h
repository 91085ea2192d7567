/* permute.h - a seeded permutation of [0, n) that is computed element by element.
 *
 * A Feistel network over the next even number of bits, with cycle walking back into [0, n) (Black &
 * Rogaway 2002). O(1) time and memory, so the order of a billion samples needs no table.
 */
#ifndef COMMON_NUMERIC_PERMUTE_H
#define COMMON_NUMERIC_PERMUTE_H

#include <stdint.h>

/* Where `index` goes; index < n. */
uint64_t permute_index(uint64_t key, uint64_t n, uint64_t index);

/* The index that goes to `image`; image < n. */
uint64_t permute_inverse(uint64_t key, uint64_t n, uint64_t image);

#endif
