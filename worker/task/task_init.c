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
#include "worker/task/task_start.h"
#include "worker/task/task_state.h"

static enum dtype dtype_of(enum safetensors_dtype dtype)
{
    if (dtype == SAFETENSORS_F16)
        return DTYPE_F16;
    return dtype == SAFETENSORS_BF16 ? DTYPE_BF16 : DTYPE_F32;
}

/* Every entry of the layout from the adapter's tensor of the same name. */
static enum err take_tensors(struct task_run *run, const struct peft_adapter *adapter,
                             const struct train_layout *layout, float *values, struct err_text *et)
{
    TRY(task_start_check(adapter, layout, et));
    for (size_t i = 0; i < train_layout_entry_count(layout); i++) {
        const struct train_entry *entry = train_layout_entry(layout, i);
        const struct safetensor *t = safetensors_find(&adapter->weights, text_of(entry->name));
        kernel_decode(run->env->f32, entry->count, dtype_of(t->dtype), t->data.data,
                      values + entry->offset);
    }
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
