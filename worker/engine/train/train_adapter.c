/* train_adapter.c - which entries belong to one module, then its two matrices. */
#include "worker/engine/train/train_adapter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

enum { MEMBERS_MAX = 4 }; /* of a module: itself and three parts */

/* A module of the result and the parameters whose adapters it is made of. */
struct module {
    size_t param;
    size_t members[MEMBERS_MAX];
    size_t member_count;
};

struct fold {
    const struct model *model;
    const struct train_config *config;
    const struct train_layout *layout;
    const float *values;
    struct arena *arena;
    struct module *modules; /* in model order of their first member */
    size_t count;
    bool *adapted; /* (parameters of the model) is the weight of one of the modules */
    float *made;   /* (made_count) */
    size_t made_count;
};

static struct text module_name(const struct model *model, size_t param)
{
    struct text name = text_of(model_param(model, param)->name);
    name.size -= sizeof ".weight" - 1;
    return name;
}

static size_t whole_of(const struct model *model, size_t param)
{
    ptrdiff_t whole = model_param(model, param)->part.whole;
    return whole == MODEL_NO_PARAM ? param : (size_t)whole;
}

static bool is_plain(const struct module *module)
{
    return module->member_count == 1 && module->members[0] == module->param;
}

/* ---- modules ---- */

static void add_member(struct fold *f, size_t param)
{
    size_t whole = whole_of(f->model, param);
    struct module *at = NULL;
    for (size_t i = 0; i < f->count && at == NULL; i++)
        at = f->modules[i].param == whole ? &f->modules[i] : NULL;
    if (at == NULL) {
        at = &f->modules[f->count++];
        at->param = whole;
        f->adapted[whole] = true;
    }
    ASSERT(at->member_count < MEMBERS_MAX);
    at->members[at->member_count++] = param;
}

static enum err list_modules(struct fold *f)
{
    const struct binding *binding = train_layout_binding(f->layout);
    f->modules = arena_alloc(f->arena, binding->slot_count, sizeof *f->modules);
    f->adapted = arena_alloc(f->arena, binding->slot_count, sizeof *f->adapted);
    if (f->modules == NULL || f->adapted == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < binding->slot_count; i++) {
        if (binding->slots[i].adapter.rank != 0)
            add_member(f, i);
    }
    return ERR_OK;
}

/* ---- matrices ---- */

/* Columns of B that are a member's, in the rows that the member is. */
static void place_b(const struct fold *f, const struct module *module, size_t member, size_t rank,
                    float *b)
{
    const struct model_param *p = model_param(f->model, module->members[member]);
    const struct binding_slot *slot =
        &train_layout_binding(f->layout)->slots[module->members[member]];
    struct model_part part = p->part;
    if (part.whole == MODEL_NO_PARAM)
        part = (struct model_part){MODEL_NO_PARAM, 0, p->rows, p->rows};
    size_t r = slot->adapter.rank;
    for (size_t row = 0; row < p->rows; row++) {
        size_t to = part.first + row / part.run * part.stride + row % part.run;
        memcpy(b + to * rank + member * r, f->values + slot->adapter.b_offset + row * r,
               r * sizeof *b);
    }
}

static enum err add_entry(struct fold *f, struct train_entry *entries, size_t *count,
                          const struct module *module, enum train_part part, size_t rows,
                          size_t columns, size_t offset)
{
    const char *name = arena_print(f->arena, "base_model.model.%.*s.lora_%c.weight",
                                   TEXT_ARGS(module_name(f->model, module->param)),
                                   part == TRAIN_PART_A ? 'A' : 'B');
    if (name == NULL)
        return ERR_OUT_OF_MEMORY;
    entries[(*count)++] = (struct train_entry){.param = module->param,
                                               .part = part,
                                               .name = name,
                                               .dimensions = 2,
                                               .shape = {rows, columns},
                                               .offset = offset,
                                               .count = rows * columns};
    return ERR_OK;
}

static enum err make_entries(struct fold *f, struct train_entry *entries, size_t *count)
{
    const struct binding *binding = train_layout_binding(f->layout);
    size_t used = 0;
    for (size_t i = 0; i < f->count; i++) {
        const struct module *module = &f->modules[i];
        const struct model_param *whole = model_param(f->model, module->param);
        size_t r = f->config->rank, rank = r * module->member_count, in = whole->columns;
        float *a = f->made + used, *b = a + rank * in;
        for (size_t m = 0; m < module->member_count; m++) {
            size_t from = binding->slots[module->members[m]].adapter.a_offset;
            memcpy(a + m * r * in, f->values + from, r * in * sizeof *a);
            place_b(f, module, m, rank, b);
        }
        TRY(add_entry(f, entries, count, module, TRAIN_PART_A, rank, in, used));
        used += rank * in;
        TRY(add_entry(f, entries, count, module, TRAIN_PART_B, whole->rows, rank, used));
        used += whole->rows * rank;
    }
    ASSERT(used == f->made_count);
    return ERR_OK;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct train_entry *)a)->name, ((const struct train_entry *)b)->name);
}

