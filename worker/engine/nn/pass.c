/* pass.c - reading parameters through the binding. */
#include "worker/engine/nn/pass.h"

#include "common/base/check.h"
#include "worker/engine/nn/model_site.h"

size_t pass_offset(const struct pass *pass, size_t param)
{
    if (pass->binding == NULL || pass->values == NULL)
        return BINDING_NONE;
    ASSERT(param < pass->binding->slot_count);
    return pass->binding->slots[param].weight_offset;
}

static struct pass_weight of_model(const struct pass *pass, const struct model_param *p)
{
    struct pass_weight weight = {.data = p->data,
                                 .dtype = p->dtype,
                                 .turned = p->turned,
                                 .apart = p->row_order == MODEL_ROWS_APART,
                                 .scale = p->scale,
                                 .input_scale = p->input_scale,
                                 .rounded_part = 1};
    if (p->row_order == MODEL_ROWS_ROTARY_PAIRS)
        weight.pairs = model_shape(pass->model)->head_width;
    if (p->rounds_input)
        weight.rounding = p->on_grid ? PASS_ROUNDING_GRID8 : PASS_ROUNDING_INT8;
    return weight;
}

struct pass_weight pass_weight(const struct pass *pass, size_t param)
{
    const struct model_param *p = model_param(pass->model, param);
    if (pass->weights != NULL && pass->weights[param].data != NULL)
        return pass->weights[param];
    size_t offset = pass_offset(pass, param);
    if (offset == BINDING_NONE)
        return of_model(pass, p);
    return (struct pass_weight){.data = pass->values + offset,
                                .dtype = DTYPE_F32,
                                .turned = p->turned,
                                .scale = 1,
                                .rounded_part = 1};
}

const struct binding_adapter *pass_adapter(const struct pass *pass, size_t param)
{
    if (pass->binding == NULL || pass->values == NULL)
        return NULL;
    ASSERT(param < pass->binding->slot_count);
    const struct binding_adapter *adapter = &pass->binding->slots[param].adapter;
    return adapter->rank != 0 ? adapter : NULL;
}

bool pass_trains(const struct pass *pass, size_t param)
{
    return pass_offset(pass, param) != BINDING_NONE || pass_adapter(pass, param) != NULL;
}

void pass_observe(const struct pass *pass, size_t param, const float *x)
{
    if (pass->observer == NULL)
        return;
    struct model_site site = model_site(pass->model, model_site_of_param(pass->model, param));
    if (site.params[0] == param)
        pass->observer->observe(pass->observer->context, pass, param, x);
}

size_t pass_param(const struct pass *pass, enum model_role role, size_t layer)
{
    ptrdiff_t index = model_param_index(pass->model, role, layer);
    ASSERT(index >= 0);
    return (size_t)index;
}
