/* recipe_effect.h - keys of `quantize:` that would change nothing beside its scheme and method. */
#ifndef COMMON_RECIPE_RECIPE_EFFECT_H
#define COMMON_RECIPE_RECIPE_EFFECT_H

#include "common/recipe/recipe.h"

/* The first of them that differs from its default, or NULL. *needs (static): what it goes with. */
const char *recipe_effect_missing(const struct recipe *recipe, const char **needs);

#endif
