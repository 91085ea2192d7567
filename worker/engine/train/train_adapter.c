/* train_adapter.c - which adapters belong to one module, then its matrices, then all names. */
#include "worker/engine/train/train_adapter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/peft/peft_adapter.h"
#include "worker/engine/train/train_choice.h"

enum { MEMBERS_MAX = 4 }; /* of a module: itself and three parts */

/* A module of the result and the modules of the layout whose adapters it is made of. */
struct result {
    const struct train_module *module;
    const struct train_module *members[MEMBERS_MAX];
    size_t member_count;
    size_t rank;
    double alpha;
};

/* An entry of the result and what it is made of: a result's A and B, or an entry of the layout. */
struct origin {
    const struct result *result;
    const struct train_entry *entry;
};

struct fold {
    const struct model *model;
    const struct train_config *config;
    const struct train_layout *layout;
    const struct train_module *modules; /* of the layout */
    size_t module_count;
    const float *values, *anchor;
    struct arena *arena;
    struct result *results; /* in model order of their first member */
    size_t count;
    struct train_entry *entries;
    struct origin *origins; /* of the entries */
    size_t entry_count;
    float *made; /* (made_count) */
    size_t made_count;
};

static bool is_lookup(const struct train_module *m)
{
    return m->place == TRAIN_PLACE_LOOKUP;
}

static const struct binding_adapter *adapter_of(const struct fold *f, const struct train_module *m)
{
    const struct binding *binding = train_layout_binding(f->layout);
    return is_lookup(m) ? &binding->lookup : &binding->slots[m->param].adapter;
}

/* How often an adapter's matrices come in the result: also as they were. A lookup has no anchor. */
static size_t turns(const struct fold *f, const struct train_module *m)
{
    return f->anchor != NULL && !is_lookup(m) ? 2 : 1;
}

/* ---- modules ---- */

static const struct train_module *whole_of(const struct fold *f, const struct train_module *m)
{
    ptrdiff_t whole = model_param(f->model, m->param)->part.whole;
    for (size_t i = 0; whole != MODEL_NO_PARAM && i < f->module_count; i++) {
        if (f->modules[i].param == (size_t)whole)
            return &f->modules[i];
    }
    return m;
}

static void add_member(struct fold *f, const struct train_module *member)
{
    const struct train_module *whole = whole_of(f, member);
    struct result *at = NULL;
    for (size_t i = f->count; i > 0 && at == NULL; i--)
        at = f->results[i - 1].module == whole ? &f->results[i - 1] : NULL;
    if (at == NULL) {
        at = &f->results[f->count++];
        at->module = whole;
    }
    ASSERT(at->member_count < MEMBERS_MAX);
    at->members[at->member_count++] = member;
}

/* The member whose scale the result has; B of the others is multiplied by what theirs is to it. */
static const struct train_module *leader_of(const struct fold *f, const struct result *r)
{
    const struct train_module *leader = r->members[0];
    for (size_t i = 1; i < r->member_count; i++) {
        float scale = adapter_of(f, r->members[i])->scale;
        if (fabsf(scale) > fabsf(adapter_of(f, leader)->scale))
            leader = r->members[i];
    }
    return leader;
}

static enum err list_results(struct fold *f)
{
    f->results = arena_alloc(f->arena, f->module_count, sizeof *f->results);
    if (f->results == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < f->module_count; i++) {
        if (f->modules[i].adapted)
            add_member(f, &f->modules[i]);
    }
    for (size_t i = 0; i < f->count; i++) {
        struct result *r = &f->results[i];
        const struct train_module *leader = leader_of(f, r);
        for (size_t m = 0; m < r->member_count; m++)
            r->rank += turns(f, r->members[m]) * r->members[m]->rank;
        double grown = (double)r->rank / (double)leader->rank;
        r->alpha = leader->alpha * (f->config->rank_stabilized ? sqrt(grown) : grown);
    }
    return ERR_OK;
}

/* ---- matrices ---- */

/* What one member adds to its module: columns of B from `at` on, in the rows that the member is. */
static void place_b(const struct fold *f, const struct result *result,
                    const struct train_module *member, const float *values, float factor, size_t at,
                    float *b)
{
    const struct model_param *p = model_param(f->model, member->param);
    const float *from = values + adapter_of(f, member)->b_offset;
    size_t rows = is_lookup(member) ? p->columns : p->rows, r = member->rank;
    struct model_part part = p->part;
    if (part.whole == MODEL_NO_PARAM)
        part = (struct model_part){MODEL_NO_PARAM, 0, rows, rows};
    for (size_t row = 0; row < rows; row++) {
        size_t to = part.first + row / part.run * part.stride + row % part.run;
        for (size_t i = 0; i < r; i++)
            b[to * result->rank + at + i] = factor * from[row * r + i];
    }
}

