/* peft_check_sample.c - a folder of ours and the logits it must give, for peft_check.py.
 *
 *   peft_check_sample BASE OUT lora|rslora|parts|dora|patterns|saved|embeddings|anchor|prompt|full
 *
 * lora, rslora, parts: LoRA of rank 4 with values that are not zero on every linear module of the
 * model in BASE, with `parts` also on every part of its fused modules, goes to OUT/adapter, which
 * must pass our own strict check. dora, patterns, saved, embeddings: the same with magnitudes, with
 * ranks and alphas of their own, with norms, embedding and head trained as a whole, with adapters
 * on embedding and head. anchor: what training from another start becomes. prompt: a
 * tuned prompt of 6 vectors goes to OUT/adapter. full: the model as full
 * training would write it, f32, goes to OUT/model. Our logits of some tokens go to
 * OUT/logits.safetensors. Exits 77 when BASE has no parts, or is nothing that full training takes.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/peft/peft_insert.h"
#include "common/formats/peft/peft_verify.h"
#include "common/formats/peft/peft_write.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/train/train.h"
#include "worker/engine/train/train_adapter.h"

enum { TOKENS = 48, RANK = 4, VECTORS = 6, TARGETS_MAX = 256, OPTIONS_MAX = 8, SKIP = 77 };

enum variant {
    VARIANT_LORA,
    VARIANT_RSLORA,
    VARIANT_PARTS,
    VARIANT_DORA,
    VARIANT_PATTERNS,
    VARIANT_SAVED,
    VARIANT_EMBEDDINGS,
    VARIANT_ANCHOR,
    VARIANT_PROMPT,
    VARIANT_FULL,
    VARIANT_COUNT
};

static const char *const variants[VARIANT_COUNT] = {"lora",     "rslora", "parts",      "dora",
                                                    "patterns", "saved",  "embeddings", "anchor",
                                                    "prompt",   "full"};

struct sample {
    enum variant variant;
    struct train_config training;
    const char *targets[TARGETS_MAX], *saved[OPTIONS_MAX], *ranks[OPTIONS_MAX];
    const char *alphas[OPTIONS_MAX];
    struct arena arena;
    struct kernel *kernel;
    struct model *model;
    struct train_layout *layout;
    struct train *train;
    struct safetensors base;
    float *values;
    float *anchor; /* of VARIANT_ANCHOR */
    float *logits;
    int64_t ids[TOKENS];
    struct peft_config config;
    struct err_text et;
};

/* The module of a parameter; "" without memory, which no model has. */
static const char *module_of(struct sample *s, const struct model_param *p)
{
    struct text module = text_of(p->name);
    module.size -= strlen(".weight");
    const char *copy = arena_copy_text(&s->arena, module);
    return copy != NULL ? copy : "";
}

/* Of the role in the last layer, or of the whole model. */
static const char *module_named(struct sample *s, enum model_role role)
{
    size_t layer = family_role_in_layer(role) ? model_shape(s->model)->layers - 1 : 0;
    ptrdiff_t index = model_param_index(s->model, role, layer);
    const char *name = model_family(s->model)->names[role];
    if (role == MODEL_HEAD && model_shape(s->model)->tied) {
        struct model_param head = {.name = name};
        return module_of(s, &head);
    }
    return index != MODEL_NO_PARAM ? module_of(s, model_param(s->model, (size_t)index)) : NULL;
}

static void add_saved(struct sample *s, enum model_role role)
{
    const char *module = module_named(s, role);
    if (module != NULL)
        s->saved[s->training.saved_count++] = module;
}

/* What a variant asks for beside adapters on all linear modules. */
static void choose_options(struct sample *s)
{
    struct train_config *c = &s->training;
    c->dora = s->config.use_dora;
    if (s->variant == VARIANT_PATTERNS) {
        s->ranks[c->rank_pattern_count++] =
            arena_print(&s->arena, "%s=2", module_named(s, MODEL_OUTPUT));
        s->ranks[c->rank_pattern_count++] = "up_proj=3";
        s->ranks[c->rank_pattern_count++] = "down_proj=6";
        s->alphas[c->alpha_pattern_count++] = "down_proj=5";
    }
    if (s->variant == VARIANT_SAVED) {
        add_saved(s, MODEL_EMBEDDING);
        add_saved(s, MODEL_HEAD);
        add_saved(s, MODEL_FINAL_NORM);
        add_saved(s, MODEL_ATTENTION_NORM);
    }
    if (s->variant == VARIANT_EMBEDDINGS) {
        s->targets[c->target_count++] = module_named(s, MODEL_EMBEDDING);
        s->targets[c->target_count++] = module_named(s, MODEL_HEAD);
    }
}

