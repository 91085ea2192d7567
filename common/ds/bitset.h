/* bitset.h - a set of indices that names its smallest member at once.
 *
 * A pyramid of 64-bit words: bit i of a level says whether word i of the level below has any bit.
 * Four levels hold 2^24 indices, so every operation touches at most four words.
 */
#ifndef COMMON_DS_BITSET_H
#define COMMON_DS_BITSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

enum { BITSET_LEVELS = 4, BITSET_SIZE_MAX = 1 << 24 };

struct bitset {
    uint64_t *words;                 /* owned: all levels, lowest first */
    uint64_t *levels[BITSET_LEVELS]; /* into words */
    size_t size;                     /* indices are below it */
    size_t count;                    /* members */
};

/* An empty set over [0, size), size <= BITSET_SIZE_MAX (ERR_LIMIT). */
MUST_CHECK enum err bitset_init(struct bitset *set, size_t size);
void bitset_fini(struct bitset *set);

/* index < size; adding a member or removing a stranger changes nothing. */
void bitset_add(struct bitset *set, size_t index);
void bitset_remove(struct bitset *set, size_t index);
bool bitset_has(const struct bitset *set, size_t index);

/* Smallest member; the set must not be empty. */
size_t bitset_first(const struct bitset *set);

#endif
