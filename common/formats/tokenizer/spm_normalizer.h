/* spm_normalizer.h - what SentencePiece does to a text before it cuts it.
 *
 * In one pass, left to right: the precompiled map (longest entry), user-defined pieces left as they
 * are, blanks at the ends removed and runs of them made one, a blank put before the text, blanks
 * written as U+2581. (sentencepiece: Normalizer::Normalize in src/normalizer.cc.)
 */
#ifndef COMMON_FORMATS_TOKENIZER_SPM_NORMALIZER_H
#define COMMON_FORMATS_TOKENIZER_SPM_NORMALIZER_H

#include <stdbool.h>

#include "common/base/span.h"
#include "common/formats/tokenizer/added_token.h"
#include "common/formats/tokenizer/charsmap.h"
#include "common/mem/bytes.h"

struct spm_normalizer {
    struct charsmap charsmap;
    struct added_tokens user; /* user-defined pieces */
    bool has_charsmap;
    bool dummy_prefix; /* a blank before the text */
    bool squeeze;      /* remove_extra_whitespaces */
};

#define SPM_NORMALIZER_BLANK TEXT("\xE2\x96\x81")

/* Appends the normal form of valid UTF-8 to *out. `first`: `text` is the start of the whole input;
 * only there is a blank put before it. */
void spm_normalizer_apply(const struct spm_normalizer *normalizer, struct text text, bool first,
                          struct bytes *out);

#endif
