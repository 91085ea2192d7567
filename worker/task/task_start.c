/* task_start.c - names, shapes and scales of two sides. */
#include "worker/task/task_start.h"

#include <math.h>

#include "common/base/check.h"

static bool has_shape(const struct safetensor *tensor, const struct train_entry *entry)
{
    bool same = tensor->rank == entry->dimensions;
    for (size_t i = 0; same && i < entry->dimensions; i++)
        same = tensor->shape[i] == entry->shape[i];
    return same;
}

static enum err check_tensor(const struct peft_adapter *adapter, const struct train_entry *entry,
                             struct err_text *et)
{
    const struct safetensor *tensor = safetensors_find(&adapter->weights, text_of(entry->name));
    if (tensor == NULL || !has_shape(tensor, entry))
        return error_set(et, ERR_SHAPE,
                         "lora_model_dir: tensor \"%s\" of shape [%zu, %zu] is not there: do "
                         "lora_r, rank_pattern, lora_target_modules, lora_modules_to_save and "
                         "peft_use_dora say what the adapter has?",
                         entry->name, entry->shape[0], entry->shape[1]);
    if (tensor->dtype != SAFETENSORS_F32 && tensor->dtype != SAFETENSORS_F16 &&
        tensor->dtype != SAFETENSORS_BF16)
        return error_set(et, ERR_UNSUPPORTED, "lora_model_dir: tensor \"%s\" is not a float",
                         entry->name);
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

/* The same A and B under another scale are another model. */
static enum err check_scale(const struct peft_module *module, const struct train_layout *layout,
                            struct err_text *et)
{
    size_t count;
    const struct train_module *modules = train_layout_modules(layout, &count);
    const struct binding *binding = train_layout_binding(layout);
    for (size_t i = 0; i < count; i++) {
        const struct train_module *m = &modules[i];
        if (!m->adapted || !text_equal(m->name, module->name))
            continue;
        double scale = m->place == TRAIN_PLACE_LOOKUP
                           ? (double)binding->lookup.scale
                           : (double)binding->slots[m->param].adapter.scale;
        if (!(fabs(scale - module->scale) <= 1e-6 * fabs(scale)))
            return error_set(et, ERR_SHAPE,
                             "lora_model_dir: the adapter of %.*s is scaled by %g, the recipe "
                             "scales it by %g: do lora_alpha, alpha_pattern and peft_use_rslora "
                             "say what the adapter has?",
                             TEXT_ARGS(module->name), module->scale, scale);
    }
    return ERR_OK;
}

enum err task_start_check(const struct peft_adapter *adapter, const struct train_layout *layout,
                          struct err_text *et)
{
    size_t twins, count = train_layout_entry_count(layout);
    for (size_t i = 0; i < count; i++)
        TRY(check_tensor(adapter, train_layout_entry(layout, i), et));
    TRY(count_twins(adapter, layout, &twins, et));
    if (adapter->weights.count != count + twins)
        return error_set(et, ERR_SHAPE,
                         "lora_model_dir: the adapter has %zu tensors, the recipe asks for %zu",
                         adapter->weights.count, count + twins);
    for (size_t i = 0; i < adapter->count; i++)
        TRY(check_scale(&adapter->modules[i], layout, et));
    return ERR_OK;
}
