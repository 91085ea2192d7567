/* task_settings.c - recipe keys to settings. */
#include "worker/task/task_settings.h"

#include <string.h>

#include "common/base/check.h"
#include "common/calibration/statistics.h"

static const char *const ALL_LINEAR[] = {"all-linear"};

/* What AdapterHub takes where a recipe says nothing. */
static const struct bottleneck {
    enum recipe_adapter word;
    enum train_method method;
    size_t reduction;
    enum kernel_act act;
    double scaling;
} BOTTLENECKS[] = {
    {RECIPE_ADAPTER_HOULSBY, TRAIN_METHOD_HOULSBY, 16, KERNEL_ACT_SILU, 1},
    {RECIPE_ADAPTER_PFEIFFER, TRAIN_METHOD_PFEIFFER, 16, KERNEL_ACT_RELU, 1},
    {RECIPE_ADAPTER_PARALLEL, TRAIN_METHOD_PARALLEL, 2, KERNEL_ACT_RELU, 4},
};

static void settle_bottleneck(const struct recipe *recipe, const struct bottleneck *usual,
                              struct train_config *out)
{
    static const enum kernel_act acts[] = {
        [RECIPE_ADAPTER_NON_LINEARITY_RELU] = KERNEL_ACT_RELU,
        [RECIPE_ADAPTER_NON_LINEARITY_SILU] = KERNEL_ACT_SILU,
        [RECIPE_ADAPTER_NON_LINEARITY_GELU] = KERNEL_ACT_GELU_ERF,
    };
    *out = (struct train_config){.method = usual->method,
                                 .reduction = usual->reduction,
                                 .act = usual->act,
                                 .scaling = usual->scaling};
    if (recipe_is_set(recipe, RECIPE_KEY_adapter_reduction_factor))
        out->reduction = (size_t)recipe->adapter_reduction_factor;
    if (recipe_is_set(recipe, RECIPE_KEY_adapter_scaling))
        out->scaling = recipe->adapter_scaling;
    if (recipe->adapter_non_linearity != RECIPE_ADAPTER_NON_LINEARITY_AUTO)
        out->act = acts[recipe->adapter_non_linearity];
}

static void settle_prompt(const struct recipe *recipe, struct train_config *out)
{
    static const enum train_prompt prompts[] = {
        [RECIPE_PROMPT_TUNING_INIT_SAMPLE_VOCAB] = TRAIN_PROMPT_VOCABULARY,
        [RECIPE_PROMPT_TUNING_INIT_TEXT] = TRAIN_PROMPT_TEXT,
        [RECIPE_PROMPT_TUNING_INIT_RANDOM] = TRAIN_PROMPT_RANDOM,
    };
    *out = (struct train_config){.method = TRAIN_METHOD_PROMPT,
                                 .prompt_count = (size_t)recipe->num_virtual_tokens,
                                 .prompt = prompts[recipe->prompt_tuning_init]};
}

static void settle_lora(const struct recipe *recipe, struct train_config *out)
{
    static const enum train_init inits[] = {
        [RECIPE_PEFT_INIT_LORA_WEIGHTS_DEFAULT] = TRAIN_INIT_DEFAULT,
        [RECIPE_PEFT_INIT_LORA_WEIGHTS_GAUSSIAN] = TRAIN_INIT_GAUSSIAN,
        [RECIPE_PEFT_INIT_LORA_WEIGHTS_PISSA] = TRAIN_INIT_PISSA,
        [RECIPE_PEFT_INIT_LORA_WEIGHTS_LOFTQ] = TRAIN_INIT_LOFTQ,
    };
    *out = (struct train_config){
        .method = TRAIN_METHOD_LORA,
        .rank = (size_t)recipe->lora_r,
        .alpha = recipe->lora_alpha,
        .dropout = recipe->lora_dropout,
        .rank_stabilized = recipe->peft_use_rslora,
        .dora = recipe->peft_use_dora,
        .init = inits[recipe->peft_init_lora_weights],
        .rank_patterns = recipe->rank_pattern,
        .rank_pattern_count = recipe->rank_pattern_count,
        .alpha_patterns = recipe->alpha_pattern,
        .alpha_pattern_count = recipe->alpha_pattern_count,
        .saved = recipe->lora_modules_to_save,
        .saved_count = recipe->lora_modules_to_save_count,
        .targets = recipe->lora_target_modules,
        .target_count = recipe->lora_target_modules_count,
    };
    if (recipe->lora_target_linear) {
        out->targets = ALL_LINEAR;
        out->target_count = COUNT_OF(ALL_LINEAR);
    }
}