/* "all-linear", and with VARIANT_PARTS the parts of fused modules by their names. */
static enum err list_targets(struct sample *s)
{
    size_t count = 0;
    s->targets[count++] = "all-linear";
    for (size_t i = 0; s->variant == VARIANT_PARTS && i < model_param_count(s->model); i++) {
        const struct model_param *p = model_param(s->model, i);
        if (p->part.whole == MODEL_NO_PARAM || count == TARGETS_MAX)
            continue;
        struct text module = text_of(p->name);
        module.size -= strlen(".weight");
        s->targets[count] = arena_copy_text(&s->arena, module);
        if (s->targets[count++] == NULL)
            return ERR_OUT_OF_MEMORY;
    }
    s->training = (struct train_config){.method = s->variant == VARIANT_FULL ? TRAIN_METHOD_FULL
                                                                             : TRAIN_METHOD_LORA,
                                        .rank = RANK,
                                        .alpha = s->config.lora_alpha,
                                        .rank_stabilized = s->config.use_rslora,
                                        .rank_patterns = s->ranks,
                                        .alpha_patterns = s->alphas,
                                        .saved = s->saved,
                                        .targets = s->targets,
                                        .target_count = count};
    choose_options(s);
    if (s->variant == VARIANT_PROMPT)
        s->training = (struct train_config){.method = TRAIN_METHOD_PROMPT, .prompt_count = VECTORS};
    /* Ternary models train under a quantizer, and are exported by it. */
    bool is_ternary = model_family(s->model)->linear == LINEAR_TERNARY;
    if (s->variant == VARIANT_FULL && is_ternary)
        return ERR_RECIPE;
    return s->variant == VARIANT_PARTS && count == 1 ? ERR_RECIPE : ERR_OK;
}

static enum err open_all(struct sample *s, const char *base)
{
    const struct train_options options = {.rows_at_once = 1};
    TRY(model_open(base, &s->model, &s->et));
    s->config.fan_in_fan_out = model_family(s->model)->linear == LINEAR_TURNED;
    TRY(list_targets(s));
    TRY(safetensors_index_open_folder(&s->base, base, "model", &s->et));
    TRY(kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, 1, &s->kernel));
    TRY(train_layout_create(s->model, &s->training, &s->layout, &s->et));
    TRY(train_create(s->model, s->kernel, s->layout, &options, &s->train));
    s->values = mem_alloc(train_layout_count(s->layout), sizeof *s->values);
    s->anchor = mem_alloc(train_layout_count(s->layout), sizeof *s->anchor);
    s->logits = mem_alloc(TOKENS * model_shape(s->model)->vocabulary, sizeof *s->logits);
    return s->values == NULL || s->anchor == NULL || s->logits == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
}

/* A start as in training, and a B that is not zero, so that every part of the adapter matters. */
static enum err compute(struct sample *s)
{
    const uint32_t start = 0;
    uint32_t tokens[TOKENS];
    uint8_t loss[TOKENS] = {0};
    size_t vocabulary = model_shape(s->model)->vocabulary;
    size_t count = train_layout_count(s->layout);
    train_layout_values(s->layout, 7, s->values);
    TRY(train_layout_magnitudes(s->layout, s->kernel, NULL, s->values));
    for (size_t i = 0; s->variant == VARIANT_ANCHOR && i < count; i++)
        s->anchor[i] = s->values[i] + (float)(i * 40503u % 2003) * 1e-4f - 0.1f;
    for (size_t i = 0; s->variant != VARIANT_FULL && i < count; i++)
        s->values[i] += (float)(i * 2654435761u % 2001) * 1e-4f - 0.1f;
    if (s->variant == VARIANT_ANCHOR)
        train_anchor(s->train, s->anchor);
    for (size_t i = 0; i < TOKENS; i++) {
        tokens[i] = (uint32_t)(i * 7919 % vocabulary);
        s->ids[i] = tokens[i];
    }
    const struct train_row row = {.tokens = tokens,
                                  .loss = loss,
                                  .token_count = TOKENS,
                                  .segment_starts = &start,
                                  .segment_count = 1};
    return train_logits(s->train, s->values, &row, s->logits, &s->et);
}

