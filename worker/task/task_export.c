/* task_export.c - the result of a training run as the files that the rest of the world loads.
 *
 * An adapter becomes PEFT's folder, full training a model folder; both come with the tokenizer's
 * files and trainer_state.json.
 */
#include <stdio.h>
#include <string.h>

#include "common/formats/convert/convert_tokenizer_files.h"
#include "common/formats/hf/hf_generation.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/peft/peft_write.h"
#include "common/mem/mem.h"
#include "schemas/state_file.def"
#include "worker/engine/train/train_adapter.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_log.h"
#include "worker/task/task_run.h"
#include "worker/task/task_settings.h"
#include "worker/task/task_state.h"

enum { FACTS_MAX = 8, PATH_BYTES = 4096 };

struct exporter {
    struct task_run *run;
    const struct model *model;
    struct train_layout *layout; /* owned */
    float *values;               /* owned */
    struct trainer_log log;
    struct arena arena;
};

static enum err put_bytes(struct exporter *x, const char *name, enum err printed,
                          struct bytes *text, struct err_text *et)
{
    enum err err = printed;
    if (err == ERR_OK)
        err = bytes_status(text);
    if (err == ERR_OK)
        err = task_run_output(x->run, name, bytes_span(text), false, et);
    bytes_clear(text);
    return err;
}

/* Entries as tensors of their names. */
static struct safetensor *list_tensors(struct exporter *x, const struct train_entry *entries,
                                       size_t count, const float *values)
{
    struct safetensor *tensors = arena_alloc(&x->arena, count, sizeof *tensors);
    for (size_t i = 0; tensors != NULL && i < count; i++) {
        const struct train_entry *entry = &entries[i];
        tensors[i] = (struct safetensor){
            .name = text_of(entry->name),
            .dtype = SAFETENSORS_F32,
            .rank = (uint32_t)entry->dimensions,
            .shape = {entry->shape[0], entry->shape[1]},
            .data = {(const uint8_t *)(values + entry->offset), entry->count * sizeof(float)},
        };
    }
    return tensors;
}

static void add_fact(struct peft_card_fact *facts, size_t *count, struct arena *arena,
                     const char *name, const char *value)
{
    const char *copy = value != NULL ? arena_copy_text(arena, text_of(value)) : NULL;
    if (copy != NULL && *count < FACTS_MAX)
        facts[(*count)++] = (struct peft_card_fact){text_of(name), text_of(copy)};
}

static void add_loss(struct exporter *x, struct peft_card_fact *facts, size_t *count,
                     const char *name, bool is_eval)
{
    const struct trainer_log_point *point = task_log_last(&x->log, is_eval);
    if (point != NULL)
        add_fact(facts, count, &x->arena, name, arena_print(&x->arena, "%.4f", point->loss));
}

static size_t list_facts(struct exporter *x, struct peft_card_fact facts[FACTS_MAX])
{
    const struct recipe *recipe = &x->run->recipe;
    size_t count = 0;
    add_fact(facts, &count, &x->arena, "numeric profile", recipe_profile_name(recipe));
    add_fact(facts, &count, &x->arena, "optimizer steps",
             arena_print(&x->arena, "%llu", (unsigned long long)x->log.steps_done));
    add_fact(facts, &count, &x->arena, "rows a step",
             arena_print(&x->arena, "%llu", (unsigned long long)recipe_round_rows(recipe)));
    add_fact(facts, &count, &x->arena, "tokens a row",
             arena_print(&x->arena, "%llu", (unsigned long long)recipe->sequence_len));
    add_fact(facts, &count, &x->arena, "seed",
             arena_print(&x->arena, "%llu", (unsigned long long)recipe->seed));
    add_loss(x, facts, &count, "training loss", false);
    add_loss(x, facts, &count, "held-out loss", true);
    return count;
}

static const char *file_name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* File names of the data sets, for the card. */
static struct text *list_datasets(struct exporter *x, size_t *count)
{
    const struct recipe *recipe = &x->run->recipe;
    *count = recipe->datasets_count;
    struct text *names = arena_alloc(&x->arena, *count, sizeof *names);
    for (size_t i = 0; names != NULL && i < *count; i++)
        names[i] = text_of(file_name_of(recipe->datasets[i].path));
    return names;
}

