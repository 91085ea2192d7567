/* task_site.c - weights in, scales moved, grids found, tensors out. */
#include "worker/task/task_site.h"

#include <math.h>

#include "common/base/check.h"
#include "common/formats/compressed_tensors/compressed_linear.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/fold_scale.h"
#include "worker/engine/nn/model_values.h"
#include "worker/engine/quant/blocks.h"
#include "worker/engine/quant/smoothquant.h"
#include "worker/engine/solve/awq_clip.h"
#include "worker/engine/solve/gptq.h"
#include "worker/engine/solve/gram_error.h"
#include "worker/task/task_figures.h"

enum { TENSORS_MAX = MODEL_SITE_PARAMS_MAX * COMPRESSED_LINEAR_TENSORS_MAX + 2 };

struct site {
    struct task_run *run;
    struct kernel *kernel;
    const struct model *model;
    const struct task_scheme *scheme;
    const struct model_site *site;
    const struct task_site_measure *measure;
    struct fold_scale *fold; /* owned; NULL: nothing moves */
    struct gptq *gptq;       /* owned; of the site's input */
    float *scales;           /* in arena: factors of the columns, NULL without */
    float *importance;       /* in arena: mean squares of the input as the layers see it */
    const double *gram;      /* of that input; the measured one where nothing moves */
    struct safetensor tensors[TENSORS_MAX];
    size_t tensor_count;
    struct task_figure figures[MODEL_SITE_PARAMS_MAX];
    size_t figure_count;
    struct arena arena;
};

/* A layer at work. */
struct layer {
    size_t param, rows, columns;
    const char *module;
    float *w;      /* (rows, columns), as folded */
    float *values; /* what the result says they are */
    int8_t *codes;
    struct grid grid;
};

static size_t columns_of(const struct site *s)
{
    return s->site->columns;
}

static void read_weights(const struct site *s, size_t param, size_t rows, float *out)
{
    if (s->fold != NULL)
        fold_scale_read(s->fold, param, 0, rows, out);
    else
        model_values_read(s->model, param, 0, rows, out);
}

/* ---- scales of the site's columns ---- */

static enum err takes_all(const struct site *s, bool *out, struct err_text *et)
{
    *out = true;
    for (size_t i = 0; i < s->site->param_count; i++) {
        bool takes;
        TRY(task_scheme_takes(s->scheme, s->model, s->site->params[i], &takes, et));
        *out = *out && takes;
    }
    return ERR_OK;
}

static enum err smooth(struct site *s)
{
    size_t columns = columns_of(s);
    float *max_w = arena_alloc(&s->arena, columns, sizeof *max_w);
    if (max_w == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < s->site->param_count; i++) {
        size_t rows = model_param(s->model, s->site->params[i])->rows;
        float *w = mem_alloc(rows * columns, sizeof *w);
        if (w == NULL)
            return ERR_OUT_OF_MEMORY;
        read_weights(s, s->site->params[i], rows, w);
        channel_scale_add_max(rows, columns, w, max_w);
        mem_free(w);
    }
    const struct channel_ties ties = fold_scale_ties(s->model, s->site);
    smoothquant_scales(&ties, columns, s->run->recipe.quantize.smoothing_strength,
                       s->measure->max_abs, max_w, s->scales);
    return ERR_OK;
}

static struct awq_input awq_input_of(const struct site *s)
{
    return (struct awq_input){
        .columns = columns_of(s),
        .tokens = s->measure->tokens,
        .sum_abs = s->measure->sum_abs,
        .gram = s->measure->gram,
        .ties = fold_scale_ties(s->model, s->site),
    };
}

static struct awq_options awq_options_of(const struct site *s)
{
    struct awq_options options = awq_defaults();
    options.duo = s->run->recipe.quantize.duo_scaling ? AWQ_DUO_ON : AWQ_DUO_OFF;
    return options;
}

static enum err search_awq(struct site *s, struct err_text *et)
{
    const struct awq_input input = awq_input_of(s);
    const struct awq_options options = awq_options_of(s);
    struct awq_linear linears[MODEL_SITE_PARAMS_MAX];
    float *weights[MODEL_SITE_PARAMS_MAX] = {NULL};
    struct awq_choice choice;
    size_t count = s->site->param_count;
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        size_t rows = model_param(s->model, s->site->params[i])->rows;
        weights[i] = mem_alloc(rows * columns_of(s), sizeof *weights[i]);
        err = weights[i] != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
        if (err == ERR_OK)
            read_weights(s, s->site->params[i], rows, weights[i]);
        linears[i] = (struct awq_linear){rows, weights[i]};
    }
    if (err == ERR_OK)
        err = awq_search(s->kernel, &s->scheme->grid, &options, &input, linears, count, s->scales,
                         &choice);
    for (size_t i = 0; i < count; i++)
        mem_free(weights[i]);
    if (err != ERR_OK && err != ERR_OUT_OF_MEMORY)
        return error_set(et, err, "%.*s: the search for scales: %s", TEXT_ARGS(s->site->name),
                         error_text(err));
    return err;
}

