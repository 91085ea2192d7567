/* recipe_adapt.h - the ways to adapt a model, and which keys go with which way.
 *
 * Refuses to know: models, formats; a weight_dtype is a name here.
 */
#ifndef COMMON_RECIPE_RECIPE_ADAPT_H
#define COMMON_RECIPE_RECIPE_ADAPT_H

#include "common/recipe/recipe_load.h"

/* houlsby, pfeiffer or parallel. */
bool recipe_adapt_is_bottleneck(const struct recipe *recipe);

/* Before defaults: qlora becomes lora with load_in_4bit. ERR_RECIPE: load_in_8bit or load_in_4bit:
 * false beside it. */
MUST_CHECK enum err recipe_adapt_settle(struct recipe_load *load);

/* After defaults. ERR_RECIPE: a key that contradicts another, or has no effect without it; both are
 * named. */
MUST_CHECK enum err recipe_adapt_check(struct recipe_load *load);

#endif
