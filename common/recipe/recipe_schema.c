/* recipe_schema.c - expands recipe.def. */
#include "common/recipe/recipe_schema.h"

#include <assert.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/nearest.h"
#include "common/recipe/recipe_field.h"

/* Words. Canonical rows are at the index of their value; synonyms of all lists share one table. */
#define SCHEMA_WORD(LIST, enumerator, spelling)                                                    \
    {.word = (spelling), .value = RECIPE_##LIST##_##enumerator},
#define SCHEMA_WORDS(LIST, list)                                                                   \
    static const struct recipe_word word_rows_##list[] = {RECIPE_##LIST##_WORDS(SCHEMA_WORD)};     \
    static const struct recipe_words words_##list = {word_rows_##list,                             \
                                                     COUNT_OF(word_rows_##list)};                  \
    const char *recipe_##list##_word(enum recipe_##list value)                                     \
    {                                                                                              \
        return (size_t)value < COUNT_OF(word_rows_##list) ? word_rows_##list[value].word : "?";    \
    }
RECIPE_ENUM_ROWS(SCHEMA_WORDS)

#define SCHEMA_LISTED(name) name,
static const char *const no_names[] = {NULL};
static const char *const root_ignored[] = {RECIPE_IGNORED_ROWS(SCHEMA_LISTED) NULL};
static const char *const root_unsupported[] = {RECIPE_UNSUPPORTED_ROWS(SCHEMA_LISTED) NULL};
static const char *const dataset_ignored[] = {RECIPE_DATASET_IGNORED_ROWS(SCHEMA_LISTED) NULL};
static const char *const dataset_unsupported[] = {RECIPE_DATASET_UNSUPPORTED_ROWS(SCHEMA_LISTED)
                                                      NULL};

#define SCHEMA_STRUCT(NAME, struct_name, ignored_names, unsupported_names)                         \
    static const struct recipe_field struct_name##_fields[] = {                                    \
        RECIPE_##NAME##_ROWS(RECIPE_FIELD, recipe_##struct_name)};                                 \
    static const struct recipe_shape shape_##struct_name = {                                       \
        .name = #struct_name,                                                                      \
        .size_bytes = sizeof(struct recipe_##struct_name),                                         \
        .fields = struct_name##_fields,                                                            \
        .field_count = COUNT_OF(struct_name##_fields),                                             \
        .ignored = (ignored_names),                                                                \
        .unsupported = (unsupported_names),                                                        \
    };
SCHEMA_STRUCT(DATASET, dataset, dataset_ignored, dataset_unsupported)
SCHEMA_STRUCT(QAT, qat, no_names, no_names)
SCHEMA_STRUCT(QUANTIZE, quantize, no_names, no_names)
SCHEMA_STRUCT(RESOURCES, resources, no_names, no_names)
#undef SCHEMA_STRUCT

static const struct recipe_field root_fields[] = {RECIPE_ROWS(RECIPE_FIELD, recipe)};
static const struct recipe_shape shape_root = {
    .name = "recipe",
    .size_bytes = sizeof(struct recipe),
    .fields = root_fields,
    .field_count = COUNT_OF(root_fields),
    .ignored = root_ignored,
    .unsupported = root_unsupported,
};

struct schema_alias {
    const char *theirs;
    const char *ours;
};
#define SCHEMA_ALIAS(theirs, ours) {theirs, ours},
static const struct schema_alias aliases[] = {RECIPE_ALIAS_ROWS(SCHEMA_ALIAS)};

const struct recipe_shape *recipe_schema_root(void)
{
    return &shape_root;
}

const char *recipe_key_name(enum recipe_key key)
{
    ASSERT((size_t)key < RECIPE_KEY_COUNT);
    return root_fields[key].name;
}

const char *recipe_key_default(enum recipe_key key)
{
    ASSERT((size_t)key < RECIPE_KEY_COUNT);
    return root_fields[key].fallback;
}

const char *recipe_key_help(enum recipe_key key)
{
    ASSERT((size_t)key < RECIPE_KEY_COUNT);
    return root_fields[key].help;
}

bool recipe_key_inner(enum recipe_key key, size_t index, struct recipe_inner_key *out)
{
    ASSERT((size_t)key < RECIPE_KEY_COUNT);
    const struct recipe_shape *shape = root_fields[key].shape;
    if (shape == NULL || index >= shape->field_count)
        return false;
    const struct recipe_field *field = &shape->fields[index];
    *out = (struct recipe_inner_key){field->name, field->fallback, field->help};
    return true;
}

#define SCHEMA_LIST_KEY(name) [RECIPE_LIST_##name] = RECIPE_KEY_##name,
static const enum recipe_key list_keys[RECIPE_LIST_COUNT] = {RECIPE_LIST_ROWS(SCHEMA_LIST_KEY)};
#define SCHEMA_LIST_CHECK(name)                                                                    \
    static_assert(sizeof((struct recipe *)0)->name == sizeof(union recipe_number), #name);
RECIPE_LIST_ROWS(SCHEMA_LIST_CHECK)

enum recipe_key recipe_schema_key(enum recipe_list list)
{
    ASSERT((size_t)list < RECIPE_LIST_COUNT);
    return list_keys[list];
}

enum recipe_list recipe_schema_list(const struct recipe_field *field)
{
    size_t list = 0;
    while (list < RECIPE_LIST_COUNT && &root_fields[list_keys[list]] != field)
        list++;
    return (enum recipe_list)list;
}

const struct recipe_field *recipe_schema_field(const struct recipe_shape *shape, struct text name)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        if (text_is(name, shape->fields[i].name))
            return &shape->fields[i];
    }
    return NULL;
}

const char *recipe_schema_alias(struct text name)
{
    for (size_t i = 0; i < COUNT_OF(aliases); i++) {
        if (text_is(name, aliases[i].theirs))
            return aliases[i].ours;
    }
    return NULL;
}

bool recipe_schema_lists(const char *const *list, struct text name)
{
    for (; *list != NULL; list++) {
        struct text row = text_of(*list);
        bool is_prefix = row.data[row.size - 1] == '_';
        if (is_prefix && name.size >= row.size)
            name.size = memcmp(name.data, row.data, row.size) == 0 ? row.size : name.size;
        if (text_equal(name, row))
            return true;
    }
    return false;
}

const char *recipe_schema_nearest(const struct recipe_shape *shape, struct text name)
{
    struct nearest nearest = {0};
    for (size_t i = 0; i < shape->field_count; i++)
        nearest_offer(&nearest, name, shape->fields[i].name);
    if (shape == &shape_root) {
        for (size_t i = 0; i < COUNT_OF(aliases); i++)
            nearest_offer(&nearest, name, aliases[i].theirs);
    }
    for (const char *const *row = shape->ignored; *row != NULL; row++)
        nearest_offer(&nearest, name, *row);
    return nearest.word;
}

/* Synonyms: all lists together, told apart by the list's words. */
#define SCHEMA_SYNONYM(LIST, enumerator, spelling)                                                 \
    {.list = SCHEMA_LIST_##LIST,                                                                   \
     .row = {.word = (spelling), .value = RECIPE_##LIST##_##enumerator}},
#define SCHEMA_LIST(LIST, list) SCHEMA_LIST_##LIST,
enum schema_list { RECIPE_ENUM_ROWS(SCHEMA_LIST) SCHEMA_LIST_COUNT };

static const struct {
    enum schema_list list;
    struct recipe_word row;
} synonyms[] = {RECIPE_SYNONYM_ROWS(SCHEMA_SYNONYM)};

#define SCHEMA_LIST_OF(LIST, list) [SCHEMA_LIST_##LIST] = &words_##list,
static const struct recipe_words *const lists[] = {RECIPE_ENUM_ROWS(SCHEMA_LIST_OF)};

bool recipe_schema_word(const struct recipe_words *words, struct text spelling, int *value)
{
    for (size_t i = 0; i < words->count; i++) {
        if (text_is(spelling, words->rows[i].word)) {
            *value = words->rows[i].value;
            return true;
        }
    }
    for (size_t i = 0; i < COUNT_OF(synonyms); i++) {
        if (lists[synonyms[i].list] == words && text_is(spelling, synonyms[i].row.word)) {
            *value = synonyms[i].row.value;
            return true;
        }
    }
    return false;
}