/* Ranks and alphas of the modules that are not as the recipe says. */
static enum err fill_patterns(struct exporter *x, const struct train_adapter *adapter,
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

static enum err fill_peft_config(struct exporter *x, const struct train_adapter *adapter,
                                 struct peft_config *config)
{
    const struct recipe *recipe = &x->run->recipe;
    *config = (struct peft_config){
        .base_model = task_settings_base_model(recipe),
        .r = (uint32_t)recipe->lora_r,
        .lora_alpha = recipe->lora_alpha,
        .lora_dropout = recipe->lora_dropout,
        .use_rslora = recipe->peft_use_rslora,
        .fan_in_fan_out = family_of(model_config(x->model))->linear == LINEAR_TURNED,
        .target_modules = adapter->targets,
        .target_count = adapter->target_count,
    };
    if (recipe->model_revision != NULL)
        config->revision = text_of(recipe->model_revision);
    return fill_patterns(x, adapter, config);
}

static enum err export_adapter(struct exporter *x, struct err_text *et)
{
    struct peft_config config;
    struct peft_card_fact facts[FACTS_MAX];
    struct bytes text;
    struct train_config settings;
    struct train_adapter adapter;
    task_settings_train(&x->run->recipe, &settings);
    TRY(train_adapter_fold(x->model, &settings, x->layout, x->values, &x->arena, &adapter));
    TRY(fill_peft_config(x, &adapter, &config));
    struct peft_card card = {.config = &config, .facts = facts};
    card.title = text_of(x->run->recipe.name != NULL ? x->run->recipe.name : "adapter");
    card.fact_count = list_facts(x, facts);
    card.datasets = list_datasets(x, &card.dataset_count);
    struct peft_content content = {
        .config = &config, .card = &card, .tensor_count = adapter.entry_count};
    content.tensors = list_tensors(x, adapter.entries, adapter.entry_count, adapter.values);
    if (content.tensors == NULL || card.datasets == NULL)
        return ERR_OUT_OF_MEMORY;
    bytes_init(&text, SIZE_MAX);
    enum err err = ERR_OK;
    TRY_OUT(put_bytes(x, PEFT_ADAPTER_WEIGHTS_FILE,
                      peft_write_weights(&content, file_sink_bytes, &text), &text, et));
    TRY_OUT(put_bytes(x, PEFT_ADAPTER_CONFIG_FILE, peft_config_print(&config, &text), &text, et));
    TRY_OUT(put_bytes(x, PEFT_ADAPTER_CARD_FILE, peft_card_print(&card, &text), &text, et));
out:
    bytes_fini(&text);
    return err;
}

/* generation_config.json: the model's own, or made from its tokens. */
static enum err read_generation(const struct hf_config *config, const char *folder,
                                struct hf_generation *out, struct err_text *et)
{
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s/generation_config.json", folder);
    if (length < 0 || (size_t)length >= sizeof path)
        return ERR_LIMIT;
    enum err err = hf_generation_open(out, path, NULL);
    if (err != ERR_NOT_FOUND)
        return err == ERR_OK ? ERR_OK : hf_generation_open(out, path, et);
    *out = (struct hf_generation){
        .bos_token_id = config->bos_token_id,
        .pad_token_id = config->pad_token_id,
        .eos = config->eos,
        .temperature = 1,
        .top_p = 1,
        .repetition_penalty = 1,
    };
    return ERR_OK;
}

static enum err export_model(struct exporter *x, struct err_text *et)
{
    const char *folder;
    struct hf_generation generation;
    struct bytes text;
    size_t count = train_layout_entry_count(x->layout);
    struct safetensor *tensors =
        list_tensors(x, train_layout_entry(x->layout, 0), count, x->values);
    struct hf_config *config = arena_alloc(&x->arena, 1, sizeof *config);
    if (tensors == NULL || config == NULL)
        return ERR_OUT_OF_MEMORY;
    const struct safetensors_content content = {
        .tensors = tensors, .count = count, .notes = &safetensors_write_note_pt, .note_count = 1};
    TRY(task_model_folder(x->run, &folder, et));
    *config = *model_config(x->model);
    snprintf(config->dtype, sizeof config->dtype, "float32");
    TRY(read_generation(config, folder, &generation, et));
    bytes_init(&text, SIZE_MAX);
    enum err err = ERR_OK;
    TRY_OUT(put_bytes(x, "model.safetensors", safetensors_write(&content, file_sink_bytes, &text),
                      &text, et));
    TRY_OUT(put_bytes(x, "config.json", hf_config_print(config, &text), &text, et));
    TRY_OUT(
        put_bytes(x, "generation_config.json", hf_generation_print(&generation, &text), &text, et));
out:
    bytes_fini(&text);
    return err;
}

/* A file of the tokenizer, as an output. */
static enum err put_tokenizer_file(void *context, const char *name, struct span content,
                                   struct err_text *et)
{
    struct exporter *x = context;
    return task_run_output(x->run, name, content, false, et);
}

/* A GGUF file has its tokenizer inside: it is written out as a folder has it. */
static enum err unpack_tokenizer(struct exporter *x, struct err_text *et)
{
    const struct tokenizer *tokenizer;
    TRY(task_model_tokenizer(x->run, &tokenizer, et));
    return convert_tokenizer_files_make(tokenizer, "tokenizer", &x->arena, put_tokenizer_file, x,
                                        et);
}

/* The tokenizer's files as the model has them; but a chat template that the recipe chose is written
 * in place of the model's, since whoever loads the result has to ask with it. */
static enum err export_tokenizer(struct exporter *x, struct err_text *et)
{
    const struct chat_template *chosen = task_settings_template(&x->run->recipe);
    const char *file;
    bool packed;
    TRY(task_model_is_file(x->run, &packed, et));
    if (packed)
        TRY(unpack_tokenizer(x, et));
    for (size_t i = 0; (file = tokenizer_file_name(i)) != NULL; i++) {
        const char *name = arena_print(&x->arena, "model/%s", file);
        if (name == NULL)
            return ERR_OUT_OF_MEMORY;
        bool is_config =
            strcmp(file, "config.json") == 0 || strcmp(file, "generation_config.json") == 0;
        bool is_template = strncmp(file, "chat_template.", strlen("chat_template.")) == 0;
        if (is_config || (is_template && chosen != NULL) || task_run_input(x->run, name) == NULL)
            continue; /* those of a model are written anew, an adapter has none */
        const struct cache_item *item = NULL;
        TRY(task_run_open(x->run, name, &item, et));
        enum err err = task_run_output(x->run, file, item->bytes, false, et);
        cache_release(x->run->env->options.cache, &item);
        TRY(err);
    }
    if (chosen == NULL)
        return ERR_OK;
    struct text jinja = text_of(chat_template_jinja(chosen));
    return task_run_output(x->run, "chat_template.jinja", span_of_text(jinja), false, et);
}

static enum err export_log(struct exporter *x, struct err_text *et)
{
    struct bytes text;
    bytes_init(&text, SIZE_MAX);
    enum err err =
        put_bytes(x, "trainer_state.json", trainer_log_print_state(&x->log, &text), &text, et);
    bytes_fini(&text);
    return err;
}

static enum err read_log(struct exporter *x, struct err_text *et)
{
    const struct recipe *recipe = &x->run->recipe;
    const struct cache_item *item = NULL;
    TRY(task_run_open(x->run, "log", &item, et));
    enum err err = task_log_read(item->bytes, &x->arena, &x->log, et);
    cache_release(x->run->env->options.cache, &item);
    TRY(err);
    const struct trainer_log_point *last = task_log_last(&x->log, false);
    x->log.epochs_total = last != NULL ? last->epoch : 0;
    x->log.batch_size = (uint32_t)recipe_round_rows(recipe);
    x->log.logging_steps = recipe->logging_steps;
    x->log.eval_steps = recipe->eval_steps;
    x->log.save_steps = recipe->save_steps;
    return ERR_OK;
}

/* The trained vector and the number of steps behind it. */
static enum err read_state(struct exporter *x, struct err_text *et)
{
    const struct cache_item *item = NULL;
    struct safetensors file;
    TRY(task_run_open(x->run, "state", &item, et));
    enum err err = task_state_read(item->bytes, "state", x->layout, NULL, x->values, et);
    if (err == ERR_OK)
        err = safetensors_parse(&file, item->bytes, "state", et);
    if (err == ERR_OK) {
        struct text step = safetensors_note_of(&file, STATE_FILE_STEP);
        for (size_t i = 0; i < step.size && step.data[i] >= '0' && step.data[i] <= '9'; i++)
            x->log.steps_done = x->log.steps_done * 10 + (uint64_t)(step.data[i] - '0');
        x->log.steps_total = x->log.steps_done;
        safetensors_close(&file);
    }
    cache_release(x->run->env->options.cache, &item);
    return err;
}

static enum err export_all(struct exporter *x, struct err_text *et)
{
    struct train_config config;
    TRY(task_model_open(x->run, &x->model, et));
    task_settings_train(&x->run->recipe, &config);
    TRY(train_layout_create(x->model, &config, &x->layout, et));
    x->values = mem_alloc(train_layout_count(x->layout), sizeof *x->values);
    if (x->values == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(read_log(x, et));
    TRY(read_state(x, et));
    TRY(config.method == TRAIN_METHOD_LORA ? export_adapter(x, et) : export_model(x, et));
    TRY(export_tokenizer(x, et));
    return export_log(x, et);
}

enum err task_kind_export(struct task_run *run, struct err_text *et)
{
    struct exporter x = {.run = run};
    arena_init(&x.arena, SIZE_MAX); /* names, and an adapter once more: as large as what trains */
    enum err err = export_all(&x, et);
    train_layout_destroy(&x.layout);
    mem_free(x.values);
    arena_fini(&x.arena);
    return err;
}
