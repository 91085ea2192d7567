/* task_mergeable.c - the questions, one by one. */
#include "worker/task/task_mergeable.h"

#include "worker/engine/train/train_merge.h"

static bool has_blocks(const struct model *model)
{
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        if (p->data != NULL && !dtype_is_plain(p->dtype))
            return true;
    }
    return false;
}

static enum err check_ternary(const struct model *model, struct err_text *et)
{
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        if (p->rounds_input && !p->on_grid)
            return error_set(et, ERR_RECIPE,
                             "merge: %s is ternary, which it would not be with an adapter inside; "
                             "remove merge",
                             p->name);
    }
    return ERR_OK;
}

static enum err check_bits(const struct recipe *recipe, const struct model *stored,
                           struct err_text *et)
{
    bool is_full = recipe->merge == RECIPE_MERGE_FULL, in_blocks = has_blocks(stored);
    if (is_full && in_blocks)
        return error_set(et, ERR_RECIPE,
                         "merge: full needs a base with all its bits, and base_model is quantized; "
                         "say merge: dequantized");
    if (!is_full && !in_blocks && !recipe->load_in_4bit && !recipe->load_in_8bit)
        return error_set(et, ERR_RECIPE,
                         "merge: dequantized needs a base in few bits (load_in_4bit, load_in_8bit, "
                         "a quantized folder, a GGUF file); say merge: full");
    return ERR_OK;
}

enum err task_mergeable_check(const struct recipe *recipe, const struct model *stored,
                              const struct train_layout *layout, struct err_text *et)
{
    const struct train_merge merge = {.model = stored, .layout = layout};
    TRY(check_ternary(stored, et));
    TRY(check_bits(recipe, stored, et));
    return train_merge_check(&merge, stored, et);
}
