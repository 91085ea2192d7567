/* special_tokens.h - what the files beside the tokenizer say: roles, added tokens, chat template.
 */
#ifndef COMMON_FORMATS_TOKENIZER_SPECIAL_TOKENS_H
#define COMMON_FORMATS_TOKENIZER_SPECIAL_TOKENS_H

#include "common/formats/tokenizer/tokenizer_model.h"

/* Reads tokenizer_config.json, special_tokens_map.json, generation_config.json, config.json,
 * chat_template.json and chat_template.jinja of `folder`, those that exist, in this order of
 * precedence for roles (a template comes from chat_template.jinja, tokenizer_config.json,
 * chat_template.json, the first that has one). `with_added`: also the added tokens that
 * tokenizer_config.json lists, for vocabularies that do not carry them themselves. */
MUST_CHECK enum err special_tokens_read(struct tokenizer *tokenizer, const char *folder,
                                        bool with_added, struct err_text *et);

#endif