struct model_load task_settings_load(const struct recipe *recipe, struct kernel *kernel)
{
    struct model_load load = {.kernel = kernel};
    if (recipe->load_in_4bit) {
        bool is_nf4 = recipe->bnb_4bit_quant_type == RECIPE_BNB_4BIT_QUANT_TYPE_NF4;
        load.weights = is_nf4 ? MODEL_LOAD_NF4 : MODEL_LOAD_FP4;
        load.double_quant = recipe->bnb_4bit_use_double_quant;
    } else if (recipe->load_in_8bit) {
        load.weights = MODEL_LOAD_INT8;
    }
    return load;
}

void task_settings_train(const struct recipe *recipe, struct train_config *out)
{
    *out = (struct train_config){.method = TRAIN_METHOD_FULL};
    if (recipe->adapter == RECIPE_ADAPTER_LORA)
        settle_lora(recipe, out);
    if (recipe->adapter == RECIPE_ADAPTER_PROMPT_TUNING)
        settle_prompt(recipe, out);
    for (size_t i = 0; i < COUNT_OF(BOTTLENECKS); i++) {
        if (recipe->adapter == BOTTLENECKS[i].word)
            settle_bottleneck(recipe, &BOTTLENECKS[i], out);
    }
}

struct train_options task_settings_rows(const struct recipe *recipe, const struct fake_quant *quant,
                                        size_t rows_at_once)
{
    struct train_options options = {
        .rows_at_once = rows_at_once,
        .checkpointing = recipe->gradient_checkpointing,
        .quant = quant,
    };
    if (recipe->rl == RECIPE_RL_DPO) {
        options.objective = TRAIN_OBJECTIVE_PREFERENCE;
        options.preference = (struct preference){.beta = recipe->rl_beta,
                                                 .label_smoothing = recipe->dpo_label_smoothing};
    }
    return options;
}

static const struct {
    enum recipe_dataset_type word;
    enum dataset_type type;
} TYPES[] = {
    {RECIPE_DATASET_TYPE_AUTO, DATASET_TYPE_DETECT},
    {RECIPE_DATASET_TYPE_COMPLETION, DATASET_TYPE_COMPLETION},
    {RECIPE_DATASET_TYPE_ALPACA, DATASET_TYPE_ALPACA},
    {RECIPE_DATASET_TYPE_CHAT_TEMPLATE, DATASET_TYPE_CHAT},
    {RECIPE_DATASET_TYPE_PROMPT_COMPLETION, DATASET_TYPE_PROMPT_COMPLETION},
    {RECIPE_DATASET_TYPE_INPUT_OUTPUT, DATASET_TYPE_INPUT_OUTPUT},
    {RECIPE_DATASET_TYPE_PREFERENCE, DATASET_TYPE_PREFERENCE},
};
_Static_assert(COUNT_OF(TYPES) == RECIPE_DATASET_TYPE_COUNT, "a row for every type");

/* The lists whose files are inputs of a job. */
static bool find_list(const struct recipe *recipe, const char *name, const char **rest,
                      const struct recipe_dataset **list, size_t *count)
{
    const struct {
        const char *prefix;
        const struct recipe_dataset *list;
        size_t count;
    } lists[] = {
        {"data/", recipe->datasets, recipe->datasets_count},
        {"test/", recipe->test_datasets, recipe->test_datasets_count},
        {"calib/", recipe->calibration_datasets, recipe->calibration_datasets_count},
    };
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        size_t size = strlen(lists[i].prefix);
        if (strncmp(name, lists[i].prefix, size) != 0)
            continue;
        *rest = name + size;
        *list = lists[i].list;
        *count = lists[i].count;
        return true;
    }
    return false;
}

/* "data/12/file" to the entry 12 of the list, and "file". */
static const struct recipe_dataset *find_dataset(const struct recipe *recipe, const char *name,
                                                 const char **file)
{
    const struct recipe_dataset *list;
    const char *at;
    size_t count;
    uint64_t index = 0;
    if (!find_list(recipe, name, &at, &list, &count) || *at < '0' || *at > '9')
        return NULL;
    for (; *at >= '0' && *at <= '9' && index < 1u << 20; at++)
        index = index * 10 + (uint64_t)(*at - '0');
    if (*at != '/')
        return NULL;
    *file = at + 1;
    return index < count ? &list[index] : NULL;
}

