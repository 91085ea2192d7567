/* random_message.h - random values of any structure of common/message, by its descriptor. */
#ifndef TESTS_LIB_RANDOM_MESSAGE_H
#define TESTS_LIB_RANDOM_MESSAGE_H

#include <stdint.h>

#include "common/mem/arena.h"
#include "common/message/message.h"

/* Fills `value` with a function of `seed`: every kind of integer width, empty and full texts, NaN
 * and signed zeros among the floats, lists up to a few elements. Texts, blobs and lists lie in
 * `arena`, which must have room. */
void random_message(const struct message_type *type, uint64_t seed, struct arena *arena,
                    void *value);

#endif
