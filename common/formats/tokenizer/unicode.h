/* unicode.h - characters of UTF-8 text: decoding, classes, normalization forms.
 *
 * The one place that knows utf8proc. Functions that take text expect valid UTF-8, which
 * unicode_is_valid establishes once at the edge.
 */
#ifndef COMMON_FORMATS_TOKENIZER_UNICODE_H
#define COMMON_FORMATS_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/bytes.h"

/* Bytes of the character that starts with `lead`, by its first byte alone. */
static inline size_t unicode_size(uint8_t lead)
{
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/* The character at `at` of valid text. */
static inline uint32_t unicode_at(const char *at)
{
    const uint8_t *b = (const uint8_t *)at;
    if (b[0] < 0x80)
        return b[0];
    if (b[0] < 0xE0)
        return (b[0] & 0x1Fu) << 6 | (b[1] & 0x3Fu);
    if (b[0] < 0xF0)
        return (b[0] & 0x0Fu) << 12 | (b[1] & 0x3Fu) << 6 | (b[2] & 0x3Fu);
    return (b[0] & 0x07u) << 18 | (b[1] & 0x3Fu) << 12 | (b[2] & 0x3Fu) << 6 | (b[3] & 0x3Fu);
}

/* Where the character before `at` starts; `at` > 0, valid text. */
static inline size_t unicode_before(struct text text, size_t at)
{
    do
        at--;
    while (at > 0 && ((uint8_t)text.data[at] & 0xC0) == 0x80);
    return at;
}

/* UTF-8 of a code point below 0x110000; returns 1 to 4. */
size_t unicode_put(uint32_t c, char out[4]);

/* Size of the longest valid prefix: text.size when all is valid (RFC 3629: no surrogates, shortest
 * forms only). */
size_t unicode_valid_prefix(struct text text);

/* How many bytes at text.data (not valid there) one U+FFFD stands for: the longest start of a
 * character that could have become valid, at least 1. `*could_continue`: the text ends inside it.
 */
size_t unicode_bad_size(struct text text, bool *could_continue);

/* Appends `text` with what is not UTF-8 replaced by U+FFFD, one for as much as unicode_bad_size
 * says or, with `each_byte`, one for every byte. */
void unicode_repair(struct text text, bool each_byte, struct bytes *out);

bool unicode_is_letter(uint32_t c);      /* L* */
bool unicode_is_number(uint32_t c);      /* N* */
bool unicode_is_space(uint32_t c);       /* White_Space */
bool unicode_is_punctuation(uint32_t c); /* P*, and the ASCII signs */
bool unicode_is_word(uint32_t c);        /* \w of UTS 18 */

/* Columns that the character takes in a terminal: 0 for marks and joiners, 2 for wide ones. */
unsigned unicode_columns(uint32_t c);

/* Bytes of the first grapheme cluster (UAX 29, extended) of text that is not empty. */
size_t unicode_grapheme(struct text text);

enum unicode_form { UNICODE_NFC, UNICODE_NFD, UNICODE_NFKC, UNICODE_NFKD };

/* Appends `text` in a normalization form (UAX 15). */
MUST_CHECK enum err unicode_normalize(struct text text, enum unicode_form form, struct bytes *out);

/* Appends `text` in lower case, each character on its own. */
void unicode_lower(struct text text, struct bytes *out);

/* Appends `text` without marks (M*). */
void unicode_strip_marks(struct text text, struct bytes *out);

/* "2.8.0": of utf8proc's tables. Static. */
const char *unicode_version(void);

#endif
