/* utf8.h - what is a character of UTF-8 and what is not (RFC 3629: no surrogates, nothing
 * overlong). Refuses to know: what characters mean, how wide they are.
 */
#ifndef COMMON_BASE_UTF8_H
#define COMMON_BASE_UTF8_H

#include "common/base/span.h"

/* Bytes of the character at `at`, 0 when there is none; `left` is at least 1. */
size_t utf8_size(const uint8_t *at, size_t left);

/* Whether the text can be shown in one line: characters alone, none of them a control character. */
bool utf8_is_line(struct text text);

#endif
