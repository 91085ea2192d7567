/* word_cache.c - see word_cache.h. */
#include "common/formats/tokenizer/word_cache.h"

#include "common/mem/mem.h"

enum err word_cache_use(struct word_cache *cache, const void *model)
{
    if (cache->memory == NULL) {
        /* Pages that nobody writes to are never made: short texts use few of them. */
        cache->memory = mem_alloc(WORD_CACHE_SLOTS + 1, sizeof(*cache->entries));
        if (cache->memory == NULL)
            return ERR_OUT_OF_MEMORY;
        uintptr_t at = (uintptr_t)cache->memory;
        size_t skew =
            (sizeof(*cache->entries) - at % sizeof(*cache->entries)) % sizeof(*cache->entries);
        cache->entries = (struct word_cache_entry *)(void *)((char *)cache->memory + skew);
    } else if (cache->model != model) {
        memset(cache->entries, 0, WORD_CACHE_SLOTS * sizeof(*cache->entries));
    }
    cache->model = model;
    return ERR_OK;
}

void word_cache_fini(struct word_cache *cache)
{
    mem_free(cache->memory);
    *cache = (struct word_cache){0};
}
