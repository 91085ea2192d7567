/* convert_tokenizer.h - a tokenizer and chat template as GGUF keys.
 */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_TOKENIZER_H
#define COMMON_FORMATS_CONVERT_CONVERT_TOKENIZER_H

#include "common/formats/gguf/gguf_write.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/arena.h"

/* Writes tokenizer.ggml.* and tokenizer.chat_template. Tokens are filled up to the rows of the
 * model's embedding with unused ones, "[PAD7]"; texts live in `arena` until the header is out.
 * ERR_UNSUPPORTED: what GGUF's names cannot say; ERR_SHAPE: more tokens than rows. */
MUST_CHECK enum err convert_tokenizer_write(const struct tokenizer *tokenizer,
                                            const struct hf_config *config, struct arena *arena,
                                            struct gguf_write *w, struct err_text *et);

#endif
