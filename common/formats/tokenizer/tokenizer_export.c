/* tokenizer_export.c - see tokenizer_export.h. */
#include "common/formats/tokenizer/tokenizer_export.h"

#include <stdlib.h>

#include "common/base/check.h"
#include "common/formats/tokenizer/pretokenizer_named.h"
#include "common/formats/tokenizer/tokenizer_model.h"

static enum err refuse(const char *what, struct err_text *et)
{
    return error_set(et, ERR_UNSUPPORTED, "GGUF has no way to say %s of this tokenizer", what);
}

/* The template around a text in terms of two switches. */
static enum err say_affixes(const struct tokenizer *t, struct tokenizer_export *out,
                            struct err_text *et)
{
    const struct post_processor *p = &t->post_processor;
    out->add_bos = p->prefix_count > 0;
    out->add_eos = p->suffix_count > 0;
    if (p->prefix_count > 1 || (out->add_bos && p->prefix[0] != t->roles.bos))
        return refuse("the tokens before a text", et);
    if (p->suffix_count > 1 || (out->add_eos && p->suffix[0] != t->roles.eos))
        return refuse("the tokens after a text", et);
    return ERR_OK;
}

static bool is_blank(struct text text)
{
    return text_equal(text, SPM_NORMALIZER_BLANK);
}

/* Steps that amount to what SentencePiece does. */
static enum err say_normalizer(const struct tokenizer *t, struct tokenizer_export *out,
                               struct err_text *et)
{
    for (size_t i = 0; i < t->normalizer.count; i++) {
        const struct normalizer_step *step = &t->normalizer.steps[i];
        if (step->kind == NORMALIZER_SPM) {
            out->add_space_prefix = step->spm->dummy_prefix;
            out->remove_extra_whitespaces = step->spm->squeeze;
            if (step->spm->has_charsmap)
                out->charsmap = step->spm->charsmap.blob;
        } else if (step->kind == NORMALIZER_CHARSMAP && out->charsmap.size == 0) {
            out->charsmap = step->charsmap->blob;
        } else if (step->kind == NORMALIZER_PREPEND && is_blank(step->to)) {
            out->add_space_prefix = true;
        } else if (step->kind != NORMALIZER_REPLACE || !text_is(step->from, " ") ||
                   !is_blank(step->to)) {
            return refuse("the normalizer", et);
        }
    }
    for (size_t i = 0; i < t->pretokenizer.count; i++) {
        const struct pretokenizer_step *step = &t->pretokenizer.steps[i];
        if (step->kind == PRETOKENIZER_METASPACE && is_blank(step->text))
            out->add_space_prefix |= step->prepend != PRETOKENIZER_PREPEND_NEVER;
        else if (step->kind == PRETOKENIZER_SPACE && step->behavior == PRETOKENIZER_REMOVED)
            out->remove_extra_whitespaces = true;
        else
            return refuse("the pre-tokenizer", et);
    }
    return ERR_OK;
}

/* Scores of a vocabulary that came with merges: the earlier a token is made, the better. */
static void score_merges(const struct bpe *bpe, float *scores)
{
    for (uint64_t i = 0; i <= bpe->merge_mask; i++) {
        const struct bpe_merge *merge = &bpe->merges[i];
        float score = -(float)merge->rank - 1;
        if (merge->key != 0 && (scores[merge->result] == 0 || scores[merge->result] < score))
            scores[merge->result] = score;
    }
}

static enum err say_pieces(const struct tokenizer *t, struct arena *arena,
                           struct tokenizer_export *out, struct err_text *et)
{
    out->model = t->model == TOKENIZER_UNIGRAM ? "t5" : "llama";
    out->pre = "default";
    TRY(say_normalizer(t, out, et));
    out->scores = arena_alloc(arena, out->count, sizeof(*out->scores));
    if (out->scores == NULL)
        return ERR_OUT_OF_MEMORY;
    if (t->scores != NULL)
        memcpy(out->scores, t->scores, MIN(out->count, t->score_count) * sizeof(*out->scores));
    else
        score_merges(&t->bpe, out->scores);
    return ERR_OK;
}

static int by_rank(const void *a, const void *b)
{
    const struct bpe_merge *x = a;
    const struct bpe_merge *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->key < y->key ? -1 : x->key > y->key;
}

