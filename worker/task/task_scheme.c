/* task_scheme.c - presets, what the recipe says above them, and who is meant. */
#include "worker/task/task_scheme.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "worker/engine/nn/model_load.h"

#define HEAD "lm_head"

enum { NAMES_BYTES = 4096, BLOCK_SIDE = 128, GROUP_DEFAULT = 128 };

static enum err fail(struct err_text *et, const char *key, const char *text)
{
    return error_set(et, ERR_RECIPE, "quantize.%s: %s", key, text);
}

static const struct {
    enum recipe_quantize_strategy word;
    enum quant_scheme_strategy strategy;
    enum grid_strategy grid;
} STRATEGIES[] = {
    {RECIPE_QUANTIZE_STRATEGY_TENSOR, QUANT_SCHEME_TENSOR, GRID_TENSOR},
    {RECIPE_QUANTIZE_STRATEGY_CHANNEL, QUANT_SCHEME_CHANNEL, GRID_CHANNEL},
    {RECIPE_QUANTIZE_STRATEGY_GROUP, QUANT_SCHEME_GROUP, GRID_GROUP},
    {RECIPE_QUANTIZE_STRATEGY_BLOCK, QUANT_SCHEME_BLOCK, GRID_BLOCK},
};

/* What the recipe says of the preset's cells. */
static enum err read_strategy(const struct recipe_quantize *q, struct quant_scheme *scheme,
                              struct err_text *et)
{
    for (size_t i = 0; i < COUNT_OF(STRATEGIES); i++) {
        if (STRATEGIES[i].word == q->strategy)
            scheme->strategy = STRATEGIES[i].strategy;
    }
    bool has_groups =
        scheme->strategy == QUANT_SCHEME_GROUP || scheme->strategy == QUANT_SCHEME_BLOCK;
    if (!has_groups && q->group_size > 0 && q->strategy != RECIPE_QUANTIZE_STRATEGY_AUTO)
        return fail(et, "group_size", "means nothing beside strategy: tensor or channel");
    if (!has_groups && q->group_size > 0) { /* a preset by channel, asked for in groups */
        scheme->strategy = QUANT_SCHEME_GROUP;
        has_groups = true;
    }
    if (q->group_size > 0)
        scheme->group_size = (uint32_t)q->group_size;
    else if (has_groups && scheme->group_size == 0)
        scheme->group_size = GROUP_DEFAULT;
    if (!has_groups)
        scheme->group_size = 0;
    scheme->block_rows = scheme->strategy == QUANT_SCHEME_BLOCK ? scheme->group_size : 0;
    return ERR_OK;
}

static enum err read_input(const struct recipe_quantize *q, enum recipe_quantize_method method,
                           struct quant_scheme *scheme, struct err_text *et)
{
    switch (q->activations) {
    case RECIPE_QUANTIZE_ACTIVATIONS_AUTO:
        break;
    case RECIPE_QUANTIZE_ACTIVATIONS_NONE:
        scheme->input = QUANT_SCHEME_INPUT_PLAIN;
        break;
    case RECIPE_QUANTIZE_ACTIVATIONS_DYNAMIC:
        scheme->input = QUANT_SCHEME_INPUT_TOKEN;
        break;
    case RECIPE_QUANTIZE_ACTIVATIONS_STATIC:
        scheme->input = QUANT_SCHEME_INPUT_STATIC;
        break;
    case RECIPE_QUANTIZE_ACTIVATIONS_COUNT:
        return ERR_INTERNAL;
    }
    if (scheme->input != QUANT_SCHEME_INPUT_PLAIN && scheme->layout == QUANT_SCHEME_PACKED)
        return fail(et, "activations",
                    "weights packed in words go with inputs as they are; W8A8 and W4A8 round them");
    if (scheme->input == QUANT_SCHEME_INPUT_STATIC && method != RECIPE_QUANTIZE_METHOD_RTN)
        return fail(et, "activations",
                    "static: this method changes inputs after they are measured; dynamic goes with "
                    "it, static with method: rtn");
    return ERR_OK;
}

/* Ranges of weights: what is given, else the best that the method has figures for. */
static enum err read_range(const struct recipe *recipe, struct task_scheme *out,
                           struct err_text *et)
{
    bool is_measured = recipe->calibration_datasets_count > 0;
    out->grid.range = is_measured ? GRID_IMPORTANCE : GRID_MSE;
    switch (recipe->quantize.observer) {
    case RECIPE_QUANTIZE_OBSERVER_AUTO:
    case RECIPE_QUANTIZE_OBSERVER_MOVING_AVERAGE: /* these three are of activations */
    case RECIPE_QUANTIZE_OBSERVER_PERCENTILE:
    case RECIPE_QUANTIZE_OBSERVER_ENTROPY:
        break;
    case RECIPE_QUANTIZE_OBSERVER_MINMAX:
        out->grid.range = GRID_MINMAX;
        break;
    case RECIPE_QUANTIZE_OBSERVER_MSE:
        out->grid.range = GRID_MSE;
        break;
    case RECIPE_QUANTIZE_OBSERVER_IMPORTANCE_MSE:
        if (!is_measured)
            return fail(et, "observer",
                        "importance_mse needs calibration_datasets to measure importance on");
        out->grid.range = GRID_IMPORTANCE;
        break;
    case RECIPE_QUANTIZE_OBSERVER_COUNT:
        return ERR_INTERNAL;
    }
    return ERR_OK;
}

