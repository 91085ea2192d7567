/* tiktoken.h - reads a file of ranks, the form in which Llama 3 comes from its makers.
 *
 *   base64 of a token's bytes, a space, its rank; one line each
 *
 * Of two neighbours that form a token, those of least rank merge first; a rank is an id. The file
 * does not say how texts are cut into pieces nor which special tokens there are; both are Llama
 * 3's, known by its number of ranks.
 */
#ifndef COMMON_FORMATS_TOKENIZER_TIKTOKEN_H
#define COMMON_FORMATS_TOKENIZER_TIKTOKEN_H

#include "common/formats/tokenizer/tokenizer_model.h"

/* Whether the file starts as such a file does. */
bool tiktoken_recognise(struct span content);

/* Fills vocabulary, merges, special tokens and the steps around them. ERR_FORMAT names the line,
 * ERR_UNSUPPORTED: ranks of another model; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err tiktoken_read(struct tokenizer *tokenizer, struct span content,
                                  struct err_text *et);

#endif
