/* recipe_schema.h - the rows of recipe.def as tables that the reader and the writer walk. */
#ifndef COMMON_RECIPE_RECIPE_SCHEMA_H
#define COMMON_RECIPE_RECIPE_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/span.h"
#include "common/recipe/recipe.h"

enum recipe_kind {
    RECIPE_KIND_TEXT,
    RECIPE_KIND_PATH,
    RECIPE_KIND_U64,
    RECIPE_KIND_I64,
    RECIPE_KIND_F64,
    RECIPE_KIND_SIZE,
    RECIPE_KIND_DURATION,
    RECIPE_KIND_BOOL,
    RECIPE_KIND_ENUM,
    RECIPE_KIND_WORDS,
    RECIPE_KIND_PAIRS,
    RECIPE_KIND_OBJECT,
    RECIPE_KIND_OBJECTS,
};

struct recipe_word {
    const char *word;
    int value;
};

/* The canonical words of one enum, in the order of its values. */
struct recipe_words {
    const struct recipe_word *rows;
    size_t count;
};

struct recipe_field {
    const char *name;
    enum recipe_kind kind;
    size_t offset;                    /* of the member */
    size_t count_offset;              /* WORDS, PAIRS, OBJECTS: of <name>_count */
    const struct recipe_words *words; /* ENUM */
    const struct recipe_shape *shape; /* OBJECT, OBJECTS */
    const char *fallback;             /* default as YAML, "" for none */
    double min, max;                  /* numbers; 0, 0: any */
    const char *help;
};

/* A structure whose keys a mapping gives. Lists end with NULL. */
struct recipe_shape {
    const char *name; /* "recipe", "dataset" */
    size_t size_bytes;
    const struct recipe_field *fields;
    size_t field_count;
    const char *const *ignored;
    const char *const *unsupported;
};

/* The recipe itself; its fields are in the order of enum recipe_key. */
const struct recipe_shape *recipe_schema_root(void);

/* The list of a field of the recipe itself, RECIPE_LIST_COUNT when it takes none; the key of a
 * list. */
enum recipe_list recipe_schema_list(const struct recipe_field *field);
enum recipe_key recipe_schema_key(enum recipe_list list);

/* NULL when there is none. */
const struct recipe_field *recipe_schema_field(const struct recipe_shape *shape, struct text name);

/* Value of a word or of one of its synonyms; false when there is none. */
bool recipe_schema_word(const struct recipe_words *words, struct text spelling, int *value);

/* Our key for a name of another trainer, NULL when there is none. */
const char *recipe_schema_alias(struct text name);

/* Whether `name` is in a list where "wandb_" stands for all names that begin with it. */
bool recipe_schema_lists(const char *const *list, struct text name);

/* Nearest of all names the structure knows, NULL when none is near. */
const char *recipe_schema_nearest(const struct recipe_shape *shape, struct text name);

#endif
