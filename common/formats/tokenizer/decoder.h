/* decoder.h - what the spelling of one token becomes in text.
 *
 * The decoders that models use all work token by token, except for blanks stripped at the start; so
 * a decoder is a function of one spelling to bytes, made into a table when a tokenizer is opened.
 */
#ifndef COMMON_FORMATS_TOKENIZER_DECODER_H
#define COMMON_FORMATS_TOKENIZER_DECODER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/json/json_read.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"

enum { DECODER_REPLACES_MAX = 8 };

struct decoder {
    struct {
        struct text from; /* in the arena, as `to` */
        struct text to;
    } replaces[DECODER_REPLACES_MAX];
    size_t replace_count;
    bool byte_level;    /* characters of byte-level vocabularies stand for bytes */
    bool byte_fallback; /* "<0x0A>" stands for a byte */
    bool spaced;        /* no decoder in the file: a space before every token */
    size_t strip_left;  /* up to so many spaces go at the very start */
    struct text drop;   /* what goes from the first token wherever it stands in it, if anything */
};

/* From a "decoder" value (null: tokens joined by spaces). ERR_UNSUPPORTED names an unknown type. */
MUST_CHECK enum err decoder_read(struct decoder *decoder, struct json_value value,
                                 struct arena *arena, struct err_text *et);

MUST_CHECK enum err decoder_add_replace(struct decoder *decoder, struct text from, struct text to,
                                        struct arena *arena);

/* Appends the bytes of one token; they need not be UTF-8 by themselves. The two buffers of
 * `spare` are overwritten. */
MUST_CHECK enum err decoder_apply(const struct decoder *decoder, struct text token,
                                  struct bytes spare[2], struct bytes *out);

#endif
