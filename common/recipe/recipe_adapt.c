/* recipe_adapt.c - tables of keys and what they go with. */
#include "common/recipe/recipe_adapt.h"

#include <string.h>
#include <strings.h>

#include "common/base/check.h"
#include "common/recipe/recipe_check.h"

bool recipe_adapt_is_bottleneck(const struct recipe *recipe)
{
    return recipe->adapter == RECIPE_ADAPTER_HOULSBY ||
           recipe->adapter == RECIPE_ADAPTER_PFEIFFER || recipe->adapter == RECIPE_ADAPTER_PARALLEL;
}

static bool is_given(const struct recipe *recipe, enum recipe_key key)
{
    enum recipe_source source = recipe->origins[key].source;
    return source == RECIPE_FILE || source == RECIPE_FLAG;
}

enum err recipe_adapt_settle(struct recipe_load *load)
{
    struct recipe *r = load->recipe;
    if (r->adapter != RECIPE_ADAPTER_QLORA)
        return ERR_OK;
    if (is_given(r, RECIPE_KEY_load_in_8bit) && r->load_in_8bit)
        return recipe_check_fail(
            load, RECIPE_KEY_load_in_8bit,
            "excludes adapter: qlora, whose base has 4 bits; say load_in_4bit, or adapter: lora");
    if (is_given(r, RECIPE_KEY_load_in_4bit) && !r->load_in_4bit)
        return recipe_check_fail(load, RECIPE_KEY_load_in_4bit,
                                 "false excludes adapter: qlora; say true, or adapter: lora");
    r->adapter = RECIPE_ADAPTER_LORA;
    if (!r->load_in_4bit) {
        r->load_in_4bit = true;
        r->origins[RECIPE_KEY_load_in_4bit] = (struct recipe_origin){.source = RECIPE_DERIVED};
    }
    return ERR_OK;
}

/* A key that says something, and what has to hold then. */
struct rule {
    enum recipe_key key;
    bool says, holds;
    const char *text;
};

static enum err check_rules(struct recipe_load *load, const struct rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (rules[i].says && !rules[i].holds)
            return recipe_check_fail(load, rules[i].key, rules[i].text);
    }
    return ERR_OK;
}

