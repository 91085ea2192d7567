/* recipe_quantize.c - names and keys looked at together. */
#include "common/recipe/recipe_quantize.h"

#include <string.h>
#include <strings.h>

enum recipe_quantize_form recipe_quantize_form(const struct recipe *recipe)
{
    const char *scheme = recipe->quantize.scheme;
    if (scheme == NULL)
        return RECIPE_QUANTIZE_GGUF;
    if (strcasecmp(scheme, "NF4") == 0 || strcasecmp(scheme, "FP4") == 0)
        return RECIPE_QUANTIZE_BITSANDBYTES;
    bool is_bits = (scheme[0] == 'W' || scheme[0] == 'w') && scheme[1] >= '1' && scheme[1] <= '9';
    return is_bits ? RECIPE_QUANTIZE_COMPRESSED : RECIPE_QUANTIZE_GGUF;
}

enum recipe_quantize_method recipe_quantize_method(const struct recipe *recipe)
{
    if (recipe->quantize.method != RECIPE_QUANTIZE_METHOD_AUTO)
        return recipe->quantize.method;
    bool has_importance =
        recipe->calibration_datasets_count > 0 || recipe->quantize.imatrix != NULL;
    return has_importance && recipe_quantize_form(recipe) == RECIPE_QUANTIZE_GGUF
               ? RECIPE_QUANTIZE_METHOD_IMPORTANCE
               : RECIPE_QUANTIZE_METHOD_RTN;
}

bool recipe_quantize_targets(const struct recipe *recipe)
{
    return recipe->quantize.target_bpw > 0 || recipe->quantize.target_kl > 0;
}

bool recipe_quantize_replays(const struct recipe *recipe)
{
    enum recipe_quantize_method method = recipe_quantize_method(recipe);
    return method == RECIPE_QUANTIZE_METHOD_GPTQ || method == RECIPE_QUANTIZE_METHOD_AWQ;
}

bool recipe_quantize_measures(const struct recipe *recipe)
{
    return recipe->calibration_datasets_count > 0 && !recipe_quantize_replays(recipe);
}
