/* added_token.h - tokens that are cut out of a text before anything else looks at it. */
#ifndef COMMON_FORMATS_TOKENIZER_ADDED_TOKEN_H
#define COMMON_FORMATS_TOKENIZER_ADDED_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/arena.h"

enum { ADDED_TOKENS_MAX = 1 << 14 };

struct added_token {
    struct text pattern; /* what is looked for; in the arena */
    uint32_t id;
    bool special;
    bool normalized;  /* looked for after normalizing, else in the raw text */
    bool ready;       /* the pattern is in normal form already */
    bool lstrip;      /* takes the blanks before it along */
    bool rstrip;      /* and those after it */
    bool single_word; /* only where no word character touches it */
};

/* Tokens of one kind (raw or normalized), by first byte and then longest first. */
struct added_tokens {
    struct added_token *items; /* [count], in the arena */
    size_t count;
    uint32_t first[257]; /* items with first byte b are [first[b], first[b + 1]) */
};

/* Takes from all[0..count) those with the given `normalized`. */
MUST_CHECK enum err added_token_index(struct added_tokens *tokens, const struct added_token *all,
                                      size_t count, bool normalized, struct arena *arena);

struct added_token_match {
    uint32_t id;
    size_t begin; /* with blanks that are taken along */
    size_t end;
};

/* The longest token that starts at text[at], special ones included, blanks not taken along. */
bool added_token_at(const struct added_tokens *tokens, struct text text, size_t at,
                    struct added_token_match *out);

/* First token of text[from..), the longest where several start; `special`: also special ones. */
bool added_token_next(const struct added_tokens *tokens, struct text text, size_t from,
                      bool special, struct added_token_match *out);

#endif
