/* charsmap.c - see charsmap.h. */
#include "common/formats/tokenizer/charsmap.h"

#include "common/formats/tokenizer/unicode.h"

enum { UNIT_BYTES = 4 };

static uint32_t u32_at(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

enum err charsmap_init(struct charsmap *map, struct span blob, struct arena *arena,
                       struct err_text *et)
{
    if (blob.size < 2 * UNIT_BYTES)
        return error_set(et, ERR_FORMAT, "a precompiled normalizer of %zu bytes", blob.size);
    uint32_t trie_bytes = u32_at(blob.data);
    if (trie_bytes == 0 || trie_bytes % UNIT_BYTES != 0 || trie_bytes > blob.size - UNIT_BYTES)
        return error_set(et, ERR_FORMAT,
                         "a precompiled normalizer of %zu bytes with a trie of %u bytes", blob.size,
                         trie_bytes);
    size_t head = UNIT_BYTES + (size_t)trie_bytes;
    struct text texts = {(const char *)blob.data + head, blob.size - head};
    bool ended = texts.size == 0 || texts.data[texts.size - 1] == '\0';
    if (!ended || unicode_valid_prefix(texts) != texts.size)
        return error_set(et, ERR_FORMAT,
                         "a precompiled normalizer whose replacements are not UTF-8");
    uint8_t *copy = arena_alloc(arena, blob.size, 1);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    memcpy(copy, blob.data, blob.size);
    *map = (struct charsmap){.blob = {copy, blob.size},
                             .texts = {(const char *)copy + head, texts.size},
                             .unit_count = trie_bytes / UNIT_BYTES};
    return ERR_OK;
}

static uint32_t unit_at(const struct charsmap *map, uint32_t index)
{
    return u32_at(map->blob.data + UNIT_BYTES + (size_t)index * UNIT_BYTES);
}

static uint32_t children_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

static bool starts_character(struct text text, size_t at)
{
    return at == text.size || ((uint8_t)text.data[at] & 0xC0) != 0x80;
}

/* The replacement of the leaf below the unit whose children are at `index`. */
static bool replacement_at(const struct charsmap *map, uint32_t index, struct text *out)
{
    if (index >= map->unit_count)
        return false;
    size_t at = unit_at(map, index) & 0x7FFFFFFF;
    if (at >= map->texts.size || !starts_character(map->texts, at))
        return false;
    const char *text = map->texts.data + at;
    const char *end = memchr(text, '\0', map->texts.size - at);
    *out = (struct text){text, (size_t)(end - text)};
    return true;
}

/* Walks down along `text`; stops at the first entry when `shortest`. */
static bool find(const struct charsmap *map, struct text text, bool shortest, size_t *size,
                 struct text *replacement)
{
    uint32_t index = children_of(unit_at(map, 0));
    bool found = false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        index ^= byte;
        if (byte == 0 || index >= map->unit_count)
            break;
        uint32_t unit = unit_at(map, index);
        if ((unit & 0x800000FF) != byte)
            break;
        index ^= children_of(unit);
        struct text known;
        if ((unit >> 8 & 1) == 0 || !starts_character(text, i + 1) ||
            !replacement_at(map, index, &known))
            continue;
        *size = i + 1;
        *replacement = known;
        found = true;
        if (shortest)
            break;
    }
    return found;
}

bool charsmap_longest(const struct charsmap *map, struct text text, size_t *size,
                      struct text *replacement)
{
    return find(map, text, false, size, replacement);
}

bool charsmap_shortest(const struct charsmap *map, struct text text, struct text *replacement)
{
    size_t size;
    return find(map, text, true, &size, replacement);
}
