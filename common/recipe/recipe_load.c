/* recipe_load.c - walks the schema and the nodes together. */
#include "common/recipe/recipe_load.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/nearest.h"
#include "common/formats/json/json_float.h"
#include "common/recipe/recipe_schema.h"
#include "common/recipe/recipe_value.h"

enum { SHOWN_BYTES_MAX = 60 };

/* The error for a value: place, key, what was expected, what was found. */
static enum err fail_value(const struct recipe_load *load, const struct recipe_node *node,
                           const char *key, const char *expected)
{
    char found[SHOWN_BYTES_MAX + 32];
    if (node->kind == RECIPE_NODE_LIST)
        (void)snprintf(found, sizeof found, "a list");
    else if (node->kind == RECIPE_NODE_MAP)
        (void)snprintf(found, sizeof found, "a mapping");
    else
        (void)snprintf(found, sizeof found, "\"%.*s\"%s",
                       (int)MIN(node->text.size, (size_t)SHOWN_BYTES_MAX), node->text.data,
                       node->text.size > SHOWN_BYTES_MAX ? "..." : "");
    return error_set(load->et, ERR_RECIPE, "%s:%u:%u: %s: expected %s, found %s", load->place_name,
                     node->line, node->column, key, expected, found);
}

static enum err fail_key(const struct recipe_load *load, const struct recipe_node *node,
                         enum err code, const char *text)
{
    return error_set(load->et, code, "%s:%u:%u: %s: %s", load->place_name, node->key_line,
                     node->key_column, node->key.data, text);
}

enum err recipe_load_notice(struct recipe_load *load, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    struct recipe_notice *notice = arena_alloc(&load->recipe->arena, 1, sizeof *notice);
    const char *text = arena_copy_text(&load->recipe->arena, text_of(line));
    if (notice == NULL || text == NULL)
        return ERR_OUT_OF_MEMORY;
    *notice = (struct recipe_notice){text, load->notices};
    load->notices = notice;
    return ERR_OK;
}

/* Range of a number, in words that name both ends. */
static enum err check_range(const struct recipe_load *load, const struct recipe_node *node,
                            const struct recipe_field *field, double value)
{
    bool any = field->min >= field->max;
    if (any || (value >= field->min && value <= field->max))
        return ERR_OK;
    char expected[2 * JSON_FLOAT_BYTES + 64], min[JSON_FLOAT_BYTES], max[JSON_FLOAT_BYTES];
    bool whole = field->kind != RECIPE_KIND_F64;
    if (whole) {
        (void)snprintf(min, sizeof min, "%.0f", field->min);
        (void)snprintf(max, sizeof max, "%.0f", field->max);
    } else {
        (void)json_float_print_f64(field->min, min);
        (void)json_float_print_f64(field->max, max);
    }
    (void)snprintf(expected, sizeof expected, "a %s from %s to %s",
                   whole ? "whole number" : "number", min, max);
    return fail_value(load, node, field->name, expected);
}

static enum err load_enum(const struct recipe_load *load, const struct recipe_node *node,
                          const struct recipe_field *field, int *out)
{
    if (recipe_schema_word(field->words, node->text, out))
        return ERR_OK;
    char expected[256];
    size_t used = 0;
    struct nearest nearest = {0};
    for (size_t i = 0; i < field->words->count; i++) {
        const char *word = field->words->rows[i].word;
        nearest_offer(&nearest, node->text, word);
        const char *before = i == 0 ? "one of " : ", ";
        int size = snprintf(expected + used, sizeof expected - used, "%s%s", before, word);
        used = MIN(used + (size_t)MAX(size, 0), sizeof expected - 1);
    }
    enum err err = fail_value(load, node, field->name, expected);
    if (nearest.word != NULL && load->et != NULL) {
        size_t at = strlen(load->et->text);
        (void)snprintf(load->et->text + at, sizeof load->et->text - at, "; did you mean %s?",
                       nearest.word);
    }
    return err;
}

