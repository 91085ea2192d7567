/* model_quantized.c - layers found in the files and laid out row by row. */
#include "worker/engine/nn/model_quantized.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/bitsandbytes/bnb_linear.h"
#include "common/formats/compressed_tensors/compressed_config.h"
#include "common/formats/compressed_tensors/compressed_linear.h"
#include "common/formats/json/json_read.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/model_files.h"
#include "worker/engine/nn/model_rows.h"

bool model_quantized_is(const struct model *model)
{
    return model->config.quantized && strcmp(model->config.quant_method, "bitnet") != 0;
}

static bool is_bnb(const struct model *model)
{
    return strcmp(model->config.quant_method, "bitsandbytes") == 0;
}

static enum err read_config(struct model *model, struct json_value root, struct err_text *et)
{
    struct json_value object;
    TRY(json_read_object(root, "quantization_config", &object, et));
    struct compressed_config *config = arena_alloc(&model->arena, 1, sizeof *config);
    if (config == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(compressed_config_read(object, &model->arena, config, et));
    model->compressed = config;
    return ERR_OK;
}

enum err model_quantized_open(struct model *model, const char *path, struct err_text *et)
{
    struct json_doc *doc = NULL;
    if (!model_quantized_is(model) || is_bnb(model))
        return ERR_OK;
    TRY(json_read_open(path, HF_CONFIG_SIZE_BYTES_MAX, &doc, et));
    enum err err = read_config(model, json_read_root(doc), et);
    json_read_close(&doc);
    return err;
}

/* ---- rows ---- */

/* What a matrix is laid out in. */
struct target {
    struct model_param *param;
    uint8_t *data; /* in the model's arena */
    int8_t *codes; /* owned: a row */
    float *scales; /* owned: of a row's cells */
    int8_t *zeros; /* owned */
};

static enum err target_init(struct target *t, struct model *model, struct model_param *p,
                            enum dtype dtype, size_t cells)
{
    size_t columns = p->columns;
    *t = (struct target){.param = p};
    t->data = arena_alloc(&model->arena, dtype_span_bytes(dtype, p->rows * columns), 1);
    t->codes = mem_alloc(columns, sizeof *t->codes);
    t->scales = mem_alloc(cells, sizeof *t->scales);
    t->zeros = mem_alloc(cells, sizeof *t->zeros);
    if (t->data == NULL || t->codes == NULL || t->scales == NULL || t->zeros == NULL)
        return ERR_OUT_OF_MEMORY;
    p->dtype = dtype;
    p->data = t->data;
    return ERR_OK;
}

static void target_fini(struct target *t)
{
    mem_free(t->codes);
    mem_free(t->scales);
    mem_free(t->zeros);
}

static uint8_t *row_at(const struct target *t, size_t row)
{
    return t->data + dtype_span_bytes(t->param->dtype, row * t->param->columns);
}

static enum err check_codes(const struct target *t, const struct quant_scheme *scheme,
                            const char *module, size_t row, struct err_text *et)
{
    int half = 1 << (scheme->bits - 1);
    for (size_t i = 0; i < t->param->columns; i++) {
        if (t->codes[i] < -half || t->codes[i] >= half)
            return error_set(et, ERR_FORMAT,
                             "tensor %s.weight: row %zu: expected codes of %u bits by "
                             "quantization_config, found %d",
                             module, row, scheme->bits, t->codes[i]);
    }
    return ERR_OK;
}

static enum err lay_grid(struct target *t, const struct compressed_linear_view *view,
                         const char *module, size_t width, struct err_text *et)
{
    const struct model_rows_grid cells = {t->param->columns, width, t->codes, t->scales, t->zeros};
    for (size_t row = 0; row < t->param->rows; row++) {
        compressed_linear_codes(view, row, t->codes);
        compressed_linear_cells(view, row, t->scales, t->zeros);
        TRY(check_codes(t, &view->linear.scheme, module, row, et));
        model_rows_put_grid(t->param->dtype, &cells, row_at(t, row));
    }
    return ERR_OK;
}

/* ---- compressed-tensors ---- */

static enum err take_compressed(struct model *model, struct model_param *p, const char *module,
                                const struct quant_scheme *scheme, struct err_text *et)
{
    struct compressed_linear_view view;
    struct target t;
    uint64_t down = 0, across = 0;
    if (scheme->input != QUANT_SCHEME_INPUT_PLAIN && !family_role_in_layer(p->role))
        return error_set(
            et, ERR_UNSUPPORTED,
            "tensor %s.weight: a head whose input is rounded is not supported; expected "
            "it in quantization_config.ignore",
            module);
    TRY(compressed_linear_find(&model->files, module, scheme, p->rows, p->columns, &view, et));
    ASSERT(quant_scheme_cells(scheme, p->rows, p->columns, &down, &across));
    size_t width = p->columns / (size_t)across;
    enum dtype dtype = model_rows_grid_dtype(scheme->bits, width);
    enum err err;
    TRY_OUT(target_init(&t, model, p, dtype, (size_t)across));
    TRY_OUT(lay_grid(&t, &view, module, width, et));
    p->rounds_input = p->on_grid = scheme->input != QUANT_SCHEME_INPUT_PLAIN;
    p->input_scale = view.input_scale;
out:
    target_fini(&t);
    return err;
}

/* ---- bitsandbytes ---- */

static enum err take_bnb(struct model *model, struct model_param *p, const char *module,
                         struct err_text *et)
{
    struct bnb_linear_view view;
    struct target t;
    TRY(bnb_linear_find(&model->files, module, p->rows, p->columns, &view, et));
    enum dtype dtype = model_rows_levels_dtype(view.linear.type, view.levels, p->columns);
    enum err err = target_init(&t, model, p, dtype, 1);
    for (size_t row = 0; err == ERR_OK && row < p->rows; row++)
        model_rows_put_levels(dtype, &view, row, row_at(&t, row));
    target_fini(&t);
    return err;
}

/* ---- finding ---- */

/* The layer of a parameter under the form's name, without ".weight". */
static bool module_of(const struct model_param *p, size_t form, char out[MODEL_FILES_NAME_BYTES])
{
    static const char end[] = ".weight";
    if (!model_files_name(p, form, out))
        return false;
    size_t size = strlen(out), tail = sizeof end - 1;
    if (size > tail && strcmp(out + size - tail, end) == 0)
        out[size - tail] = '\0';
    return true;
}

static enum err refuse_turned(const struct model_param *p, struct err_text *et)
{
    return error_set(et, ERR_UNSUPPORTED,
                     "tensor %s: quantized layers of this family lie transposed, which is not "
                     "supported; take the unquantized model",
                     p->name);
}

/* A layer that is not quantized in the files; the config must not say that it is. */
static enum err check_plain(const struct model *model, const struct model_param *p,
                            struct err_text *et)
{
    const struct compressed_config_group *group = NULL;
    struct compressed_linear_view view;
    char module[MODEL_FILES_NAME_BYTES];
    if (model->compressed == NULL || !module_of(p, 0, module))
        return ERR_OK;
    TRY(compressed_config_find(model->compressed, module, &group, et));
    if (group == NULL)
        return ERR_OK;
    return compressed_linear_find(&model->files, module, &group->scheme, p->rows, p->columns, &view,
                                  et);
}

enum err model_quantized_take(struct model *model, struct model_param *p, bool *taken,
                              struct err_text *et)
{
    char module[MODEL_FILES_NAME_BYTES];
    const struct compressed_config_group *group = NULL;
    *taken = false;
    if (!model_quantized_is(model) || p->kind != MODEL_KIND_LINEAR)
        return ERR_OK;
    for (size_t form = 0; module_of(p, form, module); form++) {
        bool is = is_bnb(model) ? bnb_linear_is(&model->files, module)
                                : compressed_linear_is(&model->files, module);
        if (!is)
            continue;
        if (p->turned)
            return refuse_turned(p, et);
        *taken = true;
        if (is_bnb(model))
            return take_bnb(model, p, module, et);
        TRY(compressed_config_find(model->compressed, module, &group, et));
        if (group == NULL)
            return error_set(et, ERR_FORMAT,
                             "tensor %s.weight is quantized; expected a group of "
                             "quantization_config that has it as a target, found none",
                             module);
        return take_compressed(model, p, module, &group->scheme, et);
    }
    return check_plain(model, p, et);
}
