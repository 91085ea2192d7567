/* unigram.c - a trie in a hash table, and one pass over the text.
 *
 * Where no token holds the two characters left and right of a place (a seam), every sequence breaks
 * there: what lies before is final and leaves memory. Sums go on, they are not started afresh.
 */
#include "common/formats/tokenizer/unigram.h"

#include "common/base/check.h"
#include "common/formats/tokenizer/text_hash.h"
#include "common/formats/tokenizer/unicode.h"
#include "common/formats/tokenizer/word_cache.h"
#include "common/mem/mem.h"

#define NONE UINT32_MAX

static const double UNKNOWN_PENALTY = 10.0;
static const double SINGLE_SUM_MAX = 100000.0;

/* The best way to a place. */
struct way {
    double score;
    uint32_t id;
    uint32_t size; /* bytes of the last token; 0: no way leads there yet */
};

struct unigram_scratch {
    struct word_cache words;
    struct way *ways;     /* owned: [capacity] by byte after the last seam */
    struct way *backward; /* owned: [capacity] */
    size_t capacity;
};

enum err unigram_init(struct unigram *unigram, struct arena *arena, const struct vocab *vocab,
                      size_t token_bytes)
{
    if (token_bytes > UNIGRAM_NODES_MAX - 2)
        return ERR_LIMIT;
    uint32_t slots = 64;
    while (slots < 2 * (token_bytes + 1))
        slots *= 2;
    struct unigram made = {.vocab = vocab,
                           .edge_mask = slots - 1,
                           .node_count = 1,
                           .node_limit = (uint32_t)token_bytes + 1,
                           .unk = NONE};
    made.edges = arena_alloc(arena, slots, sizeof(*made.edges));
    made.node_ids = arena_alloc(arena, made.node_limit, sizeof(*made.node_ids));
    made.scores = arena_alloc(arena, MAX(vocab->capacity, 1u), sizeof(*made.scores));
    made.seams = arena_alloc(arena, UNIGRAM_SEAM_BITS / 64, sizeof(*made.seams));
    if (made.edges == NULL || made.node_ids == NULL || made.scores == NULL || made.seams == NULL)
        return ERR_OUT_OF_MEMORY;
    made.node_ids[0] = NONE;
    *unigram = made;
    return ERR_OK;
}

static struct unigram_edge *edge_slot(const struct unigram *u, uint32_t node, uint8_t byte)
{
    uint32_t key = (node << 8 | byte) + 1;
    uint32_t slot = (uint32_t)text_hash_mix(key) & u->edge_mask;
    while (u->edges[slot].key != 0 && u->edges[slot].key != key)
        slot = (slot + 1) & u->edge_mask;
    return &u->edges[slot];
}

static uint64_t seam_bit(uint32_t left, uint32_t right)
{
    return text_hash_mix((uint64_t)left << 32 | right) & (UNIGRAM_SEAM_BITS - 1);
}

static bool is_seam(const struct unigram *u, uint32_t left, uint32_t right)
{
    uint64_t bit = seam_bit(left, right);
    return (u->seams[bit / 64] >> bit % 64 & 1) == 0;
}

void unigram_add(struct unigram *u, uint32_t id, double score)
{
    struct text token = u->vocab->tokens[id];
    uint32_t node = 0;
    uint32_t left = 0;
    if (token.size == 0)
        return;
    for (size_t i = 0; i < token.size; i++) {
        uint8_t byte = (uint8_t)token.data[i];
        struct unigram_edge *edge = edge_slot(u, node, byte);
        if (edge->key == 0) {
            ASSERT(u->node_count < u->node_limit);
            *edge = (struct unigram_edge){(node << 8 | byte) + 1, u->node_count};
            u->node_ids[u->node_count++] = NONE;
        }
        node = edge->child;
    }
    for (size_t at = 0; at < token.size; at += unicode_size((uint8_t)token.data[at])) {
        uint32_t right = unicode_at(token.data + at);
        uint64_t bit = seam_bit(left, right);
        if (at > 0)
            u->seams[bit / 64] |= 1ull << bit % 64;
        left = right;
    }
    u->node_ids[node] = id;
    u->scores[id] = score;
    u->token_bytes_max = MAX(u->token_bytes_max, token.size);
}

void unigram_finish(struct unigram *u, double least)
{
    u->unk_score = least - UNKNOWN_PENALTY;
    if (u->single)
        u->unk_score = (float)u->unk_score;
    u->byte_fallback = vocab_byte_ids(u->vocab, u->byte_ids) && u->byte_fallback;
}

enum err unigram_scratch_create(struct unigram_scratch **out)
{
    struct unigram_scratch *scratch = mem_alloc(1, sizeof(*scratch));
    if (scratch == NULL)
        return ERR_OUT_OF_MEMORY;
    *out = scratch;
    return ERR_OK;
}

void unigram_scratch_destroy(struct unigram_scratch **scratch)
{
    struct unigram_scratch *s = *scratch;
    if (s == NULL)
        return;
    word_cache_fini(&s->words);
    mem_free(s->ways);
    mem_free(s->backward);
    mem_free(s);
    *scratch = NULL;
}

static enum err reserve(struct unigram_scratch *s, size_t places)
{
    if (places <= s->capacity)
        return ERR_OK;
    size_t capacity = MAX(places, MAX(s->capacity * 2, (size_t)256));
    struct way *ways = mem_resize(s->ways, capacity, sizeof(*ways));
    if (ways == NULL)
        return ERR_OUT_OF_MEMORY;
    s->ways = ways;
    struct way *backward = mem_resize(s->backward, capacity, sizeof(*backward));
    if (backward == NULL)
        return ERR_OUT_OF_MEMORY;
    s->backward = backward;
    for (size_t i = s->capacity; i < capacity; i++)
        s->ways[i] = (struct way){0};
    s->capacity = capacity;
    return ERR_OK;
}

