/* tokenizer_json.c - vocabulary and merges of JSON files; the steps around them have their own
 * readers. */
#include "common/formats/tokenizer/tokenizer_json.h"

#include "common/base/check.h"

/* Room for the largest id of the vocabulary and of the added tokens. */
static enum err start_vocabulary(struct tokenizer *t, struct json_value vocabulary,
                                 struct json_value added, struct err_text *et)
{
    int64_t top = -1;
    int64_t id;
    struct json_cursor cursor = {0};
    while (json_read_next(vocabulary, &cursor)) {
        TRY(json_read_as_i64(cursor.value, 0, VOCAB_ID_MAX, &id, et));
        top = MAX(top, id);
    }
    cursor = (struct json_cursor){0};
    while (json_read_next(added, &cursor)) {
        TRY(json_read_i64(cursor.value, "id", 0, VOCAB_ID_MAX, &id, et));
        top = MAX(top, id);
    }
    return vocab_init(&t->vocab, &t->arena, (uint32_t)(top + 1));
}

static enum err read_vocabulary(struct tokenizer *t, struct json_value vocabulary,
                                struct err_text *et)
{
    struct json_cursor cursor = {0};
    while (json_read_next(vocabulary, &cursor)) {
        int64_t id;
        TRY(json_read_as_i64(cursor.value, 0, VOCAB_ID_MAX, &id, et));
        enum err err = vocab_add(&t->vocab, &t->arena, (uint32_t)id, cursor.value.key);
        if (err == ERR_EXISTS)
            return json_read_wrong(cursor.value, "an id of its own", et);
        if (err != ERR_OK)
            return error_set(et, err, "%s: a token of the vocabulary is too long",
                             json_read_name(cursor.value.doc));
    }
    return ERR_OK;
}

static enum err read_added(struct tokenizer *t, struct json_value added, struct err_text *et)
{
    struct json_cursor cursor = {0};
    while (json_read_next(added, &cursor)) {
        struct added_token token = {0};
        int64_t id;
        TRY(json_read_i64(cursor.value, "id", 0, VOCAB_ID_MAX, &id, et));
        TRY(json_read_text(cursor.value, "content", &token.pattern, et));
        TRY(json_read_opt_bool(cursor.value, "special", &token.special, NULL, et));
        token.normalized = !token.special;
        TRY(json_read_opt_bool(cursor.value, "normalized", &token.normalized, NULL, et));
        TRY(json_read_opt_bool(cursor.value, "lstrip", &token.lstrip, NULL, et));
        TRY(json_read_opt_bool(cursor.value, "rstrip", &token.rstrip, NULL, et));
        TRY(json_read_opt_bool(cursor.value, "single_word", &token.single_word, NULL, et));
        token.id = (uint32_t)id;
        TRY(tokenizer_model_add(t, token, et));
    }
    return ERR_OK;
}

/* Adds the merge of two spellings; `number` counts from 0 and is its rank. */
static enum err add_merge(struct tokenizer *t, struct text left, struct text right, size_t number,
                          struct err_text *et)
{
    char joined[2 * VOCAB_TOKEN_BYTES_MAX];
    if (left.size > VOCAB_TOKEN_BYTES_MAX || right.size > VOCAB_TOKEN_BYTES_MAX)
        return error_set(et, ERR_LIMIT, "merge %zu: a token is too long", number + 1);
    memcpy(joined, left.data, left.size);
    memcpy(joined + left.size, right.data, right.size);
    struct text result = {joined, left.size + right.size};
    uint32_t left_id = vocab_find(&t->vocab, left);
    uint32_t right_id = vocab_find(&t->vocab, right);
    uint32_t result_id = vocab_find(&t->vocab, result);
    struct text missing = left_id == UINT32_MAX ? left : right_id == UINT32_MAX ? right : result;
    if (left_id == UINT32_MAX || right_id == UINT32_MAX || result_id == UINT32_MAX)
        return error_set(et, ERR_FORMAT,
                         "merge %zu ('%.*s' and '%.*s'): '%.*s' is not in the "
                         "vocabulary",
                         number + 1, TEXT_ARGS(left), TEXT_ARGS(right), TEXT_ARGS(missing));
    bpe_add_merge(&t->bpe, left_id, right_id, (uint32_t)number, result_id);
    return ERR_OK;
}

/* "left right": the first space parts them. */
static bool part(struct text line, struct text *left, struct text *right)
{
    const char *space = line.size == 0 ? NULL : memchr(line.data, ' ', line.size);
    if (space == NULL)
        return false;
    *left = (struct text){line.data, (size_t)(space - line.data)};
    *right = (struct text){space + 1, line.size - left->size - 1};
    return left->size > 0 && right->size > 0;
}

static enum err read_merges(struct tokenizer *t, struct json_value merges, struct err_text *et)
{
    struct json_cursor cursor = {0};
    TRY(bpe_init(&t->bpe, &t->arena, &t->vocab, json_read_count(merges)));
    while (json_read_next(merges, &cursor)) {
        struct text line, left, right;
        if (json_read_type(cursor.value) == JSON_READ_ARRAY) {
            if (json_read_count(cursor.value) != 2)
                return json_read_wrong(cursor.value, "two tokens", et);
            TRY(json_read_as_text(json_read_item(cursor.value, 0), &left, et));
            TRY(json_read_as_text(json_read_item(cursor.value, 1), &right, et));
        } else {
            TRY(json_read_as_text(cursor.value, &line, et));
            if (!part(line, &left, &right))
                return json_read_wrong(cursor.value, "two tokens with a space between", et);
        }
        TRY(add_merge(t, left, right, cursor.count - 1, et));
    }
    return ERR_OK;
}

