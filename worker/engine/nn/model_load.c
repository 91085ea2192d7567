/* model_load.c - one layer at a time: chunks of rows to codes, codes to the engine's blocks. */
#include "worker/engine/nn/model_load.h"

#include <stdint.h>

#include "common/base/check.h"
#include "common/formats/bitsandbytes/bnb_linear.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/model_rows.h"
#include "worker/engine/nn/model_state.h"
#include "worker/engine/nn/model_values.h"
#include "worker/engine/quant/grid.h"

/* A chunk is whole rows and, as blocks of four-bit types go on from one row to the next, whole
 * blocks: so threads share neither. */
enum { BLOCK = BNB_LINEAR_BLOCK, CHUNK_ELEMENTS = 1 << 16 };

_Static_assert((BLOCK & (BLOCK - 1)) == 0, "found by halving");

struct layer {
    const struct model *model;
    const struct model_param *param;
    struct bnb_linear_view view; /* four bits */
    struct grid_scheme grid;     /* eight */
    enum dtype dtype;
    uint8_t *to;       /* in the model's arena */
    size_t chunk_rows; /* but the last chunk's */
    size_t chunk_count;
    float *values;    /* owned: a chunk a thread */
    int8_t *row;      /* owned: a row of codes a thread */
    uint8_t *codes;   /* owned: of the whole matrix, two a byte */
    float *absmax;    /* owned: of its blocks */
    size_t *improper; /* owned: of each chunk the first element that is no number, or its size */
};

static size_t rows_of(const struct layer *l, size_t chunk)
{
    return MIN(l->chunk_rows, l->param->rows - chunk * l->chunk_rows);
}

/* The chunk's values, and whether all are numbers. */
static bool read_chunk(const struct layer *l, size_t chunk, unsigned thread, float **out)
{
    size_t count = rows_of(l, chunk) * l->param->columns, i = 0;
    float *x = l->values + thread * l->chunk_rows * l->param->columns;
    size_t param = (size_t)(l->param - l->model->params);
    model_values_read(l->model, param, chunk * l->chunk_rows, rows_of(l, chunk), x);
    while (i < count && x[i] - x[i] == 0)
        i++;
    l->improper[chunk] = i;
    *out = x;
    return i == count;
}

static void encode_levels(void *context, size_t chunk, unsigned thread)
{
    const struct layer *l = context;
    size_t first = chunk * l->chunk_rows * l->param->columns;
    size_t count = rows_of(l, chunk) * l->param->columns;
    float *x;
    if (read_chunk(l, chunk, thread, &x))
        bnb_code_encode(l->view.linear.type, BLOCK, count, x, l->codes + first / 2,
                        l->absmax + first / BLOCK);
}

static uint8_t *row_at(const struct layer *l, size_t row)
{
    return l->to + dtype_span_bytes(l->dtype, row * l->param->columns);
}

static void lay_levels(void *context, size_t chunk, unsigned thread)
{
    const struct layer *l = context;
    (void)thread;
    for (size_t r = 0; r < rows_of(l, chunk); r++) {
        size_t row = chunk * l->chunk_rows + r;
        model_rows_put_levels(l->dtype, &l->view, row, row_at(l, row));
    }
}

static void encode_rows(void *context, size_t chunk, unsigned thread)
{
    const struct layer *l = context;
    size_t columns = l->param->columns;
    int8_t *codes = l->row + thread * columns, zero = 0;
    float *x;
    if (!read_chunk(l, chunk, thread, &x))
        return;
    for (size_t r = 0; r < rows_of(l, chunk); r++, x += columns) {
        struct grid_cell cell = grid_cell_find(&l->grid, 1, columns, columns, x, NULL);
        struct model_rows_grid row = {columns, columns, codes, &cell.scale, &zero};
        grid_cell_encode(&l->grid, cell, columns, x, codes);
        model_rows_put_grid(l->dtype, &row, row_at(l, chunk * l->chunk_rows + r));
    }
}

static void run(const struct model_load *load, struct layer *l, kernel_task_f task)
{
    if (load->kernel != NULL) {
        kernel_parallel(load->kernel, l->chunk_count, task, l);
        return;
    }
    for (size_t i = 0; i < l->chunk_count; i++)
        task(l, i, 0);
}

static enum err check_numbers(const struct layer *l, struct err_text *et)
{
    for (size_t i = 0; i < l->chunk_count; i++) {
        size_t columns = l->param->columns, at = l->improper[i];
        if (at < rows_of(l, i) * columns)
            return error_set(et, ERR_NOT_FINITE,
                             "tensor %s: row %zu, column %zu: expected a number to quantize, found "
                             "none; take an undamaged file, or open the model as it is",
                             l->param->name, i * l->chunk_rows + at / columns, at % columns);
    }
    return ERR_OK;
}

