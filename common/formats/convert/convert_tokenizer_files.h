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

/* Takes one of the files. An error ends the call, which returns it. */
typedef enum err (*convert_tokenizer_put_f)(void *context, const char *name, struct span content,
                                            struct err_text *et);

/* Hands the files to `put`, one after another; `place` stands before messages.
 * ERR_UNSUPPORTED: what the export cannot say; errors of `put`. */
MUST_CHECK enum err convert_tokenizer_files_make(const struct tokenizer *tokenizer,
                                                 const char *place, struct arena *arena,
                                                 convert_tokenizer_put_f put, void *context,
                                                 struct err_text *et);

/* Writes the files, each durably and at once. ERR_UNSUPPORTED: what the export cannot say; errors
 * of the files. */
MUST_CHECK enum err convert_tokenizer_files_write(const struct tokenizer *tokenizer,
                                                  const char *folder, struct arena *arena,
                                                  struct err_text *et);

#endif