static void make_matrices(const struct fold *f, const struct result *result, size_t in, float *a,
                          float *b)
{
    float scale = adapter_of(f, leader_of(f, result))->scale;
    size_t at = 0;
    for (size_t i = 0; i < result->member_count; i++) {
        const struct train_module *m = result->members[i];
        const struct binding_adapter *adapter = adapter_of(f, m);
        bool same = !(adapter->scale < scale) && !(adapter->scale > scale);
        for (size_t turn = 0; turn < turns(f, m); turn++) {
            const float *values = turn == 0 ? f->values : f->anchor;
            float factor = (same ? 1 : adapter->scale / scale) * (turn == 0 ? 1.0f : -1.0f);
            memcpy(a + at * in, values + adapter->a_offset, m->rank * in * sizeof *a);
            place_b(f, result, m, values, factor, at, b);
            at += m->rank;
        }
    }
}

/* ---- entries ---- */

static void add_entry(struct fold *f, const char *name, struct train_entry entry,
                      struct origin origin)
{
    entry.name = name;
    entry.offset = f->made_count;
    entry.count = entry.shape[0] * entry.shape[1];
    f->made_count += entry.count;
    f->origins[f->entry_count] = origin;
    f->entries[f->entry_count++] = entry;
}

static enum err add_pair(struct fold *f, const struct result *r)
{
    const struct train_module *module = r->module;
    const struct model_param *p = model_param(f->model, module->param);
    bool lookup = is_lookup(module);
    size_t in = lookup ? p->rows : p->columns, out = lookup ? p->columns : p->rows;
    for (unsigned i = 0; i < 2; i++) {
        const char *name = arena_print(f->arena, PEFT_ADAPTER_KEY_PREFIX "%.*s.lora_%s%c%s",
                                       TEXT_ARGS(module->name), lookup ? "embedding_" : "",
                                       i == 0 ? 'A' : 'B', lookup ? "" : ".weight");
        if (name == NULL)
            return ERR_OUT_OF_MEMORY;
        struct train_entry entry = {.param = module->param,
                                    .part = i == 0 ? TRAIN_PART_A : TRAIN_PART_B,
                                    .dimensions = 2,
                                    .shape = {i == 0 ? r->rank : out, i == 0 ? in : r->rank}};
        add_entry(f, name, entry, (struct origin){.result = r});
    }
    return ERR_OK;
}

/* The head's name of a matrix that the layout has under the embedding's, NULL where it has one. */
static const struct train_module *twin_of(const struct fold *f, const struct train_entry *entry)
{
    const struct train_module *last = &f->modules[f->module_count - 1];
    bool tied = model_shape(f->model)->tied && last->saved && last->param == entry->param;
    return tied && entry->part == TRAIN_PART_WHOLE ? last : NULL;
}

/* What is no pair of matrices stays as it is. */
static enum err add_others(struct fold *f)
{
    for (size_t i = 0; i < train_layout_entry_count(f->layout); i++) {
        const struct train_entry *e = train_layout_entry(f->layout, i);
        if (e->part != TRAIN_PART_WHOLE && e->part != TRAIN_PART_MAGNITUDE)
            continue;
        add_entry(f, e->name, *e, (struct origin){.entry = e});
        const struct train_module *twin = twin_of(f, e);
        if (twin == NULL)
            continue;
        const char *name =
            arena_print(f->arena, PEFT_ADAPTER_KEY_PREFIX "%.*s.weight", TEXT_ARGS(twin->name));
        if (name == NULL)
            return ERR_OUT_OF_MEMORY;
        add_entry(f, name, *e, (struct origin){.entry = e});
    }
    return ERR_OK;
}

static void fill(const struct fold *f, size_t index)
{
    const struct train_entry *made = &f->entries[index];
    const struct origin *origin = &f->origins[index];
    if (origin->entry != NULL)
        memcpy(f->made + made->offset, f->values + origin->entry->offset,
               made->count * sizeof *f->made);
    else if (made->part == TRAIN_PART_A) /* its B comes next */
        make_matrices(f, origin->result, made->shape[1], f->made + made->offset,
                      f->made + f->entries[index + 1].offset);
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct train_entry *)a)->name, ((const struct train_entry *)b)->name);
}

static enum err fold_values(struct fold *f, struct train_adapter *out)
{
    size_t most = 2 * (f->count + train_layout_entry_count(f->layout));
    f->entries = arena_alloc(f->arena, most, sizeof *f->entries);
    f->origins = arena_alloc(f->arena, most, sizeof *f->origins);
    if (f->entries == NULL || f->origins == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < f->count; i++)
        TRY(add_pair(f, &f->results[i]));
    TRY(add_others(f));
    f->made = arena_alloc(f->arena, f->made_count, sizeof *f->made);
    if (f->made == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < f->entry_count; i++)
        fill(f, i);
    qsort(f->entries, f->entry_count, sizeof *f->entries, compare_entries);
    out->entries = f->entries;
    out->entry_count = f->entry_count;
    out->values = f->made;
    return ERR_OK;
}

/* Whether the layout's own entries are the result. */
static bool is_plain(const struct fold *f)
{
    bool plain = f->anchor == NULL;
    for (size_t i = 0; i < f->count; i++)
        plain = plain && f->results[i].members[0] == f->results[i].module &&
                f->results[i].member_count == 1;
    for (size_t i = 0; i < train_layout_entry_count(f->layout); i++)
        plain = plain && twin_of(f, train_layout_entry(f->layout, i)) == NULL;
    return plain;
}

