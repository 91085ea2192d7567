/* tokenizer_json.c - vocabulary and merges of JSON files; the steps around them have their own
 * readers. */
#include "common/formats/tokenizer/tokenizer_json.h"

#include "common/base/check.h"
#include "common/formats/json/json_float.h"

/* The largest id of the added tokens, -1 when there is none. */
static enum err top_id(struct json_value added, int64_t *out, struct err_text *et)
{
    struct json_cursor cursor = {0};
    *out = -1;
    while (json_read_next(added, &cursor)) {
        int64_t id;
        TRY(json_read_i64(cursor.value, "id", 0, VOCAB_ID_MAX, &id, et));
        *out = MAX(*out, id);
    }
    return ERR_OK;
}

/* Memory goes by the largest id, so that must not be far beyond the number of tokens. */
static enum err check_top(int64_t top, size_t count, const struct json_doc *doc,
                          struct err_text *et)
{
    enum { GAP_MAX = 1 << 16 };
    if (top < 0 || (uint64_t)top < 2 * (uint64_t)count + GAP_MAX)
        return ERR_OK;
    return error_set(et, ERR_FORMAT,
                     "%s: a token has id %lld, but there are %zu tokens; expected ids in a row",
                     json_read_name(doc), (long long)top, count);
}

/* Room for the largest id of the vocabulary and of the added tokens. */
static enum err start_vocabulary(struct tokenizer *t, struct json_value vocabulary,
                                 struct json_value added, struct err_text *et)
{
    int64_t top;
    int64_t id;
    struct json_cursor cursor = {0};
    TRY(top_id(added, &top, et));
    while (json_read_next(vocabulary, &cursor)) {
        TRY(json_read_as_i64(cursor.value, 0, VOCAB_ID_MAX, &id, et));
        top = MAX(top, id);
    }
    TRY(check_top(top, json_read_count(vocabulary) + json_read_count(added), vocabulary.doc, et));
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
            if (!tokenizer_model_part(line, &left, &right))
                return json_read_wrong(cursor.value,
                                       "two tokens with one space between (an editor turns "
                                       "no-break spaces into spaces: fetch the file again)",
                                       et);
        }
        TRY(tokenizer_model_add_merge(t, left, right, cursor.count - 1, et));
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

static enum err read_bpe(struct tokenizer *t, struct json_value model, struct json_value added,
                         struct err_text *et)
{
    struct json_value vocabulary, merges;
    TRY(json_read_object(model, "vocab", &vocabulary, et));
    TRY(json_read_array(model, "merges", &merges, et));
    TRY(start_vocabulary(t, vocabulary, added, et));
    TRY(read_vocabulary(t, vocabulary, et));
    TRY(read_merges(t, merges, et));
    return read_model_options(t, model, et);
}

/* The score as the library that wrote the file reads it back: its digits as one whole number,
 * divided by a power of ten, each rounded. The last bit that this costs decides between equal sums.
 */
static double reread(double score)
{
    enum { POWER_MAX = 22 }; /* of ten, that a double holds exactly */
    char digits[JSON_FLOAT_BYTES];
    uint64_t whole = 0;
    double power = 1;
    bool fraction = false;
    int places = 0;
    size_t size = json_float_print_f64(score, digits);
    for (size_t i = score < 0 ? 1 : 0; i < size; i++) {
        if (digits[i] == '.') {
            fraction = true;
            continue;
        }
        if (digits[i] < '0' || digits[i] > '9' || places == POWER_MAX)
            return score; /* an exponent: no score of a real vocabulary */
        whole = whole * 10 + (uint64_t)(digits[i] - '0');
        places += fraction;
    }
    for (int i = 0; i < places; i++)
        power *= 10;
    double value = (double)whole / power;
    return score < 0 ? -value : value;
}

/* [spelling, score] of every id in turn; *bytes is what the spellings take together, *least the
 * least score. */
