/* base_model.h - the model a recipe names, opened once before anything is sent or started. */
#ifndef CLI_COMMAND_BASE_MODEL_H
#define CLI_COMMAND_BASE_MODEL_H

#include "common/mem/arena.h"
#include "common/recipe/recipe.h"

struct model;

/* Reads config, the headers of the weights (unless the start is random) and the tokenizer, as a
 * worker will, and plans the training and quantizing that the recipe asks of them. Errors of their
 * readers, which name the user's own file, tensor or key; ERR_RECIPE: the recipe and the model do
 * not go together (modules, rank, length of rows), with what would; errors of
 * task_quantizable_check. */
MUST_CHECK enum err base_model_check(const struct recipe *recipe, struct arena *arena,
                                     struct err_text *et);

/* "recipe.yml:12: sequence_len", or "--set: sequence_len": where a key comes from. Static or in
 * `arena`. */
const char *base_model_place(const struct recipe *recipe, enum recipe_key key, struct arena *arena);

/* The model as a worker opens it, or the outline of one that begins at random. Caller owns *out. */
MUST_CHECK enum err base_model_open(const struct recipe *recipe, struct arena *arena,
                                    struct model **out, struct err_text *et);

#endif
