/* task_qat.c - recipe keys to a fake quantizer. */
#include "worker/task/task_qat.h"

#include <strings.h>

#include "common/base/check.h"
#include "common/formats/gguf/block_format.h"
#include "worker/engine/nn/model_load.h"

/* Columns that share a scale where nobody says how many: those of axolotl's qat. */
enum { INT4_GROUP = 32 };

static enum err fail(struct err_text *et, const char *text)
{
    return error_set(et, ERR_RECIPE, "qat.%s", text);
}

static void read_grid(const struct recipe_qat *q, const struct model *model, unsigned bits,
                      struct task_qat *out)
{
    bool rounds = q->activation_dtype == RECIPE_QAT_ACTIVATION_DTYPE_INT8;
    uint64_t group = q->group_size > 0 ? q->group_size : bits == 4 ? INT4_GROUP : 0;
    out->config.form = FAKE_QUANT_GRID;
    out->config.rounding = rounds ? PASS_ROUNDING_GRID8 : PASS_ROUNDING_NONE;
    out->config.grid = (struct grid_scheme){
        .bits = bits,
        .symmetric = q->symmetric,
        .strategy = group > 0 ? GRID_GROUP : GRID_CHANNEL,
        .group_size = (size_t)group,
        .range = GRID_MINMAX,
        .scale_dtype = model_load_scale_dtype(model),
    };
    out->scheme = (struct quant_scheme){
        .bits = bits,
        .symmetric = q->symmetric,
        .strategy = group > 0 ? QUANT_SCHEME_GROUP : QUANT_SCHEME_CHANNEL,
        .group_size = (uint32_t)group,
        .layout = rounds ? QUANT_SCHEME_INT : QUANT_SCHEME_PACKED,
        .input = rounds ? QUANT_SCHEME_INPUT_TOKEN : QUANT_SCHEME_INPUT_PLAIN,
    };
}

static enum err read_blocks(const struct recipe_qat *q, struct task_qat *out, struct err_text *et)
{
    enum block_format format = block_format_named(text_of(q->weight_dtype));
    if (format == BLOCK_FORMAT_COUNT || block_format_elements(format) == 1)
        return error_set(et, ERR_RECIPE,
                         "qat.weight_dtype: expected int4, int8, ternary or a GGUF type of blocks "
                         "(q4_0, q8_0, q4_k, tq2_0, ...), found %s",
                         q->weight_dtype);
    if (q->activation_dtype == RECIPE_QAT_ACTIVATION_DTYPE_INT8)
        return fail(et, "activation_dtype: int8 goes with weight_dtype: int4, int8 and ternary; a "
                        "GGUF file does not say that inputs are rounded");
    out->config.form = FAKE_QUANT_BLOCKS;
    out->config.dtype = (enum dtype)format;
    return ERR_OK;
}

static enum err read_ternary(const struct recipe_qat *q, struct task_qat *out, struct err_text *et)
{
    if (q->activation_dtype == RECIPE_QAT_ACTIVATION_DTYPE_NONE)
        return fail(et, "activation_dtype: none excludes weight_dtype: ternary, whose files are of "
                        "layers that round their inputs; tq2_0 is ternary and does not");
    out->config.form = FAKE_QUANT_TERNARY;
    out->config.rounding = PASS_ROUNDING_INT8;
    out->config.warmup_rounds = q->warmup_steps;
    return ERR_OK;
}

static bool has_masters(const struct model *model)
{
    for (size_t i = 0; i < model_param_count(model); i++) {
        if (model_param(model, i)->masters != NULL)
            return true;
    }
    return false;
}

/* Of gpt2: the layers of folders of integers and of BitNet have rows of outputs. */
static bool has_turned(const struct model *model)
{
    for (size_t i = 0; i < model_param_count(model); i++) {
        if (model_param(model, i)->turned)
            return true;
    }
    return false;
}

enum err task_qat_read(const struct recipe *recipe, const struct model *model, struct task_qat *out,
                       struct err_text *et)
{
    const struct recipe_qat *q = &recipe->qat;
    bool is_ternary = recipe->adapter == RECIPE_ADAPTER_NONE && has_masters(model);
    *out = (struct task_qat){.is_on = is_ternary};
    out->config.form = FAKE_QUANT_TERNARY;
    out->config.rounding = PASS_ROUNDING_INT8;
    if (!recipe_is_set(recipe, RECIPE_KEY_qat) || q->weight_dtype == NULL)
        return ERR_OK;
    if (model_is_gguf(model))
        return error_set(et, ERR_RECIPE,
                         "qat, base_model: what trains under a quantizer starts from a model "
                         "folder, not from a GGUF file; qctl convert makes one");
    *out = (struct task_qat){.is_on = true};
    out->config.embedding = q->quantize_embedding;
    out->config.first_round = q->fake_quant_after_n_steps;
    bool int4 = strcasecmp(q->weight_dtype, "int4") == 0;
    if (int4 || strcasecmp(q->weight_dtype, "int8") == 0)
        read_grid(q, model, int4 ? 4 : 8, out);
    else if (strcasecmp(q->weight_dtype, "ternary") == 0)
        TRY(read_ternary(q, out, et));
    else
        TRY(read_blocks(q, out, et));
    if (q->quantize_embedding && out->config.form != FAKE_QUANT_BLOCKS)
        return fail(et, "quantize_embedding goes with a GGUF type as weight_dtype; folders have "
                        "plain embeddings");
    if (out->config.form != FAKE_QUANT_BLOCKS && has_turned(model))
        return error_set(et, ERR_RECIPE,
                         "qat.weight_dtype: %s; weights of base_model lie transposed, which such "
                         "folders do not know: say a GGUF type (q4_0, q8_0, q4_k, ...)",
                         q->weight_dtype);
    if (is_ternary && out->config.form != FAKE_QUANT_TERNARY)
        return error_set(et, ERR_RECIPE,
                         "qat.weight_dtype: %s; base_model is ternary: say ternary, and qctl "
                         "convert makes TQ2_0 of the result",
                         q->weight_dtype);
    return ERR_OK;
}
