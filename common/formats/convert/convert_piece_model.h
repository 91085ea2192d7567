/* convert_piece_model.h - SentencePiece's tokenizer.model: a message of protocol buffers.
 *
 * Source: google/sentencepiece src/sentencepiece_model.proto; numbers of fields are facts of that
 * file.
 */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_PIECE_MODEL_H
#define COMMON_FORMATS_CONVERT_CONVERT_PIECE_MODEL_H

#include "common/formats/tokenizer/tokenizer_export.h"
#include "common/mem/bytes.h"

/* Appends the file. `e` has scores. ERR_OUT_OF_MEMORY, ERR_LIMIT. */
MUST_CHECK enum err convert_piece_model_print(const struct tokenizer_export *e,
                                              const struct tokenizer_roles *roles,
                                              struct bytes *out);

#endif
