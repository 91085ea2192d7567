/* task_memory_quantize.c - what calibrating, quantizing and comparing hold.
 *
 * n is the width of a site's input: its Gram matrix has n^2 doubles, as a triangle half of them.
 */
#include "common/base/check.h"
#include "common/calibration/statistics_shard.h"
#include "common/mem/arena.h"
#include "common/recipe/recipe_quantize.h"
#include "worker/engine/calibrate/calibrate_statistics.h"
#include "worker/engine/kernel/gram.h"
#include "worker/engine/nn/family.h"
#include "worker/engine/nn/head.h"
#include "worker/engine/nn/model_rows.h"
#include "worker/engine/nn/model_site.h"
#include "worker/task/task_memory.h"
#include "worker/task/task_scheme.h"
#include "worker/task/task_settings.h"

enum { REPLAY_SHARDS = 16, SHARD_LEVELS = 4, REDUCE_LEVELS = 32 };

/* Pieces of tensors on their way into a file. */
#define WRITE_BYTES (UINT64_C(16) << 20)

struct shapes {
    const struct recipe *recipe;
    const struct model *model;
    struct task_scheme scheme; /* towards a folder */
    bool is_folder;
    struct arena arena;
};

static uint64_t elements(const struct model *model, size_t param)
{
    return (uint64_t)model_param(model, param)->rows * model_param(model, param)->columns;
}

static uint64_t largest_tensor(const struct model *model)
{
    uint64_t most = 0;
    for (size_t i = 0; i < model_param_count(model); i++)
        most = MAX(most, elements(model, i));
    return most;
}

static uint64_t square(size_t n)
{
    return task_memory_times(task_memory_times(n, n), sizeof(double));
}

/* One row forward through a model that nothing was added to. */
static uint64_t row_bytes(const struct shapes *s)
{
    return task_memory_session(s->recipe, s->model, NULL, 0, 1);
}

/* ---- statistics ---- */

static enum err statistics_bytes(struct shapes *s, uint64_t rows, uint64_t levels, uint64_t *out)
{
    size_t count = model_site_count(s->model), whole, leaf;
    uint64_t sums = 0;
    struct statistics_ask *asks = arena_alloc(&s->arena, count, sizeof *asks);
    if (asks == NULL)
        return ERR_OUT_OF_MEMORY;
    unsigned kinds = task_settings_statistics(s->recipe);
    calibrate_statistics_ask(s->model, kinds, asks);
    for (size_t i = 0; i < count; i++)
        sums += 2 * asks[i].columns * sizeof(double);
    const struct statistics_plan plan = {asks, count, rows, TEXT("f32/1")};
    TRY(statistics_size(&plan, 1, &leaf));
    TRY(statistics_size(&plan, rows, &whole));
    /* A leaf, the node, its levels and the file that is made of it. */
    *out = (uint64_t)leaf + 2 * (uint64_t)whole + levels * sums;
    return ERR_OK;
}

static uint64_t calibration_rows(const struct recipe *recipe)
{
    return task_settings_calibration(recipe).row_count_max;
}

static enum err of_calibrate(struct shapes *s, uint64_t *out)
{
    uint64_t rows = MIN(calibration_rows(s->recipe), (uint64_t)STATISTICS_SHARD_ROWS), statistics;
    size_t pass;
    TRY(statistics_bytes(s, rows, SHARD_LEVELS, &statistics));
    if (calibrate_size_bytes(s->model, (size_t)s->recipe->sequence_len, &pass) != ERR_OK)
        pass = SIZE_MAX;
    *out = task_memory_add(statistics, pass);
    return ERR_OK;
}

/* ---- layer by layer ---- */

/* Triangles of the inputs of a layer's sites, and the largest one once more as a file. */
static uint64_t gram_bytes(const struct model *model)
{
    uint64_t all = 0, most = 0;
    for (size_t i = 0; i < model_site_layer_count(model); i++) {
        size_t n = model_site(model, i).columns;
        uint64_t triangle = square(n) / 2 + n * (3 * sizeof(double));
        all = task_memory_add(all, triangle + GRAM_PANEL * n * sizeof(float));
        most = MAX(most, triangle);
    }
    return task_memory_add(all, most);
}

/* A layer's weights as f32. */
static uint64_t layer_bytes(const struct model *model)
{
    uint64_t count = 0;
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        if (family_role_in_layer(p->role) && p->layer == 0)
            count += elements(model, i);
    }
    return task_memory_times(count, sizeof(float));
}

static uint64_t of_replay(const struct shapes *s)
{
    uint64_t total = calibration_rows(s->recipe);
    uint64_t rows = (total + REPLAY_SHARDS - 1) / REPLAY_SHARDS + 1; /* and what a row becomes */
    uint64_t hidden = task_memory_times(task_memory_times(rows, s->recipe->sequence_len),
                                        model_shape(s->model)->width * sizeof(float));
    size_t pass;
    if (calibrate_size_bytes(s->model, (size_t)s->recipe->sequence_len, &pass) != ERR_OK)
        pass = SIZE_MAX;
    uint64_t layers = s->recipe->quantize.sequential ? layer_bytes(s->model) : 0;
    return task_memory_add(task_memory_add(hidden, gram_bytes(s->model)),
                           task_memory_add(pass, layers));
}

/* ---- tensors ---- */

/* A site's matrices: one at a time as f32, as what its codes say and as codes, a second and a third
 * copy where a method moves it; all of them encoded, twice. */
