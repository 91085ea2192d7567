/* message_equal.h - equality of any two structures, by their descriptor. */
#ifndef COMMON_MESSAGE_MESSAGE_EQUAL_H
#define COMMON_MESSAGE_MESSAGE_EQUAL_H

#include <stdbool.h>

#include "common/message/message.h"

/* Whether two structures say the same: F64 by their bits, TEXT, BLOB and LIST by content. */
bool message_equal(const struct message_type *type, const void *a, const void *b);

#endif
