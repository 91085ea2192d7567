/* tokenizer_export.h - all that another file has to say for the same tokenizer, GGUF above all.
 *
 *   model "llama": SentencePiece BPE, scores decide    "t5": Unigram, scores decide
 *   model "gpt2":  byte-level BPE, merges decide
 *
 * The names and numbers are GGUF's (tokenizer.ggml.*); roles and the chat template have getters of
 * their own in tokenizer.h.
 */
#ifndef COMMON_FORMATS_TOKENIZER_TOKENIZER_EXPORT_H
#define COMMON_FORMATS_TOKENIZER_TOKENIZER_EXPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/arena.h"

/* Numbers of tokenizer.ggml.token_type, which are SentencePiece's. */
enum tokenizer_type {
    TOKENIZER_NORMAL = 1,
    TOKENIZER_UNKNOWN = 2,
    TOKENIZER_CONTROL = 3,      /* found in the raw text, left out by TOKENIZER_SKIP_SPECIAL */
    TOKENIZER_USER_DEFINED = 4, /* found in a text whatever the model would do */
    TOKENIZER_UNUSED = 5,       /* an id without a token */
    TOKENIZER_BYTE = 6,
};

struct tokenizer_export {
    const char *model;   /* tokenizer.ggml.model; static, as pre */
    const char *pre;     /* tokenizer.ggml.pre */
    uint32_t count;      /* of tokens: tokenizer_vocabulary_size */
    struct text *tokens; /* [count] spellings; "[PAD7]" for an id 7 without a token */
    uint8_t *types;      /* [count] of enum tokenizer_type */
    float *scores;       /* [count], or NULL where merges decide */
    struct text *merges; /* [merge_count] "left right", best first; or NULL where scores decide */
    uint32_t merge_count;
    bool add_bos; /* what TOKENIZER_ADD_SPECIAL does */
    bool add_eos;
    bool add_space_prefix;         /* a blank before the text */
    bool remove_extra_whitespaces; /* runs of blanks become one, none at the ends */
    struct span charsmap;          /* SentencePiece's precompiled normalizer, empty when none */
};

/* Fills *out; arrays and texts lie in `arena` or are borrowed from the tokenizer.
 * ERR_UNSUPPORTED: something that those names cannot say (a pattern of one's own, a normalizer).
 * On an error *out is as it was. */
MUST_CHECK enum err tokenizer_export_make(const struct tokenizer *tokenizer, struct arena *arena,
                                          struct tokenizer_export *out, struct err_text *et);

#endif
