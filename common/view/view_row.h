/* view_row.h - which numbers of messages are better read as words or as ids. */
#ifndef COMMON_VIEW_VIEW_ROW_H
#define COMMON_VIEW_VIEW_ROW_H

#include "common/message/message.h"

enum view_kind {
    VIEW_NUMBER,
    VIEW_JOB_STATE,
    VIEW_STAGE_STATE,
    VIEW_WORKER_STATE,
    VIEW_KIND,
    VIEW_REASON,
    VIEW_ERROR,
    VIEW_ID /* 16 hexadecimal digits */
};

/* How the member is shown, VIEW_NUMBER: as it is. */
enum view_kind view_row_kind(const struct message_type *type, const struct message_field *field);

/* The word of a number, "" or "?" where it has none. Static. */
const char *view_row_word(enum view_kind view, uint32_t value);

/* How many words a view of words has: of the numbers below it. */
uint32_t view_row_count(enum view_kind view);

/* Members that say nothing outside of the connection and are not shown. */
bool view_row_is_hidden(const struct message_field *field);

#endif
