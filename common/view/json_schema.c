/* json_schema.c - a walk along descriptors, beside that of json_view.c. */
#include "common/view/json_schema.h"

#include "common/view/view_row.h"

void json_schema_type(struct json_write *w, const char *type, bool may_be_null)
{
    if (!may_be_null) {
        json_write_text(w, "type", text_of(type));
        return;
    }
    json_write_array_begin(w, "type");
    json_write_text(w, NULL, text_of(type));
    json_write_text(w, NULL, TEXT("null"));
    json_write_array_end(w);
}

static void write_number(struct json_write *w, enum view_kind view, uint64_t max)
{
    if (view == VIEW_NUMBER) {
        json_schema_type(w, "integer", false);
        json_write_u64(w, "minimum", 0);
        json_write_u64(w, "maximum", max);
        return;
    }
    json_schema_type(w, "string", false);
    if (view == VIEW_ID) {
        json_write_text(w, "pattern", TEXT("^[0-9a-f]{16}$"));
        return;
    }
    json_write_array_begin(w, "enum");
    for (uint32_t i = 0; i < view_row_count(view); i++)
        json_write_text(w, NULL, text_of(view_row_word(view, i)));
    json_write_array_end(w);
}

static void write_field(struct json_write *w, const struct message_type *type,
                        const struct message_field *field)
{
    enum view_kind view = view_row_kind(type, field);
    json_write_object_begin(w, field->name);
    json_write_text(w, "description", text_of(field->text));
    switch (field->kind) {
    case MESSAGE_BOOL:
        json_schema_type(w, "boolean", false);
        break;
    case MESSAGE_U32:
        write_number(w, view, UINT32_MAX);
        break;
    case MESSAGE_U64:
        write_number(w, view, UINT64_MAX);
        break;
    case MESSAGE_I64:
        json_schema_type(w, "integer", false);
        break;
    case MESSAGE_F64:
        json_schema_type(w, "number", true);
        break;
    case MESSAGE_DIGEST:
        json_schema_type(w, "string", true);
        json_write_text(w, "pattern", TEXT("^[0-9a-f]{64}$"));
        break;
    case MESSAGE_OBJECT:
        json_schema_object(w, field->type);
        break;
    case MESSAGE_LIST:
        json_schema_list(w, field->type, field->max);
        break;
    case MESSAGE_TEXT:
    case MESSAGE_BLOB:
        json_schema_type(w, "string", false);
        break;
    }
    json_write_object_end(w);
}

void json_schema_object(struct json_write *w, const struct message_type *type)
{
    json_schema_type(w, "object", false);
    json_write_object_begin(w, "properties");
    for (size_t i = 0; i < type->field_count; i++) {
        if (!view_row_is_hidden(&type->fields[i]))
            write_field(w, type, &type->fields[i]);
    }
    json_write_object_end(w);
    json_write_array_begin(w, "required");
    for (size_t i = 0; i < type->field_count; i++) {
        if (!view_row_is_hidden(&type->fields[i]))
            json_write_text(w, NULL, text_of(type->fields[i].name));
    }
    json_write_array_end(w);
}

void json_schema_list(struct json_write *w, const struct message_type *type, size_t count_max)
{
    json_schema_type(w, "array", false);
    json_write_u64(w, "maxItems", count_max);
    json_write_object_begin(w, "items");
    json_schema_object(w, type);
    json_write_object_end(w);
}
