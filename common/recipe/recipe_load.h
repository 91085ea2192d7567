/* recipe_load.h - from nodes to the structure, by the schema: types, ranges, words, names of other
 * trainers, unknown keys. What keys mean together is recipe_check's. */
#ifndef COMMON_RECIPE_RECIPE_LOAD_H
#define COMMON_RECIPE_RECIPE_LOAD_H

#include "common/base/error.h"
#include "common/recipe/recipe.h"
#include "common/recipe/recipe_schema.h"
#include "common/recipe/recipe_yaml.h"

/* State of one reading. */
struct recipe_load {
    struct recipe *recipe; /* file_name and origins are used and filled; NULL: not a recipe */
    struct arena *arena;   /* of everything that is made */
    struct err_text *et;
    const char *place_name;        /* file name of the nodes at hand, for messages */
    enum recipe_source source;     /* of the values at hand */
    bool strict;                   /* keys without effect are errors */
    struct recipe_notice *notices; /* newest first */
    size_t ignored_count;
    const char *ignored[64]; /* keys without effect, the first ones */
};

struct recipe_notice {
    const char *text;
    struct recipe_notice *next;
};

/* Reads the mapping `root` into the recipe. */
MUST_CHECK enum err recipe_load_root(struct recipe_load *load, const struct recipe_node *root);

/* Reads a list of mappings whose keys `shape` names; `key` is what it is called. *rows: structures
 * of the shape, in the arena. */
MUST_CHECK enum err recipe_load_objects(struct recipe_load *load, const struct recipe_node *node,
                                        const struct recipe_shape *shape, const char *key,
                                        void **rows, size_t *count);

/* Gives every key without a value its default. */
MUST_CHECK enum err recipe_load_defaults(struct recipe_load *load);

/* Keeps a line for people. */
MUST_CHECK enum err recipe_load_notice(struct recipe_load *load, const char *format, ...)
    PRINTF(2, 3);

/* Moves the notices into recipe->notices, oldest first; keys without effect become one line. */
MUST_CHECK enum err recipe_load_finish(struct recipe_load *load);

#endif
