/* recipe_quantize.h - what follows from `quantize:` for the graph of a job and for its tasks.
 *
 * Refuses to know: models, block formats; a scheme is a name here.
 */
#ifndef COMMON_RECIPE_RECIPE_QUANTIZE_H
#define COMMON_RECIPE_RECIPE_QUANTIZE_H

#include "common/recipe/recipe.h"

/* The kind of file that comes out. */
enum recipe_quantize_form {
    RECIPE_QUANTIZE_GGUF,         /* Q4_K_M and the other names of llama.cpp, or a target */
    RECIPE_QUANTIZE_COMPRESSED,   /* W8A8, W4A16, ...: compressed-tensors */
    RECIPE_QUANTIZE_BITSANDBYTES, /* NF4, FP4 */
};
enum recipe_quantize_form recipe_quantize_form(const struct recipe *recipe);

/* The settled method, never AUTO. */
enum recipe_quantize_method recipe_quantize_method(const struct recipe *recipe);

/* Statistics of activations are taken in one pass before tensors are quantized. */
bool recipe_quantize_measures(const struct recipe *recipe);

/* The types of tensors are chosen by what each costs. */
bool recipe_quantize_targets(const struct recipe *recipe);

/* Layer after layer is quantized, each seeing what the ones before became. */
bool recipe_quantize_replays(const struct recipe *recipe);

#endif
