/* json_view.c - a walk along descriptors; recursion goes along the schema, never along input. */
#include "common/view/json_view.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/digest/digest.h"
#include "common/view/view_row.h"

static void write_u64(struct json_write *w, const struct message_type *type,
                      const struct message_field *field, uint64_t value)
{
    char hex[17];
    if (view_row_kind(type, field) != VIEW_ID) {
        json_write_u64(w, field->name, value);
        return;
    }
    (void)snprintf(hex, sizeof hex, "%016" PRIx64, value);
    json_write_text(w, field->name, text_of(hex));
}

static void write_u32(struct json_write *w, const struct message_type *type,
                      const struct message_field *field, uint32_t value)
{
    enum view_kind view = view_row_kind(type, field);
    if (view != VIEW_NUMBER)
        json_write_text(w, field->name, text_of(view_row_word(view, value)));
    else
        json_write_u64(w, field->name, value);
}

static void write_digest(struct json_write *w, const char *key, const void *member)
{
    struct digest digest;
    char hex[DIGEST_HEX_BYTES];
    memcpy(&digest, member, sizeof digest);
    digest_hex(digest, hex);
    if (digest_is_zero(digest))
        json_write_null(w, key);
    else
        json_write_text(w, key, text_of(hex));
}

static void write_field(struct json_write *w, const struct message_type *type,
                        const struct message_field *field, const char *base)
{
    const char *member = base + field->offset;
    struct text text;
    uint32_t u32;
    uint64_t u64;
    int64_t i64;
    double f64;
    const void *rows;
    switch (field->kind) {
    case MESSAGE_BOOL:
        json_write_bool(w, field->name, *(const bool *)member);
        return;
    case MESSAGE_U32:
        memcpy(&u32, member, sizeof u32);
        write_u32(w, type, field, u32);
        return;
    case MESSAGE_U64:
        memcpy(&u64, member, sizeof u64);
        write_u64(w, type, field, u64);
        return;
    case MESSAGE_I64:
        memcpy(&i64, member, sizeof i64);
        json_write_i64(w, field->name, i64);
        return;
    case MESSAGE_F64:
        memcpy(&f64, member, sizeof f64);
        if (isfinite(f64))
            json_write_f64(w, field->name, f64);
        else
            json_write_null(w, field->name);
        return;
    case MESSAGE_TEXT:
    case MESSAGE_BLOB: /* recipes: the one blob that is shown is text */
        memcpy(&text, member, sizeof text);
        json_write_text_shown(w, field->name, text);
        return;
    case MESSAGE_DIGEST:
        write_digest(w, field->name, member);
        return;
    case MESSAGE_OBJECT:
        json_view_object(w, field->name, field->type, member);
        return;
    case MESSAGE_LIST:
        memcpy(&rows, member, sizeof rows);
        memcpy(&u32, base + field->count_offset, sizeof u32);
        json_view_list(w, field->name, field->type, rows, u32);
        return;
    }
}

void json_view_object(struct json_write *w, const char *key, const struct message_type *type,
                      const void *value)
{
    json_write_object_begin(w, key);
    for (size_t i = 0; i < type->field_count; i++) {
        if (!view_row_is_hidden(&type->fields[i]))
            write_field(w, type, &type->fields[i], value);
    }
    json_write_object_end(w);
}

void json_view_list(struct json_write *w, const char *key, const struct message_type *type,
                    const void *rows, size_t count)
{
    json_write_array_begin(w, key);
    for (size_t i = 0; i < count; i++)
        json_view_object(w, NULL, type, (const char *)rows + i * type->size_bytes);
    json_write_array_end(w);
}
