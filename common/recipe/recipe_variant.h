/* recipe_variant.h - the variants of a recipe some of whose keys are lists (RECIPE_LIST_ROWS).
 *
 * Every combination of their values is a variant: a recipe like any other, in which the keys are
 * single values. They are numbered from 0, the last list in order turning fastest. A recipe without
 * lists has one variant, itself.
 */
#ifndef COMMON_RECIPE_RECIPE_VARIANT_H
#define COMMON_RECIPE_RECIPE_VARIANT_H

#include "common/recipe/recipe.h"

enum { RECIPE_VARIANT_NAME_BYTES = 160 };

/* At least 1; at most LIMIT_VARIANTS in a recipe that was read. */
uint32_t recipe_variant_count(const struct recipe *recipe);

/* Which value of a list variant < count has: an index, 0 where the key is no list. */
uint32_t recipe_variant_place(const struct recipe *recipe, uint32_t variant, enum recipe_list list);

/* Makes it the recipe of this variant alone; its canonical text is then that of a recipe that was
 * written with these values. */
void recipe_variant_choose(struct recipe *recipe, uint32_t variant);

/* recipe_parse and then recipe_variant_choose. ERR_RECIPE too when there is no such variant. */
MUST_CHECK enum err recipe_variant_parse(struct span text, uint32_t variant, struct recipe *recipe,
                                         struct err_text *et);

/* What tells the variant from the others, "learning_rate=0.0001,seed=2": the keys that are lists;
 * "" where none is. Plain enough for the name of a folder. Returns `out`. */
const char *recipe_variant_name(const struct recipe *recipe, uint32_t variant,
                                char out[RECIPE_VARIANT_NAME_BYTES]);

#endif
