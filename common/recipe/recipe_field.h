/* recipe_field.h - a row of recipe.def, or of another table with its columns, as a struct
 * recipe_field: what the reader and the writer walk. Where it expands, `words_<type>` and
 * `shape_<type>` must be in sight.
 */
#ifndef COMMON_RECIPE_RECIPE_FIELD_H
#define COMMON_RECIPE_RECIPE_FIELD_H

#include <stddef.h>

#include "common/recipe/recipe_schema.h"

/* Fields. `none` names no words and no structure. */
#define RECIPE_FIELD_COUNT_TEXT(self, name)     0
#define RECIPE_FIELD_COUNT_PATH(self, name)     0
#define RECIPE_FIELD_COUNT_U64(self, name)      0
#define RECIPE_FIELD_COUNT_I64(self, name)      0
#define RECIPE_FIELD_COUNT_F64(self, name)      0
#define RECIPE_FIELD_COUNT_SIZE(self, name)     0
#define RECIPE_FIELD_COUNT_DURATION(self, name) 0
#define RECIPE_FIELD_COUNT_BOOL(self, name)     0
#define RECIPE_FIELD_COUNT_ENUM(self, name)     0
#define RECIPE_FIELD_COUNT_WORDS(self, name)    offsetof(struct self, name##_count)
#define RECIPE_FIELD_COUNT_PAIRS(self, name)    offsetof(struct self, name##_count)
#define RECIPE_FIELD_COUNT_OBJECT(self, name)   0
#define RECIPE_FIELD_COUNT_OBJECTS(self, name)  offsetof(struct self, name##_count)

#define RECIPE_FIELD_WORDS_TEXT(type)     NULL
#define RECIPE_FIELD_WORDS_PATH(type)     NULL
#define RECIPE_FIELD_WORDS_U64(type)      NULL
#define RECIPE_FIELD_WORDS_I64(type)      NULL
#define RECIPE_FIELD_WORDS_F64(type)      NULL
#define RECIPE_FIELD_WORDS_SIZE(type)     NULL
#define RECIPE_FIELD_WORDS_DURATION(type) NULL
#define RECIPE_FIELD_WORDS_BOOL(type)     NULL
#define RECIPE_FIELD_WORDS_ENUM(type)     &words_##type
#define RECIPE_FIELD_WORDS_WORDS(type)    NULL
#define RECIPE_FIELD_WORDS_PAIRS(type)    NULL
#define RECIPE_FIELD_WORDS_OBJECT(type)   NULL
#define RECIPE_FIELD_WORDS_OBJECTS(type)  NULL

#define RECIPE_FIELD_SHAPE_TEXT(type)     NULL
#define RECIPE_FIELD_SHAPE_PATH(type)     NULL
#define RECIPE_FIELD_SHAPE_U64(type)      NULL
#define RECIPE_FIELD_SHAPE_I64(type)      NULL
#define RECIPE_FIELD_SHAPE_F64(type)      NULL
#define RECIPE_FIELD_SHAPE_SIZE(type)     NULL
#define RECIPE_FIELD_SHAPE_DURATION(type) NULL
#define RECIPE_FIELD_SHAPE_BOOL(type)     NULL
#define RECIPE_FIELD_SHAPE_ENUM(type)     NULL
#define RECIPE_FIELD_SHAPE_WORDS(type)    NULL
#define RECIPE_FIELD_SHAPE_PAIRS(type)    NULL
#define RECIPE_FIELD_SHAPE_OBJECT(type)   &shape_##type
#define RECIPE_FIELD_SHAPE_OBJECTS(type)  &shape_##type

#define RECIPE_FIELD(self, field_kind, type, key, preset, low, high, sentence)                     \
    {                                                                                              \
        .name = #key,                                                                              \
        .kind = RECIPE_KIND_##field_kind,                                                          \
        .offset = offsetof(struct self, key),                                                      \
        .count_offset = RECIPE_FIELD_COUNT_##field_kind(self, key),                                \
        .words = RECIPE_FIELD_WORDS_##field_kind(type),                                            \
        .shape = RECIPE_FIELD_SHAPE_##field_kind(type),                                            \
        .fallback = (preset),                                                                      \
        .min = (double)(low),                                                                      \
        .max = (double)(high),                                                                     \
        .help = (sentence),                                                                        \
    },

#endif