static uint64_t site_bytes(const struct shapes *s, const struct model_site *site)
{
    uint64_t most = 0, all = 0, gram = 0;
    for (size_t i = 0; i < site->param_count; i++) {
        most = MAX(most, elements(s->model, site->params[i]));
        all += elements(s->model, site->params[i]);
    }
    uint64_t one = most * (3 * sizeof(float) + 2), encoded = all * 5 / 2;
    if (s->scheme.method == RECIPE_QUANTIZE_METHOD_GPTQ)
        gram = task_memory_times(square(site->columns), 5) / 2; /* whole, factored; its factor */
    if (s->scheme.method == RECIPE_QUANTIZE_METHOD_AWQ) {
        gram = task_memory_times(square(site->columns), 5) / 2; /* measured, scaled; panels */
        one = MAX(one, all * sizeof(float) + most * (2 * sizeof(float)));
    }
    return task_memory_add(one + encoded, gram);
}

static uint64_t of_folder(const struct shapes *s)
{
    uint64_t most = 0;
    for (size_t i = 0; i < model_site_count(s->model); i++) {
        struct model_site site = model_site(s->model, i);
        if (site.in_layer)
            most = MAX(most, site_bytes(s, &site));
    }
    return most;
}

/* What an engine makes of the result's files when it opens them. */
static enum err result_bytes(const struct shapes *s, uint64_t *out, struct err_text *et)
{
    bool is_bnb = s->scheme.form == RECIPE_QUANTIZE_BITSANDBYTES;
    *out = 0;
    for (size_t i = 0; s->is_folder && i < model_param_count(s->model); i++) {
        const struct model_param *p = model_param(s->model, i);
        bool takes = false;
        if (p->kind == MODEL_KIND_LINEAR && family_role_in_layer(p->role))
            TRY(task_scheme_takes(&s->scheme, s->model, i, &takes, et));
        size_t cell =
            s->scheme.grid.strategy == GRID_GROUP ? s->scheme.grid.group_size : p->columns;
        enum dtype dtype =
            is_bnb
                ? model_rows_levels_dtype(s->scheme.bnb, bnb_code_levels(s->scheme.bnb), p->columns)
                : model_rows_grid_dtype(s->scheme.grid.bits, cell);
        if (takes)
            *out += dtype_span_bytes(dtype, p->rows * p->columns);
    }
    return ERR_OK;
}

/* ---- two models ---- */

static uint64_t logits_bytes(const struct shapes *s)
{
    size_t V = model_shape(s->model)->vocabulary;
    return (uint64_t)head_block(V, (size_t)s->recipe->sequence_len) * V * sizeof(float);
}

static enum err of_compare(const struct shapes *s, uint64_t *out, struct err_text *et)
{
    uint64_t made, side = task_memory_add(row_bytes(s), logits_bytes(s));
    TRY(result_bytes(s, &made, et));
    *out = task_memory_add(task_memory_add(side, side), made);
    return ERR_OK;
}

static uint64_t of_sensitivity(const struct shapes *s)
{
    uint64_t tokens = s->recipe->quantize.sensitivity_tokens + s->recipe->sequence_len;
    uint64_t states = task_memory_times(tokens, 2 * model_shape(s->model)->width * sizeof(float));
    uint64_t side = task_memory_add(row_bytes(s), logits_bytes(s));
    uint64_t tensor = task_memory_times(largest_tensor(s->model), sizeof(float) + 2);
    return task_memory_add(task_memory_add(states, tensor), task_memory_add(side, side));
}

/* ---- kinds ---- */

static enum err of_kind(struct shapes *s, enum stage_kind kind, uint64_t *out, struct err_text *et)
{
    if (kind == STAGE_KIND_CALIBRATE)
        return of_calibrate(s, out);
    if (kind == STAGE_KIND_REDUCE)
        return statistics_bytes(s, calibration_rows(s->recipe), REDUCE_LEVELS, out);
    if (kind == STAGE_KIND_VERIFY)
        return result_bytes(s, out, et);
    if (kind == STAGE_KIND_COMPARE)
        return of_compare(s, out, et);
    if (kind == STAGE_KIND_SENSITIVITY)
        *out = of_sensitivity(s);
    else if (kind == STAGE_KIND_QUANTIZE)
        *out = s->is_folder ? of_folder(s) : largest_tensor(s->model) * 5 / 4 + WRITE_BYTES;
    else if (kind == STAGE_KIND_REPLAY) /* its tasks quantize layers too */
        *out = MAX(of_replay(s), of_folder(s));
    else
        *out = WRITE_BYTES; /* CHOOSE, ASSEMBLE: a piece of a tensor at a time */
    return ERR_OK;
}

enum err task_memory_quantize(const struct recipe *recipe, const struct model *model,
                              enum stage_kind kind, uint64_t *bytes, struct err_text *et)
{
    struct shapes s = {
        .recipe = recipe,
        .model = model,
        .is_folder = recipe_quantize_form(recipe) != RECIPE_QUANTIZE_GGUF,
    };
    uint64_t out = 0;
    arena_init(&s.arena, SIZE_MAX); /* lists of the model's sites */
    enum err err = s.is_folder ? task_scheme_read(recipe, model, &s.arena, &s.scheme, et) : ERR_OK;
    if (err == ERR_OK)
        err = of_kind(&s, kind, &out, et);
    arena_fini(&s.arena);
    if (err == ERR_OK)
        *bytes = MAX(out, (uint64_t)1);
    return err;
}
