/* fake_quant_check.c - every refusal names the keys that do not go together. */
#include "worker/engine/train/fake_quant_check.h"

bool fake_quant_check_takes(const struct model *model, const struct fake_quant_config *config,
                            size_t param)
{
    const struct model_param *p = model_param(model, param);
    if (p->part.whole != MODEL_NO_PARAM)
        return false;
    if (p->kind == MODEL_KIND_LINEAR && family_role_in_layer(p->role))
        return true;
    bool is_end = p->role == MODEL_EMBEDDING || p->role == MODEL_HEAD;
    bool is_matrix = p->kind == MODEL_KIND_LINEAR || p->kind == MODEL_KIND_TABLE;
    return config->embedding && is_end && is_matrix;
}

static enum err check_param(const struct fake_quant_config *config, const struct model_param *p,
                            bool trains, struct err_text *et)
{
    size_t elements = dtype_block_elements(config->dtype);
    bool has_masters = p->masters != NULL && trains;
    if (!has_masters && (!dtype_is_plain(p->dtype) || p->rounds_input))
        return error_set(et, ERR_RECIPE,
                         "qat, base_model: %s is quantized already (%s); take the model before it "
                         "was quantized",
                         p->name, dtype_name(p->dtype));
    if (config->form == FAKE_QUANT_BLOCKS && p->columns % elements != 0)
        return error_set(et, ERR_RECIPE,
                         "qat.weight_dtype: rows of %s have %zu elements, which are not whole "
                         "blocks of %s (%zu); a type of blocks of 32 may fit (q4_0, q8_0)",
                         p->name, p->columns, dtype_name(config->dtype), elements);
    size_t group = config->grid.strategy == GRID_GROUP ? config->grid.group_size : 1;
    if (config->form != FAKE_QUANT_GRID)
        return ERR_OK;
    if (group == 0 || p->columns % group != 0)
        return error_set(et, ERR_RECIPE,
                         "qat.group_size: rows of %s have %zu elements, which are not whole groups "
                         "of %zu; choose a size that divides them",
                         p->name, p->columns, group);
    return grid_check(&config->grid, p->rows, p->columns, p->name, et);
}

/* The result is merged; embedding and head are in it as they are, or as codes of what they are. */
static enum err refuse_end(const char *name, struct err_text *et)
{
    return error_set(et, ERR_RECIPE,
                     "qat, lora_target_modules: the result has no place for an adapter of %s; "
                     "leave it out of lora_target_modules",
                     name);
}

/* W + scale B A is what a quantizer can see as a whole; not what depends on more than weights. */
static enum err check_adapter(const struct model *model, const struct binding *binding,
                              size_t param, struct err_text *et)
{
    const struct model_param *p = model_param(model, param);
    const struct binding_adapter *adapter = &binding->slots[param].adapter;
    if (adapter->rank == 0)
        return ERR_OK;
    if (adapter->has_magnitude)
        return error_set(et, ERR_RECIPE,
                         "qat, peft_use_dora: the quantizer sees W + B A as a whole, without a "
                         "magnitude beside it; leave one of them out");
    if (adapter->dropout > 0)
        return error_set(et, ERR_RECIPE,
                         "qat, lora_dropout: the quantizer sees W + B A as a whole, of which no "
                         "input can be dropped; say lora_dropout: 0");
    if (!family_role_in_layer(p->role))
        return refuse_end(p->name, et);
    return ERR_OK;
}

enum err fake_quant_check(const struct model *model, const struct train_layout *layout,
                          const struct fake_quant_config *config, struct err_text *et)
{
    const struct binding *binding = train_layout_binding(layout);
    for (size_t i = 0; i < model_param_count(model); i++) {
        TRY(check_adapter(model, binding, i, et));
        if (fake_quant_check_takes(model, config, i))
            TRY(check_param(config, model_param(model, i),
                            binding->slots[i].weight_offset != BINDING_NONE, et));
    }
    return binding->lookup.rank == 0 ? ERR_OK : refuse_end("the embedding", et);
}
