/* tiktoken.c - see tiktoken.h. Bytes become the characters that byte-level vocabularies spell them
 * with, so that what follows is the same as for other such vocabularies. */
#include "common/formats/tokenizer/tiktoken.h"

#include <stdio.h>

#include "common/base/check.h"
#include "common/formats/tokenizer/base64.h"
#include "common/formats/tokenizer/piece_list.h"
#include "common/formats/tokenizer/pretokenizer_named.h"

enum {
    TOKEN_BYTES_MAX = VOCAB_TOKEN_BYTES_MAX / 2, /* each becomes a character of up to two */
    LLAMA3_RANKS = 128000,
    LLAMA3_SPECIAL = 256,
};

struct line {
    struct text token; /* base64 */
    uint64_t rank;
    bool good;
};

/* Takes the next line that is not empty. */
static bool next_line(struct text *left, struct line *line)
{
    while (left->size > 0 && left->data[0] == '\n')
        *left = (struct text){left->data + 1, left->size - 1};
    if (left->size == 0)
        return false;
    const char *newline = memchr(left->data, '\n', left->size);
    size_t size = newline == NULL ? left->size : (size_t)(newline - left->data);
    struct text whole = {left->data, size};
    *left = (struct text){left->data + size, left->size - size};
    const char *space = memchr(whole.data, ' ', whole.size);
    *line = (struct line){.token = whole};
    if (space == NULL)
        return true;
    line->token.size = (size_t)(space - whole.data);
    size_t at = line->token.size + 1;
    line->good = line->token.size > 0 && at < whole.size;
    for (; at < whole.size; at++) {
        uint8_t digit = (uint8_t)(whole.data[at] - '0');
        if (digit > 9 || line->rank > VOCAB_ID_MAX)
            line->good = false;
        else
            line->rank = line->rank * 10 + digit;
    }
    return true;
}

bool tiktoken_recognise(struct span content)
{
    struct text left = {(const char *)content.data, MIN(content.size, (size_t)TOKEN_BYTES_MAX)};
    struct line line;
    struct bytes token;
    bytes_init(&token, TOKEN_BYTES_MAX);
    bool good = next_line(&left, &line) && line.good && line.rank == 0 &&
                base64_decode(line.token, &token) && token.size > 0;
    bytes_fini(&token);
    return good;
}

/* The spelling of a line's token. */
static enum err spell(struct text base64, struct bytes *raw, struct bytes *spelling)
{
    bytes_clear(raw);
    bytes_clear(spelling);
    if (base64.size > 2 * TOKEN_BYTES_MAX || !base64_decode(base64, raw) || raw->size == 0)
        return ERR_FORMAT;
    for (size_t i = 0; i < raw->size; i++) {
        char utf8[4];
        bytes_append(spelling, utf8, unicode_put(pretokenizer_byte_char(raw->data[i]), utf8));
    }
    TRY(bytes_status(raw));
    return bytes_status(spelling);
}

static enum err read_ranks(struct tokenizer *t, struct text content, struct piece_list *list,
                           struct err_text *et)
{
    struct bytes raw, spelling;
    struct line line;
    enum err err = ERR_OK;
    uint32_t rank = 0;
    bytes_init(&raw, TOKEN_BYTES_MAX);
    bytes_init(&spelling, VOCAB_TOKEN_BYTES_MAX);
    for (; next_line(&content, &line); rank++) {
        err = ERR_FORMAT;
        if (line.good && line.rank == rank)
            err = spell(line.token, &raw, &spelling);
        if (err == ERR_FORMAT)
            error_set(et, err, "line %u: expected a token in base64, a space, and rank %u",
                      rank + 1, rank);
        if (err == ERR_OK)
            err = vocab_add(&t->vocab, &t->arena, rank,
                            (struct text){(const char *)spelling.data, spelling.size});
        if (err != ERR_OK)
            break;
        list->items[rank] =
            (struct scored_piece){t->vocab.tokens[rank], -(float)rank, TOKENIZER_NORMAL, rank};
    }
    bytes_fini(&raw);
    bytes_fini(&spelling);
    return err;
}

/* Llama 3's own list (llama3, tokenizer.py): named ones, and reserved ones with the numbers that
 * the named ones leave. */
static enum err add_special(struct tokenizer *t, struct err_text *et)
{
    static const char *const names[LLAMA3_SPECIAL] = {
        [0] = "<|begin_of_text|>", [1] = "<|end_of_text|>", [6] = "<|start_header_id|>",
        [7] = "<|end_header_id|>", [9] = "<|eot_id|>",
    };
    uint32_t reserved = 0;
    for (uint32_t i = 0; i < LLAMA3_SPECIAL; i++) {
        char name[64];
        if (names[i] != NULL)
            (void)snprintf(name, sizeof(name), "%s", names[i]);
        else
            (void)snprintf(name, sizeof(name), "<|reserved_special_token_%u|>", reserved++);
        TRY(tokenizer_model_add(
            t,
            (struct added_token){.pattern = text_of(name), .id = LLAMA3_RANKS + i, .special = true},
            et));
    }
    t->roles.bos = LLAMA3_RANKS;
    t->roles.eos = LLAMA3_RANKS + 1;
    t->post_processor.prefix[0] = t->roles.bos;
    t->post_processor.prefix_count = 1;
    return ERR_OK;
}

enum err tiktoken_read(struct tokenizer *t, struct span content, struct err_text *et)
{
    struct text text = {(const char *)content.data, content.size};
    struct pretokenizer_named named;
    struct piece_list list;
    struct line line;
    uint32_t count = 0;
    for (struct text left = text; next_line(&left, &line);)
        count++;
    if (count != LLAMA3_RANKS)
        return error_set(et, ERR_UNSUPPORTED,
                         "a file of %u ranks is not supported (known: Llama 3's with %d)", count,
                         (int)LLAMA3_RANKS);
    TRY(piece_list_init(&list, count));
    enum err err = vocab_init(&t->vocab, &t->arena, LLAMA3_RANKS + ADDED_TOKENS_MAX);
    if (err == ERR_OK)
        err = read_ranks(t, text, &list, et);
    if (err == ERR_OK)
        err = pretokenizer_named_add(&t->pretokenizer, TEXT("llama-bpe"), &named, et);
    if (err == ERR_OK)
        err = piece_list_merges(&list, t);
    piece_list_fini(&list);
    TRY(err);
    t->bpe.unk = UINT32_MAX;
    t->bpe.ignore_merges = named.ignore_merges;
    t->decoder.byte_level = true;
    return add_special(t, et);
}
