/* train_layout.c - which modules train, under which names, where in the vector. */
#include "worker/engine/train/train_layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/arena.h"
#include "common/mem/mem.h"
#include "common/numeric/init.h"
#include "common/numeric/random.h"
#include "worker/engine/quant/blocks.h"
#include "worker/engine/train/train_insert.h"

struct train_layout {
    const struct model *model; /* borrowed */
    struct binding binding;    /* owned */
    struct arena arena;        /* owned: names, entries, targets */
    struct train_entry *entries;
    size_t entry_count;
    enum train_prompt prompt;
    const char **targets; /* distinct last parts of adapted modules, sorted */
    size_t target_count;
};

static bool is_module(const struct model_param *p)
{
    return p->kind == MODEL_KIND_LINEAR && family_role_in_layer(p->role);
}

/* The module of a parameter: its name without ".weight". */
static struct text module_of(const struct model_param *p)
{
    struct text name = text_of(p->name), ending = TEXT(".weight");
    ASSERT(name.size > ending.size);
    name.size -= ending.size;
    return name;
}

static struct text last_part(struct text module)
{
    for (size_t i = module.size; i > 0; i--) {
        if (module.data[i - 1] == '.')
            return (struct text){module.data + i, module.size - i};
    }
    return module;
}

static bool is_part(const struct model_param *p)
{
    return p->part.whole != MODEL_NO_PARAM;
}

/* A part of a fused module is adapted when it is named; all-linear takes the module as a whole. */
static bool matches(const struct model_param *p, struct text wanted)
{
    struct text module = module_of(p);
    if (text_is(wanted, "all-linear"))
        return !is_part(p);
    if (text_equal(module, wanted))
        return true;
    if (module.size <= wanted.size || wanted.size == 0)
        return false;
    size_t at = module.size - wanted.size;
    return module.data[at - 1] == '.' && memcmp(module.data + at, wanted.data, wanted.size) == 0;
}

/* ---- checks ---- */

/* "q_proj, k_proj, ..." of the first layer: the modules that can be adapted. */
static void list_modules(const struct model *model, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        struct text part = last_part(module_of(p));
        if (!is_module(p) || p->layer != 0 || at + part.size + 3 > size)
            continue;
        if (at != 0) {
            memcpy(out + at, ", ", 2);
            at += 2;
        }
        memcpy(out + at, part.data, part.size);
        at += part.size;
        out[at] = '\0';
    }
}

static enum err check_target(const struct model *model, const struct train_config *config,
                             struct text target, struct err_text *et)
{
    size_t found = 0;
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        if (!is_module(p) || !matches(p, target))
            continue;
        found++;
        if (config->rank > MIN(p->rows, p->columns))
            return error_set(et, ERR_RECIPE,
                             "lora_r: %zu is more than module %.*s can have (%zu x %zu)",
                             config->rank, TEXT_ARGS(module_of(p)), p->rows, p->columns);
    }
    if (found != 0)
        return ERR_OK;
    char modules[512];
    list_modules(model, modules, sizeof modules);
    return error_set(et, ERR_RECIPE,
                     "lora_target_modules: \"%.*s\" matches no linear module of the layers; there "
                     "are %s, or all-linear for all of them",
                     TEXT_ARGS(target), modules);
}

/* The next of the targets: those of the config, or the family's where it has none. */
struct target_list {
    const struct train_config *config;
    struct text rest; /* of the family's, separated by commas */
    size_t next;
};

static struct target_list targets_of(const struct model *model, const struct train_config *config)
{
    return (struct target_list){config, text_of(model_family(model)->targets), 0};
}

static bool next_target(struct target_list *list, struct text *out)
{
    if (list->config->target_count != 0) {
        if (list->next == list->config->target_count)
            return false;
        *out = text_of(list->config->targets[list->next++]);
        return true;
    }
    if (list->rest.size == 0)
        return false;
    const char *comma = memchr(list->rest.data, ',', list->rest.size);
    size_t size = comma != NULL ? (size_t)(comma - list->rest.data) : list->rest.size;
    *out = (struct text){list->rest.data, size};
    size += comma != NULL ? 1 : 0;
    list->rest = (struct text){list->rest.data + size, list->rest.size - size};
    return true;
}

static enum err check_targets(const struct model *model, const struct train_config *config,
                              struct err_text *et)
{
    struct target_list targets = targets_of(model, config);
    struct text target;
    size_t count = 0;
    for (; next_target(&targets, &target); count++)
        TRY(check_target(model, config, target, et));
    if (count != 0)
        return ERR_OK;
    char modules[512];
    list_modules(model, modules, sizeof modules);
    return error_set(
        et, ERR_RECIPE,
        "lora_target_modules: there is no usual choice for model_type %s; name some of "
        "%s, or all-linear for all of them",
        model_family(model)->model_type, modules);
}

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
    if (config->quantized && model_family(model)->linear != LINEAR_TERNARY)
        return error_set(et, ERR_RECIPE,
                         "adapter: the model is quantized (%s), which only an adapter can train; "
                         "say lora, or take the model before",
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
    return check_targets(model, config, et);
}

/* ---- building ---- */

static bool is_adapted(const struct model *model, const struct train_config *config,
                       const struct model_param *p)
{
    struct target_list targets = targets_of(model, config);
    struct text target;
    while (is_module(p) && next_target(&targets, &target)) {
        if (matches(p, target))
            return true;
    }
    return false;
}

