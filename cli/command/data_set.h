/* data_set.h - the data sets of a recipe, as common/formats/dataset reads them. */
#ifndef CLI_COMMAND_DATA_SET_H
#define CLI_COMMAND_DATA_SET_H

#include "common/formats/dataset/dataset_check.h"
#include "common/mem/arena.h"
#include "common/recipe/recipe.h"

/* How the file of one entry is read; *path is where it lies, in `arena`. */
MUST_CHECK enum err data_set_options(const struct recipe *recipe, const struct recipe_dataset *row,
                                     struct arena *arena, const char **path,
                                     struct dataset_options *out, struct err_text *et);

/* Reads every row of every file the recipe names; tokens are not counted. ERR_DATA names file, line
 * and what is wrong with the first bad row, before anything is sent or started. */
MUST_CHECK enum err data_set_check(const struct recipe *recipe, struct arena *arena,
                                   struct err_text *et);

#endif
