/* train_layout.c - which modules train, under which names, where in the vector. */
#include "worker/engine/train/train_layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/mem/mem.h"
#include "common/numeric/init.h"
#include "common/numeric/random.h"
#include "worker/engine/nn/adapter_norm.h"
#include "worker/engine/quant/blocks.h"
#include "worker/engine/train/train_choice.h"
#include "worker/engine/train/train_insert.h"

/* Of a module: itself and its bias; A, B and magnitude; A and B of the lookup. */
enum { ENTRIES_A_PARAM = 7 };

struct train_layout {
    const struct model *model; /* borrowed */
    struct binding binding;    /* owned */
    struct arena arena;        /* owned: names, entries, targets */
    struct train_entry *entries;
    size_t entry_count;
    enum train_prompt prompt;
    const struct train_module *modules; /* in the arena; none for full training */
    size_t module_count;
};

static bool is_part(const struct model_param *p)
{
    return p->part.whole != MODEL_NO_PARAM;
}

/* ---- checks ---- */

/* Gains that GGUF files hold plus one and matrices that they hold turned cannot become those of the
 * family's folder, which is what full training writes. */
static bool is_as_published(const struct model *model)
{
    const struct family *family = model_family(model), *row = family_of(model_config(model));
    return family->norm == row->norm && family->linear == row->linear;
}

static enum err check_full(const struct model *model, struct err_text *et)
{
    if (!is_as_published(model))
        return error_set(et, ERR_RECIPE,
                         "adapter: a GGUF file of model_type %s is a base for adapters alone; say "
                         "lora, or train a model folder (qctl convert makes one)",
                         model_config(model)->model_type);
    const struct hf_config *config = model_config(model);
    if (config->quantized && strcmp(config->quant_method, "bitnet") != 0)
        return error_set(et, ERR_RECIPE,
                         "base_model, adapter: the model is quantized (%s); without qat an adapter "
                         "trains on it; say adapter: lora, or take the model before",
                         config->quant_method);
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        if (p->rounds_input && p->masters == NULL)
            return error_set(et, ERR_RECIPE,
                             "adapter: %s is ternary already, which only an adapter can train; "
                             "say lora, or take the model whose quantization_mode is online",
                             p->name);
    }
    return ERR_OK;
}

static enum err check_config(const struct model *model, const struct train_config *config,
                             struct err_text *et)
{
    if (config->method == TRAIN_METHOD_FULL)
        return check_full(model, et);
    if (train_insert_is(config->method))
        return train_insert_check(model, config, et);
    if (config->rank == 0)
        return error_set(et, ERR_RECIPE, "lora_r: expected a number above 0");
    if (!(config->dropout >= 0 && config->dropout < 1))
        return error_set(et, ERR_RECIPE, "lora_dropout: %g; expected a number from 0 to below 1",
                         config->dropout);
    if (!(config->alpha - config->alpha == 0))
        return error_set(et, ERR_RECIPE, "lora_alpha: expected a finite number");
    return ERR_OK;
}

/* ---- building ---- */

/* Names as PEFT writes them: some of its tensors are no module's weight. */
static const char *name_entry(struct train_layout *layout, enum train_part part,
                              const struct train_module *module)
{
    static const char *const endings[] = {
        [TRAIN_PART_WHOLE] = "weight",
        [TRAIN_PART_A] = "lora_A.weight",
        [TRAIN_PART_B] = "lora_B.weight",
        [TRAIN_PART_MAGNITUDE] = "lora_magnitude_vector",
        [TRAIN_PART_LOOKUP_A] = "lora_embedding_A",
        [TRAIN_PART_LOOKUP_B] = "lora_embedding_B",
    };
    return arena_print(&layout->arena, PEFT_ADAPTER_KEY_PREFIX "%.*s.%s", TEXT_ARGS(module->name),
                       endings[part]);
}

static enum err add_entry(struct train_layout *layout, const char *name, size_t param,
                          enum train_part part, size_t rows, size_t columns)
{
    const struct model_param *p = model_param(layout->model, param);
    bool vector =
        p->kind == MODEL_KIND_GAIN || p->kind == MODEL_KIND_BIAS || part == TRAIN_PART_MAGNITUDE;
    if (name == NULL)
        return ERR_OUT_OF_MEMORY;
    layout->entries[layout->entry_count++] = (struct train_entry){.param = param,
                                                                  .part = part,
                                                                  .name = name,
                                                                  .dimensions = vector ? 1 : 2,
                                                                  .shape = {rows, columns},
                                                                  .count = rows * columns};
    return ERR_OK;
}

static enum err add_whole(struct train_layout *layout, size_t param, const char *name)
{
    const struct model_param *p = model_param(layout->model, param);
    return add_entry(layout, name, param, TRAIN_PART_WHOLE, p->turned ? p->columns : p->rows,
                     p->turned ? p->rows : p->columns);
}

