/* pretokenizer_named.h - pre-tokenizers by the names that GGUF files use (tokenizer.ggml.pre). */
#ifndef COMMON_FORMATS_TOKENIZER_PRETOKENIZER_NAMED_H
#define COMMON_FORMATS_TOKENIZER_PRETOKENIZER_NAMED_H

#include "common/formats/tokenizer/normalizer.h"
#include "common/formats/tokenizer/pretokenizer.h"

/* What else a name stands for, since nothing else in such a file says it. */
struct pretokenizer_named {
    const char *name;   /* the first of the names for the same steps; static */
    bool nfc;           /* texts are normalized to NFC */
    bool ignore_merges; /* a piece that is a token is that token */
    bool add_bos;
};

/* Adds the steps of `name`, the last of which turns bytes into characters. ERR_UNSUPPORTED lists
 * the names there are. */
MUST_CHECK enum err pretokenizer_named_add(struct pretokenizer *pretokenizer, struct text name,
                                           struct pretokenizer_named *out, struct err_text *et);

/* What the steps are called, of names with the same `nfc` as `wanted`, and with the same
 * `ignore_merges` if there is one; false when they have no name. */
bool pretokenizer_named_find(const struct pretokenizer *pretokenizer,
                             const struct pretokenizer_named *wanted,
                             struct pretokenizer_named *out);

#endif
