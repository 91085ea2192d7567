/* recipe_equal.c - equality by value: a walk over the schema. */
#include <string.h>

#include "common/base/check.h"
#include "common/recipe/recipe.h"
#include "common/recipe/recipe_schema.h"

static const void *pointer_at(const char *base, size_t offset)
{
    const void *pointer;
    memcpy(&pointer, base + offset, sizeof pointer);
    return pointer;
}

static size_t count_at(const char *base, const struct recipe_field *field)
{
    size_t count;
    memcpy(&count, base + field->count_offset, sizeof count);
    return count;
}

static bool texts_equal(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return strcmp(a, b) == 0;
}

static bool words_equal(const struct recipe_field *field, const char *a, const char *b)
{
    size_t count = count_at(a, field);
    const char *const *left = pointer_at(a, field->offset);
    const char *const *right = pointer_at(b, field->offset);
    if (count != count_at(b, field))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(left[i], right[i]) != 0)
            return false;
    }
    return true;
}

/* Everything but OBJECT and OBJECTS. Numbers compare by their bytes. */
static bool value_equal(const struct recipe_field *field, const char *a, const char *b)
{
    size_t at = field->offset;
    switch (field->kind) {
    case RECIPE_KIND_TEXT:
    case RECIPE_KIND_PATH:
        return texts_equal(pointer_at(a, at), pointer_at(b, at));
    case RECIPE_KIND_U64:
    case RECIPE_KIND_I64:
    case RECIPE_KIND_F64:
    case RECIPE_KIND_SIZE:
    case RECIPE_KIND_DURATION:
        return memcmp(a + at, b + at, 8) == 0;
    case RECIPE_KIND_BOOL:
        return *(const bool *)(a + at) == *(const bool *)(b + at);
    case RECIPE_KIND_ENUM:
        return memcmp(a + at, b + at, sizeof(enum recipe_adapter)) == 0;
    case RECIPE_KIND_WORDS:
    case RECIPE_KIND_PAIRS:
        return words_equal(field, a, b);
    case RECIPE_KIND_OBJECT:
    case RECIPE_KIND_OBJECTS:
        break;
    }
    ASSERT(false);
    return false;
}

static bool elements_equal(const struct recipe_shape *shape, const char *a, const char *b,
                           size_t count)
{
    for (size_t row = 0; row < count; row++) {
        size_t at = row * shape->size_bytes;
        for (size_t i = 0; i < shape->field_count; i++) {
            if (!value_equal(&shape->fields[i], a + at, b + at))
                return false;
        }
    }
    return true;
}

static bool lists_equal(const struct recipe_values *a, const struct recipe_values *b)
{
    return a->count == b->count &&
           memcmp(a->values, b->values, a->count * sizeof a->values[0]) == 0;
}

bool recipe_equal(const struct recipe *a, const struct recipe *b)
{
    const struct recipe_shape *shape = recipe_schema_root();
    const char *left = (const char *)a, *right = (const char *)b;
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct recipe_field *field = &shape->fields[i];
        bool same;
        if (field->kind == RECIPE_KIND_OBJECT)
            same = elements_equal(field->shape, left + field->offset, right + field->offset, 1);
        else if (recipe_is_set(a, (enum recipe_key)i) != recipe_is_set(b, (enum recipe_key)i))
            same = false;
        else if (field->kind == RECIPE_KIND_OBJECTS)
            same = count_at(left, field) == count_at(right, field) &&
                   elements_equal(field->shape, pointer_at(left, field->offset),
                                  pointer_at(right, field->offset), count_at(left, field));
        else
            same = value_equal(field, left, right);
        if (!same)
            return false;
    }
    for (size_t i = 0; i < RECIPE_LIST_COUNT; i++) {
        if (!lists_equal(&a->lists[i], &b->lists[i]))
            return false;
    }
    return true;
}