/* An affix that this encoder does not know must be absent or empty. */
static enum err refuse_affix(struct json_value model, const char *key, struct err_text *et)
{
    struct text affix = TEXT("");
    TRY(json_read_opt_text(model, key, &affix, NULL, et));
    if (affix.size > 0)
        return error_set(et, ERR_UNSUPPORTED, "%s: model.%s is not supported",
                         json_read_name(model.doc), key);
    return ERR_OK;
}

static enum err read_model_options(struct tokenizer *t, struct json_value model,
                                   struct err_text *et)
{
    struct text unk;
    bool has_unk;
    double dropout = 0;
    TRY(refuse_affix(model, "continuing_subword_prefix", et));
    TRY(refuse_affix(model, "end_of_word_suffix", et));
    TRY(json_read_opt_f64(model, "dropout", &dropout, NULL, et));
    if (dropout != 0)
        return error_set(et, ERR_UNSUPPORTED, "%s: model.dropout is not supported",
                         json_read_name(model.doc));
    TRY(json_read_opt_bool(model, "byte_fallback", &t->bpe.byte_fallback, NULL, et));
    TRY(json_read_opt_bool(model, "fuse_unk", &t->bpe.fuse_unk, NULL, et));
    TRY(json_read_opt_bool(model, "ignore_merges", &t->bpe.ignore_merges, NULL, et));
    TRY(json_read_opt_text(model, "unk_token", &unk, &has_unk, et));
    if (has_unk) {
        t->bpe.unk = vocab_find(&t->vocab, unk);
        t->roles.unk = t->bpe.unk;
        if (t->bpe.unk == UINT32_MAX)
            return json_read_wrong(json_read_find(model, "unk_token"), "a token of the vocabulary",
                                   et);
    }
    return ERR_OK;
}

enum err tokenizer_json_read(struct tokenizer *t, struct json_value root, struct err_text *et)
{
    struct json_value model, vocabulary, merges;
    struct json_value added = {0};
    struct text type = TEXT("BPE");
    TRY(json_read_object(root, "model", &model, et));
    TRY(json_read_opt_text(model, "type", &type, NULL, et));
    if (!text_is(type, "BPE"))
        return error_set(et, ERR_UNSUPPORTED, "%s: model '%.*s' is not supported (known: BPE)",
                         json_read_name(root.doc), TEXT_ARGS(type));
    TRY(json_read_object(model, "vocab", &vocabulary, et));
    TRY(json_read_array(model, "merges", &merges, et));
    TRY(json_read_opt_array(root, "added_tokens", &added, NULL, et));
    TRY(start_vocabulary(t, vocabulary, added, et));
    TRY(read_vocabulary(t, vocabulary, et));
    TRY(read_merges(t, merges, et));
    TRY(read_model_options(t, model, et));
    TRY(read_added(t, added, et));
    TRY(normalizer_read(&t->normalizer, json_read_find(root, "normalizer"), &t->arena, et));
    TRY(pretokenizer_read(&t->pretokenizer, json_read_find(root, "pre_tokenizer"), &t->arena, et));
    TRY(post_processor_read(&t->post_processor, json_read_find(root, "post_processor"), &t->vocab,
                            et));
    return decoder_read(&t->decoder, json_read_find(root, "decoder"), &t->arena, et);
}

/* Takes the next line that is neither empty nor the "#version" of the first line. */
static bool next_line(struct text *left, struct text *line)
{
    while (left->size > 0) {
        const char *end = memchr(left->data, '\n', left->size);
        size_t size = end == NULL ? left->size : (size_t)(end - left->data);
        *line = (struct text){left->data, size};
        size_t taken = MIN(size + 1, left->size);
        *left = (struct text){left->data + taken, left->size - taken};
        if (line->size > 0 && line->data[line->size - 1] == '\r')
            line->size--;
        bool version = line->size >= 8 && memcmp(line->data, "#version", 8) == 0;
        if (line->size > 0 && !version)
            return true;
    }
    return false;
}

enum err tokenizer_json_read_pair(struct tokenizer *t, struct json_value vocabulary,
                                  struct text merges, struct err_text *et)
{
    struct text left, right, line;
    struct text rest = merges;
    size_t number = 0;
    TRY(start_vocabulary(t, vocabulary, (struct json_value){0}, et));
    TRY(read_vocabulary(t, vocabulary, et));
    while (next_line(&rest, &line))
        number++;
    TRY(bpe_init(&t->bpe, &t->arena, &t->vocab, number));
    rest = merges;
    for (number = 0; next_line(&rest, &line); number++) {
        if (!part(line, &left, &right))
            return error_set(et, ERR_FORMAT, "merge %zu: expected two tokens with a space between",
                             number + 1);
        TRY(add_merge(t, left, right, number, et));
    }
    /* The pair says nothing else; it is the form of GPT-2. */
    uint32_t end = vocab_find(&t->vocab, TEXT("<|endoftext|>"));
    if (end != UINT32_MAX)
        TRY(tokenizer_model_add(
            t, (struct added_token){TEXT("<|endoftext|>"), end, .special = true}, et));
    t->roles.bos = end;
    t->roles.eos = end;
    t->decoder.byte_level = true;
    TRY(pretokenizer_add(
        &t->pretokenizer,
        (struct pretokenizer_step){.kind = PRETOKENIZER_WORDS, .behavior = PRETOKENIZER_ISOLATED}));
    return pretokenizer_add(&t->pretokenizer,
                            (struct pretokenizer_step){.kind = PRETOKENIZER_BYTES});
}
