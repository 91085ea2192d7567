/* recipe_effect.c - a table of keys and what they go with. A key without effect is refused: who
 * wrote it expects another result than the one that would come. Settled values are looked at, so a
 * default that is written out passes. */
#include "common/recipe/recipe_effect.h"

#include "common/base/check.h"
#include "common/recipe/recipe_quantize.h"

struct rule {
    const char *key;
    bool is_changed, has_effect;
    const char *needs;
};

static bool is_of_inputs(enum recipe_quantize_observer observer)
{
    return observer == RECIPE_QUANTIZE_OBSERVER_MOVING_AVERAGE ||
           observer == RECIPE_QUANTIZE_OBSERVER_PERCENTILE ||
           observer == RECIPE_QUANTIZE_OBSERVER_ENTROPY;
}

static const char *first_of(const struct rule *rules, size_t count, const char **needs)
{
    for (size_t i = 0; i < count; i++) {
        if (rules[i].is_changed && !rules[i].has_effect) {
            *needs = rules[i].needs;
            return rules[i].key;
        }
    }
    return NULL;
}

static const char *find_by_scheme(const struct recipe *recipe, const char **needs)
{
    static const char integers[] = "a scheme of compressed-tensors (W4A16, W8A8, ...)";
    static const char folders[] = "a scheme of a folder (W4A16, W8A8, NF4, ...)";
    static const char files[] = "a GGUF type (Q4_K_M, ...)";
    const struct recipe_quantize *q = &recipe->quantize;
    enum recipe_quantize_form form = recipe_quantize_form(recipe);
    bool gguf = form == RECIPE_QUANTIZE_GGUF, packs = form == RECIPE_QUANTIZE_COMPRESSED;
    bool rounds_inputs = q->activations != RECIPE_QUANTIZE_ACTIVATIONS_AUTO &&
                         q->activations != RECIPE_QUANTIZE_ACTIVATIONS_NONE;
    const struct rule rules[] = {
        {"method", recipe_quantize_replays(recipe), !gguf, integers},
        {"method", q->method == RECIPE_QUANTIZE_METHOD_SMOOTHQUANT, !gguf, integers},
        {"activations", rounds_inputs, packs, integers},
        {"group_size", q->group_size > 0, packs, integers},
        {"strategy", q->strategy != RECIPE_QUANTIZE_STRATEGY_AUTO, packs, integers},
        {"symmetric", q->symmetric != RECIPE_QUANTIZE_SYMMETRIC_AUTO, packs, integers},
        {"observer", q->observer != RECIPE_QUANTIZE_OBSERVER_AUTO, packs, integers},
        {"targets", q->targets_count > 0, !gguf, folders},
        {"ignore", q->ignore_count > 0, !gguf, folders},
        {"double_quant", !q->double_quant, form == RECIPE_QUANTIZE_BITSANDBYTES, "scheme: NF4"},
        {"imatrix", q->imatrix != NULL, gguf, files},
        {"leave_output_tensor", q->leave_output_tensor, gguf, files},
        {"output_tensor_type", q->output_tensor_type != NULL, gguf, files},
        {"pure", q->pure, gguf, files},
        {"tensor_type", q->tensor_type_count > 0, gguf, files},
        {"token_embedding_type", q->token_embedding_type != NULL, gguf, files},
    };
    return first_of(rules, COUNT_OF(rules), needs);
}

const char *recipe_effect_missing(const struct recipe *recipe, const char **needs)
{
    const struct recipe_quantize *q = &recipe->quantize;
    enum recipe_quantize_method method = recipe_quantize_method(recipe);
    bool is_static = q->activations == RECIPE_QUANTIZE_ACTIVATIONS_STATIC;
    bool is_gptq = method == RECIPE_QUANTIZE_METHOD_GPTQ;
    const struct rule rules[] = {
        {"observer", is_of_inputs(q->observer), is_static, "activations: static"},
        {"percentile", q->percentile < 99.99 || q->percentile > 99.99,
         q->observer == RECIPE_QUANTIZE_OBSERVER_PERCENTILE, "observer: percentile"},
        {"actorder", q->actorder == RECIPE_QUANTIZE_ACTORDER_NONE, is_gptq, "method: gptq"},
        {"dampening_frac", q->dampening_frac < 0.01 || q->dampening_frac > 0.01, is_gptq,
         "method: gptq"},
        {"duo_scaling", !q->duo_scaling, method == RECIPE_QUANTIZE_METHOD_AWQ, "method: awq"},
        {"sequential", !q->sequential, recipe_quantize_replays(recipe), "method: gptq or awq"},
        {"smoothing_strength", q->smoothing_strength < 0.5 || q->smoothing_strength > 0.5,
         method == RECIPE_QUANTIZE_METHOD_SMOOTHQUANT, "method: smoothquant"},
        {"samples", q->samples > 0, recipe->calibration_datasets_count > 0, "calibration_datasets"},
    };
    const char *key = find_by_scheme(recipe, needs);
    return key != NULL ? key : first_of(rules, COUNT_OF(rules), needs);
}
