/* model_state.c - the common beginning of all models: config, shape, list of parameters. */
#include "worker/engine/nn/model_state.h"

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/frequency.h"
#include "worker/engine/nn/model_params.h"
#include "worker/engine/nn/model_shape.h"

enum err model_state_create(const struct hf_config *config, const struct family *family,
                            struct model **out, struct err_text *et)
{
    struct model_shape shape;
    TRY(model_shape_read(config, family, &shape, et));
    struct model *model = mem_alloc(1, sizeof *model);
    if (model == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err;
    model->shape = shape;
    model->config = *config;
    arena_init(&model->arena, SIZE_MAX);
    struct family *own = arena_alloc(&model->arena, 1, sizeof *own);
    if (own == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    *own = *family;
    model->family = own;
    TRY_OUT(frequency_read(config, shape.rotary_width, &model->arena, model->ropes, et));
    TRY_OUT(model_params_list(model));
    *out = model;
    return ERR_OK;
out:
    model_destroy(&model);
    return err;
}
