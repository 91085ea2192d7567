/* component.h - the steps of a tokenizer.json: {"type": NAME, ...}, and Sequences of them.
 *
 * Normalizers, pre-tokenizers, decoders and post-processors nest in the same way; this walks them
 * and leaves each single step to its own reader.
 */
#ifndef COMMON_FORMATS_TOKENIZER_COMPONENT_H
#define COMMON_FORMATS_TOKENIZER_COMPONENT_H

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/json/json_read.h"
#include "common/mem/arena.h"

enum { COMPONENT_DEPTH_MAX = 8 };

/* Reads one step that is not a Sequence. */
typedef enum err (*component_read_f)(void *context, struct text type, struct json_value value,
                                     struct err_text *et);

/* Calls `read` for every step of `value` in order; null or absent: none. `list` is the key under
 * which a Sequence holds its steps. ERR_FORMAT, and the errors of `read`. */
MUST_CHECK enum err component_read(struct json_value value, const char *list, component_read_f read,
                                   void *context, struct err_text *et);

/* A copy of `from` in the arena. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err component_copy_text(struct arena *arena, struct text from, struct text *out);

#endif
