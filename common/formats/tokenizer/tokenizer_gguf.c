/* tokenizer_gguf.c - see tokenizer_gguf.h.
 *
 *   tokenizer.ggml.model  "llama": SentencePiece BPE   "t5": Unigram   "gpt2": byte-level BPE
 *   tokenizer.ggml.pre    of "gpt2": how texts are cut (pretokenizer_named.h)
 *   tokens, scores, token_type, merges; *_token_id, add_*_token; tokenizer.chat_template
 *
 * (ggml docs/gguf.md; llama.cpp src/llama-vocab.cpp for what holds where a key is missing.)
 */
#include "common/formats/tokenizer/tokenizer_gguf.h"

#include "common/base/check.h"
#include "common/formats/tokenizer/piece_list.h"
#include "common/formats/tokenizer/pretokenizer_named.h"

struct tables {
    const struct gguf_value *tokens;
    const struct gguf_value *scores; /* NULL: none, as the two below */
    const struct gguf_value *types;
    const struct gguf_value *merges;
    uint32_t count;
};

/* An array with one item a token, or none. */
static enum err read_column(const struct gguf *g, const char *key, enum gguf_type kind,
                            uint32_t count, const struct gguf_value **out, struct err_text *et)
{
    TRY(gguf_opt_array(g, key, kind, out, et));
    if (*out != NULL && (*out)->count != count)
        return gguf_wrong(g, key, "as many items as tokenizer.ggml.tokens", et);
    return ERR_OK;
}

static enum err read_tables(const struct gguf *g, struct tables *out, struct err_text *et)
{
    static const char tokens[] = "tokenizer.ggml.tokens";
    struct tables made = {0};
    TRY(gguf_opt_array(g, tokens, GGUF_TEXT, &made.tokens, et));
    if (made.tokens == NULL || made.tokens->count == 0 || made.tokens->count > VOCAB_ID_MAX)
        return gguf_wrong(g, tokens, "the spellings of all tokens", et);
    made.count = (uint32_t)made.tokens->count;
    TRY(read_column(g, "tokenizer.ggml.scores", GGUF_F64, made.count, &made.scores, et));
    TRY(read_column(g, "tokenizer.ggml.token_type", GGUF_I64, made.count, &made.types, et));
    TRY(gguf_opt_array(g, "tokenizer.ggml.merges", GGUF_TEXT, &made.merges, et));
    *out = made;
    return ERR_OK;
}

static uint32_t type_of(const struct tables *tables, uint32_t id)
{
    int64_t type = tables->types == NULL ? TOKENIZER_NORMAL : gguf_item_i64(tables->types, id);
    return type < 0 || type > UINT32_MAX ? UINT32_MAX : (uint32_t)type;
}

static enum err read_charsmap(const struct gguf *g, struct span *out, struct err_text *et)
{
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    const struct gguf_value *value;
    TRY(gguf_opt_array(g, key, GGUF_I64, &value, et));
    if (value == NULL)
        return ERR_OK;
    if (value->type != GGUF_U8 && value->type != GGUF_I8)
        return gguf_wrong(g, key, "bytes", et);
    *out = value->data;
    return ERR_OK;
}

static enum err read_pieces(struct tokenizer *t, const struct gguf *g, const struct tables *tables,
                            bool unigram, struct err_text *et)
{
    struct piece_list list;
    enum err err;
    TRY(piece_list_init(&list, tables->count));
    list.unigram = unigram;
    list.dummy_prefix = true;
    for (uint32_t i = 0; i < list.count; i++) {
        list.items[i] = (struct scored_piece){
            .text = tables->tokens->texts[i], .type = type_of(tables, i), .id = i};
        if (tables->scores != NULL)
            list.items[i].score = (float)gguf_item_f64(tables->scores, i);
        list.byte_fallback |= list.items[i].type == TOKENIZER_BYTE;
    }
    TRY_OUT(gguf_opt_bool(g, "tokenizer.ggml.add_space_prefix", &list.dummy_prefix, NULL, et));
    TRY_OUT(gguf_opt_bool(g, "tokenizer.ggml.remove_extra_whitespaces", &list.squeeze, NULL, et));
    TRY_OUT(read_charsmap(g, &list.charsmap, et));
    err = piece_list_build(&list, t, et);
    if (err != ERR_OK)
        error_prefix(et, err, "%s: tokenizer.ggml", g->name);
out:
    piece_list_fini(&list);
    return err;
}

