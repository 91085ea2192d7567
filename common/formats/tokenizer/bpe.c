/* bpe.c - symbols, seams, and two loops over them: a scan for short cuts, a heap for long ones. */
#include "common/formats/tokenizer/bpe.h"

#include "common/base/check.h"
#include "common/formats/tokenizer/text_hash.h"
#include "common/formats/tokenizer/unicode.h"
#include "common/formats/tokenizer/word_cache.h"
#include "common/mem/mem.h"

#define NONE UINT32_MAX

enum { SCAN_MAX = 24 }; /* symbols up to which scanning beats the heap */

struct candidate {
    uint32_t rank;
    uint32_t at; /* index of the left symbol */
};

struct bpe_scratch {
    struct word_cache words;
    uint32_t *ids;   /* owned, as the four below: [capacity] */
    uint32_t *ranks; /* rank of the pair (i, next(i)), NONE when there is none */
    uint32_t *next;
    uint32_t *previous;
    struct candidate *heap; /* [capacity * 3]: n pairs, and two new ones a merge */
    size_t capacity;
    size_t heap_count;
};

enum err bpe_init(struct bpe *bpe, struct arena *arena, const struct vocab *vocab,
                  uint64_t merge_count)
{
    uint64_t slots = 64;
    while (slots < merge_count * 2)
        slots *= 2;
    struct bpe made = {.vocab = vocab, .merge_mask = slots - 1, .unk = NONE};
    made.merges = arena_alloc(arena, slots, sizeof(*made.merges));
    made.seams = arena_alloc(arena, BPE_SEAM_BITS / 64, sizeof(*made.seams));
    made.near_ids = arena_alloc(arena, BPE_NEAR_CHARS, sizeof(*made.near_ids));
    if (made.merges == NULL || made.seams == NULL || made.near_ids == NULL)
        return ERR_OUT_OF_MEMORY;
    *bpe = made;
    return ERR_OK;
}

static struct bpe_merge *merge_slot(const struct bpe *bpe, uint64_t pair)
{
    uint64_t slot = text_hash_mix(pair) & bpe->merge_mask;
    while (bpe->merges[slot].key != 0 && bpe->merges[slot].key != pair + 1)
        slot = (slot + 1) & bpe->merge_mask;
    return &bpe->merges[slot];
}

void bpe_add_merge(struct bpe *bpe, uint32_t left, uint32_t right, uint32_t rank, uint32_t result)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    struct bpe_merge *slot = merge_slot(bpe, pair);
    if (slot->key == 0) {
        ASSERT(bpe->merge_count < bpe->merge_mask);
        bpe->merge_count++;
    }
    *slot = (struct bpe_merge){.key = pair + 1, .rank = rank, .result = result};
}

static uint64_t seam_bit(uint32_t left, uint32_t right)
{
    return text_hash_mix((uint64_t)left << 32 | right) & (BPE_SEAM_BITS - 1);
}

static uint32_t char_id(const struct bpe *bpe, struct text character)
{
    uint32_t c = unicode_at(character.data);
    return c < BPE_NEAR_CHARS ? bpe->near_ids[c] : vocab_find(bpe->vocab, character);
}

/* Ids of the first and last characters of a token; false when either is not a token itself or the
 * token is also a byte piece, which stands for other characters than it spells. */
static bool ends_of(const struct bpe *bpe, uint32_t id, uint32_t *first, uint32_t *last)
{
    struct text token = bpe->vocab->tokens[id];
    if (token.size == 0 || vocab_byte_of(token) >= 0 || unicode_valid_prefix(token) != token.size)
        return false;
    size_t tail = unicode_before(token, token.size);
    *first = char_id(bpe, (struct text){token.data, unicode_size((uint8_t)token.data[0])});
    *last = char_id(bpe, (struct text){token.data + tail, token.size - tail});
    return *first != NONE && *last != NONE;
}

void bpe_finish(struct bpe *bpe)
{
    for (uint32_t c = 0; c < BPE_NEAR_CHARS; c++) {
        char utf8[4];
        bpe->near_ids[c] = vocab_find(bpe->vocab, (struct text){utf8, unicode_put(c, utf8)});
    }
    (void)vocab_byte_ids(bpe->vocab, bpe->byte_ids);
    bpe->seams_usable = true;
    for (uint64_t i = 0; i <= bpe->merge_mask && bpe->seams_usable; i++) {
        const struct bpe_merge *merge = &bpe->merges[i];
        uint32_t first, last, ignored;
        if (merge->key == 0)
            continue;
        if (!ends_of(bpe, bpe_merge_left(merge), &ignored, &last) ||
            !ends_of(bpe, bpe_merge_right(merge), &first, &ignored)) {
            bpe->seams_usable = false;
            break;
        }
        uint64_t bit = seam_bit(last, first);
        bpe->seams[bit / 64] |= 1ull << bit % 64;
    }
}