static struct safetensor *list_tensors(struct sample *s, const struct train_entry *entries,
                                       size_t count, const float *values)
{
    struct safetensor *tensors = arena_alloc(&s->arena, count, sizeof *tensors);
    for (size_t i = 0; tensors != NULL && i < count; i++) {
        const struct train_entry *e = &entries[i];
        tensors[i] = (struct safetensor){
            .name = text_of(e->name),
            .dtype = SAFETENSORS_F32,
            .rank = (uint32_t)e->dimensions,
            .shape = {e->shape[0], e->shape[1]},
            .data = {(const uint8_t *)(values + e->offset), e->count * sizeof(float)}};
    }
    return tensors;
}

static enum err fill_patterns(struct sample *s, const struct train_adapter *adapter)
{
    size_t count = adapter->module_count;
    struct peft_pattern *ranks = arena_alloc(&s->arena, count, sizeof *ranks);
    struct peft_pattern *alphas = arena_alloc(&s->arena, count, sizeof *alphas);
    if (ranks == NULL || alphas == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const struct train_adapter_module *module = &adapter->modules[i];
        ranks[i] = (struct peft_pattern){module->name, (double)module->rank};
        alphas[i] = (struct peft_pattern){module->name, module->alpha};
    }
    s->config.rank_patterns = ranks;
    s->config.alpha_patterns = alphas;
    s->config.rank_pattern_count = s->config.alpha_pattern_count = count;
    return ERR_OK;
}

static enum err write_adapter(struct sample *s, const char *folder)
{
    struct train_adapter adapter;
    TRY(train_adapter_fold(&s->training, s->layout, s->values,
                           s->variant == VARIANT_ANCHOR ? s->anchor : NULL, &s->arena, &adapter));
    TRY(fill_patterns(s, &adapter));
    size_t count = adapter.entry_count;
    struct safetensor *tensors = list_tensors(s, adapter.entries, count, adapter.values);
    if (tensors == NULL)
        return ERR_OUT_OF_MEMORY;
    s->config.r = (uint32_t)adapter.rank;
    s->config.lora_alpha = adapter.alpha;
    s->config.modules_to_save = adapter.saved;
    s->config.save_count = adapter.saved_count;
    s->config.target_modules = adapter.targets;
    s->config.target_count = adapter.target_count;
    const struct peft_card card = {.title = TEXT("peft_check"), .config = &s->config};
    const struct peft_content content = {&s->config, tensors, count, &card};
    TRY(peft_write_folder(folder, &content, &s->et));
    return peft_verify_folder(folder, &s->base, &s->et);
}

static enum err write_prompt(struct sample *s, const char *folder)
{
    const struct model_shape *shape = model_shape(s->model);
    const char *config = folder_join(&s->arena, folder, PEFT_ADAPTER_CONFIG_FILE);
    const char *weights = folder_join(&s->arena, folder, PEFT_ADAPTER_WEIGHTS_FILE);
    struct safetensor *tensors = list_tensors(s, train_layout_entry(s->layout, 0), 1, s->values);
    const struct peft_insert_config insert = {.kind = PEFT_INSERT_PROMPT,
                                              .base_model = s->config.base_model,
                                              .vector_count = VECTORS,
                                              .width = (uint32_t)shape->width,
                                              .head_count = (uint32_t)shape->heads,
                                              .layer_count = (uint32_t)shape->layers};
    if (config == NULL || weights == NULL || tensors == NULL)
        return ERR_OUT_OF_MEMORY;
    const struct safetensors_content content = {
        .tensors = tensors, .count = 1, .notes = &safetensors_write_note_pt, .note_count = 1};
    struct bytes text;
    TRY(folder_create(folder, &s->et));
    TRY(safetensors_write_file(&content, weights, &s->et));
    bytes_init(&text, 1 << 20);
    enum err err = peft_insert_print(&insert, &text);
    if (err == ERR_OK)
        err = file_write_atomic(config, bytes_span(&text), &s->et);
    bytes_fini(&text);
    return err;
}