/* ---- names ---- */

static int compare_texts(const void *a, const void *b)
{
    return text_compare(*(const struct text *)a, *(const struct text *)b);
}

static int compare_modules(const void *a, const void *b)
{
    const struct train_adapter_module *left = a, *right = b;
    return text_compare(left->name, right->name);
}

static bool ends_in(struct text name, struct text ending)
{
    return name.size >= ending.size &&
           memcmp(name.data + name.size - ending.size, ending.data, ending.size) == 0;
}

static const struct result *result_of(const struct fold *f, const struct train_module *module)
{
    for (size_t i = 0; i < f->count; i++) {
        if (f->results[i].module == module)
            return &f->results[i];
    }
    return NULL;
}

static bool is_part(const struct fold *f, const struct train_module *m)
{
    return model_param(f->model, m->param)->part.whole != MODEL_NO_PARAM;
}

/* What a short name may not mean. */
enum meaning { MEANING_ADAPTED, MEANING_SAVED, MEANING_ALIKE };

/* The last part of the module's name where it means no other kind of module; else the whole name.
 * PEFT makes an adapter wherever a target's name ends a module's after a dot, saves wherever it
 * ends it at all, and misses tensors that it does not find. */
static struct text short_name(const struct fold *f, const struct train_module *module,
                              enum meaning meaning)
{
    struct text part = train_choice_last_part(module->name);
    const struct result *own = result_of(f, module);
    for (size_t i = 0; i < f->module_count; i++) {
        const struct train_module *m = &f->modules[i];
        bool fits = text_equal(train_choice_last_part(m->name), part);
        if (is_part(f, m) || (meaning == MEANING_SAVED ? !ends_in(m->name, part) : !fits))
            continue;
        const struct result *r = result_of(f, m);
        if ((meaning == MEANING_SAVED && !m->saved) || (meaning == MEANING_ADAPTED && r == NULL))
            return module->name;
        if (meaning == MEANING_ALIKE && r != NULL &&
            (r->rank != own->rank || r->alpha < own->alpha || r->alpha > own->alpha))
            return module->name;
    }
    return part;
}

static void add_name(struct text *names, size_t *count, struct text name)
{
    for (size_t i = 0; i < *count; i++) {
        if (text_equal(names[i], name))
            return;
    }
    names[(*count)++] = name;
}

static void add_pattern(const struct fold *f, struct train_adapter *out,
                        struct train_adapter_module *modules, const struct result *r)
{
    struct text name = short_name(f, r->module, MEANING_ALIKE);
    bool known = r->rank == out->rank && !(r->alpha < out->alpha) && !(r->alpha > out->alpha);
    for (size_t i = 0; i < out->module_count; i++)
        known = known || text_equal(modules[i].name, name);
    if (!known)
        modules[out->module_count++] = (struct train_adapter_module){name, r->rank, r->alpha};
}

static enum err list_names(const struct fold *f, struct train_adapter *out)
{
    struct text *targets = arena_alloc(f->arena, f->count, sizeof *targets);
    struct text *saved = arena_alloc(f->arena, f->module_count, sizeof *saved);
    struct train_adapter_module *modules = arena_alloc(f->arena, f->count, sizeof *modules);
    if (targets == NULL || saved == NULL || modules == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < f->count; i++) {
        add_name(targets, &out->target_count, short_name(f, f->results[i].module, MEANING_ADAPTED));
        add_pattern(f, out, modules, &f->results[i]);
    }
    for (size_t i = 0; i < f->module_count; i++) {
        if (f->modules[i].saved)
            add_name(saved, &out->saved_count, short_name(f, &f->modules[i], MEANING_SAVED));
    }
    qsort(targets, out->target_count, sizeof *targets, compare_texts);
    qsort(saved, out->saved_count, sizeof *saved, compare_texts);
    qsort(modules, out->module_count, sizeof *modules, compare_modules);
    out->targets = targets;
    out->saved = saved;
    out->modules = modules;
    return ERR_OK;
}

enum err train_adapter_fold(const struct train_config *config, const struct train_layout *layout,
                            const float *values, const float *anchor, struct arena *arena,
                            struct train_adapter *out)
{
    struct fold f = {.model = train_layout_model(layout),
                     .config = config,
                     .layout = layout,
                     .values = values,
                     .anchor = anchor,
                     .arena = arena};
    double twice = config->rank_stabilized ? sqrt(2.0) : 2.0;
    struct train_adapter made = {.values = values,
                                 .rank = config->rank * (anchor != NULL ? 2 : 1),
                                 .alpha = config->alpha * (anchor != NULL ? twice : 1.0)};
    f.modules = train_layout_modules(layout, &f.module_count);
    TRY(list_results(&f));
    if (is_plain(&f)) {
        made.entry_count = train_layout_entry_count(layout);
        made.entries = made.entry_count != 0 ? train_layout_entry(layout, 0) : NULL;
    } else {
        TRY(fold_values(&f, &made));
    }
    TRY(list_names(&f, &made));
    *out = made;
    return ERR_OK;
}
