/* recipe_check.h - what keys mean together: contradictions, what must be there, what follows. */
#ifndef COMMON_RECIPE_RECIPE_CHECK_H
#define COMMON_RECIPE_RECIPE_CHECK_H

#include "common/recipe/recipe_load.h"

/* Before defaults: keys that exclude each other, spellings that stand for other keys, batch_size.
 * ERR_RECIPE names both keys with their lines. */
MUST_CHECK enum err recipe_check_given(struct recipe_load *load);

/* After defaults: what must be there. */
MUST_CHECK enum err recipe_check_settled(struct recipe_load *load);

/* ERR_RECIPE with the place of the key, its name as given, and `text`. */
MUST_CHECK enum err recipe_check_fail(const struct recipe_load *load, enum recipe_key key,
                                      const char *text);

#endif