static enum err add_entry(struct train_layout *layout, size_t param, enum train_part part,
                          size_t rows, size_t columns)
{
    const struct model_param *p = model_param(layout->model, param);
    const char *name = p->name;
    if (part != TRAIN_PART_WHOLE)
        name = arena_print(&layout->arena, "base_model.model.%.*s.lora_%c.weight",
                           TEXT_ARGS(module_of(p)), part == TRAIN_PART_A ? 'A' : 'B');
    if (name == NULL)
        return ERR_OUT_OF_MEMORY;
    bool vector = p->kind == MODEL_KIND_GAIN || p->kind == MODEL_KIND_BIAS;
    layout->entries[layout->entry_count++] = (struct train_entry){.param = param,
                                                                  .part = part,
                                                                  .name = name,
                                                                  .dimensions = vector ? 1 : 2,
                                                                  .shape = {rows, columns},
                                                                  .count = rows * columns};
    return ERR_OK;
}

static enum err add_entries(struct train_layout *layout, const struct train_config *config)
{
    size_t count = model_param_count(layout->model);
    bool inserts = train_insert_is(config->method);
    size_t entries = inserts ? train_insert_count(layout->model, config) : 2 * count;
    layout->entries = arena_alloc(&layout->arena, entries, sizeof *layout->entries);
    if (layout->entries == NULL)
        return ERR_OUT_OF_MEMORY;
    if (inserts) {
        layout->entry_count = entries;
        return train_insert_entries(layout->model, config, &layout->arena, layout->entries);
    }
    for (size_t i = 0; i < count; i++) {
        const struct model_param *p = model_param(layout->model, i);
        if (config->method == TRAIN_METHOD_FULL) {
            if (!is_part(p))
                TRY(add_entry(layout, i, TRAIN_PART_WHOLE, p->turned ? p->columns : p->rows,
                              p->turned ? p->rows : p->columns));
        } else if (is_adapted(layout->model, config, p)) {
            TRY(add_entry(layout, i, TRAIN_PART_A, config->rank, p->columns));
            TRY(add_entry(layout, i, TRAIN_PART_B, p->rows, config->rank));
        }
    }
    return ERR_OK;
}

static int compare_entries(const void *a, const void *b)
{
    const struct train_entry *left = a, *right = b;
    return strcmp(left->name, right->name);
}

/* Sorts the entries, gives them their offsets and tells the binding. */
static void place_entries(struct train_layout *layout, const struct train_config *config)
{
    double root = config->rank_stabilized ? sqrt((double)config->rank) : (double)config->rank;
    size_t offset = 0;
    qsort(layout->entries, layout->entry_count, sizeof *layout->entries, compare_entries);
    for (size_t i = 0; i < layout->entry_count; i++) {
        struct train_entry *e = &layout->entries[i];
        struct binding_slot *slot = &layout->binding.slots[e->param];
        e->offset = offset;
        offset += e->count;
        if (train_insert_is_part(e->part)) {
            train_insert_bind(layout->model, config, e, &layout->binding);
            continue;
        }
        if (e->part == TRAIN_PART_WHOLE) {
            slot->weight_offset = e->offset;
            continue;
        }
        *(e->part == TRAIN_PART_A ? &slot->adapter.a_offset : &slot->adapter.b_offset) = e->offset;
        slot->adapter.rank = config->rank;
        slot->adapter.scale = (float)(config->alpha / root);
        slot->adapter.dropout = (float)config->dropout;
    }
    layout->binding.count = offset;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct last parts of the adapted modules. */
static enum err add_targets(struct train_layout *layout)
{
    layout->targets = arena_alloc(&layout->arena, layout->entry_count + 1, sizeof(char *));
    if (layout->targets == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < layout->entry_count; i++) {
        if (layout->entries[i].part != TRAIN_PART_A)
            continue;
        struct text part =
            last_part(module_of(model_param(layout->model, layout->entries[i].param)));
        bool known = false;
        for (size_t t = 0; t < layout->target_count; t++)
            known = known || text_is(part, layout->targets[t]);
        if (known)
            continue;
        const char *copy = arena_copy_text(&layout->arena, part);
        if (copy == NULL)
            return ERR_OUT_OF_MEMORY;
        layout->targets[layout->target_count++] = copy;
    }
    qsort(layout->targets, layout->target_count, sizeof *layout->targets, compare_names);
    return ERR_OK;
}

enum err train_layout_create(const struct model *model, const struct train_config *config,
                             struct train_layout **out, struct err_text *et)
{
    TRY(check_config(model, config, et));
    struct train_layout *layout = mem_alloc(1, sizeof *layout);
    if (layout == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err;
    layout->model = model;
    layout->prompt = config->prompt;
    arena_init(&layout->arena, SIZE_MAX);
    TRY_OUT(binding_init(&layout->binding, model));
    TRY_OUT(add_entries(layout, config));
    place_entries(layout, config);
    TRY_OUT(add_targets(layout));
    *out = layout;
    return ERR_OK;
out:
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

const struct binding *train_layout_binding(const struct train_layout *layout)
{
    return &layout->binding;
}

size_t train_layout_target_count(const struct train_layout *layout)
{
    return layout->target_count;
}

const char *train_layout_target(const struct train_layout *layout, size_t index)
{
    ASSERT(index < layout->target_count);
    return layout->targets[index];
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
        if (e->part == TRAIN_PART_WHOLE)
            decode_whole(layout->model, p, at);
        else if (e->part == TRAIN_PART_A)
            init_kaiming_uniform(random_key(seed, RANDOM_INIT, name, p->layer, 0), p->columns, 0,
                                 e->count, at);
        else if (train_insert_is_part(e->part))
            train_insert_values(layout->model, layout->prompt, seed, e, at);
        else
            memset(at, 0, e->count * sizeof *at);
    }
}
