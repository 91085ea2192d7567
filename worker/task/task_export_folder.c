/* task_export_folder.c - codes of integer grids as a folder of compressed-tensors, ternary codes as
 * one of BitNet. */
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/compressed_tensors/compressed_config.h"
#include "common/formats/compressed_tensors/compressed_linear.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/quantized_folder/quantized_folder.h"
#include "common/mem/mem.h"
#include "worker/engine/quant/blocks.h"
#include "worker/task/task_export_quantized.h"
#include "worker/task/task_scheme.h"

enum { CODES_A_BYTE = 4 };

struct folder {
    struct task_export_quantized *q;
    struct safetensor *tensors; /* in the arena */
    size_t *params;             /* likewise: where each is of */
    size_t count;
    struct bytes config, quantization; /* owned */
};

/* ---- the tensors of a folder ---- */

static const char *module_of(struct folder *f, size_t param)
{
    return task_scheme_module(f->q->x->model, param, &f->q->x->arena);
}

static struct compressed_linear linear_of(const struct folder *f, size_t param)
{
    const struct model_param *p = model_param(f->q->x->model, param);
    return (struct compressed_linear){
        .scheme = f->q->qat.scheme,
        .rows = p->rows,
        .columns = p->columns,
        .scale_dtype = task_scheme_file_type(f->q->qat.config.grid.scale_dtype),
    };
}

static void add(struct folder *f, size_t param, const struct safetensor *tensor)
{
    f->params[f->count] = param;
    f->tensors[f->count++] = *tensor;
}

/* M.weight, packed where four rows make one, and M.weight_scale. */
static enum err list_ternary(struct folder *f, size_t param)
{
    const struct model_param *p = model_param(f->q->x->model, param);
    const char *scale = arena_print(&f->q->x->arena, "%s_scale", p->name);
    bool packs = p->rows % CODES_A_BYTE == 0;
    if (scale == NULL)
        return ERR_OUT_OF_MEMORY;
    size_t rows = packs ? p->rows / CODES_A_BYTE : p->rows;
    add(f, param,
        &(struct safetensor){.name = text_of(p->name),
                             .dtype = packs ? SAFETENSORS_U8 : SAFETENSORS_BF16,
                             .rank = 2,
                             .shape = {rows, p->columns},
                             .data = {NULL, rows * p->columns * (packs ? 1 : 2)}});
    add(f, param,
        &(struct safetensor){.name = text_of(scale),
                             .dtype = SAFETENSORS_F32,
                             .rank = 1,
                             .shape = {1},
                             .data = {NULL, sizeof(float)}});
    return ERR_OK;
}

