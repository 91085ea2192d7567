/* json_read.c - jansson behind typed getters. */
#include "common/formats/json/json_read.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_path.h"
#include "common/formats/source/source.h"
#include "common/mem/mem.h"

struct json_doc {
    json_t *root; /* owned */
    char *name;   /* owned */
};

/* jansson recurses; a text that is too deep must not reach it. */
static bool depth_exceeds(struct span content, size_t depth_max)
{
    size_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < content.size; i++) {
        uint8_t c = content.data[i];
        if (quoted) {
            if (c == '\\')
                i++;
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > depth_max)
                return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

static json_t *load(struct span content, json_error_t *error)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    const char *text = (const char *)content.data;
    json_t *root = json_loadb(text, content.size, flags, error);
    if (root == NULL && json_error_code(error) == json_error_numeric_overflow)
        root = json_loadb(text, content.size, flags | JSON_DECODE_INT_AS_REAL, error);
    return root;
}

static enum err check_limits(struct span content, const struct json_read_options *options,
                             struct err_text *et)
{
    size_t size_max =
        options->size_bytes_max != 0 ? options->size_bytes_max : (size_t)JSON_READ_SIZE_BYTES_MAX;
    size_t depth_max = options->depth_max != 0 ? options->depth_max : (size_t)JSON_READ_DEPTH_MAX;
    depth_max = MIN(depth_max, (size_t)JSON_READ_DEPTH_MAX);
    if (content.size > size_max)
        return error_set(et, ERR_LIMIT, "%s: expected at most %zu bytes of JSON, found %zu",
                         options->name, size_max, content.size);
    if (depth_exceeds(content, depth_max))
        return error_set(et, ERR_LIMIT, "%s: expected JSON nested at most %zu deep, found more",
                         options->name, depth_max);
    return ERR_OK;
}

