/* task_override.c - codes and scales to values. */
#include "worker/task/task_override.h"

#include "common/base/check.h"
#include "common/formats/compressed_tensors/compressed_linear.h"
#include "worker/engine/quant/blocks.h"

static enum err add(struct task_overrides *overrides, const struct model_param *m, float *data,
                    struct err_text *et)
{
    if (overrides->count == TASK_OVERRIDE_MAX)
        return error_set(et, ERR_LIMIT, "a layer of more than %d changed tensors",
                         TASK_OVERRIDE_MAX);
    overrides->items[overrides->count++] =
        (struct model_override){m->name, m->rows, m->columns, data};
    return ERR_OK;
}

/* A quantized layer: scale * (code - zero), as readers of the format have it. */
static enum err decode(const struct compressed_linear_view *view, struct arena *arena, float **out)
{
    size_t rows = view->linear.rows, columns = view->linear.columns;
    uint64_t down, across;
    if (!quant_scheme_cells(&view->linear.scheme, rows, columns, &down, &across))
        return ERR_SHAPE;
    float *values = arena_alloc(arena, rows * columns, sizeof *values);
    float *scales = arena_alloc(arena, across, sizeof *scales);
    int8_t *zeros = arena_alloc(arena, across, sizeof *zeros);
    int8_t *codes = arena_alloc(arena, columns, sizeof *codes);
    if (values == NULL || scales == NULL || zeros == NULL || codes == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t r = 0; r < rows; r++) {
        compressed_linear_codes(view, r, codes);
        compressed_linear_cells(view, r, scales, zeros);
        for (size_t c = 0; c < columns; c++) {
            size_t cell = c / (columns / across);
            values[r * columns + c] = scales[cell] * (float)(codes[c] - zeros[cell]);
        }
    }
    *out = values;
    return ERR_OK;
}

static enum err add_layer(struct task_overrides *overrides, const struct safetensors *file,
                          const struct model *model, size_t param, const char *module,
                          const struct task_scheme *scheme, struct arena *arena,
                          struct err_text *et)
{
    const struct model_param *m = model_param(model, param);
    struct compressed_linear_view view;
    float *values = NULL;
    TRY(compressed_linear_find(file, module, &scheme->scheme, m->rows, m->columns, &view, et));
    TRY(decode(&view, arena, &values));
    return add(overrides, m, values, et);
}

/* A norm that took the other half of its site's scales. */
static enum err add_plain(struct task_overrides *overrides, const struct safetensor *t,
                          const struct model_param *m, struct arena *arena, struct err_text *et)
{
    static const struct {
        enum safetensors_dtype file;
        enum dtype dtype;
    } types[] = {
        {SAFETENSORS_F32, DTYPE_F32}, {SAFETENSORS_F16, DTYPE_F16}, {SAFETENSORS_BF16, DTYPE_BF16}};
    size_t count = m->rows * m->columns;
    float *values = arena_alloc(arena, count, sizeof *values);
    if (values == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (types[i].file != t->dtype || safetensors_element_count(t) != count)
            continue;
        block_decode(types[i].dtype, count, t->data.data, values);
        return add(overrides, m, values, et);
    }
    return error_set(et, ERR_SHAPE, "tensor %.*s: expected %zu numbers", TEXT_ARGS(t->name), count);
}

enum err task_override_add(struct task_overrides *overrides, struct span tensors,
                           const struct model *model, const struct task_scheme *scheme,
                           size_t layer, struct arena *arena, struct err_text *et)
{
    struct safetensors file;
    TRY(safetensors_parse(&file, tensors, "tensors", et));
    enum err err = ERR_OK;
    for (size_t i = 0; i < model_param_count(model) && err == ERR_OK; i++) {
        const struct model_param *m = model_param(model, i);
        if (m->layer != layer || m->data == NULL)
            continue;
        const char *module = task_scheme_module(model, i, arena);
        const struct safetensor *plain = safetensors_find(&file, text_of(m->name));
        if (module == NULL)
            err = ERR_OUT_OF_MEMORY;
        else if (compressed_linear_is(&file, module))
            err = add_layer(overrides, &file, model, i, module, scheme, arena, et);
        else if (plain != NULL)
            err = add_plain(overrides, plain, m, arena, et);
    }
    safetensors_close(&file);
    return err;
}