/* Keys that only mean something beside one way to adapt. A default that is written out passes. */
static enum err check_company(struct recipe_load *load)
{
    static const char lora_text[] = "needs adapter: lora; add that or remove this";
    static const char neck_text[] =
        "needs adapter: houlsby, pfeiffer or parallel; add that or remove this";
    static const char prompt_text[] = "needs adapter: prompt_tuning; add that or remove this";
    static const char bits_text[] = "needs load_in_4bit: true; add that or remove this";
    static const char dpo_text[] = "needs rl: dpo; add that or remove this";
    const struct recipe *r = load->recipe;
    bool lora = r->adapter == RECIPE_ADAPTER_LORA, neck = recipe_adapt_is_bottleneck(r);
    bool prompt = r->adapter == RECIPE_ADAPTER_PROMPT_TUNING, dpo = r->rl == RECIPE_RL_DPO;
    bool first_is_text = r->prompt_tuning_init == RECIPE_PROMPT_TUNING_INIT_TEXT;
    const struct rule rules[] = {
        {RECIPE_KEY_lora_r, is_given(r, RECIPE_KEY_lora_r), lora, lora_text},
        {RECIPE_KEY_lora_alpha, is_given(r, RECIPE_KEY_lora_alpha), lora, lora_text},
        {RECIPE_KEY_lora_dropout, r->lora_dropout > 0, lora, lora_text},
        {RECIPE_KEY_lora_target_modules, r->lora_target_modules_count > 0, lora, lora_text},
        {RECIPE_KEY_lora_target_linear, r->lora_target_linear, lora, lora_text},
        {RECIPE_KEY_lora_model_dir, r->lora_model_dir != NULL, lora, lora_text},
        {RECIPE_KEY_lora_modules_to_save, r->lora_modules_to_save_count > 0, lora, lora_text},
        {RECIPE_KEY_rank_pattern, r->rank_pattern_count > 0, lora, lora_text},
        {RECIPE_KEY_alpha_pattern, r->alpha_pattern_count > 0, lora, lora_text},
        {RECIPE_KEY_peft_use_rslora, r->peft_use_rslora, lora, lora_text},
        {RECIPE_KEY_peft_use_dora, r->peft_use_dora, lora, lora_text},
        {RECIPE_KEY_peft_init_lora_weights,
         r->peft_init_lora_weights != RECIPE_PEFT_INIT_LORA_WEIGHTS_DEFAULT, lora, lora_text},
        {RECIPE_KEY_adapter_reduction_factor, is_given(r, RECIPE_KEY_adapter_reduction_factor),
         neck, neck_text},
        {RECIPE_KEY_adapter_scaling, is_given(r, RECIPE_KEY_adapter_scaling), neck, neck_text},
        {RECIPE_KEY_adapter_non_linearity,
         r->adapter_non_linearity != RECIPE_ADAPTER_NON_LINEARITY_AUTO, neck, neck_text},
        {RECIPE_KEY_num_virtual_tokens, r->num_virtual_tokens != 20, prompt, prompt_text},
        {RECIPE_KEY_prompt_tuning_init,
         r->prompt_tuning_init != RECIPE_PROMPT_TUNING_INIT_SAMPLE_VOCAB, prompt, prompt_text},
        {RECIPE_KEY_prompt_tuning_init_text, r->prompt_tuning_init_text != NULL,
         prompt && first_is_text, "needs adapter: prompt_tuning and prompt_tuning_init: text"},
        {RECIPE_KEY_prompt_tuning_init, prompt && first_is_text, r->prompt_tuning_init_text != NULL,
         "text needs prompt_tuning_init_text: the text to start from"},
        {RECIPE_KEY_prompt_tuning_init_text,
         r->prompt_tuning_init_text != NULL && r->prompt_tuning_init_text[0] == '\0', false,
         "expected a text to start from, found an empty one"},
        {RECIPE_KEY_bnb_4bit_quant_type, r->bnb_4bit_quant_type != RECIPE_BNB_4BIT_QUANT_TYPE_NF4,
         r->load_in_4bit, bits_text},
        {RECIPE_KEY_bnb_4bit_use_double_quant, !r->bnb_4bit_use_double_quant, r->load_in_4bit,
         bits_text},
        {RECIPE_KEY_rl_beta, r->rl_beta < 0.1 || r->rl_beta > 0.1, dpo, dpo_text},
        {RECIPE_KEY_dpo_label_smoothing, r->dpo_label_smoothing > 0, dpo, dpo_text},
    };
    return check_rules(load, rules, COUNT_OF(rules));
}

/* Who wrote qlora reads of that key, not of the one that follows from it. */
#define FEW_BITS(text) (is_qlora ? "qlora " text : text)

