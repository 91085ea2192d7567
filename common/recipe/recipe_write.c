/* recipe_write.c - the canonical text: a walk over the schema. */
#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_float.h"
#include "common/recipe/recipe.h"
#include "common/recipe/recipe_schema.h"

/* Two-byte and three-byte characters that YAML does not take as they are: C1 controls, the line
 * separators, the byte order mark, U+FFFE and U+FFFF. 0 when `at` is none of them. */
static uint32_t unprintable(const uint8_t *at, size_t left)
{
    if (left >= 2 && at[0] == 0xc2 && at[1] < 0xa0)
        return at[1];
    if (left < 3)
        return 0;
    uint32_t c = (uint32_t)(at[0] & 0x0f) << 12 | (uint32_t)(at[1] & 0x3f) << 6 | (at[2] & 0x3f);
    bool is_three = (at[0] & 0xf0) == 0xe0;
    bool bad = c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff;
    return is_three && bad ? c : 0;
}

static void write_text(struct bytes *out, const char *text)
{
    const uint8_t *at = (const uint8_t *)text;
    size_t left = strlen(text);
    bytes_append_text(out, TEXT("\""));
    while (left > 0) {
        uint32_t special = unprintable(at, left);
        size_t used = special == 0 ? 1 : (special < 0x100 ? 2 : 3);
        if (special != 0)
            bytes_print(out, "\\u%04X", special);
        else if (*at == '"' || *at == '\\')
            bytes_print(out, "\\%c", *at);
        else if (*at < 0x20 || *at == 0x7f)
            bytes_print(out, "\\x%02X", *at);
        else
            bytes_append(out, at, 1);
        at += used;
        left -= used;
    }
    bytes_append_text(out, TEXT("\""));
}

static const void *pointer_at(const void *member)
{
    const void *pointer;
    memcpy(&pointer, member, sizeof pointer);
    return pointer;
}

static size_t count_at(const char *base, const struct recipe_field *field)
{
    size_t count;
    memcpy(&count, base + field->count_offset, sizeof count);
    return count;
}

static const char *word_at(const struct recipe_field *field, const void *member)
{
    unsigned value;
    memcpy(&value, member, sizeof value);
    ASSERT(value < field->words->count);
    return field->words->rows[value].word;
}

static void write_words(struct bytes *out, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bytes_append_text(out, i == 0 ? TEXT("[") : TEXT(", "));
        write_text(out, words[i]);
    }
    bytes_append_text(out, count == 0 ? TEXT("[]") : TEXT("]"));
}

/* Everything but OBJECT and OBJECTS. */
static void write_value(struct bytes *out, const struct recipe_field *field, const char *base)
{
    const char *member = base + field->offset;
    char number[JSON_FLOAT_BYTES];
    uint64_t u64 = 0;
    int64_t i64 = 0;
    double f64 = 0;
    switch (field->kind) {
    case RECIPE_KIND_TEXT:
    case RECIPE_KIND_PATH:
        write_text(out, pointer_at(member));
        return;
    case RECIPE_KIND_U64:
    case RECIPE_KIND_SIZE:
        memcpy(&u64, member, sizeof u64);
        bytes_print(out, "%" PRIu64, u64);
        return;
    case RECIPE_KIND_DURATION:
        memcpy(&u64, member, sizeof u64);
        bytes_print(out, "%" PRIu64 "ms", u64);
        return;
    case RECIPE_KIND_I64:
        memcpy(&i64, member, sizeof i64);
        bytes_print(out, "%" PRId64, i64);
        return;
    case RECIPE_KIND_F64:
        memcpy(&f64, member, sizeof f64);
        (void)json_float_print_f64(f64, number);
        bytes_append_text(out, text_of(number));
        return;
    case RECIPE_KIND_BOOL:
        bytes_append_text(out, text_of(*(const bool *)member ? "true" : "false"));
        return;
    case RECIPE_KIND_ENUM:
        bytes_append_text(out, text_of(word_at(field, member)));
        return;
    case RECIPE_KIND_WORDS:
    case RECIPE_KIND_PAIRS:
        write_words(out, pointer_at(member), count_at(base, field));
        return;
    case RECIPE_KIND_OBJECT:
    case RECIPE_KIND_OBJECTS:
        break;
    }
    ASSERT(false);
}

