/* pretokenizer.h - cutting normalized text into the pieces that merging never crosses. */
#ifndef COMMON_FORMATS_TOKENIZER_PRETOKENIZER_H
#define COMMON_FORMATS_TOKENIZER_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/json/json_read.h"
#include "common/formats/tokenizer/regex.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"

enum pretokenizer_kind {
    PRETOKENIZER_BYTE_PREFIX, /* a space before a text that does not start with one */
    PRETOKENIZER_WORDS,       /* a split of word_split.h: `words` */
    PRETOKENIZER_BYTES,       /* bytes to the 256 characters of byte-level vocabularies */
    PRETOKENIZER_METASPACE,   /* spaces to `text`, one before, cut before each */
    PRETOKENIZER_REGEX,       /* matches of `regex` */
    PRETOKENIZER_LITERAL,     /* occurrences of `text` */
    PRETOKENIZER_DIGIT,       /* characters of a class, as the three below */
    PRETOKENIZER_PUNCTUATION,
    PRETOKENIZER_SPACE,
};

/* What becomes of the matches of a split (Hugging Face's names). */
enum pretokenizer_behavior {
    PRETOKENIZER_REMOVED,
    PRETOKENIZER_ISOLATED,
    PRETOKENIZER_MERGED_WITH_PREVIOUS,
    PRETOKENIZER_MERGED_WITH_NEXT,
    PRETOKENIZER_CONTIGUOUS,
};

enum pretokenizer_words {
    PRETOKENIZER_WORDS_GPT2,
    PRETOKENIZER_WORDS_LLAMA3,
    PRETOKENIZER_WORDS_QWEN2,
};

enum pretokenizer_prepend {
    PRETOKENIZER_PREPEND_NEVER,
    PRETOKENIZER_PREPEND_FIRST,
    PRETOKENIZER_PREPEND_ALWAYS,
};

struct pretokenizer_step {
    enum pretokenizer_kind kind;
    enum pretokenizer_behavior behavior;
    enum pretokenizer_prepend prepend;
    enum pretokenizer_words words;
    bool invert;         /* what does not match counts as the match */
    bool split;          /* metaspace: cut */
    struct text text;    /* metaspace: the blank; literal, regex: the pattern */
    struct regex *regex; /* owned by the pretokenizer */
};

enum { PRETOKENIZER_STEPS_MAX = 32 };

struct pretokenizer {
    struct pretokenizer_step steps[PRETOKENIZER_STEPS_MAX];
    size_t count;
};

/* Adds the steps of a "pre_tokenizer" value (null: none). ERR_UNSUPPORTED names an unknown type.
 * On an error call pretokenizer_fini all the same. */
MUST_CHECK enum err pretokenizer_read(struct pretokenizer *pretokenizer, struct json_value value,
                                      struct arena *arena, struct err_text *et);
MUST_CHECK enum err pretokenizer_add(struct pretokenizer *pretokenizer,
                                     struct pretokenizer_step step);

/* The same for a split by `pattern`, which must live as long as the pretokenizer: `step` without
 * kind and text. A pattern that is known goes by hand (word_split.h), others are compiled.
 * ERR_UNSUPPORTED says why one cannot be. */
MUST_CHECK enum err pretokenizer_add_pattern(struct pretokenizer *pretokenizer,
                                             struct pretokenizer_step step, struct text pattern,
                                             struct err_text *et);
void pretokenizer_fini(struct pretokenizer *pretokenizer);

/* The pattern of a split, by hand or compiled; NULL data for other steps. */
struct text pretokenizer_pattern(const struct pretokenizer_step *step);

/* Byte range of the text in progress. */
struct piece {
    size_t begin;
    size_t end;
};

/* Working memory, and the result: pieces of `text`. */
struct pieces {
    struct text text;    /* the caller's or in a buffer below */
    struct piece *items; /* owned: [capacity] */
    struct piece *spare; /* owned: [capacity] */
    size_t count;
    size_t spare_count;
    size_t capacity;
    struct bytes buffers[2];
};

void pretokenizer_pieces_init(struct pieces *pieces, size_t limit_bytes);
void pretokenizer_pieces_fini(struct pieces *pieces);

/* Cuts valid UTF-8; pieces->items[0..count) are borrowed until the next call. `first`: `text` is
 * the start of the whole input. */
MUST_CHECK enum err pretokenizer_apply(const struct pretokenizer *pretokenizer,
                                       struct regex_scratch *scratch, struct text text, bool first,
                                       struct pieces *pieces);

/* The character that stands for `byte` in byte-level vocabularies (GPT-2's table), and the byte of
 * a character or -1. */
uint32_t pretokenizer_byte_char(uint8_t byte);
int pretokenizer_char_byte(uint32_t c);

#endif