/* A base that is stored in few bits is frozen. */
static enum err check_bits(struct recipe_load *load)
{
    const struct recipe *r = load->recipe;
    bool is_qlora = r->origins[RECIPE_KEY_load_in_4bit].source == RECIPE_DERIVED;
    bool bits = r->load_in_4bit || r->load_in_8bit;
    bool lora = r->adapter == RECIPE_ADAPTER_LORA;
    bool full = recipe_trains(r) && r->adapter == RECIPE_ADAPTER_NONE;
    enum recipe_key key = is_qlora          ? RECIPE_KEY_adapter
                          : r->load_in_4bit ? RECIPE_KEY_load_in_4bit
                                            : RECIPE_KEY_load_in_8bit;
    const struct rule rules[] = {
        {RECIPE_KEY_load_in_8bit, r->load_in_8bit, !r->load_in_4bit,
         "excludes load_in_4bit; give one of them"},
        {key, bits, !full, "excludes adapter: none; only an adapter trains on a quantized base"},
        {key, bits, !r->random_init, FEW_BITS("excludes random_init; there is no base to store")},
        {key, bits, !recipe_is_set(r, RECIPE_KEY_qat),
         FEW_BITS("excludes qat, which quantizes a base that has all its bits; remove one")},
        {key, bits && recipe_quantizes(r), recipe_merges(r),
         FEW_BITS("excludes quantize unless an adapter is merged before (merge: full)")},
        {RECIPE_KEY_peft_init_lora_weights,
         lora && r->peft_init_lora_weights == RECIPE_PEFT_INIT_LORA_WEIGHTS_LOFTQ, r->load_in_4bit,
         "loftq needs load_in_4bit: true, whose error it starts from"},
        {RECIPE_KEY_peft_init_lora_weights,
         r->peft_init_lora_weights != RECIPE_PEFT_INIT_LORA_WEIGHTS_DEFAULT,
         r->lora_model_dir == NULL, "excludes lora_model_dir, which has the first values"},
    };
    return check_rules(load, rules, COUNT_OF(rules));
}

static enum err check_qat(struct recipe_load *load)
{
    const struct recipe *r = load->recipe;
    const struct recipe_qat *q = &r->qat;
    bool has = recipe_is_set(r, RECIPE_KEY_qat), lora = r->adapter == RECIPE_ADAPTER_LORA;
    const char *type = has && q->weight_dtype != NULL ? q->weight_dtype : "";
    bool grid = strcasecmp(type, "int4") == 0 || strcasecmp(type, "int8") == 0;
    bool ternary = strcasecmp(type, "ternary") == 0;
    uint64_t steps = recipe_is_set(r, RECIPE_KEY_max_steps) ? r->max_steps : UINT64_MAX;
    if (!has)
        return ERR_OK;
    const struct rule rules[] = {
        {RECIPE_KEY_qat, true, r->evaluate != RECIPE_EVALUATE_ONLY,
         "excludes evaluate: only; it is a way to train"},
        {RECIPE_KEY_qat, true, recipe_trains(r), "needs datasets; it is a way to train"},
        {RECIPE_KEY_qat, true, type[0] != '\0',
         "weight_dtype is required (int4, int8, ternary, or a GGUF type such as q4_0)"},
        {RECIPE_KEY_qat, q->group_size > 0, grid, "group_size goes with weight_dtype: int4, int8"},
        {RECIPE_KEY_qat, !q->symmetric, grid, "symmetric goes with weight_dtype: int4, int8"},
        {RECIPE_KEY_qat, q->warmup_steps > 0, ternary,
         "warmup_steps goes with weight_dtype: ternary"},
        {RECIPE_KEY_qat, q->fake_quant_after_n_steps > 0, q->fake_quant_after_n_steps < steps,
         "fake_quant_after_n_steps leaves none of max_steps; lower it"},
        {RECIPE_KEY_qat, q->warmup_steps > 0, q->warmup_steps <= steps,
         "warmup_steps is more than max_steps, which never see a weight wholly rounded; lower it"},
        {RECIPE_KEY_qat, true, lora || r->adapter == RECIPE_ADAPTER_NONE,
         "goes with adapter: none or lora; change one of them"},
        {RECIPE_KEY_qat, true, !r->peft_use_dora, "excludes peft_use_dora; remove one"},
        {RECIPE_KEY_qat, lora,
         r->peft_init_lora_weights == RECIPE_PEFT_INIT_LORA_WEIGHTS_DEFAULT ||
             r->peft_init_lora_weights == RECIPE_PEFT_INIT_LORA_WEIGHTS_GAUSSIAN,
         "excludes peft_init_lora_weights: pissa and loftq; remove one"},
        {RECIPE_KEY_qat, true, r->lora_modules_to_save_count == 0,
         "excludes lora_modules_to_save; remove one"},
        {RECIPE_KEY_qat, true, !recipe_quantizes(r),
         "excludes quantize; its result is quantized already"},
        {RECIPE_KEY_qat, true, !recipe_merges(r), "excludes merge; its result is merged already"},
    };
    return check_rules(load, rules, COUNT_OF(rules));
}

