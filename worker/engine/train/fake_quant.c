/* fake_quant.c - rows of what trains, some at a time, and the codes that become of them. */
#include "worker/engine/train/fake_quant.h"

#include <math.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/train/fake_quant_check.h"
#include "worker/engine/train/fake_quant_grid.h"
#include "worker/engine/train/train_merge.h"

enum { CHUNK_FLOATS = 1 << 20 };

static const float SCALE_MIN = 1e-5f; /* of a mean, as in the reference of BitNet */

/* A parameter that is quantized. */
struct coded {
    size_t param, rows, columns;
    enum dtype dtype;
    uint8_t *codes;              /* owned: rows * columns of dtype */
    float *blend;                /* owned, of the kernel: while weights warm up; else NULL */
    struct fake_quant_grid grid; /* owned: GRID */
    float scale;                 /* TERNARY */
    bool frozen;                 /* nothing at it trains */
    bool done;                   /* frozen, and its codes are there */
};

struct fake_quant {
    const struct model *model;
    struct kernel *kernel;
    const struct train_layout *layout;
    struct fake_quant_config config;
    struct coded *coded; /* owned */
    size_t coded_count;
    struct pass_weight *weights; /* owned: (parameters) */
    float *chunk;                /* owned, of the kernel: rows that are being encoded */
    double *sums;                /* owned: TERNARY, of each row */
    bool active;                 /* this round sees weights */
};

static enum dtype dtype_of(const struct fake_quant_config *config, size_t columns)
{
    if (config->form == FAKE_QUANT_BLOCKS)
        return config->dtype;
    if (config->form == FAKE_QUANT_TERNARY)
        return columns % dtype_block_elements(DTYPE_TQ2_0) == 0 ? DTYPE_TQ2_0 : DTYPE_F16;
    return fake_quant_grid_dtype(&config->grid, columns);
}

/* ---- memory ---- */

static struct train_merge merge_of(const struct fake_quant *fq, const float *values)
{
    return (struct train_merge){
        .model = fq->model, .layout = fq->layout, .values = values, .kernel = fq->kernel};
}

static size_t chunk_rows(const struct coded *c)
{
    return MIN(c->rows, MAX(CHUNK_FLOATS / c->columns, (size_t)1));
}

static enum err coded_init(struct fake_quant *fq, struct coded *c, size_t param,
                           struct err_text *et)
{
    const struct model_param *p = model_param(fq->model, param);
    const struct binding *binding = train_layout_binding(fq->layout);
    struct train_merge merge = merge_of(fq, NULL);
    *c = (struct coded){.param = param, .rows = p->rows, .columns = p->columns};
    c->dtype = dtype_of(&fq->config, p->columns);
    c->frozen = !train_merge_touches(&merge, param);
    c->codes = mem_alloc(dtype_span_bytes(c->dtype, c->rows * c->columns), 1);
    if (c->codes == NULL)
        return ERR_OUT_OF_MEMORY;
    if (fq->config.form != FAKE_QUANT_GRID)
        return ERR_OK;
    bool masks = binding->slots[param].weight_offset != BINDING_NONE;
    return fake_quant_grid_init(&c->grid, &fq->config.grid, c->rows, c->columns, masks,
                                kernel_threads(fq->kernel), et);
}

