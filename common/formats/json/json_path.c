/* json_path.c - a search of the tree for one container, run only when a message is due. */
#include "common/formats/json/json_path.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"

/* Finds `parent` below the root, leaving the cursors of the way in `way`. Returns how many steps,
 * SIZE_MAX when it is not in the tree. Depth is bounded at parsing, so there is no recursion. */
static size_t find_way(struct json_value root, const void *parent,
                       struct json_cursor way[JSON_READ_DEPTH_MAX + 1])
{
    if (root.node == parent)
        return 0;
    size_t depth = 0;
    way[0] = (struct json_cursor){0};
    for (;;) {
        struct json_value container = depth == 0 ? root : way[depth - 1].value;
        if (!json_read_next(container, &way[depth])) {
            if (depth == 0)
                return SIZE_MAX;
            depth--;
            continue;
        }
        if (way[depth].value.node == parent)
            return depth + 1;
        if (json_read_type(way[depth].value) >= JSON_READ_ARRAY && depth < JSON_READ_DEPTH_MAX)
            way[++depth] = (struct json_cursor){0};
    }
}

static size_t print_step(struct json_value value, char *out, size_t out_bytes, size_t used)
{
    if (used >= out_bytes)
        return used;
    int size = value.key.data != NULL
                   ? snprintf(out + used, out_bytes - used, "%s%.*s", used > 0 ? "." : "",
                              TEXT_ARGS(value.key))
                   : snprintf(out + used, out_bytes - used, "[%zu]", value.index);
    return size > 0 ? used + (size_t)size : used;
}

void json_path_print(struct json_value value, char *out, size_t out_bytes)
{
    ASSERT(out_bytes > 0);
    out[0] = '\0';
    if (value.parent == NULL) {
        (void)snprintf(out, out_bytes, "the document");
        return;
    }
    struct json_cursor way[JSON_READ_DEPTH_MAX + 1];
    size_t steps = find_way(json_read_root(value.doc), value.parent, way);
    size_t used = 0;
    for (size_t i = 0; steps != SIZE_MAX && i < steps; i++)
        used = print_step(way[i].value, out, out_bytes, used);
    (void)print_step(value, out, out_bytes, used);
}

static void print_text_found(struct json_value value, char *out, size_t out_bytes)
{
    struct text text = {0};
    if (json_read_as_text(value, &text, NULL) != ERR_OK)
        return;
    const size_t shown_max = 40;
    size_t shown = MIN(text.size, shown_max);
    while (shown < text.size && shown > 0 && ((uint8_t)text.data[shown] & 0xC0) == 0x80)
        shown--; /* not in the middle of a character */
    (void)snprintf(out, out_bytes, "the text \"%.*s\"%s", (int)shown, text.data,
                   shown < text.size ? "..." : "");
}

void json_path_print_found(struct json_value value, char *out, size_t out_bytes)
{
    enum json_read_type type = json_read_type(value);
    bool boolean;
    int64_t integer;
    double real;
    if (type == JSON_READ_TEXT)
        print_text_found(value, out, out_bytes);
    else if (type == JSON_READ_INTEGER &&
             json_read_as_i64(value, INT64_MIN, INT64_MAX, &integer, NULL) == ERR_OK)
        (void)snprintf(out, out_bytes, "%" PRId64, integer);
    else if (type == JSON_READ_REAL && json_read_as_f64(value, &real, NULL) == ERR_OK)
        (void)snprintf(out, out_bytes, "%g", real);
    else if (type == JSON_READ_BOOL && json_read_as_bool(value, &boolean, NULL) == ERR_OK)
        (void)snprintf(out, out_bytes, "%s", boolean ? "true" : "false");
    else
        (void)snprintf(out, out_bytes, "%s", json_read_type_name(type));
}