/* A mapping of strings, as "a=b" each. */
static enum err load_pairs(const struct recipe_load *load, const struct recipe_node *map,
                           const struct recipe_field *field, char *base)
{
    struct arena *arena = load->arena;
    const char **pairs = arena_alloc(arena, MAX(map->child_count, (size_t)1), sizeof *pairs);
    if (pairs == NULL)
        return ERR_OUT_OF_MEMORY;
    size_t n = 0;
    for (const struct recipe_node *node = map->first; node != NULL; node = node->next) {
        if (node->kind != RECIPE_NODE_SCALAR || node->text.size == 0)
            return fail_value(load, node, field->name, "a string after each key");
        pairs[n] = arena_print(arena, "%s=%s", node->key.data, node->text.data);
        if (pairs[n++] == NULL)
            return ERR_OUT_OF_MEMORY;
    }
    memcpy(base + field->offset, &pairs, sizeof pairs);
    memcpy(base + field->count_offset, &n, sizeof n);
    return ERR_OK;
}

/* One string, or for WORDS a comma-separated one. */
static enum err load_words(const struct recipe_load *load, const struct recipe_node *node,
                           const struct recipe_field *field, char *base)
{
    struct arena *arena = load->arena;
    size_t count = node->child_count;
    if (node->kind == RECIPE_NODE_MAP)
        return field->kind == RECIPE_KIND_PAIRS
                   ? load_pairs(load, node, field, base)
                   : fail_value(load, node, field->name, "a list of strings");
    if (node->kind == RECIPE_NODE_SCALAR) {
        count = 1;
        for (size_t i = 0; i < node->text.size; i++)
            count += node->text.data[i] == ',';
    }
    const char **words = arena_alloc(arena, MAX(count, (size_t)1), sizeof *words);
    if (words == NULL)
        return ERR_OUT_OF_MEMORY;
    size_t n = 0;
    if (node->kind == RECIPE_NODE_SCALAR) {
        const char *at = node->text.data, *end = at + node->text.size;
        while (n < count) {
            const char *comma = memchr(at, ',', (size_t)(end - at));
            const char *stop = comma != NULL ? comma : end;
            const char *tail = stop;
            while (at < tail && *at == ' ')
                at++;
            while (tail > at && tail[-1] == ' ')
                tail--;
            if (at == tail)
                return fail_value(load, node, field->name, "words between commas");
            words[n] = arena_copy_text(arena, (struct text){at, (size_t)(tail - at)});
            if (words[n++] == NULL)
                return ERR_OUT_OF_MEMORY;
            at = stop + 1;
        }
    }
    for (const struct recipe_node *child = node->first; child != NULL; child = child->next) {
        if (child->kind != RECIPE_NODE_SCALAR || child->text.size == 0)
            return fail_value(load, child, field->name, "a string");
        words[n++] = child->text.data;
    }
    memcpy(base + field->offset, &words, sizeof words);
    memcpy(base + field->count_offset, &n, sizeof n);
    return ERR_OK;
}

static enum err load_scalar(const struct recipe_load *load, const struct recipe_node *node,
                            const struct recipe_field *field, char *base)
{
    char *member = base + field->offset;
    struct text text = node->text;
    uint64_t u64;
    int64_t i64;
    double f64;
    bool flag;
    int word;
    switch (field->kind) {
    case RECIPE_KIND_TEXT:
    case RECIPE_KIND_PATH:
        memcpy(member, &text.data, sizeof text.data);
        return ERR_OK;
    case RECIPE_KIND_U64:
        if (!recipe_value_u64(text, &u64))
            return fail_value(load, node, field->name, "a whole number");
        memcpy(member, &u64, sizeof u64);
        return check_range(load, node, field, (double)u64);
    case RECIPE_KIND_I64:
        if (!recipe_value_i64(text, &i64))
            return fail_value(load, node, field->name, "a whole number");
        memcpy(member, &i64, sizeof i64);
        return check_range(load, node, field, (double)i64);
    case RECIPE_KIND_F64:
        if (!recipe_value_f64(text, &f64))
            return fail_value(load, node, field->name, "a number");
        memcpy(member, &f64, sizeof f64);
        return check_range(load, node, field, f64);
    case RECIPE_KIND_SIZE:
        if (!recipe_value_size(text, &u64))
            return fail_value(load, node, field->name, "a size such as 24GiB or 512M");
        memcpy(member, &u64, sizeof u64);
        return check_range(load, node, field, (double)u64);
    case RECIPE_KIND_DURATION:
        if (!recipe_value_duration(text, &u64))
            return fail_value(load, node, field->name, "a time such as 90s, 5m or 2h");
        memcpy(member, &u64, sizeof u64);
        return check_range(load, node, field, (double)u64);
    case RECIPE_KIND_BOOL:
        if (!recipe_value_bool(text, &flag))
            return fail_value(load, node, field->name, "true or false");
        memcpy(member, &flag, sizeof flag);
        return ERR_OK;
    case RECIPE_KIND_ENUM:
        TRY(load_enum(load, node, field, &word));
        unsigned value = (unsigned)word;
        static_assert(sizeof value == sizeof(enum recipe_adapter), "enums are ints here");
        memcpy(member, &value, sizeof value);
        return ERR_OK;
    case RECIPE_KIND_WORDS:
    case RECIPE_KIND_PAIRS:
    case RECIPE_KIND_OBJECT:
    case RECIPE_KIND_OBJECTS:
        break;
    }
    ASSERT(false);
    return ERR_INTERNAL;
}