static enum err say_merges(const struct tokenizer *t, struct arena *arena,
                           struct tokenizer_export *out)
{
    const struct bpe *bpe = &t->bpe;
    struct bpe_merge *merges = arena_alloc(arena, bpe->merge_count + 1, sizeof(*merges));
    struct text *lines = arena_alloc(arena, bpe->merge_count + 1, sizeof(*lines));
    uint32_t count = 0;
    if (merges == NULL || lines == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint64_t i = 0; i <= bpe->merge_mask; i++)
        if (bpe->merges[i].key != 0)
            merges[count++] = bpe->merges[i];
    qsort(merges, count, sizeof(*merges), by_rank);
    for (uint32_t i = 0; i < count; i++) {
        struct text left = t->vocab.tokens[bpe_merge_left(&merges[i])];
        struct text right = t->vocab.tokens[bpe_merge_right(&merges[i])];
        char *line = arena_alloc(arena, left.size + right.size + 2, 1);
        if (line == NULL)
            return ERR_OUT_OF_MEMORY;
        memcpy(line, left.data, left.size);
        line[left.size] = ' ';
        memcpy(line + left.size + 1, right.data, right.size);
        lines[i] = (struct text){line, left.size + right.size + 1};
    }
    out->merges = lines;
    out->merge_count = count;
    return ERR_OK;
}

static enum err say_byte_level(const struct tokenizer *t, struct arena *arena,
                               struct tokenizer_export *out, struct err_text *et)
{
    const struct normalizer *n = &t->normalizer;
    struct pretokenizer_named wanted = {.ignore_merges = t->bpe.ignore_merges};
    struct pretokenizer_named named;
    wanted.nfc =
        n->count == 1 && n->steps[0].kind == NORMALIZER_FORM && n->steps[0].form == UNICODE_NFC;
    if (n->count > 0 && !wanted.nfc)
        return refuse("the normalizer", et);
    if (!pretokenizer_named_find(&t->pretokenizer, &wanted, &named))
        return refuse("the pre-tokenizer", et);
    out->model = "gpt2";
    out->pre = named.name;
    return say_merges(t, arena, out);
}

static enum err say_tokens(const struct tokenizer *t, struct arena *arena,
                           struct tokenizer_export *out)
{
    bool bytes = t->model == TOKENIZER_UNIGRAM ? t->unigram.byte_fallback : t->bpe.byte_fallback;
    out->tokens = arena_alloc(arena, MAX(out->count, 1u), sizeof(*out->tokens));
    out->types = arena_alloc(arena, MAX(out->count, 1u), sizeof(*out->types));
    if (out->tokens == NULL || out->types == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t id = 0; id < out->count; id++) {
        struct text token = t->vocab.tokens[id];
        out->tokens[id] = token;
        out->types[id] = TOKENIZER_NORMAL;
        if (token.data == NULL) {
            char *pad = arena_print(arena, "[PAD%u]", id);
            if (pad == NULL)
                return ERR_OUT_OF_MEMORY;
            out->tokens[id] = text_of(pad);
            out->types[id] = TOKENIZER_UNUSED;
        } else if (bytes && vocab_byte_of(token) >= 0) {
            out->types[id] = TOKENIZER_BYTE;
        }
    }
    for (size_t i = 0; i < t->added_count; i++)
        out->types[t->added[i].id] =
            t->added[i].special ? TOKENIZER_CONTROL : TOKENIZER_USER_DEFINED;
    for (size_t i = 0; i < t->normalizer.count; i++) {
        const struct normalizer_step *step = &t->normalizer.steps[i];
        for (size_t k = 0; step->kind == NORMALIZER_SPM && k < step->spm->user.count; k++)
            out->types[step->spm->user.items[k].id] = TOKENIZER_USER_DEFINED;
    }
    if (t->roles.unk != TOKENIZER_NONE && out->types[t->roles.unk] != TOKENIZER_NORMAL)
        out->types[t->roles.unk] = TOKENIZER_UNKNOWN;
    return ERR_OK;
}

enum err tokenizer_export_make(const struct tokenizer *tokenizer, struct arena *arena,
                               struct tokenizer_export *out, struct err_text *et)
{
    struct tokenizer_export made = {.count = tokenizer->vocab.size};
    TRY(say_affixes(tokenizer, &made, et));
    if (tokenizer->decoder.byte_level && tokenizer->model == TOKENIZER_BPE)
        TRY(say_byte_level(tokenizer, arena, &made, et));
    else
        TRY(say_pieces(tokenizer, arena, &made, et));
    TRY(say_tokens(tokenizer, arena, &made));
    *out = made;
    return ERR_OK;
}
