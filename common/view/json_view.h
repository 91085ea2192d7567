/* json_view.h - messages as JSON, member by member from their descriptors: the stable output of
 * `-o json`.
 *
 * Names are those of schemas/message. Digests and ids are hexadecimal texts; times end in unix_ms;
 * a float that is not finite and a digest that is absent are null; states, kinds and errors are the
 * words that tables show. Bytes of texts that are no UTF-8 are U+FFFD: one strange name does not
 * take the list away.
 */
#ifndef COMMON_VIEW_JSON_VIEW_H
#define COMMON_VIEW_JSON_VIEW_H

#include "common/formats/json/json_write.h"
#include "common/message/message.h"

/* Writes one structure as an object. */
void json_view_object(struct json_write *w, const char *key, const struct message_type *type,
                      const void *value);

/* Writes a list of structures as an array. */
void json_view_list(struct json_write *w, const char *key, const struct message_type *type,
                    const void *rows, size_t count);

#endif