/* A text on its way: bytes before `cut` are done, ways are counted from there. */
struct walk {
    const struct unigram *unigram;
    struct unigram_scratch *scratch;
    struct token_list *out;
    struct text text;
    size_t cut;
    size_t unknown; /* bytes before `cut` that are unknown and not yet put out */
};

static void offer(struct walk *walk, struct way *way, double score, uint32_t id, size_t size)
{
    double kept = walk->unigram->single ? (float)score : score;
    if (way->size != 0 && !(kept > way->score))
        return;
    *way = (struct way){kept, id, (uint32_t)size};
}

/* A sum that has grown too long for single precision starts at zero again, and those beyond it
 * with it. */
static void restart_sums(struct walk *walk, size_t at)
{
    struct way *here = &walk->scratch->ways[at - walk->cut];
    const double offset = here->score;
    if (offset >= -SINGLE_SUM_MAX && offset <= SINGLE_SUM_MAX)
        return;
    for (size_t i = 1; i <= walk->unigram->token_bytes_max; i++)
        if (here[i].size != 0)
            here[i].score = (float)(here[i].score - offset);
    here->score = 0;
}

/* Offers every token that starts at `at`, and the unknown one. */
static void extend_ways(struct walk *walk, size_t at)
{
    const struct unigram *u = walk->unigram;
    struct way *ways = walk->scratch->ways;
    const size_t size = unicode_size((uint8_t)walk->text.data[at]);
    if (u->single)
        restart_sums(walk, at);
    const double here = ways[at - walk->cut].score;
    bool alone = false;
    uint32_t node = 0;
    for (size_t end = at; end < walk->text.size;) {
        const struct unigram_edge *edge = edge_slot(u, node, (uint8_t)walk->text.data[end++]);
        if (edge->key == 0)
            break;
        node = edge->child;
        uint32_t id = u->node_ids[node];
        if (id == NONE)
            continue;
        alone |= end - at == size;
        offer(walk, &ways[end - walk->cut], u->scores[id] + here, id, end - at);
    }
    if (alone)
        return;
    offer(walk, &ways[at + size - walk->cut], u->unk_score + here, NONE, size);
}

/* What is put out at last for unknown characters in a row, which end where `end` points. */
static enum err flush_unknown(struct walk *walk, size_t end)
{
    const struct unigram *u = walk->unigram;
    size_t begin = end - walk->unknown;
    walk->unknown = 0;
    if (begin == end)
        return ERR_OK;
    if (!u->byte_fallback)
        return u->unk == NONE ? ERR_DATA : token_list_append(walk->out, &u->unk, 1);
    for (; begin < end; begin++)
        TRY(token_list_append(walk->out, &u->byte_ids[(uint8_t)walk->text.data[begin]], 1));
    return ERR_OK;
}

/* Puts out the best way from the last seam to `at`, which becomes the last seam. */
static enum err commit(struct walk *walk, size_t at)
{
    struct unigram_scratch *s = walk->scratch;
    const struct way last = s->ways[at - walk->cut];
    size_t count = 0;
    for (size_t left = at - walk->cut; left > 0; left -= s->ways[left].size)
        s->backward[count++] = s->ways[left];
    for (size_t done = walk->cut; count > 0;) {
        const struct way *way = &s->backward[--count];
        if (way->id == NONE) {
            walk->unknown += way->size;
        } else {
            TRY(flush_unknown(walk, done));
            TRY(token_list_append(walk->out, &way->id, 1));
        }
        done += way->size;
    }
    memset(s->ways, 0, (at - walk->cut + 1) * sizeof(*s->ways));
    s->ways[0].score = last.score;
    walk->cut = at;
    return ERR_OK;
}

static enum err walk_text(struct walk *walk)
{
    const struct unigram *u = walk->unigram;
    uint32_t left = 0;
    size_t size;
    for (size_t at = 0; at < walk->text.size; at += size) {
        uint32_t c = unicode_at(walk->text.data + at);
        size = unicode_size((uint8_t)walk->text.data[at]);
        if (at > walk->cut && is_seam(u, left, c))
            TRY(commit(walk, at));
        TRY(reserve(walk->scratch, at - walk->cut + MAX(u->token_bytes_max, size) + 1));
        extend_ways(walk, at);
        left = c;
    }
    TRY(commit(walk, walk->text.size));
    return flush_unknown(walk, walk->text.size);
}

enum err unigram_encode(const struct unigram *unigram, struct unigram_scratch *scratch,
                        struct text piece, struct token_list *out)
{
    struct word_cache_entry *word = NULL;
    size_t had = out->count;
    if (piece.size == 0)
        return ERR_OK;
    TRY(word_cache_use(&scratch->words, unigram));
    if (piece.size <= WORD_CACHE_TEXT_BYTES) {
        word = word_cache_slot(&scratch->words, piece);
        if (word_cache_holds(word, piece))
            return token_list_append(out, word->ids, word->count);
    }
    TRY(reserve(scratch, 1));
    struct walk walk = {.unigram = unigram, .scratch = scratch, .out = out, .text = piece};
    enum err err = walk_text(&walk);
    if (err != ERR_OK) { /* ways were left behind */
        memset(scratch->ways, 0, scratch->capacity * sizeof(*scratch->ways));
        return err;
    }
    scratch->ways[0].score = 0;
    if (word != NULL)
        word_cache_put(word, piece, out->ids + had, out->count - had);
    return ERR_OK;
}
