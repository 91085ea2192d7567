/* normalizer.h - the rewriting of text before it is split: prefixes, replacements, Unicode forms.
 */
#ifndef COMMON_FORMATS_TOKENIZER_NORMALIZER_H
#define COMMON_FORMATS_TOKENIZER_NORMALIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/json/json_read.h"
#include "common/formats/tokenizer/charsmap.h"
#include "common/formats/tokenizer/regex.h"
#include "common/formats/tokenizer/spm_normalizer.h"
#include "common/formats/tokenizer/unicode.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"

enum normalizer_kind {
    NORMALIZER_PREPEND,       /* text: `to` */
    NORMALIZER_REPLACE,       /* `from` by `to` */
    NORMALIZER_REPLACE_REGEX, /* matches of `regex` by `to` */
    NORMALIZER_FORM,          /* `form` */
    NORMALIZER_LOWER,
    NORMALIZER_STRIP_LEFT,
    NORMALIZER_STRIP_RIGHT,
    NORMALIZER_STRIP_MARKS,
    NORMALIZER_NMT,      /* controls go, blanks and marks of layout become spaces */
    NORMALIZER_CHARSMAP, /* `charsmap`, grapheme by grapheme */
    NORMALIZER_SPM,      /* `spm`: all that SentencePiece does */
};

struct normalizer_step {
    enum normalizer_kind kind;
    enum unicode_form form;
    struct text from; /* in the arena, as `to` */
    struct text to;
    struct regex *regex;             /* owned by the normalizer */
    const struct charsmap *charsmap; /* in the arena, as spm */
    const struct spm_normalizer *spm;
};

enum { NORMALIZER_STEPS_MAX = 32 };

struct normalizer {
    struct normalizer_step steps[NORMALIZER_STEPS_MAX];
    size_t count;
};

/* Adds the steps of a "normalizer" value (null: none). ERR_UNSUPPORTED names an unknown type,
 * ERR_FORMAT a malformed one. On an error call normalizer_fini all the same. */
MUST_CHECK enum err normalizer_read(struct normalizer *normalizer, struct json_value value,
                                    struct arena *arena, struct err_text *et);

MUST_CHECK enum err normalizer_add(struct normalizer *normalizer, struct normalizer_step step);
void normalizer_fini(struct normalizer *normalizer);

/* Normalizes valid UTF-8. The result is `text` itself or lies in one of the two buffers, which are
 * overwritten. `first`: `text` is the start of the whole input. */
MUST_CHECK enum err normalizer_apply(const struct normalizer *normalizer,
                                     struct regex_scratch *scratch, struct text text, bool first,
                                     struct bytes buffers[2], struct text *out);

#endif