static enum err list_grid(struct folder *f, size_t param, struct err_text *et)
{
    struct compressed_linear linear = linear_of(f, param);
    struct compressed_linear_tensors tensors;
    const char *module = module_of(f, param);
    if (module == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(compressed_linear_list(&linear, module, &f->q->x->arena, &tensors, et));
    for (size_t i = 0; i < tensors.count; i++)
        add(f, param, &tensors.tensors[i]);
    return ERR_OK;
}

static enum err list_tensors(struct folder *f, struct err_text *et)
{
    const struct model *model = f->q->x->model;
    size_t most = model_param_count(model) * COMPRESSED_LINEAR_TENSORS_MAX;
    f->tensors = arena_alloc(&f->q->x->arena, most, sizeof *f->tensors);
    f->params = arena_alloc(&f->q->x->arena, most, sizeof *f->params);
    if (f->tensors == NULL || f->params == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < model_param_count(model); i++) {
        if (model_param(model, i)->part.whole != MODEL_NO_PARAM)
            continue;
        struct safetensor plain = task_export_quantized_plain(f->q, i);
        if (fake_quant_find(f->q->quant, i).data == NULL)
            add(f, i, &plain);
        else if (f->q->qat.config.form == FAKE_QUANT_GRID)
            TRY(list_grid(f, i, et));
        else
            TRY(list_ternary(f, i));
    }
    return ERR_OK;
}

/* ---- their data ---- */

static void decode_row(struct pass_weight codes, size_t columns, size_t row, float *out)
{
    const uint8_t *data = codes.data;
    block_decode(codes.dtype, columns, data + dtype_span_bytes(codes.dtype, row * columns), out);
}

/* The tensor of the name among those of the layer. */
static enum err send_named(const struct compressed_linear_tensors *tensors, struct text name,
                           file_sink_f sink, void *context)
{
    size_t i = 0;
    while (i < tensors->count && !text_equal(tensors->tensors[i].name, name))
        i++;
    ASSERT(i < tensors->count);
    return sink(context, tensors->tensors[i].data);
}

static enum err send_grid(struct folder *f, size_t param, struct text name, file_sink_f sink,
                          void *context)
{
    const struct grid *grid = fake_quant_cells(f->q->quant, param);
    struct pass_weight codes = fake_quant_find(f->q->quant, param);
    struct compressed_linear linear = linear_of(f, param);
    struct compressed_linear_tensors tensors;
    struct arena arena;
    ASSERT(grid != NULL);
    arena_init(&arena, SIZE_MAX); /* the layer's codes, twice */
    float *row = arena_alloc(&arena, grid->columns, sizeof *row);
    int8_t *all = arena_alloc(&arena, grid->rows * grid->columns, 1);
    const char *module = task_scheme_module(f->q->x->model, param, &arena);
    enum err err = ERR_OUT_OF_MEMORY;
    if (row == NULL || all == NULL || module == NULL)
        goto out;
    for (size_t r = 0; r < grid->rows; r++) { /* a grid's numbers have their own codes */
        decode_row(codes, grid->columns, r, row);
        grid_encode_row(grid, r, row, all + r * grid->columns);
    }
    const struct compressed_linear_values values = {
        .codes = all, .scales = grid->scales, .zeros = grid->zeros};
    TRY_OUT(compressed_linear_encode(&linear, module, &values, &arena, &tensors, NULL));
    TRY_OUT(send_named(&tensors, name, sink, context));
out:
    arena_fini(&arena);
    return err;
}

static unsigned code_of(float value)
{
    return value > 0 ? 2u : value < 0 ? 0u : 1u;
}

/* Rows r, r + R / 4, ... of R in the bits of row r, lowest first. */
static enum err send_packed(struct pass_weight codes, size_t rows, size_t columns, float *row,
                            file_sink_f sink, void *context)
{
    size_t lines = rows / CODES_A_BYTE;
    uint8_t *bytes = mem_alloc(columns, 1);
    enum err err = bytes != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
    for (size_t line = 0; err == ERR_OK && line < lines; line++) {
        memset(bytes, 0, columns);
        for (unsigned k = 0; k < CODES_A_BYTE; k++) {
            decode_row(codes, columns, line + k * lines, row);
            for (size_t i = 0; i < columns; i++)
                bytes[i] = (uint8_t)(bytes[i] | code_of(row[i]) << 2 * k);
        }
        err = sink(context, (struct span){bytes, columns});
    }
    mem_free(bytes);
    return err;
}

static enum err send_numbers(struct pass_weight codes, size_t rows, size_t columns, float *row,
                             file_sink_f sink, void *context)
{
    for (size_t r = 0; r < rows; r++) {
        decode_row(codes, columns, r, row);
        for (size_t i = 0; i < columns; i++)
            row[i] = (float)code_of(row[i]) - 1;
        uint8_t *bytes = (uint8_t *)row; /* shorter than what it is made from */
        for (size_t i = 0; i < columns; i++) {
            uint16_t number;
            block_encode(DTYPE_BF16, 1, 1, &row[i], NULL, &number);
            memcpy(bytes + i * sizeof number, &number, sizeof number);
        }
        TRY(sink(context, (struct span){bytes, columns * sizeof(uint16_t)}));
    }
    return ERR_OK;
}

static enum err send_ternary(struct folder *f, size_t param, enum safetensors_dtype dtype,
                             file_sink_f sink, void *context)
{
    const struct model_param *p = model_param(f->q->x->model, param);
    struct pass_weight codes = fake_quant_find(f->q->quant, param);
    float *row = mem_alloc(p->columns, sizeof *row);
    if (row == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err;
    if (dtype == SAFETENSORS_F32) {
        float scale = fake_quant_scale(f->q->quant, param);
        err = sink(context, (struct span){(const uint8_t *)&scale, sizeof scale});
    } else {
        err = dtype == SAFETENSORS_U8
                  ? send_packed(codes, p->rows, p->columns, row, sink, context)
                  : send_numbers(codes, p->rows, p->columns, row, sink, context);
    }
    mem_free(row);
    return err;
}

static enum err send_tensor(void *context, const struct safetensor *tensor, file_sink_f sink,
                            void *sink_context)
{
    struct folder *f = context;
    size_t i = 0;
    if (tensor->data.data != NULL)
        return sink(sink_context, tensor->data);
    while (i < f->count && !text_equal(f->tensors[i].name, tensor->name))
        i++;
    ASSERT(i < f->count);
    if (f->q->qat.config.form == FAKE_QUANT_GRID)
        return send_grid(f, f->params[i], tensor->name, sink, sink_context);
    return send_ternary(f, f->params[i], tensor->dtype, sink, sink_context);
}

/* ---- the folder ---- */

static enum err print_configs(struct folder *f)
{
    static const struct text linear = TEXT("Linear"), head = TEXT("lm_head");
    const struct compressed_config_group group = {f->q->qat.scheme, &linear, 1};
    const struct compressed_config compressed = {&group, 1, &head, 1};
    bool is_grid = f->q->qat.config.form == FAKE_QUANT_GRID;
    struct hf_config *config = arena_alloc(&f->q->x->arena, 1, sizeof *config);
    if (config == NULL)
        return ERR_OUT_OF_MEMORY;
    *config = *model_config(f->q->x->model);
    if (f->q->x->config.method == TRAIN_METHOD_FULL)
        (void)snprintf(config->dtype, sizeof config->dtype, "float32");
    if (is_grid)
        TRY(compressed_config_print(&compressed, &f->quantization));
    if (!is_grid) {
        (void)snprintf(config->quant_method, sizeof config->quant_method, "bitnet");
        (void)snprintf(config->quant_linear_class, sizeof config->quant_linear_class,
                       "autobitlinear");
        (void)snprintf(config->quant_mode, sizeof config->quant_mode, "offline");
    }
    TRY(hf_config_print(config, &f->config));
    TRY(bytes_status(&f->quantization));
    return bytes_status(&f->config);
}

/* A file of the plan. */
struct file {
    const struct quantized_folder *plan;
    size_t index;
};

static enum err send_file(void *context, file_sink_f sink, void *sink_context, struct err_text *et)
{
    const struct file *file = context;
    return quantized_folder_send(file->plan, file->index, sink, sink_context, et);
}

static enum err export_folder(struct folder *f, struct err_text *et)
{
    struct task_export *x = f->q->x;
    struct quantized_folder plan;
    TRY(list_tensors(f, et));
    TRY(print_configs(f));
    const struct quantized_folder_content content = {
        .config = bytes_span(&f->config),
        .quantization_config = bytes_span(&f->quantization),
        .tensors = f->tensors,
        .count = f->count,
        .data = send_tensor,
        .context = f,
    };
    TRY(quantized_folder_plan(&content, &x->arena, &plan, et));
    for (size_t i = 0; i < plan.count; i++) {
        struct file file = {&plan, i};
        TRY(task_run_progress(x->run, i, plan.count));
        TRY(task_export_quantized_file(f->q, plan.files[i].name, send_file, &file, et));
    }
    return task_export_generation(x, et);
}

enum err task_export_quantized_folder(struct task_export_quantized *q, struct err_text *et)
{
    struct folder f = {.q = q};
    bytes_init(&f.config, HF_CONFIG_SIZE_BYTES_MAX);
    bytes_init(&f.quantization, HF_CONFIG_SIZE_BYTES_MAX);
    enum err err = export_folder(&f, et);
    bytes_fini(&f.config);
    bytes_fini(&f.quantization);
    return err;
}
