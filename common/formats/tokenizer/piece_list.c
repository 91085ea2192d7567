/* piece_list.c - see piece_list.h. */
#include "common/formats/tokenizer/piece_list.h"

#include <stdlib.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

/* A way to cut one piece into two. */
struct cut {
    uint32_t left;
    uint32_t right;
    uint32_t rank;
    uint32_t result;
};

struct cuts {
    struct cut *items; /* owned */
    size_t count;
    size_t capacity;
};

enum err piece_list_init(struct piece_list *list, uint32_t count)
{
    struct scored_piece *items = mem_alloc(count, sizeof(*items));
    if (items == NULL)
        return ERR_OUT_OF_MEMORY;
    *list = (struct piece_list){.items = items, .count = count};
    return ERR_OK;
}

void piece_list_fini(struct piece_list *list)
{
    mem_free(list->items);
    *list = (struct piece_list){0};
}

static enum err check_piece(const struct scored_piece *piece, struct err_text *et)
{
    if (piece->type < TOKENIZER_NORMAL || piece->type > TOKENIZER_BYTE)
        return error_set(et, ERR_FORMAT, "piece %u has type %u, expected 1 to 6", piece->id,
                         piece->type);
    if (unicode_valid_prefix(piece->text) != piece->text.size)
        return error_set(et, ERR_FORMAT, "piece %u is not UTF-8", piece->id);
    if (!(piece->score >= -3.4e38f && piece->score <= 3.4e38f))
        return error_set(et, ERR_FORMAT, "piece %u has a score that is not finite", piece->id);
    if (piece->type == TOKENIZER_BYTE && vocab_byte_of(piece->text) < 0)
        return error_set(et, ERR_FORMAT, "piece %u: '%.*s' is not a byte piece", piece->id,
                         TEXT_ARGS(piece->text));
    return ERR_OK;
}

static enum err add_pieces(const struct piece_list *list, struct tokenizer *t, struct err_text *et)
{
    t->scores = arena_alloc(&t->arena, list->count, sizeof(*t->scores));
    t->score_count = list->count;
    if (t->scores == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct scored_piece *piece = &list->items[i];
        TRY(check_piece(piece, et));
        t->scores[i] = piece->score;
        if (piece->type == TOKENIZER_UNUSED)
            continue;
        enum err err = vocab_add(&t->vocab, &t->arena, i, piece->text);
        if (err != ERR_OK)
            return error_set(et, err, "piece %u is too long", i);
        if (piece->type == TOKENIZER_UNKNOWN)
            t->roles.unk = i;
        bool user = piece->type == TOKENIZER_USER_DEFINED;
        bool control = piece->type == TOKENIZER_CONTROL || piece->type == TOKENIZER_UNKNOWN;
        /* User-defined pieces are found in the normalized text and merge with nothing. In Unigram
         * they compete with other pieces, with a score that always wins. */
        if (control || (user && !list->unigram))
            TRY(tokenizer_model_add(t,
                                    (struct added_token){piece->text, i, .special = control,
                                                         .normalized = user, .ready = user},
                                    et));
    }
    return ERR_OK;
}

/* Best score first; equal scores keep the order of ids. */
static int by_score(const void *a, const void *b)
{
    const struct scored_piece *x = a;
    const struct scored_piece *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static enum err add_cut(struct cuts *cuts, struct cut cut)
{
    if (cuts->count == cuts->capacity) {
        size_t capacity = MAX(2 * cuts->capacity, (size_t)4096);
        struct cut *items = mem_resize(cuts->items, capacity, sizeof(*items));
        if (items == NULL)
            return ERR_OUT_OF_MEMORY;
        cuts->items = items;
        cuts->capacity = capacity;
    }
    cuts->items[cuts->count++] = cut;
    return ERR_OK;
}

/* The piece of that spelling if it takes part in merges. */
static uint32_t find_normal(const struct vocab *vocab, const uint8_t *types, struct text text)
{
    uint32_t id = vocab_find(vocab, text);
    return id != UINT32_MAX && types[id] == TOKENIZER_NORMAL ? id : UINT32_MAX;
}

static enum err cut_piece(const struct scored_piece *piece, uint32_t rank,
                          const struct vocab *vocab, const uint8_t *types, struct cuts *cuts)
{
    struct text text = piece->text;
    for (size_t at = 1; at < text.size; at++) {
        if (((uint8_t)text.data[at] & 0xC0) == 0x80)
            continue;
        uint32_t left = find_normal(vocab, types, (struct text){text.data, at});
        if (left == UINT32_MAX)
            continue;
        struct text tail = {text.data + at, text.size - at};
        uint32_t right = find_normal(vocab, types, tail);
        if (right != UINT32_MAX)
            TRY(add_cut(cuts, (struct cut){left, right, rank, piece->id}));
    }
    return ERR_OK;
}

/* Equal scores have equal ranks, so that the leftmost pair goes first. A file in which all normal
 * pieces have one score does not say the order (GGUF files made from a tokenizer.json); then it is
 * that of the ids, in which merges are numbered. */
static enum err find_cuts(const struct piece_list *list, const struct vocab *vocab,
                          const uint8_t *types, struct cuts *cuts)
{
    bool scored = false;
    uint32_t rank = 0;
    const struct scored_piece *before = NULL;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct scored_piece *piece = &list->items[i];
        if (piece->type != TOKENIZER_NORMAL)
            continue;
        scored |= before != NULL && piece->score != before->score;
        before = piece;
    }
    before = NULL;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct scored_piece *piece = &list->items[i];
        if (piece->type != TOKENIZER_NORMAL)
            continue;
        if (!scored || before == NULL || piece->score != before->score)
            rank = i;
        before = piece;
        TRY(cut_piece(piece, rank, vocab, types, cuts));
    }
    return ERR_OK;
}

