/* convert_gguf_keys.h - the keys of a model's GGUF form: made from a folder's files, or copied from
 * another GGUF file.
 */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_GGUF_KEYS_H
#define COMMON_FORMATS_CONVERT_CONVERT_GGUF_KEYS_H

#include "common/formats/convert/convert_model.h"

/* Makes the keys in the order of llama.cpp's converter; reads the tokenizer of the folder, which
 * may have none. Texts live in `arena`. Errors of tokenizer_open, gguf_config_write and
 * convert_tokenizer_write. */
MUST_CHECK enum err convert_gguf_keys_make(const char *folder, const struct hf_config *config,
                                           const struct convert_model_options *options,
                                           const struct convert_plan *plan, struct arena *arena,
                                           struct gguf_write *w, bool *has_tokenizer,
                                           struct err_text *et);

/* Copies the keys of a file, as llama-quantize does: what is said anew of types and importance
 * stands at the end, and what divides a file into several is left out. A name in `options` replaces
 * the file's. */
void convert_gguf_keys_copy(const struct gguf *gguf, const struct convert_model_options *options,
                            const struct convert_plan *plan, struct gguf_write *w,
                            bool *has_tokenizer);

#endif
