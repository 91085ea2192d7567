/* json_write.c - members are written as they come and put in order when their object ends. */
#include "common/formats/json/json_write.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/utf8.h"
#include "common/formats/json/json_float.h"

/* A member of an object that is still open. Its text ends where the next one's starts. */
struct member {
    struct text key; /* set for the sort only: `keys` moves as it grows */
    size_t key_at;   /* in `keys` */
    size_t key_size;
    size_t start; /* in `out`: the quote of its key */
    size_t size;
};

/* The escape of a character that needs one, else NULL. */
static const char *escape_of(uint8_t c)
{
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\b':
        return "\\b";
    case '\f':
        return "\\f";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        return NULL;
    }
}

/* `text` is UTF-8. */
static void put_escaped(struct bytes *out, struct text text)
{
    size_t plain = 0; /* start of what is copied as it is */
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = (uint8_t)text.data[i];
        const char *escape = escape_of(c);
        if (escape == NULL && c >= 0x20)
            continue;
        bytes_append(out, text.data + plain, i - plain);
        plain = i + 1;
        if (escape != NULL)
            bytes_append_text(out, text_of(escape));
        else
            bytes_print(out, "\\u%04x", c);
    }
    bytes_append(out, text.data + plain, text.size - plain);
}

enum err json_write_quoted(struct bytes *out, struct text text)
{
    const uint8_t *data = (const uint8_t *)text.data;
    for (size_t i = 0, size; i < text.size; i += size) {
        size = utf8_size(data + i, text.size - i);
        if (size == 0)
            return ERR_FORMAT;
    }
    bytes_append_text(out, TEXT("\""));
    put_escaped(out, text);
    bytes_append_text(out, TEXT("\""));
    return bytes_status(out);
}

void json_write_init(struct json_write *w, enum json_write_style style, size_t size_bytes_max)
{
    *w = (struct json_write){.style = style};
    bytes_init(&w->out, size_bytes_max);
    bytes_init(&w->keys, size_bytes_max);
    bytes_init(&w->members, SIZE_MAX); /* bounded by the members in `out` */
    bytes_init(&w->sorted, SIZE_MAX);  /* no larger than `out` and its separators */
}

void json_write_fini(struct json_write *w)
{
    bytes_fini(&w->out);
    bytes_fini(&w->keys);
    bytes_fini(&w->members);
    bytes_fini(&w->sorted);
}

static void note(struct json_write *w, enum err err)
{
    if (w->err == ERR_OK)
        w->err = err;
}

/* What stands between the bracket or comma and the next member or element. */
static void put_break(const struct json_write *w, struct bytes *out, size_t depth, bool is_first)
{
    if (w->style == JSON_WRITE_PRETTY) {
        bytes_append_text(out, TEXT("\n"));
        for (size_t i = 0; i < depth; i++)
            bytes_append_text(out, TEXT("  "));
    } else if (w->style == JSON_WRITE_LINE && !is_first) {
        bytes_append_text(out, TEXT(" "));
    }
}

/* Puts what goes before a value; false after a failure. */
static bool value_begin(struct json_write *w, const char *key)
{
    if (w->err != ERR_OK)
        return false;
    if (w->depth == 0) {
        ASSERT(key == NULL && w->out.size == 0); /* one value */
        return true;
    }
    struct json_write_frame *frame = &w->frames[w->depth - 1];
    ASSERT(frame->is_object == (key != NULL));
    if (frame->is_object) {
        struct member member = {
            .key_at = w->keys.size, .key_size = strlen(key), .start = w->out.size};
        bytes_append(&w->keys, key, member.key_size);
        bytes_append(&w->members, &member, sizeof member);
        note(w, bytes_status(&w->keys));
        note(w, bytes_status(&w->members));
        note(w, json_write_quoted(&w->out, text_of(key)));
        bytes_append_text(&w->out, w->style == JSON_WRITE_COMPACT ? TEXT(":") : TEXT(": "));
    } else {
        if (frame->count > 0)
            bytes_append_text(&w->out, TEXT(","));
        put_break(w, &w->out, w->depth, frame->count == 0);
    }
    frame->count++;
    return w->err == ERR_OK;
}

static void put(struct json_write *w, struct text text)
{
    bytes_append_text(&w->out, text);
    note(w, bytes_status(&w->out));
}

static void begin(struct json_write *w, const char *key, bool is_object)
{
    if (!value_begin(w, key))
        return;
    if (w->depth == JSON_WRITE_DEPTH_MAX) {
        note(w, ERR_LIMIT);
        return;
    }
    put(w, is_object ? TEXT("{") : TEXT("["));
    w->frames[w->depth++] = (struct json_write_frame){.start = w->out.size,
                                                      .members_start = w->members.size,
                                                      .keys_start = w->keys.size,
                                                      .is_object = is_object};
}

void json_write_object_begin(struct json_write *w, const char *key)
{
    begin(w, key, true);
}

void json_write_array_begin(struct json_write *w, const char *key)
{
    begin(w, key, false);
}

