/* regex.h - patterns of pre-tokenizers, matched with bounded effort.
 *
 * The one place that knows PCRE2: UTF and Unicode properties, no JIT, limits on matching. `\s`,
 * `\S` and `\w` are rewritten to the sets that these patterns were written for (White_Space and
 * the word characters of UTS 18), since PCRE2's own differ in a few characters.
 */
#ifndef COMMON_FORMATS_TOKENIZER_REGEX_H
#define COMMON_FORMATS_TOKENIZER_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/base/span.h"

struct regex;

/* A thread's working memory for regex_next. */
struct regex_scratch;

/* Compiles. ERR_UNSUPPORTED with position and reason when PCRE2 refuses it. */
MUST_CHECK enum err regex_create(struct text pattern, struct regex **out, struct err_text *et);
void regex_destroy(struct regex **regex);

MUST_CHECK enum err regex_scratch_create(struct regex_scratch **out);
void regex_scratch_destroy(struct regex_scratch **scratch);

/* First match in `text` (valid UTF-8) at or after `from` that is not empty. ERR_LIMIT when matching
 * takes more effort than it may. */
MUST_CHECK enum err regex_next(const struct regex *regex, struct regex_scratch *scratch,
                               struct text text, size_t from, bool *found, size_t *begin,
                               size_t *end);

/* "10.42 2022-12-11"; written once, cut to fit. */
void regex_version(char *out, size_t out_bytes);

#endif