static enum err write_model(struct sample *s, const char *folder)
{
    const char *config = folder_join(&s->arena, folder, "config.json");
    const char *weights = folder_join(&s->arena, folder, "model.safetensors");
    size_t count = train_layout_entry_count(s->layout);
    struct safetensor *tensors =
        list_tensors(s, train_layout_entry(s->layout, 0), count, s->values);
    if (config == NULL || weights == NULL || tensors == NULL)
        return ERR_OUT_OF_MEMORY;
    const struct safetensors_content content = {
        .tensors = tensors, .count = count, .notes = &safetensors_write_note_pt, .note_count = 1};
    struct bytes text;
    TRY(folder_create(folder, &s->et));
    TRY(safetensors_write_file(&content, weights, &s->et));
    bytes_init(&text, 1 << 20);
    enum err err = hf_config_print(model_config(s->model), &text);
    if (err == ERR_OK)
        err = file_write_atomic(config, bytes_span(&text), &s->et);
    bytes_fini(&text);
    return err;
}

static enum err write_logits(struct sample *s, const char *path)
{
    size_t vocabulary = model_shape(s->model)->vocabulary;
    const struct safetensor tensors[] = {
        {.name = TEXT("input_ids"),
         .dtype = SAFETENSORS_I64,
         .rank = 1,
         .shape = {TOKENS},
         .data = {(const uint8_t *)s->ids, sizeof s->ids}},
        {.name = TEXT("logits"),
         .dtype = SAFETENSORS_F32,
         .rank = 2,
         .shape = {TOKENS, vocabulary},
         .data = {(const uint8_t *)s->logits, TOKENS * vocabulary * sizeof(float)}},
    };
    const struct safetensors_content content = {.tensors = tensors, .count = COUNT_OF(tensors)};
    return safetensors_write_file(&content, path, &s->et);
}

static enum err run(struct sample *s, const char *base, const char *out)
{
    bool full = s->variant == VARIANT_FULL;
    const char *folder = folder_join(&s->arena, out, full ? "model" : "adapter");
    const char *logits = folder_join(&s->arena, out, "logits.safetensors");
    if (folder == NULL || logits == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(open_all(s, base));
    TRY(compute(s));
    if (s->variant == VARIANT_PROMPT)
        TRY(write_prompt(s, folder));
    else
        TRY(full ? write_model(s, folder) : write_adapter(s, folder));
    return write_logits(s, logits);
}

int main(int argc, char **argv)
{
    size_t variant = 0;
    while (argc == 4 && variant < VARIANT_COUNT && strcmp(argv[3], variants[variant]) != 0)
        variant++;
    if (argc != 4 || variant == VARIANT_COUNT) {
        (void)fprintf(stderr, "usage: peft_check_sample BASE OUT VARIANT\n");
        return 2;
    }
    if (!folder_exists(argv[1])) {
        (void)printf("skipped: %s is not there\n", argv[1]);
        return SKIP;
    }
    struct sample s = {
        .variant = (enum variant)variant,
        .config = {.base_model = TEXT("owner/base"),
                   .r = RANK,
                   .lora_alpha = 8.0,
                   .use_rslora = variant == VARIANT_RSLORA || variant == VARIANT_PATTERNS,
                   .use_dora = variant == VARIANT_DORA}};
    arena_init(&s.arena, 64 << 20);
    enum err err = run(&s, argv[1], argv[2]);
    if (err != ERR_OK && err != ERR_RECIPE)
        (void)fprintf(stderr, "%s\n", s.et.text[0] != '\0' ? s.et.text : error_text(err));
    mem_free(s.logits);
    mem_free(s.values);
    mem_free(s.anchor);
    train_destroy(&s.train);
    train_layout_destroy(&s.layout);
    kernel_destroy(&s.kernel);
    safetensors_close(&s.base);
    model_destroy(&s.model);
    arena_fini(&s.arena);
    return err == ERR_OK ? 0 : err == ERR_RECIPE ? SKIP : 1;
}
