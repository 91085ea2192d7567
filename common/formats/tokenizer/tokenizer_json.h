/* tokenizer_json.h - reads tokenizer.json, and the older pair vocab.json and merges.txt. */
#ifndef COMMON_FORMATS_TOKENIZER_TOKENIZER_JSON_H
#define COMMON_FORMATS_TOKENIZER_TOKENIZER_JSON_H

#include "common/formats/tokenizer/tokenizer_model.h"

/* Fills vocabulary, BPE, added tokens and the steps around them from a tokenizer.json.
 * ERR_FORMAT, ERR_UNSUPPORTED name the component; ERR_LIMIT, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err tokenizer_json_read(struct tokenizer *tokenizer, struct json_value root,
                                        struct err_text *et);

/* The same from vocab.json as `vocabulary` and merges.txt (valid UTF-8) as `merges`: the form of
 * GPT-2, which says nothing else. */
MUST_CHECK enum err tokenizer_json_read_pair(struct tokenizer *tokenizer,
                                             struct json_value vocabulary, struct text merges,
                                             struct err_text *et);

#endif