static enum err read_scored(struct tokenizer *t, struct json_value vocabulary, size_t *bytes,
                            double *least, struct err_text *et)
{
    struct json_cursor cursor = {0};
    t->score_count = (uint32_t)json_read_count(vocabulary);
    t->scores = arena_alloc(&t->arena, t->score_count, sizeof(*t->scores));
    if (t->scores == NULL)
        return ERR_OUT_OF_MEMORY;
    *bytes = 0;
    for (uint32_t id = 0; json_read_next(vocabulary, &cursor); id++) {
        struct text token;
        double score;
        if (json_read_count(cursor.value) != 2)
            return json_read_wrong(cursor.value, "a token and its score", et);
        TRY(json_read_as_text(json_read_item(cursor.value, 0), &token, et));
        TRY(json_read_as_f64(json_read_item(cursor.value, 1), &score, et));
        enum err err = vocab_add(&t->vocab, &t->arena, id, token);
        if (err != ERR_OK)
            return error_set(et, err, "%s: token %u of the vocabulary is too long",
                             json_read_name(cursor.value.doc), id);
        t->scores[id] = (float)score;
        *bytes += token.size;
        score = reread(score);
        *least = id == 0 ? score : MIN(*least, score);
    }
    return ERR_OK;
}

static enum err read_unigram(struct tokenizer *t, struct json_value model, struct json_value added,
                             struct err_text *et)
{
    struct json_value vocabulary;
    struct json_cursor cursor = {0};
    size_t bytes;
    double least = 0;
    int64_t unk = -1;
    int64_t top;
    bool byte_fallback = false;
    TRY(json_read_array(model, "vocab", &vocabulary, et));
    size_t count = json_read_count(vocabulary);
    if (count == 0 || count > VOCAB_ID_MAX)
        return json_read_wrong(vocabulary, "tokens with their scores", et);
    TRY(json_read_opt_i64(model, "unk_id", 0, (int64_t)count - 1, &unk, NULL, et));
    TRY(json_read_opt_bool(model, "byte_fallback", &byte_fallback, NULL, et));
    TRY(top_id(added, &top, et));
    TRY(check_top(top, count + json_read_count(added), model.doc, et));
    TRY(vocab_init(&t->vocab, &t->arena, (uint32_t)MAX((int64_t)count, top + 1)));
    TRY(read_scored(t, vocabulary, &bytes, &least, et));
    TRY(unigram_init(&t->unigram, &t->arena, &t->vocab, bytes));
    for (uint32_t id = 0; json_read_next(vocabulary, &cursor); id++) {
        double score;
        TRY(json_read_as_f64(json_read_item(cursor.value, 1), &score, et));
        unigram_add(&t->unigram, id, reread(score));
    }
    t->model = TOKENIZER_UNIGRAM;
    t->roles.unk = unk < 0 ? TOKENIZER_NONE : (uint32_t)unk;
    t->unigram.unk = t->roles.unk;
    t->unigram.byte_fallback = byte_fallback;
    unigram_finish(&t->unigram, least);
    return ERR_OK;
}

enum err tokenizer_json_read(struct tokenizer *t, struct json_value root, struct err_text *et)
{
    struct json_value model;
    struct json_value added = {0};
    struct text type = TEXT("BPE");
    TRY(json_read_object(root, "model", &model, et));
    TRY(json_read_opt_text(model, "type", &type, NULL, et));
    TRY(json_read_opt_array(root, "added_tokens", &added, NULL, et));
    if (text_is(type, "BPE"))
        TRY(read_bpe(t, model, added, et));
    else if (text_is(type, "Unigram"))
        TRY(read_unigram(t, model, added, et));
    else
        return error_set(et, ERR_UNSUPPORTED,
                         "%s: model '%.*s' is not supported (known: BPE, Unigram)",
                         json_read_name(root.doc), TEXT_ARGS(type));
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
        if (!tokenizer_model_part(line, &left, &right))
            return error_set(et, ERR_FORMAT, "merge %zu: expected two tokens with a space between",
                             number + 1);
        TRY(tokenizer_model_add_merge(t, left, right, number, et));
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
