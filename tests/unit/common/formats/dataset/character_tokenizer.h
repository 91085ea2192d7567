/* character_tokenizer.h - a tokenizer with one token a character, for tests whose ids can be read
 * off the text: 'a' is 10, 'b' 11, ..., unknown 0, BOS <s> 1, EOS </s> 2, chat marks 3 and 4. */
#ifndef TESTS_UNIT_COMMON_FORMATS_DATASET_CHARACTER_TOKENIZER_H
#define TESTS_UNIT_COMMON_FORMATS_DATASET_CHARACTER_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

/* The character of id i + 10; terminated. */
extern const char CHARACTER_TOKENIZER_SIGNS[];

/* Setup and teardown of a group of tests; *state is the tokenizer. */
int character_tokenizer_make(void **state);
int character_tokenizer_drop(void **state);

/* Spelling of tokens and mask: a character a token, upper-case when its prediction counts; '<' BOS,
 * '>' EOS, '{' and '}' the chat marks, '~' unknown; counted signs are followed by '!'. */
void character_tokenizer_spell(const uint32_t *tokens, const uint8_t *loss, size_t count,
                               char *out);

#endif
