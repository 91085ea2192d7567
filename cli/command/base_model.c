/* base_model.c - a damaged model costs its user a moment, not a queue, an upload and five attempts,
 * and is named by the path that its user knows. */
#include "cli/command/base_model.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/formats/hf/hf_config.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/source/folder.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/mem.h"
#include "common/recipe/recipe_variant.h"
#include "worker/engine/nn/model.h"
#include "worker/engine/train/fake_quant_check.h"
#include "worker/engine/train/train_layout.h"
#include "worker/task/task_mergeable.h"
#include "worker/task/task_qat.h"
#include "worker/task/task_quantizable.h"
#include "worker/task/task_settings.h"
#include "worker/task/task_start.h"

static enum err open_outline(const char *folder, struct arena *arena, struct model **out,
                             struct err_text *et)
{
    const char *path = folder_join(arena, folder, "config.json");
    struct hf_config *config = mem_alloc(1, sizeof *config);
    enum err err = path == NULL || config == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
    if (err == ERR_OK)
        err = hf_config_open(config, path, et);
    if (err == ERR_OK)
        err = model_create_outline(config, out, et);
    mem_free(config);
    return err;
}

const char *base_model_place(const struct recipe *recipe, enum recipe_key key, struct arena *arena)
{
    const struct recipe_origin *origin = &recipe->origins[key];
    const char *text;
    if (origin->source == RECIPE_FILE)
        text =
            arena_print(arena, "%s:%u: %s", recipe->file_name, origin->line, recipe_key_name(key));
    else
        text = arena_print(arena, "%s: %s",
                           origin->source == RECIPE_FLAG ? "--set" : recipe->file_name,
                           recipe_key_name(key));
    return text == NULL ? recipe_key_name(key) : text;
}

static enum err check_qat(const struct recipe *recipe, const struct model *model,
                          const struct train_layout *layout, struct err_text *et)
{
    struct task_qat qat = {.is_on = false};
    enum err err = ERR_OK;
    if (layout != NULL)
        err = task_qat_read(recipe, model, &qat, et);
    if (err == ERR_OK && qat.is_on)
        err = fake_quant_check(model, layout, &qat.config, et);
    return err == ERR_OK ? ERR_OK : error_prefix(et, err, "%s", recipe->file_name);
}

