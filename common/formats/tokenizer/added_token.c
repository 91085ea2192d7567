/* added_token.c - leftmost, then longest. */
#include "common/formats/tokenizer/added_token.h"

#include "common/base/check.h"
#include "common/formats/tokenizer/unicode.h"

enum err added_token_index(struct added_tokens *tokens, const struct added_token *all, size_t count,
                           bool normalized, struct arena *arena)
{
    struct added_tokens made = {0};
    for (size_t i = 0; i < count; i++)
        if (all[i].normalized == normalized && all[i].pattern.size > 0) {
            made.count++;
            made.first[(uint8_t)all[i].pattern.data[0] + 1]++;
        }
    for (size_t b = 1; b < COUNT_OF(made.first); b++)
        made.first[b] += made.first[b - 1];
    made.items = arena_alloc(arena, MAX(made.count, (size_t)1), sizeof(*made.items));
    if (made.items == NULL)
        return ERR_OUT_OF_MEMORY;
    uint32_t filled[256] = {0};
    for (size_t i = 0; i < count; i++) {
        if (all[i].normalized != normalized || all[i].pattern.size == 0)
            continue;
        uint8_t byte = (uint8_t)all[i].pattern.data[0];
        struct added_token *row = made.items + made.first[byte];
        size_t at = filled[byte]++;
        for (; at > 0 && row[at - 1].pattern.size < all[i].pattern.size; at--)
            row[at] = row[at - 1];
        row[at] = all[i];
    }
    *tokens = made;
    return ERR_OK;
}

static const struct added_token *longest_at(const struct added_tokens *tokens, struct text text,
                                            size_t at, bool special)
{
    uint8_t byte = (uint8_t)text.data[at];
    for (uint32_t i = tokens->first[byte]; i < tokens->first[byte + 1]; i++) {
        const struct added_token *token = &tokens->items[i];
        struct text pattern = token->pattern;
        if (pattern.size <= text.size - at && (special || !token->special) &&
            text.data[at + pattern.size - 1] == pattern.data[pattern.size - 1] &&
            memcmp(text.data + at, pattern.data, pattern.size) == 0)
            return token;
    }
    return NULL;
}

bool added_token_at(const struct added_tokens *tokens, struct text text, size_t at,
                    struct added_token_match *out)
{
    const struct added_token *token =
        tokens->count == 0 ? NULL : longest_at(tokens, text, at, true);
    if (token == NULL)
        return false;
    *out = (struct added_token_match){token->id, at, at + token->pattern.size};
    return true;
}

static bool stands_alone(struct text text, size_t begin, size_t end)
{
    if (begin > 0 && unicode_is_word(unicode_at(text.data + unicode_before(text, begin))))
        return false;
    return end == text.size || !unicode_is_word(unicode_at(text.data + end));
}

static struct added_token_match widen(const struct added_token *token, struct text text,
                                      size_t from, size_t begin, size_t end)
{
    while (token->lstrip && begin > from) {
        size_t before = unicode_before(text, begin);
        if (!unicode_is_space(unicode_at(text.data + before)))
            break;
        begin = before;
    }
    while (token->rstrip && end < text.size && unicode_is_space(unicode_at(text.data + end)))
        end += unicode_size((uint8_t)text.data[end]);
    return (struct added_token_match){token->id, begin, end};
}

bool added_token_next(const struct added_tokens *tokens, struct text text, size_t from,
                      bool special, struct added_token_match *out)
{
    if (tokens->count == 0)
        return false;
    for (size_t at = from; at < text.size;) {
        if (tokens->first[(uint8_t)text.data[at]] == tokens->first[(uint8_t)text.data[at] + 1]) {
            at++;
            continue;
        }
        const struct added_token *token = longest_at(tokens, text, at, special);
        if (token == NULL) {
            at++;
        } else if (token->single_word && !stands_alone(text, at, at + token->pattern.size)) {
            at += token->pattern.size;
        } else {
            *out = widen(token, text, from, at, at + token->pattern.size);
            return true;
        }
    }
    return false;
}
