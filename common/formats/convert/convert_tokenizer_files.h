/* convert_tokenizer_files.h - a tokenizer as the files of a model folder.
 *
 *   tokenizer.model        SentencePiece: where scores decide
 *   tokenizer.json         of Hugging Face's tokenizers: where merges decide
 *   tokenizer_config.json  special tokens by name, the two switches, the chat template
 */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_TOKENIZER_FILES_H
#define COMMON_FORMATS_CONVERT_CONVERT_TOKENIZER_FILES_H

#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/arena.h"

/* Writes the files, each durably and at once. ERR_UNSUPPORTED: what the export cannot say; errors
 * of the files. */
MUST_CHECK enum err convert_tokenizer_files_write(const struct tokenizer *tokenizer,
                                                  const char *folder, struct arena *arena,
                                                  struct err_text *et);

#endif