/* An adapter that training goes on from, or that is merged, is what the recipe says it is. */
static enum err check_start(const struct recipe *recipe, const struct train_layout *layout,
                            struct arena *arena, struct err_text *et)
{
    struct peft_adapter adapter;
    if (recipe->lora_model_dir == NULL)
        return ERR_OK;
    const char *folder = recipe_path(recipe, recipe->lora_model_dir, arena);
    if (folder == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(peft_adapter_open(&adapter, folder, et));
    enum err err = task_start_check(&adapter, layout, et);
    peft_adapter_close(&adapter);
    return err == ERR_OK ? ERR_OK : error_prefix(et, err, "%s", recipe->file_name);
}

/* What load_in_4bit and load_in_8bit store in few bits when a worker opens the model. */
static enum err check_saved(const struct recipe *recipe, const struct model *model,
                            const struct train_layout *layout, struct err_text *et)
{
    bool bits = recipe->load_in_4bit || recipe->load_in_8bit;
    for (size_t i = 0; bits && i < train_layout_entry_count(layout); i++) {
        const struct train_entry *entry = train_layout_entry(layout, i);
        if (entry->part != TRAIN_PART_WHOLE || entry->param >= model_param_count(model))
            continue;
        const struct model_param *p = model_param(model, entry->param);
        if (p->kind == MODEL_KIND_LINEAR && family_role_in_layer(p->role))
            return error_set(et, ERR_RECIPE,
                             "lora_modules_to_save: %s is frozen in few bits with %s: true; name "
                             "it in lora_target_modules",
                             p->name, recipe->load_in_4bit ? "load_in_4bit" : "load_in_8bit");
    }
    return ERR_OK;
}

static enum err check_training(const struct recipe *recipe, const struct model *model,
                               struct arena *arena, struct err_text *et)
{
    struct train_config config;
    struct train_layout *layout = NULL;
    if (recipe_trains(recipe) || recipe_merges(recipe)) {
        task_settings_train(recipe, &config);
        enum err err = train_layout_create(model, &config, &layout, et);
        if (err != ERR_OK)
            return error_prefix(et, err, "%s", recipe->file_name);
    }
    enum err err = check_qat(recipe, model, layout, et);
    if (err == ERR_OK && layout != NULL) {
        err = check_saved(recipe, model, layout, et);
        err = err == ERR_OK ? ERR_OK : error_prefix(et, err, "%s", recipe->file_name);
    }
    if (err == ERR_OK && layout != NULL)
        err = check_start(recipe, layout, arena, et);
    if (err == ERR_OK && recipe_merges(recipe)) {
        err = task_mergeable_check(recipe, model, layout, et);
        err = err == ERR_OK ? ERR_OK : error_prefix(et, err, "%s", recipe->file_name);
    }
    train_layout_destroy(&layout);
    return err;
}

/* A list is as good as its worst value. */
static enum err check_variants(const struct recipe *recipe, const struct model *model,
                               struct arena *arena, struct err_text *et)
{
    for (uint32_t i = 0; i < recipe_variant_count(recipe); i++) {
        struct recipe one = *recipe;
        recipe_variant_choose(&one, i);
        TRY(check_training(&one, model, arena, et));
    }
    return ERR_OK;
}

static enum err check_plan(const struct recipe *recipe, const struct model *model,
                           struct arena *arena, struct err_text *et)
{
    size_t positions = model_shape(model)->positions;
    if (positions > 0 && recipe->sequence_len > positions)
        return error_set(et, ERR_RECIPE,
                         "%s: %" PRIu64 " is longer than the %zu positions of the model; set "
                         "sequence_len to %zu or less",
                         base_model_place(recipe, RECIPE_KEY_sequence_len, arena),
                         recipe->sequence_len, positions, positions);
    bool prompted = recipe_trains(recipe) && recipe->adapter == RECIPE_ADAPTER_PROMPT_TUNING;
    if (prompted && positions > 0 && recipe->sequence_len + recipe->num_virtual_tokens > positions)
        return error_set(et, ERR_RECIPE,
                         "%s: %" PRIu64 " and num_virtual_tokens: %" PRIu64
                         " are more than the %zu positions of the model; lower one of them",
                         base_model_place(recipe, RECIPE_KEY_sequence_len, arena),
                         recipe->sequence_len, recipe->num_virtual_tokens, positions);
    return check_variants(recipe, model, arena, et);
}

enum err base_model_open(const struct recipe *recipe, struct arena *arena, struct model **out,
                         struct err_text *et)
{
    const char *folder = recipe_path(recipe, recipe->base_model, arena);
    if (folder == NULL)
        return ERR_OUT_OF_MEMORY;
    return recipe->random_init ? open_outline(folder, arena, out, et) : model_open(folder, out, et);
}

enum err base_model_check(const struct recipe *recipe, struct arena *arena, struct err_text *et)
{
    struct model *model = NULL;
    struct tokenizer *tokenizer = NULL;
    const char *folder = recipe_path(recipe, recipe->base_model, arena);
    if (folder == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(base_model_open(recipe, arena, &model, et));
    enum err err = check_plan(recipe, model, arena, et);
    bool is_made = recipe_trains(recipe) || recipe_merges(recipe);
    if (err == ERR_OK && recipe_quantizes(recipe))
        err = task_quantizable_check(recipe, model, is_made ? NULL : folder, et);
    model_destroy(&model);
    TRY(err);
    TRY(tokenizer_open(folder, &tokenizer, et));
    tokenizer_close(&tokenizer);
    return ERR_OK;
}
