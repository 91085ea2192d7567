/* dataset_messages.c - messages of either spelling, and who says what in the rendered text. */
#include "common/formats/dataset/dataset_messages.h"

#include "common/base/check.h"

/* Content of a message: text, or a list of {"type": "text", "text": ...}. */
static enum err read_content(struct dataset_reading *r, struct json_value value, struct text *out)
{
    struct bytes joined;
    enum err err = ERR_OK;
    if (json_read_type(value) == JSON_READ_TEXT)
        return json_read_as_text(value, out, r->et);
    if (json_read_type(value) != JSON_READ_ARRAY)
        return dataset_keys_wrong(&r->place, value, "text", r->et);
    bytes_init(&joined, DATASET_READING_BYTES_MAX);
    for (size_t i = 0; i < json_read_count(value); i++) {
        struct json_value part = json_read_item(value, i);
        struct text kind = TEXT(""), text;
        struct json_value type = json_read_find(part, "type");
        if (json_read_type(type) == JSON_READ_TEXT)
            TRY_OUT(json_read_as_text(type, &kind, r->et));
        if (!text_is(kind, "text")) {
            err = dataset_keys_wrong(&r->place, part, "a part of type \"text\"", r->et);
            goto out;
        }
        TRY_OUT(dataset_reading_text(r, part, "text", &text));
        bytes_append_text(&joined, text);
    }
    TRY_OUT(bytes_status(&joined));
    char *copy =
        arena_copy_text(&r->row->arena, (struct text){(const char *)joined.data, joined.size});
    *out = (struct text){copy, joined.size};
    err = copy == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
out:
    bytes_fini(&joined);
    return err;
}

static enum err read_message(struct dataset_reading *r, struct json_value value,
                             struct chat_message *out)
{
    static const char *const roles[] = {"role", "from"};
    static const char *const contents[] = {"content", "value"};
    static const char *const expected[] = {"role", "content", "from", "value"};
    const char *role_key = dataset_reading_only_key(value, roles, COUNT_OF(roles));
    const char *content_key = dataset_reading_only_key(value, contents, COUNT_OF(contents));
    struct text role;
    if (json_read_type(value) != JSON_READ_OBJECT)
        return dataset_keys_wrong(&r->place, value, "a message, an object", r->et);
    if (role_key == NULL || content_key == NULL)
        return dataset_keys_missing(&r->place, value,
                                    "a message needs \"role\" and \"content\" (or \"from\" and "
                                    "\"value\")",
                                    expected, COUNT_OF(expected), r->et);
    TRY(dataset_reading_text(r, value, role_key, &role));
    if (chat_template_role(role, &out->role) != ERR_OK)
        return dataset_keys_wrong(&r->place, json_read_find(value, role_key),
                                  "system, user (human) or assistant (gpt)", r->et);
    return read_content(r, json_read_find(value, content_key), &out->content);
}

enum err dataset_messages_read(struct dataset_reading *r, struct json_value list,
                               struct dataset_messages *out)
{
    size_t count = json_read_count(list);
    if (json_read_type(list) != JSON_READ_ARRAY || count == 0)
        return dataset_keys_wrong(&r->place, list, "an array of at least one message", r->et);
    if (count > DATASET_ROW_MESSAGES_MAX)
        return dataset_keys_wrong(&r->place, list, "at most 4096 messages", r->et);
    struct chat_message *messages = arena_alloc(&r->row->arena, count, sizeof(*messages));
    if (messages == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++)
        TRY(read_message(r, json_read_item(list, i), &messages[i]));
    *out = (struct dataset_messages){messages, count};
    return ERR_OK;
}

enum err dataset_messages_render(struct dataset_reading *r, const struct dataset_messages *messages,
                                 struct chat_span *spans, size_t *span_count)
{
    ASSERT(r->chat != NULL && r->chat->chat_template != NULL);
    enum err err =
        chat_template_render(r->chat->chat_template, messages->items, messages->count,
                             &r->chat->options, &r->row->rendered, spans, span_count, r->et);
    if (err != ERR_OK)
        return error_prefix(r->et, err, "%s:%llu", r->place.file_name,
                            (unsigned long long)r->place.line);
    return ERR_OK;
}

void dataset_messages_add(struct dataset_row *row, size_t begin, size_t end,
                          const struct chat_span *spans, size_t count)
{
    const char *data = row->rendered.size == 0 ? "" : (const char *)row->rendered.data;
    size_t at = begin;
    for (size_t i = 0; i < count; i++) {
        if (spans[i].begin > at)
            dataset_reading_add(row, (struct text){data + at, spans[i].begin - at}, false);
        dataset_reading_add(
            row, (struct text){data + spans[i].begin, spans[i].end - spans[i].begin}, true);
        at = spans[i].end;
    }
    if (end > at)
        dataset_reading_add(row, (struct text){data + at, end - at}, false);
}
