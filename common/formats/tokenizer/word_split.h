/* word_split.h - the splits that most byte-level models use, by hand: they run over all text.
 *
 * Each equals its pattern (the tests compare them on random text) and matches everywhere, so a text
 * falls into pieces without gaps. Other patterns go through regex.h, at a tenth of the speed.
 */
#ifndef COMMON_FORMATS_TOKENIZER_WORD_SPLIT_H
#define COMMON_FORMATS_TOKENIZER_WORD_SPLIT_H

#include <stddef.h>

#include "common/base/span.h"

/* GPT-2 (openai/gpt-2, encoder.py). */
#define WORD_SPLIT_GPT2                                                                            \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Llama 3 (its tokenizer.json; close to OpenAI's cl100k), and Qwen 2 with single digits. */
#define WORD_SPLIT_LLAMA3_HEAD "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
#define WORD_SPLIT_LLAMA3_TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORD_SPLIT_LLAMA3      WORD_SPLIT_LLAMA3_HEAD "{1,3}" WORD_SPLIT_LLAMA3_TAIL
#define WORD_SPLIT_QWEN2       WORD_SPLIT_LLAMA3_HEAD WORD_SPLIT_LLAMA3_TAIL

/* End of the piece that starts at `from` of valid text; text.size at the end. */
size_t word_split_gpt2(struct text text, size_t from);

/* The same for Llama 3 with at most `digits_max` digits a piece. */
size_t word_split_llama3(struct text text, size_t from, unsigned digits_max);

#endif