enum err bpe_scratch_create(struct bpe_scratch **out)
{
    struct bpe_scratch *scratch = mem_alloc(1, sizeof(*scratch));
    if (scratch == NULL)
        return ERR_OUT_OF_MEMORY;
    *out = scratch;
    return ERR_OK;
}

void bpe_scratch_destroy(struct bpe_scratch **scratch)
{
    struct bpe_scratch *s = *scratch;
    if (s == NULL)
        return;
    word_cache_fini(&s->words);
    mem_free(s->ids);
    mem_free(s->ranks);
    mem_free(s->next);
    mem_free(s->previous);
    mem_free(s->heap);
    mem_free(s);
    *scratch = NULL;
}

static enum err resize(uint32_t **array, size_t count)
{
    uint32_t *bigger = mem_resize(*array, count, sizeof(**array));
    if (bigger == NULL)
        return ERR_OUT_OF_MEMORY;
    *array = bigger;
    return ERR_OK;
}

static enum err reserve(struct bpe_scratch *s, size_t symbols)
{
    if (symbols <= s->capacity)
        return ERR_OK;
    size_t capacity = MAX(symbols, (size_t)256);
    TRY(resize(&s->ids, capacity));
    TRY(resize(&s->ranks, capacity));
    TRY(resize(&s->next, capacity));
    TRY(resize(&s->previous, capacity));
    struct candidate *heap = mem_resize(s->heap, capacity, 3 * sizeof(*heap));
    if (heap == NULL)
        return ERR_OUT_OF_MEMORY;
    s->heap = heap;
    s->capacity = capacity;
    return ERR_OK;
}

/* First symbols of a character at ids[*count]: itself, its bytes, or the unknown token. */
static void first_symbols(const struct bpe *bpe, struct text character, uint32_t *ids,
                          size_t *count)
{
    uint32_t id = char_id(bpe, character);
    if (id != NONE) {
        ids[(*count)++] = id;
        return;
    }
    bool bytes = bpe->byte_fallback;
    for (size_t i = 0; i < character.size && bytes; i++)
        bytes = bpe->byte_ids[(uint8_t)character.data[i]] != NONE;
    if (bytes) {
        for (size_t i = 0; i < character.size; i++)
            ids[(*count)++] = bpe->byte_ids[(uint8_t)character.data[i]];
        return;
    }
    bool fused = bpe->fuse_unk && *count > 0 && ids[*count - 1] == bpe->unk;
    if (bpe->unk != NONE && !fused)
        ids[(*count)++] = bpe->unk;
}

static uint32_t rank_of(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    const struct bpe_merge *merge = merge_slot(bpe, (uint64_t)left << 32 | right);
    return merge->key != 0 ? merge->rank : NONE;
}

static uint32_t result_of(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    return merge_slot(bpe, (uint64_t)left << 32 | right)->result;
}

/* Merges ids[0..count) in place by scanning for the least rank; returns the new count. */
static size_t merge_by_scan(const struct bpe *bpe, uint32_t *ids, uint32_t *ranks, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++)
        ranks[i] = rank_of(bpe, ids[i], ids[i + 1]);
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == NONE)
            break;
        ids[best] = result_of(bpe, ids[best], ids[best + 1]);
        count--;
        for (size_t i = best + 1; i < count; i++) {
            ids[i] = ids[i + 1];
            ranks[i] = ranks[i + 1];
        }
        if (best + 1 < count)
            ranks[best] = rank_of(bpe, ids[best], ids[best + 1]);
        if (best > 0)
            ranks[best - 1] = rank_of(bpe, ids[best - 1], ids[best]);
    }
    return count;
}

