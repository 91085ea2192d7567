/* model_files.c - finding tensors by their names in safetensors files. */
#include "worker/engine/nn/model_files.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "worker/engine/nn/model_load.h"
#include "worker/engine/nn/model_quantized.h"
#include "worker/engine/nn/model_tensor.h"
#include "worker/engine/nn/model_ternary.h"

_Static_assert((int)SAFETENSORS_RANK_MAX == (int)MODEL_TENSOR_RANK_MAX, "shapes are copied whole");

static enum err dtype_of(const struct safetensor *t, enum dtype *out, struct err_text *et)
{
    for (unsigned i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(dtype_name((enum dtype)i), safetensors_dtype_name(t->dtype)) == 0) {
            *out = (enum dtype)i;
            return ERR_OK;
        }
    }
    return error_set(et, ERR_UNSUPPORTED, "tensor %s: type %s; expected F32, F16 or BF16",
                     t->name.data, safetensors_dtype_name(t->dtype));
}

/* Files of the network without its head lack the first part of all names, files of a model with
 * pictures have more in front of them. */
static const struct {
    const char *front;
    bool inner;
} forms[] = {{"", false}, {"", true}, {"language_model.", false}, {"model.language_model.", true}};

static const char *inner_of(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot != NULL ? dot + 1 : name;
}

bool model_files_name(const struct model_param *p, size_t form, char out[MODEL_FILES_NAME_BYTES])
{
    if (form >= COUNT_OF(forms))
        return false;
    int size = snprintf(out, MODEL_FILES_NAME_BYTES, "%s%s", forms[form].front,
                        forms[form].inner ? inner_of(p->name) : p->name);
    if (size < 0 || size >= MODEL_FILES_NAME_BYTES)
        out[0] = '\0';
    return true;
}

/* The tensor of a parameter. A tied matrix may be stored under either of its names. */
static const struct safetensor *find_tensor(const struct model *model, const struct model_param *p)
{
    const struct safetensor *t = NULL;
    char name[MODEL_FILES_NAME_BYTES];
    for (size_t i = 0; t == NULL && model_files_name(p, i, name); i++)
        t = safetensors_find(&model->files, text_of(name));
    if (t == NULL && p->role == MODEL_EMBEDDING && model->shape.tied)
        t = safetensors_find(&model->files, text_of(model->family->names[MODEL_HEAD]));
    return t;
}

static enum err check_layers(const struct model *model, struct err_text *et)
{
    const char *pattern = model->family->names[MODEL_OUTPUT], *inner = inner_of(pattern);
    for (size_t i = 0; i < model->files.count; i++) {
        struct text name = model->files.tensors[i].name;
        for (size_t form = 0; form < COUNT_OF(forms); form++)
            TRY(model_tensor_check_layer(model, forms[form].front,
                                         forms[form].inner ? inner : pattern, name, et));
    }
    return ERR_OK;
}

/* The scale of a packed matrix, or NULL. */
static const struct safetensor *find_scale(const struct model *model, const struct model_param *p)
{
    char name[MODEL_FILES_NAME_BYTES];
    int size = snprintf(name, sizeof name, "%s_scale", p->name);
    bool fits = size > 0 && (size_t)size < sizeof name;
    return fits ? safetensors_find(&model->files, text_of(name)) : NULL;
}

enum err model_files_load(struct model *model, const struct model_load *load, struct err_text *et)
{
    for (size_t i = 0; i < model->param_count; i++) {
        struct model_param *p = &model->params[i];
        if (p->part.whole != MODEL_NO_PARAM)
            continue;
        bool taken = false;
        TRY(model_quantized_take(model, p, &taken, et));
        if (taken)
            continue;
        const struct safetensor *t = find_tensor(model, p);
        if (t == NULL)
            return model_tensor_missing(model, p->name, et);
        if (model_ternary_is(model, p)) {
            TRY(model_ternary_take(model, p, t, find_scale(model, p), et));
            continue;
        }
        struct model_tensor tensor = {.name = t->name, .rank = t->rank, .data = t->data};
        memcpy(tensor.shape, t->shape, sizeof tensor.shape);
        TRY(dtype_of(t, &tensor.dtype, et));
        TRY(model_tensor_place(model, p, &tensor, et));
        TRY(model_load_take(model, p, load, &taken, et));
        if (taken)
            safetensors_drop(&model->files, t->data);
    }
    return check_layers(model, et);
}