static enum err quantize_levels(const struct model_load *load, struct layer *l, struct err_text *et)
{
    size_t count = l->param->rows * l->param->columns, blocks = (count + BLOCK - 1) / BLOCK;
    l->codes = mem_alloc((count + 1) / 2, 1);
    l->absmax = mem_alloc(blocks, sizeof *l->absmax);
    if (l->codes == NULL || l->absmax == NULL)
        return ERR_OUT_OF_MEMORY;
    run(load, l, encode_levels);
    TRY(check_numbers(l, et));
    if (load->double_quant)
        bnb_code_nested_round(blocks, l->absmax);
    l->view.codes = (struct span){l->codes, (count + 1) / 2};
    l->view.absmax = (struct span){(const uint8_t *)l->absmax, blocks * sizeof *l->absmax};
    run(load, l, lay_levels);
    return ERR_OK;
}

static enum err quantize_rows(const struct model_load *load, struct layer *l, unsigned threads,
                              struct err_text *et)
{
    l->row = mem_alloc(threads, l->param->columns);
    if (l->row == NULL)
        return ERR_OUT_OF_MEMORY;
    run(load, l, encode_rows);
    return check_numbers(l, et);
}

/* What is to become of the layer, which has columns. */
static void plan(const struct model_load *load, struct layer *l)
{
    const struct model_param *p = l->param;
    size_t step = 1;
    while (step * p->columns % BLOCK != 0)
        step *= 2;
    l->chunk_rows = step * MAX((size_t)CHUNK_ELEMENTS / (step * p->columns), (size_t)1);
    l->chunk_rows = MIN(l->chunk_rows, (p->rows + step - 1) / step * step);
    l->chunk_count = (p->rows + l->chunk_rows - 1) / l->chunk_rows;
    if (load->weights == MODEL_LOAD_INT8) {
        l->grid = (struct grid_scheme){.bits = 8,
                                       .symmetric = true,
                                       .strategy = GRID_CHANNEL,
                                       .range = GRID_MINMAX,
                                       .scale_dtype = model_load_scale_dtype(l->model)};
        l->dtype = model_rows_grid_dtype(l->grid.bits, p->columns);
        return;
    }
    enum bnb_code_type type = load->weights == MODEL_LOAD_NF4 ? BNB_CODE_NF4 : BNB_CODE_FP4;
    l->view.linear = (struct bnb_linear){
        .type = type, .block_size = BLOCK, .rows = p->rows, .columns = p->columns};
    for (size_t i = 0; i < BNB_CODE_LEVELS; i++)
        l->view.levels[i] = bnb_code_levels(type)[i];
    l->dtype = model_rows_levels_dtype(type, l->view.levels, p->columns);
}

static enum err quantize(struct model *model, const struct model_load *load, struct layer *l,
                         struct err_text *et)
{
    unsigned threads = load->kernel != NULL ? kernel_threads(load->kernel) : 1;
    size_t chunk = l->chunk_rows * l->param->columns;
    l->values = mem_alloc(threads * chunk, sizeof *l->values);
    l->improper = mem_alloc(l->chunk_count, sizeof *l->improper);
    l->to = arena_alloc(&model->arena,
                        dtype_span_bytes(l->dtype, l->param->rows * l->param->columns), 1);
    if (l->values == NULL || l->improper == NULL || l->to == NULL)
        return ERR_OUT_OF_MEMORY;
    if (load->weights == MODEL_LOAD_INT8)
        return quantize_rows(load, l, threads, et);
    return quantize_levels(load, l, et);
}

enum dtype model_load_scale_dtype(const struct model *model)
{
    ptrdiff_t param = model_param_index(model, MODEL_EMBEDDING, 0);
    enum dtype dtype =
        param != MODEL_NO_PARAM ? model_param(model, (size_t)param)->dtype : DTYPE_F32;
    return dtype_is_plain(dtype) ? dtype : DTYPE_BF16;
}

enum err model_load_take(struct model *model, struct model_param *p, const struct model_load *load,
                         bool *taken, struct err_text *et)
{
    *taken = false;
    if (load == NULL || load->weights == MODEL_LOAD_AS_STORED || p->kind != MODEL_KIND_LINEAR ||
        !family_role_in_layer(p->role) || !dtype_is_plain(p->dtype) || p->rounds_input)
        return ERR_OK;
    struct layer l = {.model = model, .param = p};
    plan(load, &l);
    enum err err = quantize(model, load, &l, et);
    mem_free(l.values);
    mem_free(l.row);
    mem_free(l.codes);
    mem_free(l.absmax);
    mem_free(l.improper);
    if (err != ERR_OK)
        return err;
    p->dtype = l.dtype;
    p->data = l.to;
    p->turned = false;
    p->row_order = MODEL_ROWS_PLAIN;
    *taken = true;
    return ERR_OK;
}