static enum err add_saved(struct train_layout *layout, const struct train_module *module)
{
    const struct model_param *p = model_param(layout->model, module->param);
    if (module->place == TRAIN_PLACE_LINEAR && p->kind != MODEL_KIND_LINEAR)
        return ERR_OK; /* the head of a tied model: the embedding's entry is its own */
    TRY(add_whole(layout, module->param, name_entry(layout, TRAIN_PART_WHOLE, module)));
    if (p->bias == MODEL_NO_PARAM)
        return ERR_OK;
    const char *bias = model_param(layout->model, (size_t)p->bias)->name;
    return add_whole(layout, (size_t)p->bias,
                     arena_print(&layout->arena, PEFT_ADAPTER_KEY_PREFIX "%s", bias));
}

static enum err add_module(struct train_layout *layout, const struct train_config *config,
                           const struct train_module *m)
{
    const struct model_param *p = model_param(layout->model, m->param);
    if (m->saved)
        TRY(add_saved(layout, m));
    if (!m->adapted)
        return ERR_OK;
    bool lookup = m->place == TRAIN_PLACE_LOOKUP;
    enum train_part a = lookup ? TRAIN_PART_LOOKUP_A : TRAIN_PART_A;
    enum train_part b = lookup ? TRAIN_PART_LOOKUP_B : TRAIN_PART_B;
    size_t in = lookup ? p->rows : p->columns, out = lookup ? p->columns : p->rows;
    TRY(add_entry(layout, name_entry(layout, a, m), m->param, a, m->rank, in));
    TRY(add_entry(layout, name_entry(layout, b, m), m->param, b, out, m->rank));
    if (!config->dora)
        return ERR_OK;
    return add_entry(layout, name_entry(layout, TRAIN_PART_MAGNITUDE, m), m->param,
                     TRAIN_PART_MAGNITUDE, out, 1);
}

static enum err add_entries(struct train_layout *layout, const struct train_config *config,
                            const struct train_module *modules, size_t module_count)
{
    size_t count = model_param_count(layout->model);
    bool inserts = train_insert_is(config->method);
    size_t entries = inserts ? train_insert_count(layout->model, config) : ENTRIES_A_PARAM * count;
    layout->entries = arena_alloc(&layout->arena, entries, sizeof *layout->entries);
    if (layout->entries == NULL)
        return ERR_OUT_OF_MEMORY;
    if (inserts) {
        layout->entry_count = entries;
        return train_insert_entries(layout->model, config, &layout->arena, layout->entries);
    }
    for (size_t i = 0; i < module_count; i++)
        TRY(add_module(layout, config, &modules[i]));
    for (size_t i = 0; config->method == TRAIN_METHOD_FULL && i < count; i++) {
        const struct model_param *p = model_param(layout->model, i);
        if (!is_part(p))
            TRY(add_whole(layout, i, p->name));
    }
    return ERR_OK;
}

static int compare_entries(const void *a, const void *b)
{
    const struct train_entry *left = a, *right = b;
    return strcmp(left->name, right->name);
}

static struct binding_adapter *adapter_of(struct train_layout *layout, enum train_part part,
                                          size_t param)
{
    bool lookup = part == TRAIN_PART_LOOKUP_A || part == TRAIN_PART_LOOKUP_B;
    return lookup ? &layout->binding.lookup : &layout->binding.slots[param].adapter;
}

/* Sorts the entries, gives them their offsets and tells the binding. */
static void place_entries(struct train_layout *layout, const struct train_config *config)
{
    size_t offset = 0;
    qsort(layout->entries, layout->entry_count, sizeof *layout->entries, compare_entries);
    for (size_t i = 0; i < layout->entry_count; i++) {
        struct train_entry *e = &layout->entries[i];
        struct binding_adapter *adapter = adapter_of(layout, e->part, e->param);
        e->offset = offset;
        offset += e->count;
        if (train_insert_is_part(e->part))
            train_insert_bind(layout->model, config, e, &layout->binding);
        else if (e->part == TRAIN_PART_WHOLE)
            layout->binding.slots[e->param].weight_offset = e->offset;
        else if (e->part == TRAIN_PART_A || e->part == TRAIN_PART_LOOKUP_A)
            adapter->a_offset = e->offset;
        else if (e->part == TRAIN_PART_B || e->part == TRAIN_PART_LOOKUP_B)
            adapter->b_offset = e->offset;
        else
            adapter->magnitude_offset = e->offset;
    }
    layout->binding.count = offset;
}

/* Ranks and scales of the adapters. */
static void describe_adapters(struct train_layout *layout, const struct train_config *config,
                              const struct train_module *modules, size_t module_count)
{
    for (size_t i = 0; i < module_count; i++) {
        const struct train_module *m = &modules[i];
        if (!m->adapted)
            continue;
        bool lookup = m->place == TRAIN_PLACE_LOOKUP;
        struct binding_adapter *adapter =
            adapter_of(layout, lookup ? TRAIN_PART_LOOKUP_A : TRAIN_PART_A, m->param);
        double root = config->rank_stabilized ? sqrt((double)m->rank) : (double)m->rank;
        adapter->rank = m->rank;
        adapter->scale = (float)(m->alpha / root);
        adapter->dropout = lookup ? 0 : (float)config->dropout;
        if (!config->dora)
            continue;
        adapter->has_magnitude = true;
        adapter->norm_offset = layout->binding.norm_count;
        layout->binding.norm_count += model_param(layout->model, m->param)->rows;
    }
}

