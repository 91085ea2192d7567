/* task_init.c - the first trainable weights: fresh from the seed, or those of a given adapter. */
#include "common/base/check.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/tokenizer/token_list.h"
#include "common/mem/mem.h"
#include "worker/engine/train/train_init.h"
#include "worker/engine/train/train_insert.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_run.h"
#include "worker/task/task_settings.h"
#include "worker/task/task_state.h"

static enum dtype dtype_of(enum safetensors_dtype dtype, bool *known)
{
    *known = true;
    if (dtype == SAFETENSORS_F32)
        return DTYPE_F32;
    if (dtype == SAFETENSORS_F16)
        return DTYPE_F16;
    if (dtype == SAFETENSORS_BF16)
        return DTYPE_BF16;
    *known = false;
    return DTYPE_F32;
}

static bool has_shape(const struct safetensor *tensor, const struct train_entry *entry)
{
    bool same = tensor->rank == entry->dimensions;
    for (size_t i = 0; same && i < entry->dimensions; i++)
        same = tensor->shape[i] == entry->shape[i];
    return same;
}

static enum err take_tensor(struct task_run *run, const struct peft_adapter *adapter,
                            const struct train_entry *entry, float *values, struct err_text *et)
{
    const struct safetensor *tensor = safetensors_find(&adapter->weights, text_of(entry->name));
    bool known;
    if (tensor == NULL || !has_shape(tensor, entry))
        return error_set(et, ERR_SHAPE,
                         "lora_model_dir: tensor \"%s\" of shape [%zu, %zu] is not there: do "
                         "lora_r, rank_pattern, lora_target_modules, lora_modules_to_save and "
                         "peft_use_dora say what the adapter has?",
                         entry->name, entry->shape[0], entry->shape[1]);
    enum dtype dtype = dtype_of(tensor->dtype, &known);
    if (!known)
        return error_set(et, ERR_UNSUPPORTED, "lora_model_dir: tensor \"%s\" is not a float",
                         entry->name);
    kernel_decode(run->env->f32, entry->count, dtype, tensor->data.data, values + entry->offset);
    return ERR_OK;
}

/* A tied matrix that trained stands under two names in the folder, the layout has the embedding's:
 * how many tensors are twins. ERR_SHAPE when they differ. */
static enum err count_twins(const struct peft_adapter *adapter, const struct train_layout *layout,
                            size_t *out, struct err_text *et)
{
    size_t count;
    const struct train_module *modules = train_layout_modules(layout, &count), *head = NULL;
    const struct safetensor *twin[2] = {NULL, NULL};
    if (count > 0 && model_shape(train_layout_model(layout))->tied && modules[count - 1].saved)
        head = &modules[count - 1];
    for (size_t i = 0; head != NULL && i < adapter->saved_count; i++) {
        struct text name = adapter->saved[i].name;
        name.size -= MIN(name.size, sizeof ".weight" - 1);
        for (size_t m = 0; m < count; m++) {
            if (modules[m].param == head->param && text_equal(name, modules[m].name))
                twin[&modules[m] == head] = adapter->saved[i].tensor;
        }
    }
    *out = twin[0] != NULL && twin[1] != NULL;
    if (*out == 0 || (twin[0]->dtype == twin[1]->dtype && span_equal(twin[0]->data, twin[1]->data)))
        return ERR_OK;
    return error_set(et, ERR_SHAPE,
                     "lora_model_dir: tensors \"%s\" and \"%s\" differ, but are one matrix of "
                     "base_model (tie_word_embeddings)",
                     twin[0]->name.data, twin[1]->name.data);
}

/* Every entry of the layout from the adapter's tensor of the same name. */
static enum err take_tensors(struct task_run *run, const struct peft_adapter *adapter,
                             const struct train_layout *layout, float *values, struct err_text *et)
{
    size_t twins, count = train_layout_entry_count(layout);
    for (size_t i = 0; i < count; i++)
        TRY(take_tensor(run, adapter, train_layout_entry(layout, i), values, et));
    TRY(count_twins(adapter, layout, &twins, et));
    if (adapter->weights.count != count + twins)
        return error_set(et, ERR_SHAPE,
                         "lora_model_dir: the adapter has %zu tensors, the recipe asks for %zu",
                         adapter->weights.count, count + twins);
    return ERR_OK;
}