static bool says_no(const struct recipe_node *node)
{
    bool flag;
    double number;
    if (node->kind != RECIPE_NODE_SCALAR)
        return node->child_count == 0;
    if (recipe_value_is_null(node->text) || text_is(node->text, "none"))
        return true;
    if (recipe_value_bool(node->text, &flag))
        return !flag;
    return recipe_value_f64(node->text, &number) && number <= 0 && number >= 0;
}

static enum err load_foreign(struct recipe_load *load, const struct recipe_node *node,
                             const struct recipe_shape *shape)
{
    if (recipe_schema_lists(shape->unsupported, node->key)) {
        if (says_no(node))
            return ERR_OK;
        return fail_key(load, node, ERR_UNSUPPORTED,
                        "known from other trainers, but not supported here; remove it");
    }
    if (recipe_schema_lists(shape->ignored, node->key)) {
        if (load->strict)
            return fail_key(load, node, ERR_RECIPE,
                            "has no effect here, and the recipe says strict: true; remove it");
        if (load->ignored_count < COUNT_OF(load->ignored))
            load->ignored[load->ignored_count++] = node->key.data;
        return ERR_OK;
    }
    char text[128] = "unknown key";
    const char *near = recipe_schema_nearest(shape, node->key);
    if (near != NULL)
        (void)snprintf(text, sizeof text, "unknown key; did you mean %s?", near);
    return fail_key(load, node, ERR_RECIPE, text);
}

static bool is_words(const struct recipe_field *field)
{
    return field->kind == RECIPE_KIND_WORDS || field->kind == RECIPE_KIND_PAIRS;
}

/* What an element is before its keys are read. */
static enum err load_presets(struct recipe_load *load, const struct recipe_shape *shape, char *base)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct recipe_field *field = &shape->fields[i];
        struct recipe_node node = {.kind = RECIPE_NODE_SCALAR, .text = text_of(field->fallback)};
        if (field->fallback[0] != '\0')
            TRY(load_scalar(load, &node, field, base));
    }
    return ERR_OK;
}

/* The key that an element given as one string means; NULL where there is none. */
static const struct recipe_field *main_field(const struct recipe_shape *shape)
{
    const struct recipe_field *scheme = recipe_schema_field(shape, TEXT("scheme"));
    return scheme != NULL ? scheme : recipe_schema_field(shape, TEXT("weight_dtype"));
}

/* Fields of one element of OBJECT or OBJECTS: scalars and words, so this does not go deeper. */
static enum err load_element(struct recipe_load *load, const struct recipe_node *map,
                             const struct recipe_shape *shape, const char *key, char *base)
{
    const struct recipe_field *main = main_field(shape);
    memset(base, 0, shape->size_bytes);
    TRY(load_presets(load, shape, base));
    if (map->kind == RECIPE_NODE_SCALAR && main != NULL && map->text.size > 0)
        return load_scalar(load, map, main, base);
    if (map->kind != RECIPE_NODE_MAP)
        return fail_value(load, map, key, "a mapping of keys");
    for (const struct recipe_node *node = map->first; node != NULL; node = node->next) {
        const struct recipe_field *field = recipe_schema_field(shape, node->key);
        bool null =
            node->kind == RECIPE_NODE_SCALAR && !node->quoted && recipe_value_is_null(node->text);
        if (field != NULL && !null && is_words(field)) {
            TRY(load_words(load, node, field, base));
        } else if (field != NULL && !null) {
            if (node->kind != RECIPE_NODE_SCALAR)
                return fail_value(load, node, field->name, "one value");
            TRY(load_scalar(load, node, field, base));
        } else if (field == NULL) {
            TRY(load_foreign(load, node, shape));
        }
    }
    return ERR_OK;
}

