/* dataset_messages.h - lists of messages in a row, and conversations as parts of text. For this
 * folder. */
#ifndef COMMON_FORMATS_DATASET_DATASET_MESSAGES_H
#define COMMON_FORMATS_DATASET_DATASET_MESSAGES_H

#include "common/formats/dataset/dataset_reading.h"

/* A conversation; in the row's arena. */
struct dataset_messages {
    struct chat_message *items;
    size_t count;
};

/* Reads a list of at least one message, {"role", "content"} or {"from", "value"}. ERR_DATA. */
MUST_CHECK enum err dataset_messages_read(struct dataset_reading *r, struct json_value list,
                                          struct dataset_messages *out);

/* Renders a conversation behind what row->rendered holds. spans[0..*span_count), room for
 * messages->count: where the assistant speaks. ERR_DATA: the template does not take it. */
MUST_CHECK enum err dataset_messages_render(struct dataset_reading *r,
                                            const struct dataset_messages *messages,
                                            struct chat_span *spans, size_t *span_count);

/* Adds the parts of row->rendered's bytes [begin, end), at most 2 count + 1: what spans cover
 * counts. Nothing may be rendered after that. */
void dataset_messages_add(struct dataset_row *row, size_t begin, size_t end,
                          const struct chat_span *spans, size_t count);

#endif