static enum err fold_values(struct fold *f, struct train_adapter *out)
{
    for (size_t i = 0; i < f->count; i++) {
        const struct model_param *whole = model_param(f->model, f->modules[i].param);
        size_t rank = f->config->rank * f->modules[i].member_count;
        f->made_count += rank * (whole->rows + whole->columns);
    }
    struct train_entry *entries = arena_alloc(f->arena, 2 * f->count, sizeof *entries);
    f->made = arena_alloc(f->arena, f->made_count, sizeof *f->made);
    if (entries == NULL || f->made == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(make_entries(f, entries, &out->entry_count));
    qsort(entries, out->entry_count, sizeof *entries, compare_entries);
    out->entries = entries;
    out->values = f->made;
    return ERR_OK;
}

/* ---- names ---- */

static int compare_texts(const void *a, const void *b)
{
    const struct text *left = a, *right = b;
    int order = memcmp(left->data, right->data, MIN(left->size, right->size));
    return order != 0 ? order : (left->size > right->size) - (left->size < right->size);
}

static int compare_modules(const void *a, const void *b)
{
    const struct train_adapter_module *left = a, *right = b;
    return compare_texts(&left->name, &right->name);
}

static struct text last_part(struct text module)
{
    size_t at = module.size;
    while (at > 0 && module.data[at - 1] != '.')
        at--;
    return (struct text){module.data + at, module.size - at};
}

/* The shortest name that means no module without an adapter: PEFT makes one wherever a target's
 * name ends a module's, and misses its tensors. */
static struct text target_of(const struct fold *f, struct text name)
{
    struct text part = last_part(name);
    for (size_t i = 0; i < model_param_count(f->model); i++) {
        const struct model_param *p = model_param(f->model, i);
        bool is_module = p->kind == MODEL_KIND_LINEAR && p->part.whole == MODEL_NO_PARAM;
        if (is_module && !f->adapted[i] && text_equal(last_part(module_name(f->model, i)), part))
            return name;
    }
    return part;
}

static enum err list_names(const struct fold *f, struct train_adapter *out)
{
    struct text *targets = arena_alloc(f->arena, f->count, sizeof *targets);
    struct train_adapter_module *modules = arena_alloc(f->arena, f->count, sizeof *modules);
    if (targets == NULL || modules == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < f->count; i++) {
        const struct module *module = &f->modules[i];
        struct text name = module_name(f->model, module->param), target = target_of(f, name);
        bool known = false;
        for (size_t t = 0; t < out->target_count; t++)
            known = known || text_equal(targets[t], target);
        if (!known)
            targets[out->target_count++] = target;
        if (module->member_count == 1)
            continue;
        double grown = (double)module->member_count;
        modules[out->module_count++] = (struct train_adapter_module){
            name, f->config->rank * module->member_count,
            f->config->alpha * (f->config->rank_stabilized ? sqrt(grown) : grown)};
    }
    qsort(targets, out->target_count, sizeof *targets, compare_texts);
    qsort(modules, out->module_count, sizeof *modules, compare_modules);
    out->targets = targets;
    out->modules = modules;
    return ERR_OK;
}

enum err train_adapter_fold(const struct model *model, const struct train_config *config,
                            const struct train_layout *layout, const float *values,
                            struct arena *arena, struct train_adapter *out)
{
    struct fold f = {
        .model = model, .config = config, .layout = layout, .values = values, .arena = arena};
    struct train_adapter made = {.values = values};
    bool plain = true;
    TRY(list_modules(&f));
    for (size_t i = 0; i < f.count; i++)
        plain = plain && is_plain(&f.modules[i]);
    if (plain) {
        made.entry_count = train_layout_entry_count(layout);
        made.entries = made.entry_count != 0 ? train_layout_entry(layout, 0) : NULL;
    } else {
        TRY(fold_values(&f, &made));
    }
    TRY(list_names(&f, &made));
    *out = made;
    return ERR_OK;
}