static bool has_type(const struct recipe_dataset *rows, size_t count, bool preference)
{
    for (size_t i = 0; i < count; i++) {
        bool is_preference = rows[i].type == RECIPE_DATASET_TYPE_PREFERENCE;
        if (is_preference == preference && rows[i].type != RECIPE_DATASET_TYPE_AUTO)
            return true;
    }
    return false;
}

static enum err check_preference(struct recipe_load *load)
{
    static const char other[] = "excludes rl: dpo, which needs type: preference; change one";
    static const char alone[] = "type: preference needs rl: dpo; add that or change the type";
    const struct recipe *r = load->recipe;
    bool dpo = r->rl == RECIPE_RL_DPO;
    size_t data = r->datasets_count, test = r->test_datasets_count;
    const struct rule rules[] = {
        {RECIPE_KEY_datasets, dpo, !has_type(r->datasets, data, false), other},
        {RECIPE_KEY_test_datasets, dpo, !has_type(r->test_datasets, test, false), other},
        {RECIPE_KEY_datasets, has_type(r->datasets, data, true), dpo, alone},
        {RECIPE_KEY_test_datasets, has_type(r->test_datasets, test, true), dpo, alone},
        {RECIPE_KEY_sample_packing, r->sample_packing, !dpo,
         "excludes rl: dpo, whose rows are pairs; remove one"},
        {RECIPE_KEY_train_on_inputs, r->train_on_inputs, !dpo,
         "excludes rl: dpo, which compares answers; remove one"},
        {RECIPE_KEY_perplexity, recipe_streams(r), !dpo,
         "excludes rl: dpo, whose test data are pairs; remove one"},
        {RECIPE_KEY_rl, dpo, recipe_trains(r),
         "dpo excludes evaluate: only; held-out pairs are measured while training"},
        {RECIPE_KEY_rl, dpo, !r->random_init,
         "dpo excludes random_init; the base is what answers are held against"},
    };
    return check_rules(load, rules, COUNT_OF(rules));
}

static enum err check_merge(struct recipe_load *load)
{
    const struct recipe *r = load->recipe;
    bool merges = recipe_merges(r), adapts = r->adapter != RECIPE_ADAPTER_NONE;
    bool has_adapter = recipe_trains(r) || r->lora_model_dir != NULL;
    const struct rule rules[] = {
        {RECIPE_KEY_merge, merges, r->evaluate != RECIPE_EVALUATE_ONLY,
         "excludes evaluate: only; remove one"},
        {RECIPE_KEY_merge, merges, has_adapter,
         "needs an adapter: datasets to train one, or lora_model_dir"},
        {RECIPE_KEY_merge, merges, adapts, "needs adapter: lora; all weights train without one"},
        {RECIPE_KEY_merge, merges && adapts, r->adapter == RECIPE_ADAPTER_LORA,
         "needs adapter: lora; bottleneck adapters and prompts cannot be merged"},
        {RECIPE_KEY_quantize, recipe_quantizes(r) && has_adapter && adapts, merges,
         "needs merge: full or dequantized with an adapter; it quantizes what it is merged into"},
        {RECIPE_KEY_random_init, r->random_init, !adapts,
         "excludes adapter; a random model has nothing to adapt"},
    };
    return check_rules(load, rules, COUNT_OF(rules));
}

enum err recipe_adapt_check(struct recipe_load *load)
{
    TRY(check_company(load));
    TRY(check_bits(load));
    TRY(check_qat(load));
    TRY(check_preference(load));
    return check_merge(load);
}
