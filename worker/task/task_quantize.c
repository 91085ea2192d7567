/* task_quantize.c - one part of the result: a tensor of a GGUF file, or the layers of a site; its
 * bytes, and what they cost. */
#include "common/base/check.h"
#include "common/calibration/site_range.h"
#include "common/calibration/statistics.h"
#include "common/mem/mem.h"
#include "common/recipe/recipe_quantize.h"
#include "worker/task/task_choices.h"
#include "worker/task/task_figures.h"
#include "worker/task/task_gguf.h"
#include "worker/task/task_gram.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_site.h"

static enum err measure(const struct convert_tensor *t, struct span made, convert_decode_f decode,
                        struct tensor_error *out)
{
    size_t row_bytes = made.size / t->rows;
    float *rows = mem_alloc(2 * t->columns, sizeof *rows);
    if (rows == NULL)
        return ERR_OUT_OF_MEMORY;
    *out = (struct tensor_error){0};
    for (size_t r = 0; r < t->rows; r++) {
        convert_tensor_row(t, r, rows);
        decode(t->out, t->columns, made.data + r * row_bytes, rows + t->columns);
        tensor_error_add(out, 1, t->columns, rows, rows + t->columns, t->importance);
    }
    mem_free(rows);
    return ERR_OK;
}

static enum err quantize_tensor(struct task_run *run, const struct task_choices *choices,
                                struct task_gguf *gguf, struct bytes *made, struct err_text *et)
{
    const struct task_spec *spec = run->spec;
    if (spec->first >= choices->count || spec->total != choices->count)
        return error_set(et, ERR_PROTOCOL, "tensor %llu of %zu", (unsigned long long)spec->first,
                         choices->count);
    const struct task_choice *choice = &choices->items[spec->first];
    size_t index = convert_gguf_find(gguf->form, choice->name);
    if (index == convert_gguf_count(gguf->form))
        return error_set(et, ERR_FORMAT, "choices: the model has no tensor %.*s",
                         TEXT_ARGS(choice->name));
    TRY(convert_gguf_encode(gguf->form, index, file_sink_bytes, made, et));
    TRY(bytes_status(made));
    TRY(task_run_output(run, "tensors", bytes_span(made), false, et));
    const struct safetensor part = {.name = choice->name, .data = bytes_span(made)};
    struct task_figure figure = {.tensor = choice->name,
                                 .format = choice->format,
                                 .rows = choice->rows,
                                 .columns = choice->columns,
                                 .size_bytes = made->size,
                                 .output_error = -1,
                                 .parts = &part,
                                 .part_count = 1};
    TRY(measure(convert_gguf_tensor(gguf->form, index), part.data, gguf->quantize.encoder.decode,
                &figure.error));
    return task_figures_put(run, &figure, 1, et);
}

static enum err quantize_gguf(struct task_run *run, struct err_text *et)
{
    struct task_choices choices;
    struct task_gguf gguf;
    struct arena arena;
    struct bytes made;
    arena_init(&arena, SIZE_MAX); /* a list of the model's tensors */
    bytes_init(&made, SIZE_MAX);
    enum err err = task_choices_read(run, &arena, &choices, et);
    if (err == ERR_OK) {
        err = task_gguf_open(run, &choices, &gguf, et);
        if (err == ERR_OK)
            err = quantize_tensor(run, &choices, &gguf, &made, et);
        task_gguf_close(&gguf);
    }
    bytes_fini(&made);
    arena_fini(&arena);
    return err;
}

/* ---- towards a folder: all layers of a site ---- */

struct site_work {
    struct task_run *run;
    const struct model *model;
    struct task_scheme scheme;
    struct model_site site;
    struct statistics *stats; /* owned */
    struct task_gram gram;    /* owned */
    struct task_site_measure measure;
    struct arena arena;
};

static enum range_search_method method_of(const struct recipe *recipe)
{
    switch (recipe->quantize.observer) {
    case RECIPE_QUANTIZE_OBSERVER_MSE:
    case RECIPE_QUANTIZE_OBSERVER_IMPORTANCE_MSE:
        return RANGE_SEARCH_MSE;
    case RECIPE_QUANTIZE_OBSERVER_MOVING_AVERAGE:
        return RANGE_SEARCH_MOVING_AVERAGE;
    case RECIPE_QUANTIZE_OBSERVER_PERCENTILE:
        return RANGE_SEARCH_PERCENTILE;
    case RECIPE_QUANTIZE_OBSERVER_ENTROPY:
        return RANGE_SEARCH_ENTROPY;
    case RECIPE_QUANTIZE_OBSERVER_AUTO:
    case RECIPE_QUANTIZE_OBSERVER_MINMAX:
    case RECIPE_QUANTIZE_OBSERVER_COUNT:
        break;
    }
    return RANGE_SEARCH_MINMAX;
}

