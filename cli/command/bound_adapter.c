/* bound_adapter.c - tensors of the folder one after another in a vector. */
#include "cli/command/bound_adapter.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"
#include "worker/engine/tensor/dtype.h"

struct binding_in_progress {
    const struct model *model;
    struct binding *binding;
    float *values;
    size_t used;
    struct err_text *et;
};

static size_t size_of(const struct safetensor *tensor)
{
    return tensor != NULL ? (size_t)safetensors_element_count(tensor) : 0;
}

/* Appends a tensor's values. */
static enum err append(struct binding_in_progress *b, const struct safetensor *tensor,
                       size_t *offset)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        enum dtype dtype = (enum dtype)i;
        if (strcmp(dtype_name(dtype), safetensors_dtype_name(tensor->dtype)) != 0)
            continue;
        *offset = b->used;
        dtype_decode(dtype, size_of(tensor), tensor->data.data, b->values + b->used);
        b->used += size_of(tensor);
        return ERR_OK;
    }
    return error_set(b->et, ERR_UNSUPPORTED,
                     "adapter tensor %.*s: expected F32, F16 or BF16, found %s",
                     TEXT_ARGS(tensor->name), safetensors_dtype_name(tensor->dtype));
}

/* Parameter of a tensor's name, MODEL_NO_PARAM when there is none. The head of a tied model is its
 * embedding. */
static ptrdiff_t param_of(const struct model *model, struct text name)
{
    const char *head = model_family(model)->names[MODEL_HEAD];
    for (size_t i = 0; i < model_param_count(model); i++) {
        if (text_is(name, model_param(model, i)->name))
            return (ptrdiff_t)i;
    }
    if (head != NULL && text_is(name, head))
        return model_param_index(model, MODEL_HEAD, 0);
    return MODEL_NO_PARAM;
}

static enum err bind_module(struct binding_in_progress *b, const struct peft_module *module)
{
    char name[512];
    (void)snprintf(name, sizeof name, "%.*s.weight", TEXT_ARGS(module->name));
    ptrdiff_t index = param_of(b->model, text_of(name));
    const struct model_param *p =
        index != MODEL_NO_PARAM ? model_param(b->model, (size_t)index) : NULL;
    size_t out = 0, in = 0;
    if (p != NULL && (!module->is_lookup || p->role == MODEL_EMBEDDING)) {
        out = module->is_lookup ? p->columns : p->rows;
        in = module->is_lookup ? p->rows : p->columns;
    }
    if (out != module->out || in != module->in)
        return error_set(b->et, ERR_SHAPE, "adapter module %.*s: the model has none of its shape",
                         TEXT_ARGS(module->name));
    struct binding_adapter *adapter =
        module->is_lookup ? &b->binding->lookup : &b->binding->slots[index].adapter;
    *adapter = (struct binding_adapter){.rank = module->rank, .scale = (float)module->scale};
    TRY(append(b, module->a, &adapter->a_offset));
    TRY(append(b, module->b, &adapter->b_offset));
    if (module->magnitude == NULL)
        return ERR_OK;
    adapter->has_magnitude = true;
    adapter->norm_offset = b->binding->norm_count;
    b->binding->norm_count += p->rows;
    return append(b, module->magnitude, &adapter->magnitude_offset);
}

static bool fits(const struct model_param *p, const struct safetensor *tensor)
{
    bool vector = p->columns == 1;
    if (tensor->rank != (vector ? 1 : 2))
        return false;
    size_t first = p->turned ? p->columns : p->rows, second = p->turned ? p->rows : p->columns;
    return tensor->shape[0] == first && (vector || tensor->shape[1] == second);
}

/* A tied matrix is in the folder twice, as embedding and as head, with the same values. */
static enum err bind_saved(struct binding_in_progress *b, const struct peft_saved *saved)
{
    const struct family *family = model_family(b->model);
    ptrdiff_t index = param_of(b->model, saved->name);
    if (index == MODEL_NO_PARAM || !fits(model_param(b->model, (size_t)index), saved->tensor))
        return error_set(b->et, ERR_SHAPE, "adapter tensor %.*s: the model has none of its shape",
                         TEXT_ARGS(saved->name));
    const struct model_param *p = model_param(b->model, (size_t)index);
    if (p->kind == MODEL_KIND_GAIN && family->norm != family_of(model_config(b->model))->norm)
        return error_set(b->et, ERR_UNSUPPORTED,
                         "adapter tensor %.*s: the GGUF file holds this norm in another form; give "
                         "the model's folder",
                         TEXT_ARGS(saved->name));
    struct binding_slot *slot = &b->binding->slots[index];
    size_t before = slot->weight_offset, count = size_of(saved->tensor);
    TRY(append(b, saved->tensor, &slot->weight_offset));
    if (before == BINDING_NONE ||
        memcmp(b->values + before, b->values + slot->weight_offset, count * sizeof(float)) == 0)
        return ERR_OK;
    return error_set(b->et, ERR_SHAPE,
                     "adapter tensor %.*s: the model has embedding and head in one matrix, the "
                     "adapter has two that differ",
                     TEXT_ARGS(saved->name));
}

/* Half of a tied pair would leave the other as the base has it. */
static enum err check_tied(const struct binding_in_progress *b, const struct peft_adapter *adapter)
{
    const struct model *model = b->model;
    ptrdiff_t table = model_param_index(model, MODEL_EMBEDDING, 0);
    size_t found = 0;
    for (size_t i = 0; i < adapter->saved_count; i++)
        found += param_of(model, adapter->saved[i].name) == table;
    if (!model_shape(model)->tied || found != 1)
        return ERR_OK;
    return error_set(b->et, ERR_SHAPE,
                     "adapter: modules_to_save has one of embedding and head, which are one matrix "
                     "of the model (tie_word_embeddings)");
}

enum err bound_adapter_read(const struct model *model, const struct peft_adapter *adapter,
                            struct binding *binding, float **values, struct err_text *et)
{
    struct binding_in_progress b = {.model = model, .binding = binding, .et = et};
    for (size_t i = 0; i < adapter->count; i++) {
        const struct peft_module *m = &adapter->modules[i];
        binding->count += size_of(m->a) + size_of(m->b) + size_of(m->magnitude);
    }
    for (size_t i = 0; i < adapter->saved_count; i++)
        binding->count += size_of(adapter->saved[i].tensor);
    b.values = mem_alloc(binding->count, sizeof *b.values);
    if (b.values == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = ERR_OK;
    for (size_t i = 0; i < adapter->count; i++)
        TRY_OUT(bind_module(&b, &adapter->modules[i]));
    for (size_t i = 0; i < adapter->saved_count; i++)
        TRY_OUT(bind_saved(&b, &adapter->saved[i]));
    TRY_OUT(check_tied(&b, adapter));
    *values = b.values;
    return ERR_OK;
out:
    mem_free(b.values);
    return err;
}