static enum err load_adapter(struct task_run *run, const struct train_layout *layout, float *values,
                             struct err_text *et)
{
    const struct cache_item **items = NULL;
    size_t count = 0;
    char *folder = NULL;
    struct peft_adapter adapter;
    TRY(task_model_view(run, "adapter/", &items, &count, &folder, et));
    enum err err = peft_adapter_open(&adapter, folder, et);
    if (err == ERR_OK) {
        err = take_tensors(run, &adapter, layout, values, et);
        peft_adapter_close(&adapter);
    }
    task_model_drop_view(run->env->options.cache, &items, &count, &folder);
    return err;
}

/* The prompt's vectors become the embeddings of the recipe's text. */
static enum err take_prompt_text(struct task_run *run, const struct model *model,
                                 const struct train_config *config, float *values,
                                 struct err_text *et)
{
    const struct tokenizer *tokenizer;
    struct token_list tokens;
    token_list_init(&tokens);
    enum err err = ERR_OK;
    TRY_OUT(task_model_tokenizer(run, &tokenizer, et));
    TRY_OUT(tokenizer_encode(tokenizer, NULL, text_of(run->recipe.prompt_tuning_init_text),
                             TOKENIZER_ADD_SPECIAL, &tokens));
    size_t vocabulary = model_shape(model)->vocabulary;
    for (size_t i = 0; i < tokens.count && err == ERR_OK; i++)
        err = tokens.ids[i] < vocabulary ? ERR_OK : ERR_DATA;
    if (err != ERR_OK || tokens.count == 0)
        err = error_set(et, ERR_DATA,
                        "prompt_tuning_init_text: \"%s\" gives no tokens of the model's vocabulary",
                        run->recipe.prompt_tuning_init_text);
    else
        train_insert_tokens(model, tokens.ids, tokens.count, config->prompt_count, values);
out:
    token_list_fini(&tokens);
    return err;
}

static enum err tell_progress(void *context, size_t done, size_t total)
{
    return task_run_progress(context, done, total);
}

/* Magnitudes come last: they are the norms of what the adapters start as, which is nothing where
 * their start is their anchor. */
static enum err make_values(struct task_run *run, const struct train_config *config,
                            const struct train_layout *layout, float *values, struct err_text *et)
{
    struct train_init_options options = {
        .init = config->init, .seed = run->spec->seed, .progress = tell_progress, .context = run};
    train_layout_values(layout, run->spec->seed, values);
    if (config->init != TRAIN_INIT_DEFAULT) {
        TRY(task_model_open_stored(run, &options.stored, et));
        TRY(train_init_values(layout, run->env->f32, &options, values, et));
    }
    const float *anchor = config->init == TRAIN_INIT_PISSA ? values : NULL;
    return train_layout_magnitudes(layout, run->env->f32, anchor, values);
}

enum err task_kind_init(struct task_run *run, struct err_text *et)
{
    const struct model *model;
    struct train_config config;
    struct train_layout *layout = NULL;
    float *values = NULL;
    struct bytes state;
    bytes_init(&state, SIZE_MAX);
    enum err err = ERR_OK;
    TRY_OUT(task_model_open(run, &model, et));
    task_settings_train(&run->recipe, &config);
    TRY_OUT(train_layout_create(model, &config, &layout, et));
    values = mem_alloc(train_layout_count(layout), sizeof *values);
    if (values == NULL) {
        err = ERR_OUT_OF_MEMORY;
        goto out;
    }
    if (task_run_input_under(run, "adapter/") != NULL)
        TRY_OUT(load_adapter(run, layout, values, et));
    else
        TRY_OUT(make_values(run, &config, layout, values, et));
    if (config.method == TRAIN_METHOD_PROMPT && config.prompt == TRAIN_PROMPT_TEXT)
        TRY_OUT(take_prompt_text(run, model, &config, values, et));
    TRY_OUT(task_state_write(layout, values, &state));
    TRY_OUT(task_run_output(run, "state", bytes_span(&state), false, et));
    if (config.method == TRAIN_METHOD_LORA && config.init == TRAIN_INIT_PISSA)
        TRY_OUT(task_run_output(run, "anchor", bytes_span(&state), false, et));
    TRY_OUT(task_run_fact(run, "parameters", train_layout_count(layout)));
out:
    bytes_fini(&state);
    mem_free(values);
    train_layout_destroy(&layout);
    return err;
}
