/* bitset.c - see the picture in bitset.h: upper levels are summaries of lower ones. */
#include "common/ds/bitset.h"

#include "common/base/check.h"
#include "common/mem/mem.h"

enum err bitset_init(struct bitset *set, size_t size)
{
    *set = (struct bitset){0};
    if (size > BITSET_SIZE_MAX)
        return ERR_LIMIT;
    size_t offsets[BITSET_LEVELS];
    size_t words = 0;
    size_t bits = MAX(size, 1u);
    for (size_t level = 0; level < BITSET_LEVELS; level++) {
        offsets[level] = words;
        bits = (bits + 63) / 64;
        words += bits;
    }
    set->words = mem_alloc(words, sizeof *set->words);
    if (set->words == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t level = 0; level < BITSET_LEVELS; level++)
        set->levels[level] = set->words + offsets[level];
    set->size = size;
    return ERR_OK;
}

void bitset_fini(struct bitset *set)
{
    mem_free(set->words);
    *set = (struct bitset){0};
}

bool bitset_has(const struct bitset *set, size_t index)
{
    ASSERT(index < set->size);
    return (set->levels[0][index / 64] >> (index % 64) & 1) != 0;
}

void bitset_add(struct bitset *set, size_t index)
{
    if (bitset_has(set, index))
        return;
    set->count++;
    for (size_t level = 0; level < BITSET_LEVELS; level++) {
        set->levels[level][index / 64] |= (uint64_t)1 << (index % 64);
        index /= 64;
    }
}

void bitset_remove(struct bitset *set, size_t index)
{
    if (!bitset_has(set, index))
        return;
    set->count--;
    for (size_t level = 0; level < BITSET_LEVELS; level++) {
        uint64_t *word = &set->levels[level][index / 64];
        *word &= ~((uint64_t)1 << (index % 64));
        if (*word != 0)
            break;
        index /= 64;
    }
}

size_t bitset_first(const struct bitset *set)
{
    ASSERT(set->count > 0);
    size_t index = 0;
    for (size_t level = BITSET_LEVELS; level-- > 0;)
        index = index * 64 + (size_t)__builtin_ctzll(set->levels[level][index]);
    return index;
}
