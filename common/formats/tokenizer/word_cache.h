/* word_cache.h - ids of short texts that came by lately; one cache line each, the last one wins.
 *
 * Of one model: whoever changes it clears the cache. Results never depend on it.
 */
#ifndef COMMON_FORMATS_TOKENIZER_WORD_CACHE_H
#define COMMON_FORMATS_TOKENIZER_WORD_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/tokenizer/text_hash.h"

enum {
    WORD_CACHE_SLOTS = 1 << 14,
    WORD_CACHE_TEXT_BYTES = 32,
    WORD_CACHE_IDS = 7,
};

struct word_cache_entry {
    uint8_t size; /* 0: empty */
    uint8_t count;
    char text[WORD_CACHE_TEXT_BYTES];
    uint32_t ids[WORD_CACHE_IDS];
};

_Static_assert(sizeof(struct word_cache_entry) == 64, "one cache line");

struct word_cache {
    void *memory;                     /* owned, NULL until first used */
    struct word_cache_entry *entries; /* [WORD_CACHE_SLOTS] in it, each a cache line */
    const void *model;                /* whose words those are */
};

/* Makes the cache one of `model`. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err word_cache_use(struct word_cache *cache, const void *model);
void word_cache_fini(struct word_cache *cache);

/* The place of `text` (1 to WORD_CACHE_TEXT_BYTES bytes), known or not. */
static inline struct word_cache_entry *word_cache_slot(const struct word_cache *cache,
                                                       struct text text)
{
    return &cache->entries[text_hash(text) & (WORD_CACHE_SLOTS - 1)];
}

static inline bool word_cache_holds(const struct word_cache_entry *entry, struct text text)
{
    return entry->size == text.size && memcmp(entry->text, text.data, text.size) == 0;
}

/* Puts `text` there when its ids are few enough. */
static inline void word_cache_put(struct word_cache_entry *entry, struct text text,
                                  const uint32_t *ids, size_t count)
{
    if (count > WORD_CACHE_IDS)
        return;
    entry->size = (uint8_t)text.size;
    entry->count = (uint8_t)count;
    memcpy(entry->text, text.data, text.size);
    if (count > 0)
        memcpy(entry->ids, ids, count * sizeof(*ids));
}

#endif