static enum err read_byte_tokens(struct tokenizer *t, const struct gguf *g,
                                 const struct tables *tables, struct err_text *et)
{
    uint32_t capacity = MIN(tables->count + ADDED_TOKENS_MAX, (uint32_t)VOCAB_ID_MAX + 1);
    TRY(vocab_init(&t->vocab, &t->arena, capacity));
    for (uint32_t i = 0; i < tables->count; i++) {
        struct text token = tables->tokens->texts[i];
        uint32_t type = type_of(tables, i);
        if (type == TOKENIZER_UNUSED)
            continue;
        if (type < TOKENIZER_NORMAL || type > TOKENIZER_BYTE)
            return error_set(et, ERR_FORMAT,
                             "%s: tokenizer.ggml.token_type: token %u has type %u, expected 1 to 6",
                             g->name, i, type);
        if (unicode_valid_prefix(token) != token.size)
            return error_set(et, ERR_FORMAT, "%s: tokenizer.ggml.tokens: token %u is not UTF-8",
                             g->name, i);
        enum err err = vocab_add(&t->vocab, &t->arena, i, token);
        if (err != ERR_OK)
            return error_set(et, err, "%s: tokenizer.ggml.tokens: token %u is too long", g->name,
                             i);
        bool user = type == TOKENIZER_USER_DEFINED;
        if (user || type == TOKENIZER_CONTROL || type == TOKENIZER_UNKNOWN)
            TRY(tokenizer_model_add(t, (struct added_token){token, i, .special = !user}, et));
    }
    return ERR_OK;
}

static enum err read_merges(struct tokenizer *t, const struct gguf *g, const struct tables *tables,
                            struct err_text *et)
{
    if (tables->merges == NULL)
        return gguf_wrong(g, "tokenizer.ggml.merges", "the merges of a byte-level vocabulary", et);
    TRY(bpe_init(&t->bpe, &t->arena, &t->vocab, tables->merges->count));
    for (uint64_t i = 0; i < tables->merges->count; i++) {
        struct text left, right;
        if (!tokenizer_model_part(tables->merges->texts[i], &left, &right))
            return error_set(et, ERR_FORMAT,
                             "%s: tokenizer.ggml.merges: merge %llu: expected two tokens with a "
                             "space between, found '%.*s'",
                             g->name, (unsigned long long)i + 1,
                             TEXT_ARGS(tables->merges->texts[i]));
        enum err err = tokenizer_model_add_merge(t, left, right, i, et);
        if (err != ERR_OK)
            return error_prefix(et, err, "%s: tokenizer.ggml.merges", g->name);
    }
    return ERR_OK;
}

static enum err read_byte_level(struct tokenizer *t, const struct gguf *g,
                                const struct tables *tables, bool *add_bos, struct err_text *et)
{
    static const char key[] = "tokenizer.ggml.pre";
    struct pretokenizer_named named;
    struct text pre = TEXT("default");
    TRY(gguf_opt_text(g, key, &pre, NULL, et));
    enum err err = pretokenizer_named_add(&t->pretokenizer, pre, &named, et);
    if (err != ERR_OK)
        return error_prefix(et, err, "%s: %s", g->name, key);
    TRY(read_byte_tokens(t, g, tables, et));
    TRY(read_merges(t, g, tables, et));
    if (named.nfc)
        TRY(normalizer_add(&t->normalizer,
                           (struct normalizer_step){.kind = NORMALIZER_FORM, .form = UNICODE_NFC}));
    t->bpe.ignore_merges = named.ignore_merges;
    t->decoder.byte_level = true;
    *add_bos = named.add_bos;
    return ERR_OK;
}

