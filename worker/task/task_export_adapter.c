/* task_export_adapter.c - a trained adapter as PEFT's folder: weights, configuration, card. */
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/peft/peft_write.h"
#include "worker/engine/train/train_adapter.h"
#include "worker/task/task_export.h"
#include "worker/task/task_settings.h"

/* Ranks and alphas of the modules that are not as the recipe says. */
static enum err fill_patterns(struct task_export *x, const struct train_adapter *adapter,
                              struct peft_config *config)
{
    size_t count = adapter->module_count;
    struct peft_pattern *ranks = arena_alloc(&x->arena, count, sizeof *ranks);
    struct peft_pattern *alphas = arena_alloc(&x->arena, count, sizeof *alphas);
    if (ranks == NULL || alphas == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const struct train_adapter_module *module = &adapter->modules[i];
        ranks[i] = (struct peft_pattern){module->name, (double)module->rank};
        alphas[i] = (struct peft_pattern){module->name, module->alpha};
    }
    config->rank_patterns = ranks;
    config->alpha_patterns = alphas;
    config->rank_pattern_count = config->alpha_pattern_count = count;
    return ERR_OK;
}

static enum err fill_peft_config(struct task_export *x, const struct train_adapter *adapter,
                                 struct peft_config *config)
{
    const struct recipe *recipe = &x->run->recipe;
    *config = (struct peft_config){
        .base_model = task_settings_base_model(recipe),
        .r = (uint32_t)adapter->rank,
        .lora_alpha = adapter->alpha,
        .lora_dropout = x->config.dropout,
        .use_rslora = x->config.rank_stabilized,
        .use_dora = x->config.dora,
        .fan_in_fan_out = family_of(model_config(x->model))->linear == LINEAR_TURNED,
        .target_modules = adapter->targets,
        .target_count = adapter->target_count,
        .modules_to_save = adapter->saved,
        .save_count = adapter->saved_count,
    };
    if (recipe->model_revision != NULL)
        config->revision = text_of(recipe->model_revision);
    return fill_patterns(x, adapter, config);
}

enum err task_export_adapter(struct task_export *x, struct err_text *et)
{
    struct peft_config config;
    struct bytes text;
    struct train_adapter adapter;
    TRY(train_adapter_fold(&x->config, x->layout, x->values, x->anchor, &x->arena, &adapter));
    TRY(fill_peft_config(x, &adapter, &config));
    struct peft_card card = {.config = &config};
    TRY(task_export_fill_card(x, &card));
    struct peft_content content = {
        .config = &config, .card = &card, .tensor_count = adapter.entry_count};
    content.tensors =
        task_export_list_tensors(x, adapter.entries, adapter.entry_count, adapter.values);
    if (content.tensors == NULL)
        return ERR_OUT_OF_MEMORY;
    bytes_init(&text, SIZE_MAX);
    enum err err = ERR_OK;
    TRY_OUT(task_export_put(x, PEFT_ADAPTER_WEIGHTS_FILE,
                            peft_write_weights(&content, file_sink_bytes, &text), &text, et));
    TRY_OUT(
        task_export_put(x, PEFT_ADAPTER_CONFIG_FILE, peft_config_print(&config, &text), &text, et));
    TRY_OUT(task_export_put(x, PEFT_ADAPTER_CARD_FILE, peft_card_print(&card, &text), &text, et));
out:
    bytes_fini(&text);
    return err;
}