static enum err build(struct train_layout *layout, const struct train_config *config,
                      struct err_text *et)
{
    struct train_module *modules = NULL;
    size_t count = 0;
    if (config->method == TRAIN_METHOD_LORA)
        TRY(train_choice_make(layout->model, config, &layout->arena, &modules, &count, et));
    TRY(binding_init(&layout->binding, layout->model));
    TRY(add_entries(layout, config, modules, count));
    place_entries(layout, config);
    describe_adapters(layout, config, modules, count);
    layout->modules = modules;
    layout->module_count = count;
    return ERR_OK;
}

enum err train_layout_create(const struct model *model, const struct train_config *config,
                             struct train_layout **out, struct err_text *et)
{
    TRY(check_config(model, config, et));
    struct train_layout *layout = mem_alloc(1, sizeof *layout);
    if (layout == NULL)
        return ERR_OUT_OF_MEMORY;
    layout->model = model;
    layout->prompt = config->prompt;
    arena_init(&layout->arena, SIZE_MAX);
    enum err err = build(layout, config, et);
    if (err == ERR_OK)
        *out = layout;
    else
        train_layout_destroy(&layout);
    return err;
}

void train_layout_destroy(struct train_layout **layout)
{
    if (*layout == NULL)
        return;
    binding_fini(&(*layout)->binding);
    arena_fini(&(*layout)->arena);
    mem_free(*layout);
    *layout = NULL;
}

/* ---- reading ---- */

size_t train_layout_count(const struct train_layout *layout)
{
    return layout->binding.count;
}

size_t train_layout_entry_count(const struct train_layout *layout)
{
    return layout->entry_count;
}

const struct train_entry *train_layout_entry(const struct train_layout *layout, size_t index)
{
    ASSERT(index < layout->entry_count);
    return &layout->entries[index];
}

const struct model *train_layout_model(const struct train_layout *layout)
{
    return layout->model;
}

const struct binding *train_layout_binding(const struct train_layout *layout)
{
    return &layout->binding;
}

const struct train_module *train_layout_modules(const struct train_layout *layout, size_t *count)
{
    *count = layout->module_count;
    return layout->modules;
}

/* The values of a parameter, in the order of its family's folders. */
static void decode_whole(const struct model *model, const struct model_param *p, float *out)
{
    if (p->masters != NULL) {
        dtype_decode(p->file_dtype, p->rows * p->columns, p->masters, out);
        return;
    }
    for (size_t row = 0; row < p->rows; row++) {
        size_t from = model_stored_row(model, p, row) * p->columns;
        block_decode(p->dtype, p->columns, (const char *)p->data + dtype_span_bytes(p->dtype, from),
                     out + row * p->columns);
    }
}

void train_layout_values(const struct train_layout *layout, uint64_t seed, float *values)
{
    for (size_t i = 0; i < layout->entry_count; i++) {
        const struct train_entry *e = &layout->entries[i];
        const struct model_param *p = model_param(layout->model, e->param);
        float *at = values + e->offset;
        uint64_t name = random_name(text_of(e->name));
        uint64_t key = random_key(seed, RANDOM_INIT, name, p->layer, 0);
        if (e->part == TRAIN_PART_WHOLE)
            decode_whole(layout->model, p, at);
        else if (e->part == TRAIN_PART_A)
            init_kaiming_uniform(key, p->columns, 0, e->count, at);
        else if (e->part == TRAIN_PART_LOOKUP_B)
            init_normal(key, 1, 0, e->count, at);
        else if (train_insert_is_part(e->part))
            train_insert_values(layout->model, layout->prompt, seed, e, at);
        else
            memset(at, 0, e->count * sizeof *at);
    }
}

enum err train_layout_magnitudes(const struct train_layout *layout, struct kernel *kernel,
                                 const float *anchor, float *values)
{
    const struct binding *binding = &layout->binding;
    if (binding->norm_count == 0)
        return ERR_OK;
    float *norms = kernel_alloc(kernel, adapter_norm_count(binding));
    if (norms == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = adapter_norm_measure(kernel, layout->model, binding, values, anchor, norms);
    for (size_t i = 0; err == ERR_OK && i < layout->entry_count; i++) {
        const struct train_entry *e = &layout->entries[i];
        const struct binding_adapter *adapter = &binding->slots[e->param].adapter;
        for (size_t row = 0; e->part == TRAIN_PART_MAGNITUDE && row < e->count; row++)
            values[e->offset + row] = 1 / norms[binding->norm_count + adapter->norm_offset + row];
    }
    kernel_free(kernel, norms);
    return err;
}