static bool before(struct candidate a, struct candidate b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void heap_push(struct bpe_scratch *s, struct candidate candidate)
{
    size_t at = s->heap_count++;
    while (at > 0 && before(candidate, s->heap[(at - 1) / 2])) {
        s->heap[at] = s->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->heap[at] = candidate;
}

static struct candidate heap_pop(struct bpe_scratch *s)
{
    struct candidate top = s->heap[0];
    struct candidate last = s->heap[--s->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= s->heap_count)
            break;
        if (child + 1 < s->heap_count && before(s->heap[child + 1], s->heap[child]))
            child++;
        if (!before(s->heap[child], last))
            break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = last;
    return top;
}

/* Looks up the pair at symbol `at` again and makes it a candidate. */
static void offer(const struct bpe *bpe, struct bpe_scratch *s, uint32_t *ids, uint32_t at)
{
    uint32_t right = s->next[at];
    s->ranks[at] = right == NONE ? NONE : rank_of(bpe, ids[at], ids[right]);
    if (s->ranks[at] != NONE)
        heap_push(s, (struct candidate){s->ranks[at], at});
}

/* The same by a heap. A candidate is stale when its symbol's pair has another rank by now; a symbol
 * that was merged away has none. */
static size_t merge_by_heap(const struct bpe *bpe, struct bpe_scratch *s, uint32_t *ids,
                            size_t count)
{
    s->heap_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        s->previous[i] = i == 0 ? NONE : i - 1;
        s->next[i] = i + 1 == count ? NONE : i + 1;
    }
    for (uint32_t i = 0; i < count; i++)
        offer(bpe, s, ids, i);
    while (s->heap_count > 0) {
        struct candidate top = heap_pop(s);
        if (s->ranks[top.at] != top.rank)
            continue;
        uint32_t right = s->next[top.at];
        ids[top.at] = result_of(bpe, ids[top.at], ids[right]);
        s->ranks[right] = NONE;
        s->next[top.at] = s->next[right];
        if (s->next[right] != NONE)
            s->previous[s->next[right]] = top.at;
        offer(bpe, s, ids, top.at);
        if (s->previous[top.at] != NONE)
            offer(bpe, s, ids, s->previous[top.at]);
    }
    size_t kept = 0;
    for (uint32_t i = 0; i != NONE; i = s->next[i])
        ids[kept++] = ids[i];
    return kept;
}

/* Merges the symbols ids[0..count), whose text is `cut`, and appends them; through the cache when
 * the cut is short. */
static enum err finish_cut(const struct bpe *bpe, struct bpe_scratch *s, uint32_t *ids,
                           size_t count, struct text cut, struct token_list *out)
{
    struct word_cache_entry *word = NULL;
    if (count == 0)
        return ERR_OK;
    if (count > 1 && cut.size <= WORD_CACHE_TEXT_BYTES) {
        word = word_cache_slot(&s->words, cut);
        if (word_cache_holds(word, cut))
            return token_list_append(out, word->ids, word->count);
    }
    if (count <= SCAN_MAX)
        count = merge_by_scan(bpe, ids, s->ranks, count);
    else
        count = merge_by_heap(bpe, s, ids, count);
    if (word != NULL)
        word_cache_put(word, cut, ids, count);
    return token_list_append(out, ids, count);
}

static bool is_seam(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    uint64_t bit = seam_bit(left, right);
    return (bpe->seams[bit / 64] >> bit % 64 & 1) == 0;
}

enum err bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, struct text piece,
                    struct token_list *out)
{
    if (piece.size == 0)
        return ERR_OK;
    if (bpe->ignore_merges) {
        uint32_t whole = vocab_find(bpe->vocab, piece);
        if (whole != NONE)
            return token_list_append(out, &whole, 1);
    }
    TRY(reserve(scratch, piece.size + 1));
    TRY(word_cache_use(&scratch->words, bpe));
    uint32_t *ids = scratch->ids;
    size_t count = 0;
    size_t cut = 0;
    for (size_t at = 0; at < piece.size;) {
        size_t size = unicode_size((uint8_t)piece.data[at]);
        size_t had = count;
        first_symbols(bpe, (struct text){piece.data + at, size}, ids, &count);
        bool joins = had == 0 || count == had || !bpe->seams_usable ||
                     (ids[had - 1] == bpe->unk && ids[had] == bpe->unk) ||
                     !is_seam(bpe, ids[had - 1], ids[had]);
        if (!joins) {
            struct text done = {piece.data + cut, at - cut};
            uint32_t fresh[4];
            size_t fresh_count = count - had;
            memcpy(fresh, ids + had, fresh_count * sizeof(*ids));
            TRY(finish_cut(bpe, scratch, ids, had, done, out));
            memcpy(ids, fresh, fresh_count * sizeof(*ids));
            count = fresh_count;
            cut = at;
        }
        at += size;
    }
    return finish_cut(bpe, scratch, ids, count, (struct text){piece.data + cut, piece.size - cut},
                      out);
}