static enum err read_role(const struct tokenizer *t, const struct gguf *g, const char *key,
                          uint32_t *role, struct err_text *et)
{
    int64_t id = -1;
    bool found;
    TRY(gguf_opt_i64(g, key, -1, UINT32_MAX, &id, &found, et));
    if (!found)
        return ERR_OK;
    *role = TOKENIZER_NONE;
    if (id < 0 || id == UINT32_MAX)
        return ERR_OK;
    if (id >= t->vocab.size || t->vocab.tokens[id].data == NULL)
        return gguf_wrong(g, key, "the id of a token", et);
    *role = (uint32_t)id;
    return ERR_OK;
}

static enum err read_roles(struct tokenizer *t, const struct gguf *g, bool add_bos, bool add_eos,
                           struct err_text *et)
{
    TRY(read_role(t, g, "tokenizer.ggml.bos_token_id", &t->roles.bos, et));
    TRY(read_role(t, g, "tokenizer.ggml.eos_token_id", &t->roles.eos, et));
    TRY(read_role(t, g, "tokenizer.ggml.padding_token_id", &t->roles.pad, et));
    TRY(gguf_opt_bool(g, "tokenizer.ggml.add_bos_token", &add_bos, NULL, et));
    TRY(gguf_opt_bool(g, "tokenizer.ggml.add_eos_token", &add_eos, NULL, et));
    struct post_processor *p = &t->post_processor;
    p->prefix[0] = t->roles.bos;
    p->prefix_count = add_bos && t->roles.bos != TOKENIZER_NONE ? 1 : 0;
    p->suffix[0] = t->roles.eos;
    p->suffix_count = add_eos && t->roles.eos != TOKENIZER_NONE ? 1 : 0;
    return ERR_OK;
}

static enum err read_unknown(struct tokenizer *t, const struct gguf *g, uint32_t count,
                             struct err_text *et)
{
    static const char key[] = "tokenizer.ggml.unknown_token_id";
    int64_t id = -1;
    TRY(gguf_opt_i64(g, key, -1, UINT32_MAX, &id, NULL, et));
    if (id >= 0 && id != UINT32_MAX && id >= count)
        return gguf_wrong(g, key, "the id of a token", et);
    t->roles.unk = id < 0 ? TOKENIZER_NONE : (uint32_t)id;
    return ERR_OK;
}

/* The ids that hold for "llama" where the file is silent. */
static void set_llama_roles(struct tokenizer *t)
{
    t->roles.bos = vocab_find(&t->vocab, TEXT("<s>"));
    t->roles.eos = vocab_find(&t->vocab, TEXT("</s>"));
}

enum err tokenizer_gguf_read(struct tokenizer *t, const struct gguf *g, struct err_text *et)
{
    static const char key[] = "tokenizer.ggml.model";
    struct tables tables;
    struct text model, jinja = TEXT("");
    bool add_bos = false;
    bool has_model;
    TRY(gguf_opt_text(g, key, &model, &has_model, et));
    if (!has_model)
        return error_set(et, ERR_NOT_FOUND, "%s: no tokenizer inside (%s)", g->name, key);
    TRY(read_tables(g, &tables, et));
    TRY(read_unknown(t, g, tables.count, et));
    if (text_is(model, "gpt2")) {
        TRY(read_byte_level(t, g, &tables, &add_bos, et));
        t->bpe.unk = UINT32_MAX;
    } else if (text_is(model, "llama")) {
        TRY(read_pieces(t, g, &tables, false, et));
        set_llama_roles(t);
        add_bos = true;
    } else if (text_is(model, "t5")) {
        TRY(read_pieces(t, g, &tables, true, et));
    } else {
        return error_set(et, ERR_UNSUPPORTED,
                         "%s: %s '%.*s' is not supported (known: llama, gpt2, t5)", g->name, key,
                         TEXT_ARGS(model));
    }
    TRY(read_roles(t, g, add_bos, text_is(model, "t5"), et));
    TRY(gguf_opt_text(g, "tokenizer.chat_template", &jinja, NULL, et));
    if (unicode_valid_prefix(jinja) != jinja.size)
        return gguf_wrong(g, "tokenizer.chat_template", "UTF-8", et);
    return component_copy_text(&t->arena, jinja, &t->chat_template);
}