enum err recipe_load_objects(struct recipe_load *load, const struct recipe_node *node,
                             const struct recipe_shape *shape, const char *key, void **rows,
                             size_t *count)
{
    if (node->kind == RECIPE_NODE_MAP)
        return fail_value(load, node, key, "a list (put \"- \" before the first key)");
    bool single = node->kind == RECIPE_NODE_SCALAR;
    size_t row_count = single ? 1 : node->child_count;
    char *made = arena_alloc(load->arena, MAX(row_count, (size_t)1), shape->size_bytes);
    if (made == NULL)
        return ERR_OUT_OF_MEMORY;
    const struct recipe_node *child = single ? node : node->first;
    for (size_t i = 0; i < row_count; i++, child = single ? NULL : child->next) {
        char *row = made + i * shape->size_bytes;
        const struct recipe_field *path = recipe_schema_field(shape, TEXT("path"));
        if (child->kind == RECIPE_NODE_SCALAR && path != NULL && child->text.size > 0)
            TRY(load_scalar(load, child, path, row));
        else
            TRY(load_element(load, child, shape, key, row));
    }
    *rows = made;
    *count = row_count;
    return ERR_OK;
}

static enum err load_objects(struct recipe_load *load, const struct recipe_node *node,
                             const struct recipe_field *field, char *base)
{
    void *rows;
    size_t count;
    TRY(recipe_load_objects(load, node, field->shape, field->name, &rows, &count));
    memcpy(base + field->offset, &rows, sizeof rows);
    memcpy(base + field->count_offset, &count, sizeof count);
    return ERR_OK;
}

/* Several values of a number. The member keeps the first. */
static enum err load_list(struct recipe_load *load, const struct recipe_node *node,
                          const struct recipe_field *field, struct recipe_values *list)
{
    char *member = (char *)load->recipe + field->offset;
    if (node->child_count == 0 || node->child_count > LIMIT_VARIANTS) {
        char expected[64];
        (void)snprintf(expected, sizeof expected, "1 to %d values", LIMIT_VARIANTS);
        return fail_value(load, node, field->name, expected);
    }
    for (const struct recipe_node *child = node->first; child != NULL; child = child->next) {
        union recipe_number *value = &list->values[list->count];
        if (child->kind != RECIPE_NODE_SCALAR)
            return fail_value(load, child, field->name, "a number");
        TRY(load_scalar(load, child, field, (char *)load->recipe));
        memcpy(value, member, sizeof *value);
        for (uint32_t i = 0; i < list->count; i++) {
            if (list->values[i].u64 == value->u64)
                return fail_value(load, child, field->name, "every value once");
        }
        list->count++;
    }
    memcpy(member, &list->values[0], sizeof list->values[0]);
    if (list->count == 1)
        list->count = 0;
    return ERR_OK;
}

static enum err load_field(struct recipe_load *load, const struct recipe_node *node,
                           const struct recipe_field *field, char *base)
{
    enum recipe_list list = recipe_schema_list(field);
    if (list < RECIPE_LIST_COUNT) {
        struct recipe_values *values = &load->recipe->lists[list];
        values->count = 0;
        if (node->kind == RECIPE_NODE_LIST)
            return load_list(load, node, field, values);
    }
    if (is_words(field))
        return load_words(load, node, field, base);
    if (field->kind == RECIPE_KIND_OBJECTS)
        return load_objects(load, node, field, base);
    if (field->kind == RECIPE_KIND_OBJECT)
        return load_element(load, node, field->shape, field->name, base + field->offset);
    if (node->kind != RECIPE_NODE_SCALAR)
        return fail_value(load, node, field->name, "one value");
    return load_scalar(load, node, field, base);
}

