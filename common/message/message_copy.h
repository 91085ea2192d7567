/* message_copy.h - deep copies of any structure, by its descriptor. */
#ifndef COMMON_MESSAGE_MESSAGE_COPY_H
#define COMMON_MESSAGE_MESSAGE_COPY_H

#include "common/base/error.h"
#include "common/mem/arena.h"
#include "common/message/message.h"

/* Copies `value` (described by `type`) to `out`, and all that it points to into `arena`.
 * Recursion goes along the schema. ERR_OUT_OF_MEMORY: *out is not to be used then; `value` and
 * `out` must not be the same object. */
MUST_CHECK enum err message_copy(const struct message_type *type, const void *value,
                                 struct arena *arena, void *out);

#endif
