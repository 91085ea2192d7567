/* model_overlay.c - a second list of parameters over the same files. */
#include "worker/engine/nn/model_overlay.h"

#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/model_state.h"

static struct model_param *find(struct model *model, const char *name)
{
    for (size_t i = 0; i < model->param_count; i++) {
        if (model->params[i].part.whole == MODEL_NO_PARAM &&
            strcmp(model->params[i].name, name) == 0)
            return &model->params[i];
    }
    return NULL;
}

/* Whatever the base's file does to a matrix has been undone in the override's values. */
static enum err replace(const struct model *base, struct model *model,
                        const struct model_override *override, struct err_text *et)
{
    struct model_param *p = find(model, override->name);
    if (p == NULL)
        return error_set(et, ERR_NOT_FOUND,
                         "tensor %s: the model has no parameter of its own by this name",
                         override->name);
    if (override->rows != p->rows || override->columns != p->columns)
        return error_set(et, ERR_SHAPE, "tensor %s: expected %zu x %zu, found %zu x %zu",
                         override->name, p->rows, p->columns, override->rows, override->columns);
    if (p->data != model_param(base, (size_t)(p - model->params))->data)
        return error_set(et, ERR_DATA, "tensor %s: given twice", override->name);
    p->dtype = DTYPE_F32;
    p->data = override->data;
    p->turned = false;
    p->row_order = MODEL_ROWS_PLAIN;
    p->scale = 1;
    return ERR_OK;
}

enum err model_overlay_create(const struct model *base, const struct model_override *overrides,
                              size_t count, struct model **out, struct err_text *et)
{
    struct model *model = mem_alloc(1, sizeof *model);
    if (model == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err;
    *model = *base;
    model->files = (struct safetensors){0};
    model->gguf = (struct gguf){0};
    arena_init(&model->arena, SIZE_MAX);
    model->params = arena_alloc(&model->arena, base->param_count, sizeof *model->params);
    if (model->params == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    memcpy(model->params, base->params, base->param_count * sizeof *model->params);
    for (size_t i = 0; i < count; i++)
        TRY_OUT(replace(base, model, &overrides[i], et));
    *out = model;
    return ERR_OK;
out:
    model_destroy(&model);
    return err;
}