static int compare_members(const void *a, const void *b)
{
    return text_compare(((const struct member *)a)->key, ((const struct member *)b)->key);
}

/* Puts the members of the innermost object in order. */
static void sort_members(struct json_write *w, const struct json_write_frame *frame)
{
    struct member *members = (void *)(w->members.data + frame->members_start);
    for (size_t i = 0; i < frame->count; i++) {
        members[i].key =
            (struct text){(char *)w->keys.data + members[i].key_at, members[i].key_size};
        members[i].size =
            (i + 1 < frame->count ? members[i + 1].start : w->out.size) - members[i].start;
    }
    qsort(members, frame->count, sizeof *members, compare_members);
    bytes_clear(&w->sorted);
    for (size_t i = 0; i < frame->count; i++) {
        if (i > 0 && text_equal(members[i - 1].key, members[i].key))
            note(w, ERR_FORMAT);
        if (i > 0)
            bytes_append_text(&w->sorted, TEXT(","));
        put_break(w, &w->sorted, w->depth, i == 0);
        bytes_append(&w->sorted, w->out.data + members[i].start, members[i].size);
    }
    note(w, bytes_status(&w->sorted));
    if (w->err != ERR_OK)
        return;
    w->out.size = frame->start;
    bytes_append(&w->out, w->sorted.data, w->sorted.size);
}

static void end(struct json_write *w, bool is_object)
{
    if (w->err != ERR_OK)
        return;
    ASSERT(w->depth > 0 && w->frames[w->depth - 1].is_object == is_object);
    const struct json_write_frame *frame = &w->frames[w->depth - 1];
    if (is_object && frame->count > 0)
        sort_members(w, frame);
    w->members.size = frame->members_start;
    w->keys.size = frame->keys_start;
    w->depth--;
    if (frame->count > 0)
        put_break(w, &w->out, w->depth, true);
    put(w, is_object ? TEXT("}") : TEXT("]"));
}

void json_write_object_end(struct json_write *w)
{
    end(w, true);
}

void json_write_array_end(struct json_write *w)
{
    end(w, false);
}

void json_write_null(struct json_write *w, const char *key)
{
    if (value_begin(w, key))
        put(w, TEXT("null"));
}

void json_write_bool(struct json_write *w, const char *key, bool value)
{
    if (value_begin(w, key))
        put(w, value ? TEXT("true") : TEXT("false"));
}

void json_write_i64(struct json_write *w, const char *key, int64_t value)
{
    if (!value_begin(w, key))
        return;
    bytes_print(&w->out, "%" PRId64, value);
    note(w, bytes_status(&w->out));
}

void json_write_u64(struct json_write *w, const char *key, uint64_t value)
{
    if (!value_begin(w, key))
        return;
    bytes_print(&w->out, "%" PRIu64, value);
    note(w, bytes_status(&w->out));
}

void json_write_f64(struct json_write *w, const char *key, double value)
{
    char text[JSON_FLOAT_BYTES];
    if (!isfinite(value))
        note(w, ERR_NOT_FINITE);
    else if (value_begin(w, key))
        put(w, (struct text){text, json_float_print_f64(value, text)});
}

void json_write_f32(struct json_write *w, const char *key, float value)
{
    char text[JSON_FLOAT_BYTES];
    if (!isfinite(value))
        note(w, ERR_NOT_FINITE);
    else if (value_begin(w, key))
        put(w, (struct text){text, json_float_print_f32(value, text)});
}

void json_write_text(struct json_write *w, const char *key, struct text value)
{
    if (value_begin(w, key))
        note(w, json_write_quoted(&w->out, value));
}

void json_write_text_shown(struct json_write *w, const char *key, struct text value)
{
    const uint8_t *data = (const uint8_t *)value.data;
    size_t begin = 0;
    if (!value_begin(w, key))
        return;
    bytes_append_text(&w->out, TEXT("\""));
    for (size_t i = 0; i < value.size;) {
        size_t size = utf8_size(data + i, value.size - i);
        i += size;
        if (size > 0)
            continue;
        put_escaped(&w->out, (struct text){value.data + begin, i - begin});
        bytes_append_text(&w->out, TEXT("\xEF\xBF\xBD"));
        begin = ++i;
    }
    put_escaped(&w->out, (struct text){value.data + begin, value.size - begin});
    bytes_append_text(&w->out, TEXT("\""));
    note(w, bytes_status(&w->out));
}

enum err json_write_finish(struct json_write *w, struct span *out)
{
    if (w->err != ERR_OK)
        return w->err;
    ASSERT(w->depth == 0 && w->out.size > 0);
    if (w->style == JSON_WRITE_PRETTY)
        put(w, TEXT("\n"));
    TRY(w->err);
    *out = bytes_span(&w->out);
    return ERR_OK;
}

enum err json_write_close(struct json_write *w, struct bytes *out)
{
    struct span text;
    enum err err = json_write_finish(w, &text);
    if (err == ERR_OK) {
        bytes_append(out, text.data, text.size);
        err = bytes_status(out);
    }
    json_write_fini(w);
    return err;
}
