/* task_calibrate.c - what a few rows of calibration text put into the linear layers.
 *
 * Task i takes rows [i * n, (i + 1) * n) with n a power of two: a node of the tree in which all
 * rows are folded, so that neither n nor who computed it is seen in a bit.
 */
#include "common/base/check.h"
#include "common/calibration/statistics_fold.h"
#include "common/calibration/statistics_shard.h"
#include "common/formats/dataset/rows.h"
#include "worker/engine/calibrate/calibrate_statistics.h"
#include "worker/engine/nn/model_site.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_run.h"
#include "worker/task/task_settings.h"

struct calibration {
    struct task_run *run;
    const struct model *model;
    struct kernel *kernel;
    struct rows rows;
    struct fold_node range;
    struct statistics_fold *fold; /* owned */
    struct statistics *leaf;      /* owned */
    struct calibrate *engine;     /* owned */
    struct arena arena;
};

static enum err open_range(struct calibration *c, struct err_text *et)
{
    const struct task_spec *spec = c->run->spec;
    uint64_t begin = spec->first * STATISTICS_SHARD_ROWS;
    if (begin >= c->rows.row_count)
        return error_set(et, ERR_PROTOCOL, "shard %llu of %llu rows",
                         (unsigned long long)spec->first, (unsigned long long)c->rows.row_count);
    c->range = (struct fold_node){begin, MIN(begin + STATISTICS_SHARD_ROWS, c->rows.row_count)};
    if (c->rows.token_id_max >= model_shape(c->model)->vocabulary)
        return error_set(
            et, ERR_DATA,
            "token %u is outside the model's vocabulary of %zu: do tokenizer and model "
            "belong together?",
            c->rows.token_id_max, model_shape(c->model)->vocabulary);
    return ERR_OK;
}

/* The inputs of all layers; the head's stays out: it is rarely quantized as the rest is, and
 * llama.cpp has no importance for it either. */
static enum err create_fold(struct calibration *c, struct err_text *et)
{
    size_t count = model_site_count(c->model);
    struct statistics_ask *asks = arena_alloc(&c->arena, count, sizeof *asks);
    if (asks == NULL)
        return ERR_OUT_OF_MEMORY;
    calibrate_statistics_ask(c->model, task_settings_statistics(&c->run->recipe), asks);
    while (count > 0 && !model_site(c->model, count - 1).in_layer)
        count--;
    const struct statistics_plan plan = {asks, count, c->rows.row_count, c->run->spec->profile};
    enum err err = statistics_fold_create(&plan, c->range, &c->fold);
    if (err == ERR_OK)
        err = statistics_create(&plan, 1, &c->leaf);
    if (err != ERR_OK)
        return error_set(et, err, "statistics of %zu inputs: %s", count, error_text(err));
    return ERR_OK;
}

static enum err take_row(struct calibration *c, uint64_t index, struct err_text *et)
{
    struct row row = rows_at(&c->rows, index);
    const struct batch_input input = {
        .index = index,
        .tokens = row.tokens,
        .token_count = row.count,
        .segment_starts = row.segment_starts,
        .segment_count = row.segment_count,
    };
    TRY(calibrate_statistics_row(c->engine, &input, c->leaf, et));
    c->run->result->tokens += row.count;
    return statistics_fold_push(c->fold, c->leaf, et);
}

static enum err write(struct calibration *c, struct err_text *et)
{
    const struct statistics *all;
    struct bytes text;
    TRY(statistics_fold_finish(c->fold, &all));
    bytes_init(&text, SIZE_MAX);
    enum err err = statistics_write(all, file_sink_bytes, &text);
    if (err == ERR_OK)
        err = task_run_output(c->run, "statistics", bytes_span(&text), false, et);
    bytes_fini(&text);
    return err;
}

static enum err calibrate(struct calibration *c, struct err_text *et)
{
    TRY(open_range(c, et));
    TRY(create_fold(c, et));
    TRY(calibrate_create(c->model, c->kernel,
                         calibrate_statistics_sums(task_settings_statistics(&c->run->recipe)),
                         c->rows.row_tokens_max, &c->engine));
    uint64_t total = c->range.end - c->range.begin;
    for (uint64_t i = c->range.begin; i < c->range.end; i++) {
        TRY(task_run_progress(c->run, i - c->range.begin, total));
        TRY(take_row(c, i, et));
    }
    return write(c, et);
}

enum err task_kind_calibrate(struct task_run *run, struct err_text *et)
{
    struct calibration c = {.run = run};
    const struct cache_item *item = NULL;
    TRY(task_model_open(run, &c.model, et));
    TRY(task_run_kernel(run, &c.kernel, et));
    TRY(task_run_open(run, "calib_rows", &item, et));
    arena_init(&c.arena, SIZE_MAX); /* lists of the model's sites */
    enum err err = rows_open(item->bytes, &c.rows, et);
    if (err == ERR_OK)
        err = calibrate(&c, et);
    calibrate_destroy(&c.engine);
    statistics_destroy(&c.leaf);
    statistics_fold_destroy(&c.fold);
    arena_fini(&c.arena);
    cache_release(run->env->options.cache, &item);
    return err;
}
