/* gpt2_split.h - the split of GPT-2, by hand: it runs over most text that byte-level models see.
 *
 * Equals the pattern (openai/gpt-2, encoder.py)
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * which matches everywhere, so a text falls into pieces without gaps.
 */
#ifndef COMMON_FORMATS_TOKENIZER_GPT2_SPLIT_H
#define COMMON_FORMATS_TOKENIZER_GPT2_SPLIT_H

#include <stddef.h>

#include "common/base/span.h"

#define GPT2_SPLIT_PATTERN                                                                         \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* End of the piece that starts at `from` of valid text; text.size at the end. */
size_t gpt2_split_next(struct text text, size_t from);

#endif