/* Flags of the reader itself, which come before everything else. */
static enum err load_strict(struct recipe_load *load, const struct recipe_node *root)
{
    for (const struct recipe_node *node = root->first; node != NULL; node = node->next) {
        if (!text_is(node->key, "strict"))
            continue;
        if (node->kind != RECIPE_NODE_SCALAR ||
            (!recipe_value_is_null(node->text) && !recipe_value_bool(node->text, &load->strict)))
            return fail_value(load, node, "strict", "true or false");
    }
    return ERR_OK;
}

/* The same key under two names; under one name recipe_yaml has refused it. */
static enum err check_given_once(const struct recipe_load *load, const struct recipe_node *node,
                                 const char *ours, const struct recipe_origin *origin)
{
    if (origin->source != load->source)
        return ERR_OK;
    return error_set(load->et, ERR_RECIPE,
                     "%s:%u:%u: %s: means the same as %s on line %u; remove one", load->place_name,
                     node->key_line, node->key_column, node->key.data,
                     origin->alias != NULL ? origin->alias : ours, origin->line);
}

static enum err load_one(struct recipe_load *load, const struct recipe_node *node)
{
    const struct recipe_shape *shape = recipe_schema_root();
    const char *ours = recipe_schema_alias(node->key);
    struct text name = ours != NULL ? text_of(ours) : node->key;
    const struct recipe_field *field = recipe_schema_field(shape, name);
    if (field == NULL)
        return load_foreign(load, node, shape);
    if (node->kind == RECIPE_NODE_SCALAR && !node->quoted && recipe_value_is_null(node->text))
        return ERR_OK;
    if (field->kind == RECIPE_KIND_OBJECT && node->kind == RECIPE_NODE_SCALAR && says_no(node))
        return ERR_OK;
    struct recipe_origin *origin = &load->recipe->origins[field - shape->fields];
    const char *alias = ours != NULL ? node->key.data : NULL;
    TRY(check_given_once(load, node, field->name, origin));
    TRY(load_field(load, node, field, (char *)load->recipe));
    *origin = (struct recipe_origin){load->source, node->key_line, node->key_column, alias};
    if (alias != NULL)
        TRY(recipe_load_notice(load, "%s is read as %s", alias, ours));
    return ERR_OK;
}

enum err recipe_load_root(struct recipe_load *load, const struct recipe_node *root)
{
    if (root->kind != RECIPE_NODE_MAP)
        return fail_value(load, root, "recipe", "a mapping of keys");
    TRY(load_strict(load, root));
    for (const struct recipe_node *node = root->first; node != NULL; node = node->next) {
        if (!text_is(node->key, "strict"))
            TRY(load_one(load, node));
    }
    return ERR_OK;
}

enum err recipe_load_defaults(struct recipe_load *load)
{
    const struct recipe_shape *shape = recipe_schema_root();
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct recipe_field *field = &shape->fields[i];
        struct recipe_origin *origin = &load->recipe->origins[i];
        if (origin->source != RECIPE_ABSENT || field->fallback[0] == '\0')
            continue;
        struct recipe_node node = {.kind = RECIPE_NODE_SCALAR, .text = text_of(field->fallback)};
        TRY(load_field(load, &node, field, (char *)load->recipe));
        origin->source = RECIPE_DEFAULT;
    }
    return ERR_OK;
}

static enum err notice_ignored(struct recipe_load *load)
{
    char line[384];
    size_t used = 0;
    for (size_t i = 0; i < load->ignored_count; i++) {
        int size =
            snprintf(line + used, sizeof line - used, "%s%s", i == 0 ? "" : ", ", load->ignored[i]);
        used = MIN(used + (size_t)MAX(size, 0), sizeof line - 1);
    }
    if (load->ignored_count == 0)
        return ERR_OK;
    return recipe_load_notice(load, "without effect here: %s", line);
}

enum err recipe_load_finish(struct recipe_load *load)
{
    TRY(notice_ignored(load));
    size_t count = 0;
    for (const struct recipe_notice *n = load->notices; n != NULL; n = n->next)
        count++;
    const char **lines = arena_alloc(&load->recipe->arena, MAX(count, (size_t)1), sizeof *lines);
    if (lines == NULL)
        return ERR_OUT_OF_MEMORY;
    size_t at = count;
    for (const struct recipe_notice *n = load->notices; n != NULL; n = n->next)
        lines[--at] = n->text;
    load->recipe->notices = lines;
    load->recipe->notice_count = count;
    return ERR_OK;
}