/* Whether a member of a nested structure is written; a nested structure has no origins. */
static bool holds(const struct recipe_field *field, const char *base)
{
    uint64_t u64;
    if (field->fallback[0] != '\0')
        return true;
    switch (field->kind) {
    case RECIPE_KIND_TEXT:
    case RECIPE_KIND_PATH:
        return pointer_at(base + field->offset) != NULL;
    case RECIPE_KIND_U64:
    case RECIPE_KIND_SIZE:
    case RECIPE_KIND_DURATION:
    case RECIPE_KIND_I64:
    case RECIPE_KIND_F64:
        memcpy(&u64, base + field->offset, sizeof u64);
        return u64 != 0;
    case RECIPE_KIND_ENUM:
    case RECIPE_KIND_BOOL:
        return true;
    case RECIPE_KIND_WORDS:
    case RECIPE_KIND_PAIRS:
        return count_at(base, field) > 0;
    case RECIPE_KIND_OBJECT:
    case RECIPE_KIND_OBJECTS:
        break;
    }
    ASSERT(false);
    return false;
}

static bool element_holds(const struct recipe_shape *shape, const char *base)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        if (holds(&shape->fields[i], base))
            return true;
    }
    return false;
}

static void write_element(struct bytes *out, const struct recipe_shape *shape, const char *base,
                          const char *first_indent)
{
    const char *indent = first_indent;
    for (size_t i = 0; i < shape->field_count; i++) {
        if (!holds(&shape->fields[i], base))
            continue;
        bytes_print(out, "\n%s%s: ", indent, shape->fields[i].name);
        write_value(out, &shape->fields[i], base);
        indent = first_indent[2] == '-' ? "    " : first_indent;
    }
}

/* The values one after the other, each as if it stood in the member. */
static void write_list(struct bytes *out, const struct recipe_field *field,
                       const struct recipe_values *list)
{
    struct recipe_field alone = *field;
    alone.offset = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        bytes_append_text(out, i == 0 ? TEXT(" [") : TEXT(", "));
        write_value(out, &alone, (const char *)&list->values[i]);
    }
    bytes_append_text(out, TEXT("]"));
}

static void write_field(struct bytes *out, const struct recipe_field *field,
                        const struct recipe *recipe)
{
    const char *base = (const char *)recipe;
    enum recipe_list list = recipe_schema_list(field);
    bytes_print(out, "%s:", field->name);
    if (list < RECIPE_LIST_COUNT && recipe->lists[list].count > 0) {
        write_list(out, field, &recipe->lists[list]);
    } else if (field->kind == RECIPE_KIND_OBJECT) {
        write_element(out, field->shape, base + field->offset, "  ");
    } else if (field->kind == RECIPE_KIND_OBJECTS) {
        const char *rows = pointer_at(base + field->offset);
        size_t count = count_at(base, field);
        for (size_t i = 0; i < count; i++)
            write_element(out, field->shape, rows + i * field->shape->size_bytes, "  - ");
        if (count == 0)
            bytes_append_text(out, TEXT(" []"));
    } else {
        bytes_append_text(out, TEXT(" "));
        write_value(out, field, base);
    }
}

static void write_origin(struct bytes *out, const struct recipe *recipe, enum recipe_key key)
{
    const struct recipe_origin *origin = &recipe->origins[key];
    switch (origin->source) {
    case RECIPE_ABSENT:
    case RECIPE_DEFAULT:
        bytes_append_text(out, TEXT("  # default"));
        return;
    case RECIPE_FILE:
        bytes_print(out, "  # %s:%u", recipe->file_name, origin->line);
        if (origin->alias != NULL)
            bytes_print(out, ", given as %s", origin->alias);
        return;
    case RECIPE_FLAG:
        bytes_append_text(out, TEXT("  # --set"));
        return;
    case RECIPE_DERIVED:
        bytes_append_text(out, TEXT("  # follows from batch_size"));
        return;
    }
}

static void write_recipe(const struct recipe *recipe, bool with_origins, struct bytes *out)
{
    const struct recipe_shape *shape = recipe_schema_root();
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct recipe_field *field = &shape->fields[i];
        if (!recipe_is_set(recipe, (enum recipe_key)i))
            continue;
        if (field->kind == RECIPE_KIND_OBJECT &&
            !element_holds(field->shape, (const char *)recipe + field->offset))
            continue;
        bool nested = field->kind == RECIPE_KIND_OBJECT || field->kind == RECIPE_KIND_OBJECTS;
        if (with_origins && nested) {
            bytes_append_text(out, TEXT("#"));
            write_origin(out, recipe, (enum recipe_key)i);
            bytes_append_text(out, TEXT("\n"));
        }
        write_field(out, field, recipe);
        if (with_origins && !nested)
            write_origin(out, recipe, (enum recipe_key)i);
        bytes_append_text(out, TEXT("\n"));
    }
}

void recipe_write(const struct recipe *recipe, struct bytes *out)
{
    write_recipe(recipe, false, out);
}

void recipe_write_origins(const struct recipe *recipe, struct bytes *out)
{
    write_recipe(recipe, true, out);
}
