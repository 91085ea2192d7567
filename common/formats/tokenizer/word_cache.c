/* word_cache.c - see word_cache.h. */
#include "common/formats/tokenizer/word_cache.h"

#include "common/mem/mem.h"

enum err word_cache_use(struct word_cache *cache, const void *model)
{
    if (cache->entries == NULL) {
        cache->entries = mem_alloc_aligned(WORD_CACHE_SLOTS, sizeof(*cache->entries));
        if (cache->entries == NULL)
            return ERR_OUT_OF_MEMORY;
    } else if (cache->model != model) {
        memset(cache->entries, 0, WORD_CACHE_SLOTS * sizeof(*cache->entries));
    }
    cache->model = model;
    return ERR_OK;
}

void word_cache_fini(struct word_cache *cache)
{
    mem_free(cache->entries);
    *cache = (struct word_cache){0};
}
