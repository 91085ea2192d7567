/* sentencepiece.h - reads tokenizer.model, SentencePiece's own file. */
#ifndef COMMON_FORMATS_TOKENIZER_SENTENCEPIECE_H
#define COMMON_FORMATS_TOKENIZER_SENTENCEPIECE_H

#include "common/formats/tokenizer/tokenizer_model.h"

/* Fills vocabulary, model, added tokens and the steps around them. ERR_FORMAT: not such a file;
 * ERR_UNSUPPORTED: a model type or normalizer that qfleet does not have; ERR_LIMIT,
 * ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err sentencepiece_read(struct tokenizer *tokenizer, struct span content,
                                       struct err_text *et);

#endif
