/* task_insert.c - words of a folder for settings, tensors for values. */
#include "worker/task/task_insert.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"
#include "worker/engine/tensor/dtype.h"

static const struct {
    enum train_method method;
    const char *word;
} METHODS[] = {
    {TRAIN_METHOD_HOULSBY, "houlsby"},
    {TRAIN_METHOD_PFEIFFER, "pfeiffer"},
    {TRAIN_METHOD_PARALLEL, "parallel"},
};

static const struct {
    enum kernel_act act;
    const char *word;
} ACTS[] = {
    {KERNEL_ACT_RELU, "relu"},
    {KERNEL_ACT_SILU, "silu"},
    {KERNEL_ACT_GELU_ERF, "gelu"},
};

struct peft_insert_config task_insert_describe(const struct model *model,
                                               const struct train_config *config)
{
    const struct model_shape *s = model_shape(model);
    if (config->method == TRAIN_METHOD_PROMPT)
        return (struct peft_insert_config){.kind = PEFT_INSERT_PROMPT,
                                           .vector_count = (uint32_t)config->prompt_count,
                                           .width = (uint32_t)s->width,
                                           .head_count = (uint32_t)s->heads,
                                           .layer_count = (uint32_t)s->layers};
    struct peft_insert_config out = {.kind = PEFT_INSERT_BOTTLENECK,
                                     .reduction_factor = (uint32_t)config->reduction,
                                     .scaling = config->scaling};
    for (size_t i = 0; i < COUNT_OF(METHODS); i++)
        out.method = METHODS[i].method == config->method ? text_of(METHODS[i].word) : out.method;
    for (size_t i = 0; i < COUNT_OF(ACTS); i++)
        out.non_linearity = ACTS[i].act == config->act ? text_of(ACTS[i].word) : out.non_linearity;
    return out;
}

static enum err prompt_settings(const struct model *model, const struct peft_insert_config *folder,
                                struct train_config *out, struct err_text *et)
{
    size_t width = model_shape(model)->width;
    if (folder->width != width)
        return error_set(et, ERR_UNSUPPORTED,
                         "adapter_config.json: token_dim: expected the model's width of %zu, found "
                         "%" PRIu32,
                         width, folder->width);
    *out =
        (struct train_config){.method = TRAIN_METHOD_PROMPT, .prompt_count = folder->vector_count};
    return ERR_OK;
}

enum err task_insert_settings(const struct model *model, const struct peft_insert_config *folder,
                              struct train_config *out, struct err_text *et)
{
    size_t method = 0, act = 0;
    if (folder->kind == PEFT_INSERT_PROMPT)
        return prompt_settings(model, folder, out, et);
    while (method < COUNT_OF(METHODS) && !text_is(folder->method, METHODS[method].word))
        method++;
    while (act < COUNT_OF(ACTS) && !text_is(folder->non_linearity, ACTS[act].word))
        act++;
    if (method == COUNT_OF(METHODS))
        return error_set(et, ERR_UNSUPPORTED,
                         "adapter_config.json: adapter: expected houlsby, pfeiffer or parallel, "
                         "found %.*s",
                         TEXT_ARGS(folder->method));
    if (act == COUNT_OF(ACTS))
        return error_set(et, ERR_UNSUPPORTED,
                         "adapter_config.json: non_linearity: expected relu, silu or gelu, found "
                         "%.*s",
                         TEXT_ARGS(folder->non_linearity));
    *out = (struct train_config){.method = METHODS[method].method,
                                 .reduction = folder->reduction_factor,
                                 .act = ACTS[act].act,
                                 .scaling = folder->scaling};
    return ERR_OK;
}

static enum err take_tensor(const struct peft_insert *insert, const struct train_entry *entry,
                            float *out, struct err_text *et)
{
    const struct safetensor *t = safetensors_find(&insert->weights, text_of(entry->name));
    bool fits = t != NULL && t->rank == entry->dimensions && t->shape[0] == entry->shape[0] &&
                (t->rank == 1 || t->shape[1] == entry->shape[1]);
    if (!fits)
        return error_set(et, ERR_SHAPE,
                         "adapter_model.safetensors: tensor %s: expected %zu x %zu elements, %s",
                         entry->name, entry->shape[0], entry->shape[1],
                         t == NULL ? "found none"
                                   : "found another shape; is this the model that "
                                     "the adapter was trained on?");
    for (int i = 0; i < DTYPE_COUNT; i++) {
        enum dtype dtype = (enum dtype)i;
        if (strcmp(dtype_name(dtype), safetensors_dtype_name(t->dtype)) == 0) {
            dtype_decode(dtype, entry->count, t->data.data, out);
            return ERR_OK;
        }
    }
    return error_set(et, ERR_UNSUPPORTED,
                     "adapter_model.safetensors: tensor %s: expected F32, F16 or BF16, found %s",
                     entry->name, safetensors_dtype_name(t->dtype));
}

enum err task_insert_values(const struct peft_insert *insert, const struct train_layout *layout,
                            float *values, struct err_text *et)
{
    size_t count = train_layout_entry_count(layout);
    for (size_t i = 0; i < count; i++) {
        const struct train_entry *entry = train_layout_entry(layout, i);
        TRY(take_tensor(insert, entry, values + entry->offset, et));
    }
    if (insert->weights.count != count)
        return error_set(et, ERR_SHAPE,
                         "adapter_model.safetensors: expected %zu tensors, found %zu", count,
                         insert->weights.count);
    return ERR_OK;
}
