/* json_schema.h - what json_view writes, as JSON Schema: made from the same descriptors. */
#ifndef COMMON_VIEW_JSON_SCHEMA_H
#define COMMON_VIEW_JSON_SCHEMA_H

#include "common/formats/json/json_write.h"
#include "common/message/message.h"

/* Writes the members of the schema of one structure (json_view_object), or of a list of at most
 * `count_max` of them (json_view_list), into the object that the caller has begun. */
void json_schema_object(struct json_write *w, const struct message_type *type);
void json_schema_list(struct json_write *w, const struct message_type *type, size_t count_max);

/* Writes the member "type" of a value that is an "object", "array", "string", ... */
void json_schema_type(struct json_write *w, const char *type, bool may_be_null);

#endif