/* Moves ranges between the site's input and its layers, where a norm can take the other half. */
static enum err move_scales(struct site *s, struct err_text *et)
{
    enum recipe_quantize_method method = s->scheme->method;
    bool all = false;
    if ((method != RECIPE_QUANTIZE_METHOD_AWQ && method != RECIPE_QUANTIZE_METHOD_SMOOTHQUANT) ||
        fold_scale_place_of(s->model, s->site) != FOLD_SCALE_NORM)
        return ERR_OK;
    TRY(takes_all(s, &all, et));
    if (!all)
        return ERR_OK;
    s->scales = arena_alloc(&s->arena, columns_of(s), sizeof *s->scales);
    if (s->scales == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(method == RECIPE_QUANTIZE_METHOD_AWQ ? search_awq(s, et) : smooth(s));
    struct fold_scale_factors factors = {.scales = s->scales};
    TRY(model_site_find(s->model, s->site->name, &factors.site));
    enum dtype stored = model_param(s->model, (size_t)s->site->norm)->file_dtype;
    if (stored == DTYPE_F16 || stored == DTYPE_BF16)
        fold_scale_settle(s->model, factors.site, stored, s->scales);
    return fold_scale_create(s->model, &factors, 1, &s->fold, et);
}

/* Importance and Gram matrix of x / s. */
static enum err scale_measure(struct site *s)
{
    size_t n = columns_of(s);
    const struct task_site_measure *m = s->measure;
    if (m->sum_x2 != NULL && m->tokens > 0) {
        s->importance = arena_alloc(&s->arena, n, sizeof *s->importance);
        if (s->importance == NULL)
            return ERR_OUT_OF_MEMORY;
        for (size_t i = 0; i < n; i++) {
            double f = s->scales != NULL ? s->scales[i] : 1;
            s->importance[i] = (float)(m->sum_x2[i] / (double)m->tokens / (f * f));
        }
    }
    s->gram = m->gram;
    if (m->gram == NULL || s->scales == NULL)
        return ERR_OK;
    double *gram = arena_alloc(&s->arena, n * n, sizeof *gram);
    if (gram == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n * n; i++)
        gram[i] = m->gram[i] / ((double)s->scales[i / n] * s->scales[i % n]);
    s->gram = gram;
    return ERR_OK;
}

/* ---- one layer ---- */

static enum err check_finite(const struct site *s, const struct layer *l, struct err_text *et)
{
    size_t count = l->rows * l->columns;
    size_t at = kernel_first_not_finite(s->kernel, count, l->w);
    if (at == count)
        return ERR_OK;
    return error_set(et, ERR_NOT_FINITE, "%s: row %zu, column %zu: expected a number, found %g",
                     l->module, at / l->columns, at % l->columns, (double)l->w[at]);
}

static enum err round_nearest(const struct site *s, struct layer *l, float *w, struct err_text *et)
{
    TRY(grid_init(&l->grid, &s->scheme->grid, l->rows, l->columns, l->module, et));
    grid_find(&l->grid, w, s->importance);
    for (size_t r = 0; r < l->rows; r++) {
        grid_encode_row(&l->grid, r, w + r * l->columns, l->codes + r * l->columns);
        grid_decode_row(&l->grid, r, l->codes + r * l->columns, l->values + r * l->columns);
    }
    return ERR_OK;
}

static enum err solve_gptq(struct site *s, struct layer *l, struct err_text *et)
{
    const struct recipe_quantize *q = &s->run->recipe.quantize;
    const struct gptq_options options = {
        .damp = q->dampening_frac,
        .order = q->actorder == RECIPE_QUANTIZE_ACTORDER_STATIC ? GPTQ_ORDER_DIAGONAL
                                                                : GPTQ_ORDER_COLUMNS,
    };
    struct gptq_result result = {.error = 0};
    if (s->gptq == NULL) {
        enum err err = gptq_create(s->kernel, &options, l->columns, s->gram, &s->gptq);
        if (err != ERR_OK)
            return error_set(et, err, "%s: the Gram matrix of its input: %s", l->module,
                             error_text(err));
    }
    TRY(gptq_quantize(s->kernel, s->gptq, &s->scheme->grid, l->rows, l->w, s->importance, l->module,
                      et, &result));
    memcpy(l->codes, result.codes, l->rows * l->columns);
    memcpy(l->values, result.values, l->rows * l->columns * sizeof *l->values);
    l->grid = result.grid;
    result.grid = (struct grid){.rows = 0};
    gptq_result_fini(&result);
    return ERR_OK;
}

/* Errors of q and k are multiplied with each other by attention: the paper leaves them whole. */
static bool clips(const struct site *s, const struct layer *l)
{
    enum model_role role = model_param(s->model, l->param)->role;
    return role != MODEL_QUERY && role != MODEL_KEY && role != MODEL_QUERY_KEY_VALUE;
}

static enum err solve_awq(struct site *s, struct layer *l, struct err_text *et)
{
    const struct awq_input input = awq_input_of(s);
    const struct awq_options options = awq_options_of(s);
    struct task_scheme scheme = *s->scheme;
    struct awq_clip clip;
    size_t size = l->rows * l->columns;
    float *w = mem_alloc(size, sizeof *w);
    if (w == NULL)
        return ERR_OUT_OF_MEMORY;
    memcpy(w, l->w, size * sizeof *w);
    scheme.grid.range = GRID_MINMAX;
    enum err err = ERR_OK;
    if (clips(s, l))
        err = awq_clip(s->kernel, &scheme.grid, &options, &input, s->scales, l->rows, w, &clip);
    if (err == ERR_OK) {
        struct site other = *s;
        other.scheme = &scheme;
        err = round_nearest(&other, l, w, et);
    }
    mem_free(w);
    return err;
}

static enum err solve(struct site *s, struct layer *l, struct err_text *et)
{
    switch (s->scheme->method) {
    case RECIPE_QUANTIZE_METHOD_GPTQ:
        return solve_gptq(s, l, et);
    case RECIPE_QUANTIZE_METHOD_AWQ:
        return solve_awq(s, l, et);
    case RECIPE_QUANTIZE_METHOD_AUTO:
    case RECIPE_QUANTIZE_METHOD_RTN:
    case RECIPE_QUANTIZE_METHOD_IMPORTANCE:
    case RECIPE_QUANTIZE_METHOD_SMOOTHQUANT:
    case RECIPE_QUANTIZE_METHOD_COUNT:
        break;
    }
    return round_nearest(s, l, l->w, et);
}

/* ---- tensors of the result ---- */

static enum err add_compressed(struct site *s, const struct layer *l, struct err_text *et)
{
    const struct compressed_linear linear = {
        .scheme = s->scheme->scheme,
        .rows = l->rows,
        .columns = l->columns,
        .scale_dtype = task_scheme_file_type(s->scheme->grid.scale_dtype),
    };
    const struct compressed_linear_values values = {
        .codes = l->codes,
        .scales = l->grid.scales,
        .zeros = l->grid.zeros,
        .input_scale = s->measure->input_scale,
    };
    struct compressed_linear_tensors made;
    TRY(compressed_linear_encode(&linear, l->module, &values, &s->arena, &made, et));
    memcpy(s->tensors + s->tensor_count, made.tensors, made.count * sizeof *made.tensors);
    s->tensor_count += made.count;
    return ERR_OK;
}

static enum err add_bitsandbytes(struct site *s, const struct layer *l, struct err_text *et)
{
    const struct bnb_linear linear = {
        .type = s->scheme->bnb,
        .nested = s->scheme->bnb_nested,
        .block_size = BNB_LINEAR_BLOCK,
        .before = task_scheme_file_type(s->scheme->grid.scale_dtype),
        .rows = l->rows,
        .columns = l->columns,
    };
    struct bnb_linear_tensors made;
    TRY(bnb_linear_encode(&linear, l->module, l->w, &s->arena, &made));
    (void)et;
    memcpy(s->tensors + s->tensor_count, made.tensors, made.count * sizeof *made.tensors);
    s->tensor_count += made.count;
    return ERR_OK;
}

static enum err add_figure(struct site *s, const struct layer *l, size_t first, bool has_values)
{
    struct task_figure *f = &s->figures[s->figure_count++];
    *f = (struct task_figure){
        .tensor = text_of(model_param(s->model, l->param)->name),
        .format = s->scheme->name,
        .rows = l->rows,
        .columns = l->columns,
        .output_error = -1,
        .parts = s->tensors + first,
        .part_count = s->tensor_count - first,
    };
    for (size_t i = first; i < s->tensor_count; i++)
        f->size_bytes += s->tensors[i].data.size;
    if (has_values)
        tensor_error_add(&f->error, l->rows, l->columns, l->w, l->values, s->importance);
    if (s->gram == NULL || !has_values)
        return ERR_OK;
    double whole = 0, part = 0;
    enum err err =
        gram_error(s->kernel, l->rows, l->columns, l->w, l->values, s->gram, NULL, &part);
    memset(l->values, 0, l->rows * l->columns * sizeof *l->values); /* nobody reads them again */
    if (err == ERR_OK)
        err = gram_error(s->kernel, l->rows, l->columns, l->w, l->values, s->gram, NULL, &whole);
    f->output_error = whole > 0 ? MAX(part, 0) / whole : 0;
    return err;
}

static enum err quantize_layer(struct site *s, struct layer *l, struct err_text *et)
{
    size_t first = s->tensor_count;
    bool is_bnb = s->scheme->form == RECIPE_QUANTIZE_BITSANDBYTES;
    TRY(check_finite(s, l, et));
    if (!is_bnb)
        TRY(solve(s, l, et));
    TRY(is_bnb ? add_bitsandbytes(s, l, et) : add_compressed(s, l, et));
    return add_figure(s, l, first, !is_bnb);
}

static enum err take_param(struct site *s, size_t param, struct err_text *et)
{
    const struct model_param *m = model_param(s->model, param);
    struct layer l = {.param = param, .rows = m->rows, .columns = m->columns};
    size_t size = l.rows * l.columns;
    l.module = task_scheme_module(s->model, param, &s->arena);
    l.w = mem_alloc(size, sizeof *l.w);
    l.values = mem_alloc(size, sizeof *l.values);
    l.codes = mem_alloc(size, 1);
    enum err err = ERR_OUT_OF_MEMORY;
    if (l.module != NULL && l.w != NULL && l.values != NULL && l.codes != NULL) {
        read_weights(s, param, l.rows, l.w);
        err = quantize_layer(s, &l, et);
    }
    grid_fini(&l.grid);
    mem_free(l.w);
    mem_free(l.values);
    mem_free(l.codes);
    return err;
}

/* A norm's gain or bias that took the other half of the scales, in the type that it had. */
static enum err add_folded(struct site *s, size_t param)
{
    const struct model_param *m = model_param(s->model, param);
    size_t count = m->rows * m->columns;
    float *values = arena_alloc(&s->arena, count, sizeof *values);
    enum dtype dtype = m->file_dtype;
    void *data = arena_alloc(&s->arena, count, sizeof *values);
    if (values == NULL || data == NULL)
        return ERR_OUT_OF_MEMORY;
    fold_scale_read(s->fold, param, 0, m->rows, values);
    if (dtype == DTYPE_F32)
        memcpy(data, values, count * sizeof *values);
    else
        block_encode(dtype, 1, count, values, NULL, data);
    s->tensors[s->tensor_count++] = (struct safetensor){
        .name = text_of(m->name),
        .dtype = task_scheme_file_type(dtype),
        .rank = 1,
        .shape = {count},
        .data = {data, dtype_span_bytes(dtype, count)},
    };
    return ERR_OK;
}

static enum err add_norm(struct site *s)
{
    if (s->fold == NULL || s->site->norm == MODEL_NO_PARAM)
        return ERR_OK;
    ptrdiff_t bias = model_param(s->model, (size_t)s->site->norm)->bias;
    TRY(add_folded(s, (size_t)s->site->norm));
    return bias != MODEL_NO_PARAM ? add_folded(s, (size_t)bias) : ERR_OK;
}

static enum err hand_in(struct site *s, struct err_text *et)
{
    const struct safetensors_content content = {.tensors = s->tensors, .count = s->tensor_count};
    struct bytes text;
    bytes_init(&text, SIZE_MAX);
    enum err err = safetensors_write(&content, file_sink_bytes, &text);
    if (err == ERR_OK)
        err = task_run_output(s->run, "tensors", bytes_span(&text), false, et);
    bytes_fini(&text);
    TRY(err);
    return task_figures_put(s->run, s->figures, s->figure_count, et);
}

static enum err quantize(struct site *s, struct err_text *et)
{
    TRY(move_scales(s, et));
    TRY(scale_measure(s));
    for (size_t i = 0; i < s->site->param_count; i++) {
        bool takes;
        TRY(task_run_progress(s->run, i, s->site->param_count));
        TRY(task_scheme_takes(s->scheme, s->model, s->site->params[i], &takes, et));
        if (takes)
            TRY(take_param(s, s->site->params[i], et));
    }
    TRY(add_norm(s));
    return hand_in(s, et);
}

enum err task_site_quantize(struct task_run *run, const struct model *model,
                            const struct task_scheme *scheme, const struct model_site *site,
                            const struct task_site_measure *measure, struct err_text *et)
{
    struct site s = {
        .run = run, .model = model, .scheme = scheme, .site = site, .measure = measure};
    TRY(task_run_kernel(run, &s.kernel, et));
    arena_init(&s.arena, SIZE_MAX); /* the site's tensors once more */
    enum err err = quantize(&s, et);
    fold_scale_destroy(&s.fold);
    gptq_destroy(&s.gptq);
    arena_fini(&s.arena);
    return err;
}