static enum err build(struct fake_quant *fq, struct err_text *et)
{
    size_t count = model_param_count(fq->model), chunk = 0, rows = 0;
    fq->coded = mem_alloc(count, sizeof *fq->coded);
    fq->weights = mem_alloc(count, sizeof *fq->weights);
    if (fq->coded == NULL || fq->weights == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        if (!fake_quant_check_takes(fq->model, &fq->config, i))
            continue;
        struct coded *c = &fq->coded[fq->coded_count++];
        TRY(coded_init(fq, c, i, et));
        chunk = MAX(chunk, chunk_rows(c) * c->columns);
        rows = MAX(rows, c->rows);
    }
    fq->chunk = kernel_alloc(fq->kernel, chunk);
    fq->sums = mem_alloc(rows, sizeof *fq->sums);
    return fq->chunk != NULL && fq->sums != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

enum err fake_quant_create(const struct model *model, struct kernel *kernel,
                           const struct train_layout *layout,
                           const struct fake_quant_config *config, struct fake_quant **out,
                           struct err_text *et)
{
    TRY(fake_quant_check(model, layout, config, et));
    struct fake_quant *fq = mem_alloc(1, sizeof *fq);
    if (fq == NULL)
        return ERR_OUT_OF_MEMORY;
    *fq =
        (struct fake_quant){.model = model, .kernel = kernel, .layout = layout, .config = *config};
    enum err err = build(fq, et);
    if (err != ERR_OK) {
        fake_quant_destroy(&fq);
        return err;
    }
    *out = fq;
    return ERR_OK;
}

void fake_quant_destroy(struct fake_quant **fake_quant)
{
    struct fake_quant *fq = *fake_quant;
    if (fq == NULL)
        return;
    for (size_t i = 0; i < fq->coded_count; i++) {
        mem_free(fq->coded[i].codes);
        kernel_free(fq->kernel, fq->coded[i].blend);
        fake_quant_grid_fini(&fq->coded[i].grid);
    }
    kernel_free(fq->kernel, fq->chunk);
    mem_free(fq->coded);
    mem_free(fq->weights);
    mem_free(fq->sums);
    mem_free(fq);
    *fake_quant = NULL;
}

size_t fake_quant_size_bytes(const struct fake_quant *fq)
{
    size_t size = 0, chunk = 0;
    for (size_t i = 0; i < fq->coded_count; i++) {
        const struct coded *c = &fq->coded[i];
        size += dtype_span_bytes(c->dtype, c->rows * c->columns);
        size += fake_quant_grid_size_bytes(&c->grid);
        size += c->blend != NULL ? c->rows * c->columns * sizeof *c->blend : 0;
        chunk = MAX(chunk, chunk_rows(c) * c->columns * sizeof *fq->chunk);
    }
    return size + chunk;
}

size_t fake_quant_estimate(const struct model *model, const struct train_layout *layout,
                           const struct fake_quant_config *config)
{
    const struct binding *binding = train_layout_binding(layout);
    size_t size = 0, chunk = 0;
    bool blends = config->form == FAKE_QUANT_TERNARY && config->warmup_rounds > 0;
    for (size_t i = 0; i < model_param_count(model); i++) {
        if (!fake_quant_check_takes(model, config, i))
            continue;
        const struct model_param *p = model_param(model, i);
        const struct coded c = {.rows = p->rows, .columns = p->columns};
        bool masks = binding->slots[i].weight_offset != BINDING_NONE;
        size += dtype_span_bytes(dtype_of(config, p->columns), p->rows * p->columns);
        if (config->form == FAKE_QUANT_GRID)
            size += fake_quant_grid_estimate(&config->grid, p->rows, p->columns, masks);
        size += blends ? p->rows * p->columns * sizeof *c.blend : 0;
        chunk = MAX(chunk, chunk_rows(&c) * p->columns * sizeof(float));
    }
    return size + chunk;
}

/* ---- rows to codes ---- */

/* Rows [first, first + count) of one parameter, as they train. */
struct span_rows {
    struct fake_quant *fq;
    struct coded *coded;
    size_t first, count;
    float part;
};

static const float *row_at(const struct span_rows *s, size_t index)
{
    return s->fq->chunk + index * s->coded->columns;
}

static enum err load(const struct span_rows *s, const float *values, struct err_text *et)
{
    const struct coded *c = s->coded;
    struct train_merge merge = merge_of(s->fq, values);
    TRY(train_merge_rows(&merge, c->param, s->first, s->count, s->fq->chunk));
    size_t size = s->count * c->columns;
    size_t bad = kernel_first_not_finite(s->fq->kernel, size, s->fq->chunk);
    if (bad == size)
        return ERR_OK;
    return error_set(et, ERR_NOT_FINITE,
                     "%s, row %zu: a weight that is to be quantized is not finite; a lower "
                     "learning rate or max_grad_norm may help",
                     model_param(s->fq->model, c->param)->name, s->first + bad / c->columns);
}

static void *codes_at(const struct coded *c, size_t row)
{
    return c->codes + dtype_span_bytes(c->dtype, row * c->columns);
}

static void grid_row(void *context, size_t index, unsigned thread)
{
    const struct span_rows *s = context;
    size_t row = s->first + index;
    fake_quant_grid_encode(&s->coded->grid, row, row_at(s, index), thread, s->coded->dtype,
                           codes_at(s->coded, row));
}

/* -1, 0 or 1 times the scale; halves go to the even number, which is 0. */
static void ternary_row(void *context, size_t index, unsigned thread)
{
    (void)thread;
    const struct span_rows *s = context;
    float *x = s->fq->chunk + index * s->coded->columns;
    float scale = s->coded->scale, half = scale / 2;
    for (size_t i = 0; i < s->coded->columns; i++)
        x[i] = x[i] > half ? scale : x[i] < -half ? -scale : 0.0f;
}

/* The values of a weight that warms up: those of ternary_row, and for the rest its own. */
static void blend_row(void *context, size_t index, unsigned thread)
{
    (void)thread;
    const struct span_rows *s = context;
    const float *x = row_at(s, index);
    float *to = s->coded->blend + (s->first + index) * s->coded->columns;
    float scale = s->coded->scale, half = scale / 2;
    for (size_t i = 0; i < s->coded->columns; i++) {
        float rounded = x[i] > half ? scale : x[i] < -half ? -scale : 0.0f;
        to[i] = x[i] + s->part * (rounded - x[i]);
    }
}

static void sum_row(void *context, size_t index, unsigned thread)
{
    (void)thread;
    const struct span_rows *s = context;
    const float *x = row_at(s, index);
    double sum = 0;
    for (size_t i = 0; i < s->coded->columns; i++)
        sum += fabs((double)x[i]);
    s->fq->sums[s->first + index] = sum;
}

static void encode(struct span_rows *s)
{
    const struct coded *c = s->coded;
    struct kernel *kernel = s->fq->kernel;
    if (s->fq->config.form == FAKE_QUANT_GRID) {
        kernel_parallel(kernel, s->count, grid_row, s);
        return;
    }
    if (c->blend != NULL) {
        kernel_parallel(kernel, s->count, blend_row, s);
        return;
    }
    if (s->fq->config.form == FAKE_QUANT_TERNARY)
        kernel_parallel(kernel, s->count, ternary_row, s);
    kernel_encode(kernel, c->dtype, s->count, c->columns, s->fq->chunk, NULL,
                  codes_at(c, s->first));
}

/* The mean of all |x|, rounded to what the files of ternary models can say. */
static enum err find_scale(struct span_rows *s, const float *values, struct err_text *et)
{
    struct coded *c = s->coded;
    double sum = 0;
    for (s->first = 0; s->first < c->rows; s->first += s->count) {
        s->count = MIN(chunk_rows(c), c->rows - s->first);
        TRY(load(s, values, et));
        kernel_parallel(s->fq->kernel, s->count, sum_row, s);
    }
    for (size_t row = 0; row < c->rows; row++)
        sum += s->fq->sums[row];
    double mean = sum / ((double)c->rows * (double)c->columns);
    c->scale = grid_stored_scale(DTYPE_F16, MAX((float)mean, SCALE_MIN));
    return ERR_OK;
}

static enum err encode_param(struct fake_quant *fq, struct coded *c, const float *values,
                             float part, struct err_text *et)
{
    struct span_rows s = {.fq = fq, .coded = c, .part = part};
    if (c->done)
        return ERR_OK;
    if (part < 1 && c->blend == NULL)
        c->blend = kernel_alloc(fq->kernel, c->rows * c->columns);
    if (part < 1 && c->blend == NULL)
        return ERR_OUT_OF_MEMORY;
    if (part >= 1) {
        kernel_free(fq->kernel, c->blend);
        c->blend = NULL;
    }
    if (fq->config.form == FAKE_QUANT_TERNARY)
        TRY(find_scale(&s, values, et));
    for (s.first = 0; s.first < c->rows; s.first += s.count) {
        s.count = MIN(chunk_rows(c), c->rows - s.first);
        TRY(load(&s, values, et));
        encode(&s);
    }
    c->done = c->frozen && part >= 1;
    return ERR_OK;
}

float fake_quant_part(const struct fake_quant_config *config, uint64_t round)
{
    if (round == FAKE_QUANT_FINAL)
        return 1;
    if (round < config->first_round)
        return 0;
    uint64_t step = round - config->first_round;
    if (config->form != FAKE_QUANT_TERNARY || step >= config->warmup_rounds)
        return 1;
    return (float)((double)step / (double)config->warmup_rounds);
}

enum err fake_quant_update(struct fake_quant *fq, const float *values, uint64_t round,
                           struct err_text *et)
{
    float part = fake_quant_part(&fq->config, round);
    fq->active = false;
    if (!(part > 0))
        return ERR_OK;
    for (size_t i = 0; i < fq->coded_count; i++) {
        struct coded *c = &fq->coded[i];
        bool in_layer = family_role_in_layer(model_param(fq->model, c->param)->role);
        TRY(encode_param(fq, c, values, part, et));
        fq->weights[c->param] =
            (struct pass_weight){.data = c->blend != NULL ? (const void *)c->blend : c->codes,
                                 .dtype = c->blend != NULL ? DTYPE_F32 : c->dtype,
                                 .merged = true,
                                 .scale = 1,
                                 .rounding = in_layer ? fq->config.rounding : PASS_ROUNDING_NONE,
                                 .rounded_part = part};
    }
    fq->active = true;
    return ERR_OK;
}

/* ---- reading ---- */

const struct pass_weight *fake_quant_weights(const struct fake_quant *fq)
{
    return fq->active ? fq->weights : NULL;
}

static const struct coded *find(const struct fake_quant *fq, size_t param)
{
    for (size_t i = 0; i < fq->coded_count; i++) {
        if (fq->coded[i].param == param)
            return &fq->coded[i];
    }
    return NULL;
}

struct pass_weight fake_quant_find(const struct fake_quant *fq, size_t param)
{
    ASSERT(param < model_param_count(fq->model));
    return fq->active ? fq->weights[param] : (struct pass_weight){.data = NULL};
}

const struct grid *fake_quant_cells(const struct fake_quant *fq, size_t param)
{
    const struct coded *c = find(fq, param);
    return c != NULL && fq->config.form == FAKE_QUANT_GRID ? &c->grid.cells : NULL;
}

float fake_quant_scale(const struct fake_quant *fq, size_t param)
{
    const struct coded *c = find(fq, param);
    return c != NULL ? c->scale : 0;
}

void fake_quant_mask(const struct fake_quant *fq, float *gradient)
{
    const struct binding *binding = train_layout_binding(fq->layout);
    for (size_t i = 0; fq->active && i < fq->coded_count; i++) {
        const struct coded *c = &fq->coded[i];
        size_t offset = binding->slots[c->param].weight_offset;
        if (fq->config.form == FAKE_QUANT_GRID && offset != BINDING_NONE)
            fake_quant_grid_mask(&c->grid, model_param(fq->model, c->param)->turned,
                                 gradient + offset);
    }
}
