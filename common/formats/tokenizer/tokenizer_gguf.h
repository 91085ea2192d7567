/* tokenizer_gguf.h - reads the tokenizer inside a GGUF file. */
#ifndef COMMON_FORMATS_TOKENIZER_TOKENIZER_GGUF_H
#define COMMON_FORMATS_TOKENIZER_TOKENIZER_GGUF_H

#include "common/formats/gguf/gguf.h"
#include "common/formats/tokenizer/tokenizer_model.h"

/* Fills vocabulary, model, special tokens, roles, chat template and the steps around them from the
 * keys tokenizer.*. ERR_NOT_FOUND: there is none inside; ERR_FORMAT, ERR_UNSUPPORTED name the key;
 * ERR_LIMIT, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err tokenizer_gguf_read(struct tokenizer *tokenizer, const struct gguf *gguf,
                                        struct err_text *et);

#endif