static enum err read_compressed(const struct recipe *recipe, struct task_scheme *out,
                                struct err_text *et)
{
    const struct recipe_quantize *q = &recipe->quantize;
    char known[256] = "";
    for (size_t i = 0; quant_scheme_name(i) != NULL; i++) {
        size_t used = strlen(known);
        (void)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "",
                       quant_scheme_name(i));
    }
    if (!quant_scheme_named(out->name, &out->scheme))
        return error_set(et, ERR_RECIPE, "quantize.scheme: expected one of %s; found %.*s", known,
                         TEXT_ARGS(out->name));
    TRY(read_strategy(q, &out->scheme, et));
    TRY(read_input(q, out->method, &out->scheme, et));
    if (q->symmetric != RECIPE_QUANTIZE_SYMMETRIC_AUTO)
        out->scheme.symmetric = q->symmetric == RECIPE_QUANTIZE_SYMMETRIC_YES;
    out->grid = (struct grid_scheme){
        .bits = out->scheme.bits,
        .symmetric = out->scheme.symmetric,
        .group_size = out->scheme.group_size,
        .block_rows = out->scheme.block_rows,
    };
    for (size_t i = 0; i < COUNT_OF(STRATEGIES); i++) {
        if (STRATEGIES[i].strategy == out->scheme.strategy)
            out->grid.strategy = STRATEGIES[i].grid;
    }
    return read_range(recipe, out, et);
}

static enum err read_bitsandbytes(const struct recipe *recipe, struct task_scheme *out,
                                  struct err_text *et)
{
    bool is_nf4 = out->name.data[0] == 'N' || out->name.data[0] == 'n';
    out->bnb = is_nf4 ? BNB_CODE_NF4 : BNB_CODE_FP4;
    out->bnb_nested = recipe->quantize.double_quant;
    if (out->method != RECIPE_QUANTIZE_METHOD_RTN)
        return fail(et, "method", "NF4 and FP4 round to nearest: method: rtn");
    return ERR_OK;
}

/* With room for one more. */
static struct text *copy_list(const char *const *words, size_t count, struct arena *arena)
{
    struct text *list = arena_alloc(arena, count + 1, sizeof *list);
    for (size_t i = 0; list != NULL && i < count; i++)
        list[i] = text_of(words[i]);
    return list;
}

/* Without a word about it, all linear layers. No task quantizes the head, so the config must not
 * say that it is: it is left alone whatever else is. */
static enum err read_modules(const struct recipe_quantize *q, struct arena *arena,
                             struct task_scheme *out)
{
    static const char *const all[] = {"Linear"};
    bool has_targets = q->targets_count > 0;
    struct text *ignore = copy_list(q->ignore, q->ignore_count, arena);
    out->group = (struct compressed_config_group){.scheme = out->scheme};
    out->group.target_count = has_targets ? q->targets_count : COUNT_OF(all);
    out->group.targets = copy_list(has_targets ? q->targets : all, out->group.target_count, arena);
    if (ignore == NULL || out->group.targets == NULL)
        return ERR_OUT_OF_MEMORY;
    size_t count = q->ignore_count, i = 0;
    while (i < count && !text_is(ignore[i], HEAD))
        i++;
    if (i == count)
        ignore[count++] = TEXT(HEAD);
    out->config = (struct compressed_config){
        .groups = &out->group, .group_count = 1, .ignore = ignore, .ignore_count = count};
    return ERR_OK;
}

enum err task_scheme_read(const struct recipe *recipe, const struct model *model,
                          struct arena *arena, struct task_scheme *out, struct err_text *et)
{
    *out = (struct task_scheme){
        .form = recipe_quantize_form(recipe),
        .method = recipe_quantize_method(recipe),
        .name = text_of(recipe->quantize.scheme),
    };
    if (out->method == RECIPE_QUANTIZE_METHOD_IMPORTANCE)
        return fail(et, "method", "importance is of GGUF types; here observer: importance_mse");
    if (out->form == RECIPE_QUANTIZE_COMPRESSED)
        TRY(read_compressed(recipe, out, et));
    else
        TRY(read_bitsandbytes(recipe, out, et));
    out->grid.scale_dtype = model_load_scale_dtype(model);
    return read_modules(&recipe->quantize, arena, out);
}

enum safetensors_dtype task_scheme_file_type(enum dtype dtype)
{
    ASSERT(dtype_is_plain(dtype));
    return dtype == DTYPE_F32   ? SAFETENSORS_F32
           : dtype == DTYPE_F16 ? SAFETENSORS_F16
                                : SAFETENSORS_BF16;
}

const char *task_scheme_module(const struct model *model, size_t param, struct arena *arena)
{
    static const char ending[] = ".weight";
    struct text name = text_of(model_param(model, param)->name);
    size_t size = sizeof ending - 1;
    if (name.size > size && memcmp(name.data + name.size - size, ending, size) == 0)
        name.size -= size;
    return arena_copy_text(arena, name);
}

enum err task_scheme_takes(const struct task_scheme *scheme, const struct model *model,
                           size_t param, bool *out, struct err_text *et)
{
    const struct compressed_config_group *group = NULL;
    struct arena arena;
    arena_init(&arena, NAMES_BYTES);
    const char *module = task_scheme_module(model, param, &arena);
    enum err err = module == NULL ? ERR_OUT_OF_MEMORY
                                  : compressed_config_find(&scheme->config, module, &group, et);
    arena_fini(&arena);
    *out = group != NULL;
    return err;
}