enum err task_settings_dataset(const struct recipe *recipe, const char *input_name,
                               struct dataset_options *out, struct err_text *et)
{
    const char *file = NULL;
    const struct recipe_dataset *dataset = find_dataset(recipe, input_name, &file);
    if (dataset == NULL)
        return error_set(et, ERR_DATA,
                         "input \"%s\" is no data/<entry>/<file>, test/<entry>/<file> or "
                         "calib/<entry>/<file> of the recipe",
                         input_name);
    *out = (struct dataset_options){
        .file_name = file,
        .format = dataset->ds_type == RECIPE_DATASET_FORMAT_TEXT ? DATASET_FORMAT_TEXT
                                                                 : DATASET_FORMAT_DETECT,
        .field = dataset->field,
        .field_messages = dataset->field_messages,
        .chat_template =
            dataset->chat_template != NULL ? dataset->chat_template : recipe->chat_template,
        .sequence_len = (uint32_t)recipe->sequence_len,
        .train_on_inputs = recipe->train_on_inputs,
    };
    for (size_t i = 0; i < COUNT_OF(TYPES); i++)
        if (TYPES[i].word == dataset->type)
            out->type = TYPES[i].type;
    if (out->type == DATASET_TYPE_DETECT && recipe->rl == RECIPE_RL_DPO)
        out->type = DATASET_TYPE_PREFERENCE;
    return ERR_OK;
}

struct dataset_pack_options task_settings_pack(const struct recipe *recipe)
{
    return (struct dataset_pack_options){
        .sequence_len = (uint32_t)recipe->sequence_len,
        .sample_packing = recipe->sample_packing,
        .seed = recipe->seed,
        .val_set_size = recipe->val_set_size,
        .pairs = recipe->rl == RECIPE_RL_DPO,
    };
}

enum perplexity_protocol task_settings_protocol(const struct recipe *recipe, const char *input_name)
{
    static const struct {
        enum recipe_perplexity word;
        enum perplexity_protocol protocol;
    } protocols[] = {
        {RECIPE_PERPLEXITY_WINDOWS, PERPLEXITY_WINDOWS},
        {RECIPE_PERPLEXITY_LLAMA_CPP, PERPLEXITY_LLAMA_CPP},
        {RECIPE_PERPLEXITY_WORDS, PERPLEXITY_WORDS},
    };
    if (strncmp(input_name, "calib/", 6) == 0)
        return PERPLEXITY_WINDOWS;
    for (size_t i = 0; i < COUNT_OF(protocols); i++)
        if (strncmp(input_name, "test/", 5) == 0 &&
            protocols[i].word == recipe_perplexity_settled(recipe))
            return protocols[i].protocol;
    return PERPLEXITY_ROWS;
}

struct windows_options task_settings_test(const struct recipe *recipe)
{
    return (struct windows_options){
        .protocol = task_settings_protocol(recipe, "test/"),
        .length = (uint32_t)recipe->sequence_len,
        .what = "test text",
        .advice = "lower sequence_len or give more text",
    };
}

struct windows_options task_settings_calibration(const struct recipe *recipe)
{
    enum { SAMPLES_DEFAULT = 512 }; /* more bring no gain that could be measured */
    uint64_t samples = recipe->quantize.samples;
    return (struct windows_options){
        .protocol = PERPLEXITY_WINDOWS,
        .length = (uint32_t)recipe->sequence_len,
        .row_count_min = samples,
        .row_count_max = samples > 0 ? samples : SAMPLES_DEFAULT,
        .what = "calibration text",
        .advice = samples > 0 ? "lower quantize.samples or give more text"
                              : "lower sequence_len or give more text",
    };
}

/* Ranges cost nothing beside the rest, and who looks
 * at statistics wants to see them. */
unsigned task_settings_statistics(const struct recipe *recipe)
{
    const struct recipe_quantize *q = &recipe->quantize;
    unsigned kinds =
        STATISTICS_SUM_X2 | STATISTICS_SUM_ABS | STATISTICS_MAX_ABS | STATISTICS_MIN_MAX;
    if (q->activations == RECIPE_QUANTIZE_ACTIVATIONS_STATIC)
        kinds |= STATISTICS_AVERAGE | STATISTICS_HISTOGRAM;
    return kinds;
}

struct text task_settings_base_model(const struct recipe *recipe)
{
    if (recipe->base_model_name != NULL)
        return text_of(recipe->base_model_name);
    struct text name = text_of(recipe->base_model != NULL ? recipe->base_model : "");
    while (name.size > 1 && name.data[name.size - 1] == '/')
        name.size--;
    size_t slashes = 0, last = 0;
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] == '/') {
            slashes++;
            last = i + 1;
        }
    }
    bool is_hub_name = slashes == 0 || (slashes == 1 && name.data[0] != '/' && name.data[0] != '.');
    return is_hub_name ? name : (struct text){name.data + last, name.size - last};
}

const struct chat_template *task_settings_template(const struct recipe *recipe)
{
    const char *name = recipe->chat_template;
    for (size_t i = 0; name == NULL && i < recipe->datasets_count; i++)
        name = recipe->datasets[i].chat_template;
    return name != NULL ? chat_template_named(text_of(name)) : NULL;
}
