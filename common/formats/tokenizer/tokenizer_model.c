/* tokenizer_model.c - what every reader's result needs before it is used. */
#include "common/formats/tokenizer/tokenizer_model.h"

#include "common/base/check.h"

void tokenizer_model_init(struct tokenizer *tokenizer, size_t limit_bytes)
{
    *tokenizer = (struct tokenizer){
        .roles = {TOKENIZER_NONE, TOKENIZER_NONE, TOKENIZER_NONE, TOKENIZER_NONE}};
    arena_init(&tokenizer->arena, limit_bytes);
}

static enum err grow_added(struct tokenizer *t)
{
    size_t capacity = MAX(2 * t->added_capacity, (size_t)64);
    struct added_token *added = arena_alloc(&t->arena, capacity, sizeof(*added));
    if (added == NULL)
        return ERR_OUT_OF_MEMORY;
    if (t->added_count > 0)
        memcpy(added, t->added, t->added_count * sizeof(*added));
    t->added = added;
    t->added_capacity = capacity;
    return ERR_OK;
}

enum err tokenizer_model_add(struct tokenizer *tokenizer, struct added_token token,
                             struct err_text *et)
{
    if (unicode_valid_prefix(token.pattern) != token.pattern.size || token.pattern.size == 0)
        return error_set(et, ERR_FORMAT, "added token %u: expected UTF-8 text that is not empty",
                         token.id);
    enum err err = vocab_add(&tokenizer->vocab, &tokenizer->arena, token.id, token.pattern);
    if (err == ERR_EXISTS)
        return error_set(et, ERR_FORMAT, "added token '%.*s': its id %u is token '%.*s' already",
                         TEXT_ARGS(token.pattern), token.id,
                         TEXT_ARGS(tokenizer->vocab.tokens[token.id]));
    if (err != ERR_OK)
        return error_set(et, err, "added token '%.*s' with id %u is beyond the limits",
                         TEXT_ARGS(token.pattern), token.id);
    token.pattern = tokenizer->vocab.tokens[token.id];
    for (size_t i = 0; i < tokenizer->added_count; i++)
        if (tokenizer->added[i].id == token.id) {
            tokenizer->added[i] = token;
            return ERR_OK;
        }
    if (tokenizer->added_count == ADDED_TOKENS_MAX)
        return error_set(et, ERR_LIMIT, "more than %d added tokens", (int)ADDED_TOKENS_MAX);
    if (tokenizer->added_count == tokenizer->added_capacity)
        TRY(grow_added(tokenizer));
    tokenizer->added[tokenizer->added_count++] = token;
    return ERR_OK;
}

enum err tokenizer_model_add_merge(struct tokenizer *t, struct text left, struct text right,
                                   size_t number, struct err_text *et)
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

bool tokenizer_model_part(struct text line, struct text *left, struct text *right)
{
    const char *space = line.size == 0 ? NULL : memchr(line.data, ' ', line.size);
    if (space == NULL)
        return false;
    *left = (struct text){line.data, (size_t)(space - line.data)};
    *right = (struct text){space + 1, line.size - left->size - 1};
    return left->size > 0 && right->size > 0 && memchr(right->data, ' ', right->size) == NULL;
}

static enum err normalize_patterns(struct tokenizer *t, struct regex_scratch *scratch,
                                   struct bytes buffers[2])
{
    for (size_t i = 0; i < t->added_count; i++) {
        struct added_token *token = &t->added[i];
        struct text pattern;
        if (!token->normalized || token->ready)
            continue;
        TRY(normalizer_apply(&t->normalizer, scratch, token->pattern, false, buffers, &pattern));
        char *copy = arena_copy_text(&t->arena, pattern);
        if (copy == NULL)
            return ERR_OUT_OF_MEMORY;
        token->pattern = (struct text){copy, pattern.size};
    }
    return ERR_OK;
}

static enum err decode_table(struct tokenizer *t, struct bytes buffers[2])
{
    struct bytes decoded;
    enum err err = ERR_OK;
    bytes_init(&decoded, VOCAB_TOKEN_BYTES_MAX * DECODER_REPLACES_MAX);
    t->decoded = arena_alloc(&t->arena, MAX(t->vocab.size, 1u), sizeof(*t->decoded));
    if (t->decoded == NULL)
        err = ERR_OUT_OF_MEMORY;
    for (uint32_t id = 0; id < t->vocab.size && err == ERR_OK; id++) {
        struct text token = t->vocab.tokens[id];
        if (token.data == NULL)
            continue;
        bytes_clear(&decoded);
        TRY_OUT(decoder_apply(&t->decoder, token, buffers, &decoded));
        struct text bytes = {decoded.size == 0 ? "" : (const char *)decoded.data, decoded.size};
        t->decoded[id] = bytes;
        /* Most tokens decode to the tail or the whole of their spelling; the rest needs a copy. */
        bool tail = bytes.size <= token.size &&
                    memcmp(bytes.data, token.data + token.size - bytes.size, bytes.size) == 0;
        t->decoded[id].data =
            tail ? token.data + token.size - bytes.size : arena_copy_text(&t->arena, bytes);
        if (t->decoded[id].data == NULL)
            err = ERR_OUT_OF_MEMORY;
    }
out:
    bytes_fini(&decoded);
    return err;
}

enum err tokenizer_model_finish(struct tokenizer *t, struct err_text *et)
{
    struct bytes buffers[2];
    struct regex_scratch *scratch = NULL;
    enum err err;
    bytes_init(&buffers[0], TOKENIZER_MODEL_BYTES_MAX);
    bytes_init(&buffers[1], TOKENIZER_MODEL_BYTES_MAX);
    TRY_OUT(regex_scratch_create(&scratch));
    TRY_OUT(normalize_patterns(t, scratch, buffers));
    TRY_OUT(added_token_index(&t->raw, t->added, t->added_count, false, &t->arena));
    TRY_OUT(added_token_index(&t->normalized, t->added, t->added_count, true, &t->arena));
    t->special = arena_alloc(&t->arena, MAX(t->vocab.size, 1u), 1);
    if (t->special == NULL) {
        err = ERR_OUT_OF_MEMORY;
        goto out;
    }
    for (size_t i = 0; i < t->added_count; i++)
        t->special[t->added[i].id] = t->added[i].special;
    if (t->model == TOKENIZER_BPE)
        bpe_finish(&t->bpe);
    TRY_OUT(decode_table(t, buffers));
out:
    if (err != ERR_OK)
        error_set(et, err, "the tokenizer cannot be set up: %s", error_text(err));
    regex_scratch_destroy(&scratch);
    bytes_fini(&buffers[0]);
    bytes_fini(&buffers[1]);
    return err;
}