/* The one scale of a site's input that a static scheme writes. */
static enum err find_input_scale(struct site_work *w, const struct statistics_site *seen,
                                 struct err_text *et)
{
    static const struct range_grid grid = {.bits = 8, .is_signed = true, .is_symmetric = true};
    struct range_search_options options = range_search_defaults;
    struct range range;
    options.percentile = w->run->recipe.quantize.percentile;
    if (seen->tokens == 0)
        return error_set(et, ERR_DATA, "%.*s: nothing went through it in calibration",
                         TEXT_ARGS(w->site.name));
    enum err err =
        site_range_find(w->stats, seen, method_of(&w->run->recipe), &options, &grid, false, &range);
    if (err != ERR_OK)
        return error_set(et, err, "%.*s: no range for its input: %s", TEXT_ARGS(w->site.name),
                         error_text(err));
    w->measure.input_scale =
        grid_stored_scale(w->scheme.grid.scale_dtype, range_grid_scale(&grid, range).scale);
    return ERR_OK;
}

static enum err read_statistics(struct site_work *w, struct err_text *et)
{
    const struct cache_item *item = NULL;
    TRY(task_run_open(w->run, "statistics", &item, et));
    enum err err = statistics_parse(item->bytes, "statistics", &w->stats, et);
    cache_release(w->run->env->options.cache, &item);
    TRY(err);
    const struct statistics_site *seen = statistics_find(w->stats, w->site.name);
    if (seen == NULL || seen->columns != w->site.columns)
        return error_set(et, ERR_SHAPE, "statistics: expected %zu columns of %.*s", w->site.columns,
                         TEXT_ARGS(w->site.name));
    w->measure = (struct task_site_measure){.tokens = seen->tokens,
                                            .sum_x2 = seen->sum_x2,
                                            .sum_abs = seen->sum_abs,
                                            .max_abs = seen->max_abs};
    if (w->scheme.form == RECIPE_QUANTIZE_COMPRESSED &&
        w->scheme.scheme.input == QUANT_SCHEME_INPUT_STATIC)
        return find_input_scale(w, seen, et);
    return ERR_OK;
}

/* Gram matrix, and what follows from it, of all shards of the layer's wave. */
static enum err read_gram(struct site_work *w, struct err_text *et)
{
    struct kernel *kernel;
    size_t n = w->site.columns;
    TRY(task_run_kernel(w->run, &kernel, et));
    TRY(task_gram_init(&w->gram, kernel, n, &w->arena));
    TRY(task_gram_sum(w->run, "gram", &w->gram, et));
    double *whole = arena_alloc(&w->arena, n * n, sizeof *whole);
    double *squares = arena_alloc(&w->arena, n, sizeof *squares);
    if (whole == NULL || squares == NULL)
        return ERR_OUT_OF_MEMORY;
    calibrate_gram_expand(n, w->gram.gram.sums, whole);
    calibrate_gram_fini(&w->gram.gram);
    for (size_t i = 0; i < n; i++)
        squares[i] = whole[i * n + i];
    w->measure = (struct task_site_measure){.tokens = w->gram.tokens,
                                            .sum_x2 = squares,
                                            .sum_abs = w->gram.sum_abs,
                                            .max_abs = w->gram.max_abs,
                                            .gram = whole};
    return ERR_OK;
}

static enum err quantize_site(struct site_work *w, struct err_text *et)
{
    const struct task_spec *spec = w->run->spec;
    TRY(task_model_open(w->run, &w->model, et));
    TRY(task_scheme_read(&w->run->recipe, w->model, &w->arena, &w->scheme, et));
    if (spec->first >= model_site_count(w->model))
        return error_set(et, ERR_PROTOCOL, "site %llu of %zu", (unsigned long long)spec->first,
                         model_site_count(w->model));
    w->site = model_site(w->model, (size_t)spec->first);
    if (task_run_input(w->run, "gram/0") != NULL)
        TRY(read_gram(w, et));
    else if (task_run_input(w->run, "statistics") != NULL)
        TRY(read_statistics(w, et));
    return task_site_quantize(w->run, w->model, &w->scheme, &w->site, &w->measure, et);
}

enum err task_kind_quantize(struct task_run *run, struct err_text *et)
{
    if (recipe_quantize_form(&run->recipe) == RECIPE_QUANTIZE_GGUF)
        return quantize_gguf(run, et);
    struct site_work w = {.run = run};
    arena_init(&w.arena, SIZE_MAX); /* matrices of the site */
    enum err err = quantize_site(&w, et);
    statistics_destroy(&w.stats);
    task_gram_fini(&w.gram);
    arena_fini(&w.arena);
    return err;
}
