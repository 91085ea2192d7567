/* model.c - opening a model: config, then the list of parameters, then their data. */
#include "worker/engine/nn/model.h"

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"
#include "common/numeric/init.h"
#include "common/numeric/random.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/nn/model_files.h"
#include "worker/engine/nn/model_gguf.h"
#include "worker/engine/nn/model_quantized.h"
#include "worker/engine/nn/model_ternary.h"

enum err model_create_outline(const struct hf_config *config, struct model **out,
                              struct err_text *et)
{
    return model_state_create(config, family_of(config), out, et);
}

void model_destroy(struct model **model)
{
    if (*model == NULL)
        return;
    safetensors_close(&(*model)->files);
    gguf_close(&(*model)->gguf);
    arena_fini(&(*model)->arena);
    mem_free(*model);
    *model = NULL;
}

static enum err open_config(const char *path, struct model **out, struct err_text *et)
{
    struct hf_config *config = mem_alloc(1, sizeof *config);
    if (config == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = hf_config_open(config, path, et);
    if (err == ERR_OK) {
        err = model_state_create(config, family_of(config), out, et);
        if (err != ERR_OK && err != ERR_OUT_OF_MEMORY)
            (void)error_prefix(et, err, "%s", path);
        if (err == ERR_OK) {
            err = model_quantized_open(*out, path, et);
            if (err != ERR_OK)
                model_destroy(out);
        }
    }
    mem_free(config);
    return err;
}

static enum err open_folder(const char *folder, const struct model_load *load, struct model **out,
                            struct err_text *et)
{
    struct arena paths;
    arena_init(&paths, 1 << 16);
    struct model *model = NULL;
    enum err err;
    const char *config = folder_join(&paths, folder, "config.json");
    if (config == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    TRY_OUT(open_config(config, &model, et));
    TRY_OUT(safetensors_index_open_folder(&model->files, folder, "model", et));
    err = model_files_load(model, load, et);
    if (err != ERR_OK)
        TRY_OUT(error_prefix(et, err, "%s", folder));
    *out = model;
    model = NULL;
out:
    model_destroy(&model);
    arena_fini(&paths);
    return err;
}

enum err model_open_as(const char *path, const struct model_load *load, struct model **out,
                       struct err_text *et)
{
    return file_exists(path) ? model_gguf_open(path, load, out, et)
                             : open_folder(path, load, out, et);
}

enum err model_open(const char *path, struct model **out, struct err_text *et)
{
    return model_open_as(path, NULL, out, et);
}

enum err model_open_files(const char *config_path, const char *weights_path, struct model **out,
                          struct err_text *et)
{
    struct model *model = NULL;
    enum err err;
    TRY_OUT(open_config(config_path, &model, et));
    TRY_OUT(safetensors_open(&model->files, weights_path, et));
    err = model_files_load(model, NULL, et);
    if (err != ERR_OK)
        TRY_OUT(error_prefix(et, err, "%s", weights_path));
    *out = model;
    model = NULL;
out:
    model_destroy(&model);
    return err;
}

/* ---- weights from a random start ---- */

/* Gains start at 1, or at 0 where 1 is added; biases at 0. */
static void fill_random(const struct model *model, const struct model_param *p, uint64_t seed,
                        size_t count, float *data)
{
    uint64_t key = random_key(seed, RANDOM_INIT, random_name(text_of(p->name)), p->layer, 0);
    if (p->kind == MODEL_KIND_TABLE || p->kind == MODEL_KIND_LINEAR)
        init_normal(key, (float)model->config.initializer_range, 0, count, data);
    float gain = model->family->norm == NORM_RMS_PLUS_ONE ? 0 : 1;
    for (size_t i = 0; p->kind == MODEL_KIND_GAIN && i < count; i++)
        data[i] = gain;
}

enum err model_create_random(const struct hf_config *config, uint64_t seed, struct model **out,
                             struct err_text *et)
{
    struct model *model = NULL;
    enum err err;
    TRY_OUT(model_state_create(config, family_of(config), &model, et));
    if (model_quantized_is(model))
        TRY_OUT(error_set(et, ERR_UNSUPPORTED,
                          "config.json: quantization_config: a model from a random start is not "
                          "quantized; take the key away"));
    for (size_t i = 0; i < model->param_count; i++) {
        struct model_param *p = &model->params[i];
        if (p->part.whole != MODEL_NO_PARAM)
            continue;
        size_t count = 0;
        float *data = NULL;
        if (check_mul(p->rows, p->columns, &count))
            data = arena_alloc(&model->arena, count, sizeof *data);
        if (data == NULL)
            TRY_OUT(ERR_OUT_OF_MEMORY);
        fill_random(model, p, seed, count, data);
        p->data = data;
        p->masters = model_ternary_is(model, p) ? data : NULL;
    }
    *out = model;
    model = NULL;
out:
    model_destroy(&model);
    return err;
}

/* ---- reading ---- */

const struct model_shape *model_shape(const struct model *model)
{
    return &model->shape;
}

const struct hf_config *model_config(const struct model *model)
{
    return &model->config;
}

bool model_is_gguf(const struct model *model)
{
    return model->gguf.tensor_count > 0;
}

size_t model_param_count(const struct model *model)
{
    return model->param_count;
}

const struct model_param *model_param(const struct model *model, size_t index)
{
    ASSERT(index < model->param_count);
    return &model->params[index];
}

ptrdiff_t model_param_index(const struct model *model, enum model_role role, size_t layer)
{
    ASSERT(!family_role_in_layer(role) || layer < model->shape.layers);
    if (role == MODEL_HEAD && model->shape.tied)
        role = MODEL_EMBEDDING;
    ptrdiff_t first = model->indices[role];
    if (first == MODEL_NO_PARAM || !family_role_in_layer(role))
        return first;
    return first + (ptrdiff_t)(layer * model->layer_params);
}

/* Of each kv head's rows, its queries come first, then its key, then its value. */
static size_t row_apart(const struct model_shape *s, size_t row)
{
    size_t D = s->head_width, q = s->heads / s->kv_heads * D, group = row / (q + 2 * D);
    size_t within = row % (q + 2 * D);
    if (within < q)
        return group * q + within;
    if (within < q + D)
        return s->heads * D + group * D + within - q;
    return (s->heads + s->kv_heads) * D + group * D + within - q - D;
}

size_t model_stored_row(const struct model *model, const struct model_param *param, size_t row)
{
    ASSERT(row < param->rows);
    if (param->row_order == MODEL_ROWS_ROTARY_PAIRS)
        return kernel_pair_line(model->shape.head_width, row);
    return param->row_order == MODEL_ROWS_APART ? row_apart(&model->shape, row) : row;
}

size_t model_element_count(const struct model *model)
{
    size_t count = 0;
    for (size_t i = 0; i < model->param_count; i++) {
        if (model->params[i].part.whole == MODEL_NO_PARAM)
            count += model->params[i].rows * model->params[i].columns;
    }
    return count;
}

size_t model_size_bytes(const struct model *model)
{
    size_t size = 0;
    for (size_t i = 0; i < model->param_count; i++) {
        const struct model_param *p = &model->params[i];
        if (p->part.whole == MODEL_NO_PARAM)
            size += dtype_span_bytes(p->dtype, p->rows * p->columns);
    }
    return size;
}

size_t model_own_bytes(const struct model *model)
{
    return model->arena.used_bytes;
}

const struct family *model_family(const struct model *model)
{
    return model->family;
}

size_t model_window(const struct model *model, size_t layer)
{
    return hf_config_layer_slides(&model->config, (uint32_t)layer) ? model->shape.window : 0;
}

enum model_rope model_layer_rope(const struct model *model, size_t layer)
{
    bool local = model->ropes[MODEL_ROPE_LOCAL].frequency != NULL &&
                 hf_config_layer_slides(&model->config, (uint32_t)layer);
    return local ? MODEL_ROPE_LOCAL : MODEL_ROPE_MAIN;
}

const double *model_rope_frequency(const struct model *model, enum model_rope rope, double *scale)
{
    *scale = model->ropes[rope].scale;
    return model->ropes[rope].frequency;
}