enum err json_read_parse(struct span content, const struct json_read_options *options,
                         struct json_doc **doc, struct err_text *et)
{
    ASSERT(options->name != NULL);
    TRY(check_limits(content, options, et));
    struct json_doc *made = mem_alloc(1, sizeof *made);
    if (made == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", options->name);
    json_error_t error = {0};
    made->name = mem_copy_text(text_of(options->name));
    made->root = made->name != NULL ? load(content, &error) : NULL;
    if (made->root != NULL) {
        *doc = made;
        return ERR_OK;
    }
    enum err err;
    if (made->name == NULL || json_error_code(&error) == json_error_out_of_memory)
        err = error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", options->name);
    else if (content.size == 0)
        err = error_set(et, ERR_FORMAT, "%s: expected JSON, found an empty text", options->name);
    else
        err = error_set(et, ERR_FORMAT, "%s:%zu:%d: not valid JSON: %s", options->name,
                        (size_t)MAX(error.line, 1) + MAX(options->first_line, (size_t)1) - 1,
                        MAX(error.column, 1), error.text);
    json_read_close(&made);
    return err;
}

enum err json_read_open(const char *path, size_t size_bytes_max, struct json_doc **doc,
                        struct err_text *et)
{
    struct source source;
    TRY(source_open(&source, path, et));
    const struct json_read_options options = {.name = path, .size_bytes_max = size_bytes_max};
    enum err err = json_read_parse(source.bytes, &options, doc, et);
    source_close(&source);
    return err;
}

void json_read_close(struct json_doc **doc)
{
    if (*doc == NULL)
        return;
    json_decref((*doc)->root);
    mem_free((*doc)->name);
    mem_free(*doc);
    *doc = NULL;
}

struct json_value json_read_root(const struct json_doc *doc)
{
    return (struct json_value){.doc = doc, .node = doc->root};
}

const char *json_read_name(const struct json_doc *doc)
{
    return doc->name;
}

enum json_read_type json_read_type(struct json_value value)
{
    const json_t *node = value.node;
    if (node == NULL)
        return JSON_READ_ABSENT;
    switch (json_typeof(node)) {
    case JSON_OBJECT:
        return JSON_READ_OBJECT;
    case JSON_ARRAY:
        return JSON_READ_ARRAY;
    case JSON_STRING:
        return JSON_READ_TEXT;
    case JSON_INTEGER:
        return JSON_READ_INTEGER;
    case JSON_REAL:
        return JSON_READ_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_READ_BOOL;
    case JSON_NULL:
        return JSON_READ_NULL;
    }
    return JSON_READ_NULL;
}

const char *json_read_type_name(enum json_read_type type)
{
    static const char *const names[JSON_READ_TYPE_COUNT] = {
        [JSON_READ_ABSENT] = "nothing", [JSON_READ_NULL] = "null",
        [JSON_READ_BOOL] = "a boolean", [JSON_READ_INTEGER] = "an integer",
        [JSON_READ_REAL] = "a number",  [JSON_READ_TEXT] = "a text",
        [JSON_READ_ARRAY] = "an array", [JSON_READ_OBJECT] = "an object",
    };
    ASSERT((unsigned)type < JSON_READ_TYPE_COUNT);
    return names[type];
}

size_t json_read_count(struct json_value value)
{
    return json_is_array((const json_t *)value.node) ? json_array_size(value.node)
                                                     : json_object_size(value.node);
}

struct json_value json_read_find(struct json_value object, const char *key)
{
    return (struct json_value){
        .doc = object.doc,
        .node = json_object_get(object.node, key), /* NULL for what is not an object */
        .parent = object.node,
        .key = text_of(key),
    };
}

struct json_value json_read_item(struct json_value array, size_t index)
{
    return (struct json_value){
        .doc = array.doc,
        .node = json_array_get(array.node, index),
        .parent = array.node,
        .index = index,
    };
}

bool json_read_next(struct json_value container, struct json_cursor *cursor)
{
    if (json_is_array((const json_t *)container.node)) {
        cursor->value = json_read_item(container, cursor->count);
        cursor->count += cursor->value.node != NULL;
        return cursor->value.node != NULL;
    }
    if (!json_is_object((const json_t *)container.node))
        return false;
    cursor->position = cursor->count == 0 ? json_object_iter(container.node)
                                          : json_object_iter_next(container.node, cursor->position);
    if (cursor->position == NULL)
        return false;
    cursor->count++;
    cursor->value = (struct json_value){
        .doc = container.doc,
        .node = json_object_iter_value(cursor->position),
        .parent = container.node,
        .key = {json_object_iter_key(cursor->position), json_object_iter_key_len(cursor->position)},
    };
    return true;
}

enum err json_read_wrong(struct json_value value, const char *expected, struct err_text *et)
{
    char place[256];
    json_path_print(value, place, sizeof place);
    char found[96];
    json_path_print_found(value, found, sizeof found);
    return error_set(et, ERR_FORMAT, "%s: %s: expected %s, found %s", value.doc->name, place,
                     expected, found);
}

enum err json_read_as_text(struct json_value value, struct text *out, struct err_text *et)
{
    if (json_read_type(value) != JSON_READ_TEXT)
        return json_read_wrong(value, "a text", et);
    *out = (struct text){json_string_value(value.node), json_string_length(value.node)};
    return ERR_OK;
}

enum err json_read_as_bool(struct json_value value, bool *out, struct err_text *et)
{
    if (json_read_type(value) != JSON_READ_BOOL)
        return json_read_wrong(value, "true or false", et);
    *out = json_is_true((const json_t *)value.node);
    return ERR_OK;
}

/* A whole double within the integers that doubles hold exactly. */
static bool whole_of(double real, int64_t *out)
{
    const double exact_max = 9007199254740992.0; /* 2^53 */
    if (!(real >= -exact_max && real <= exact_max) || (double)(int64_t)real != real)
        return false;
    *out = (int64_t)real;
    return true;
}

enum err json_read_as_i64(struct json_value value, int64_t min, int64_t max, int64_t *out,
                          struct err_text *et)
{
    enum json_read_type type = json_read_type(value);
    int64_t found = 0;
    bool is_whole = type == JSON_READ_INTEGER;
    if (is_whole)
        found = json_integer_value(value.node);
    else if (type == JSON_READ_REAL)
        is_whole = whole_of(json_real_value(value.node), &found);
    if (is_whole && found >= min && found <= max) {
        *out = found;
        return ERR_OK;
    }
    char expected[96];
    (void)snprintf(expected, sizeof expected, "an integer from %" PRId64 " to %" PRId64, min, max);
    return json_read_wrong(value, min == INT64_MIN && max == INT64_MAX ? "an integer" : expected,
                           et);
}

enum err json_read_as_f64(struct json_value value, double *out, struct err_text *et)
{
    enum json_read_type type = json_read_type(value);
    if (type != JSON_READ_INTEGER && type != JSON_READ_REAL)
        return json_read_wrong(value, "a number", et);
    *out = json_number_value(value.node);
    return ERR_OK;
}

enum err json_read_text(struct json_value object, const char *key, struct text *out,
                        struct err_text *et)
{
    return json_read_as_text(json_read_find(object, key), out, et);
}

enum err json_read_bool(struct json_value object, const char *key, bool *out, struct err_text *et)
{
    return json_read_as_bool(json_read_find(object, key), out, et);
}

enum err json_read_i64(struct json_value object, const char *key, int64_t min, int64_t max,
                       int64_t *out, struct err_text *et)
{
    return json_read_as_i64(json_read_find(object, key), min, max, out, et);
}

enum err json_read_f64(struct json_value object, const char *key, double *out, struct err_text *et)
{
    return json_read_as_f64(json_read_find(object, key), out, et);
}

static enum err as_container(struct json_value value, enum json_read_type type,
                             struct json_value *out, struct err_text *et)
{
    if (json_read_type(value) != type)
        return json_read_wrong(value, json_read_type_name(type), et);
    *out = value;
    return ERR_OK;
}

enum err json_read_array(struct json_value object, const char *key, struct json_value *out,
                         struct err_text *et)
{
    return as_container(json_read_find(object, key), JSON_READ_ARRAY, out, et);
}

enum err json_read_object(struct json_value object, const char *key, struct json_value *out,
                          struct err_text *et)
{
    return as_container(json_read_find(object, key), JSON_READ_OBJECT, out, et);
}

/* Looks for an optional member and says whether there is something to read. */
static bool find_opt(struct json_value object, const char *key, struct json_value *value,
                     bool *out_found)
{
    *value = json_read_find(object, key);
    enum json_read_type type = json_read_type(*value);
    bool found = type != JSON_READ_ABSENT && type != JSON_READ_NULL;
    if (out_found != NULL)
        *out_found = found;
    return found;
}

enum err json_read_opt_text(struct json_value object, const char *key, struct text *out,
                            bool *out_found, struct err_text *et)
{
    struct json_value value;
    return find_opt(object, key, &value, out_found) ? json_read_as_text(value, out, et) : ERR_OK;
}

enum err json_read_opt_bool(struct json_value object, const char *key, bool *out, bool *out_found,
                            struct err_text *et)
{
    struct json_value value;
    return find_opt(object, key, &value, out_found) ? json_read_as_bool(value, out, et) : ERR_OK;
}

enum err json_read_opt_i64(struct json_value object, const char *key, int64_t min, int64_t max,
                           int64_t *out, bool *out_found, struct err_text *et)
{
    struct json_value value;
    return find_opt(object, key, &value, out_found) ? json_read_as_i64(value, min, max, out, et)
                                                    : ERR_OK;
}

enum err json_read_opt_f64(struct json_value object, const char *key, double *out, bool *out_found,
                           struct err_text *et)
{
    struct json_value value;
    return find_opt(object, key, &value, out_found) ? json_read_as_f64(value, out, et) : ERR_OK;
}

enum err json_read_opt_array(struct json_value object, const char *key, struct json_value *out,
                             bool *out_found, struct err_text *et)
{
    struct json_value value;
    return find_opt(object, key, &value, out_found) ? as_container(value, JSON_READ_ARRAY, out, et)
                                                    : ERR_OK;
}

enum err json_read_opt_object(struct json_value object, const char *key, struct json_value *out,
                              bool *out_found, struct err_text *et)
{
    struct json_value value;
    return find_opt(object, key, &value, out_found) ? as_container(value, JSON_READ_OBJECT, out, et)
                                                    : ERR_OK;
}