enum err piece_list_merges(struct piece_list *list, struct tokenizer *t)
{
    struct cuts cuts = {0};
    struct bpe kept = t->bpe;
    enum err err;
    uint8_t *types = mem_alloc(list->count, 1);
    if (types == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < list->count; i++)
        types[list->items[i].id] = (uint8_t)list->items[i].type;
    qsort(list->items, list->count, sizeof(*list->items), by_score);
    TRY_OUT(find_cuts(list, &t->vocab, types, &cuts));
    TRY_OUT(bpe_init(&t->bpe, &t->arena, &t->vocab, cuts.count));
    t->bpe.unk = kept.unk;
    t->bpe.byte_fallback = kept.byte_fallback;
    t->bpe.fuse_unk = kept.fuse_unk;
    t->bpe.ignore_merges = kept.ignore_merges;
    for (size_t i = 0; i < cuts.count; i++)
        bpe_add_merge(&t->bpe, cuts.items[i].left, cuts.items[i].right, cuts.items[i].rank,
                      cuts.items[i].result);
out:
    mem_free(cuts.items);
    mem_free(types);
    return err;
}

/* A user-defined piece is worth more than what it is made of (sentencepiece 0.2.3). */
static double user_score(const struct scored_piece *piece)
{
    return (float)(0.1 * (double)(piece->text.size - 1));
}

static enum err add_unigram(const struct piece_list *list, struct tokenizer *t, struct err_text *et)
{
    size_t token_bytes = 0;
    float least = 3.4e38f;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct scored_piece *piece = &list->items[i];
        token_bytes += piece->text.size;
        if (piece->type == TOKENIZER_NORMAL)
            least = MIN(least, piece->score);
    }
    enum err err = unigram_init(&t->unigram, &t->arena, &t->vocab, token_bytes);
    if (err != ERR_OK)
        return error_set(et, err, "the pieces cannot be set up: %s", error_text(err));
    for (uint32_t i = 0; i < list->count; i++) {
        const struct scored_piece *piece = &list->items[i];
        if (piece->type == TOKENIZER_NORMAL)
            unigram_add(&t->unigram, i, (double)piece->score);
        else if (piece->type == TOKENIZER_USER_DEFINED)
            unigram_add(&t->unigram, i, user_score(piece));
    }
    t->model = TOKENIZER_UNIGRAM;
    t->unigram.unk = t->roles.unk;
    t->unigram.byte_fallback = list->byte_fallback;
    t->unigram.single = true;
    unigram_finish(&t->unigram, (double)least);
    return ERR_OK;
}

/* User-defined pieces as tokens to look for. */
static enum err index_user(const struct piece_list *list, struct spm_normalizer *spm,
                           struct arena *arena, struct err_text *et)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < list->count; i++)
        count += list->items[i].type == TOKENIZER_USER_DEFINED && list->items[i].text.size > 0;
    if (count == 0)
        return ERR_OK;
    if (count > ADDED_TOKENS_MAX)
        return error_set(et, ERR_LIMIT, "more than %d user-defined pieces", (int)ADDED_TOKENS_MAX);
    struct added_token *user = arena_alloc(arena, count, sizeof(*user));
    if (user == NULL)
        return ERR_OUT_OF_MEMORY;
    count = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        struct text text = list->items[i].text;
        if (list->items[i].type != TOKENIZER_USER_DEFINED || text.size == 0)
            continue;
        user[count].id = list->items[i].id;
        TRY(component_copy_text(arena, text, &user[count++].pattern));
    }
    return added_token_index(&spm->user, user, count, false, arena);
}

static enum err add_steps(const struct piece_list *list, struct tokenizer *t, struct err_text *et)
{
    struct spm_normalizer *spm = arena_alloc(&t->arena, 1, sizeof(*spm));
    if (spm == NULL)
        return ERR_OUT_OF_MEMORY;
    spm->dummy_prefix = list->dummy_prefix;
    spm->squeeze = list->squeeze;
    spm->has_charsmap = list->charsmap.size > 0;
    if (spm->has_charsmap)
        TRY(charsmap_init(&spm->charsmap, list->charsmap, &t->arena, et));
    TRY(index_user(list, spm, &t->arena, et));
    TRY(normalizer_add(&t->normalizer,
                       (struct normalizer_step){.kind = NORMALIZER_SPM, .spm = spm}));
    t->bad_bytes_alone = true;
    t->decoder.byte_fallback = true;
    t->decoder.strip_left = list->squeeze ? SIZE_MAX : list->dummy_prefix ? 1 : 0;
    return decoder_add_replace(&t->decoder, SPM_NORMALIZER_BLANK, TEXT(" "), &t->arena);
}

enum err piece_list_build(struct piece_list *list, struct tokenizer *t, struct err_text *et)
{
    /* Room for tokens that other files add. */
    uint32_t capacity = MIN(list->count + ADDED_TOKENS_MAX, (uint32_t)VOCAB_ID_MAX + 1);
    if (list->count > (uint32_t)VOCAB_ID_MAX + 1)
        return error_set(et, ERR_LIMIT, "%u pieces", list->count);
    TRY(vocab_init(&t->vocab, &t->arena, capacity));
    TRY(add_pieces(list, t, et));
    TRY(add_steps(list, t, et));
    if (list->unigram)
        return add_unigram(list, t, et);
    t->bpe.unk = t->roles.unk;
    t->bpe.byte_fallback = list->byte_fallback;
    t->bpe.fuse_unk = true; /* SentencePiece gives one id to a run of unknown characters */
    return piece_list_merges(list, t);
}
