/* calibrate.c - one row at a time, layer by layer, before the eyes of an observer. */
#include "worker/engine/calibrate/calibrate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/columns.h"
#include "worker/engine/nn/model_site.h"
#include "worker/engine/nn/transformer.h"

/* Who takes the leaves of the call at hand, and how that went. */
struct call {
    calibrate_leaf_f leaf;
    void *context;
    struct err_text *et;
    enum err err; /* the first; nothing is given after it */
};

struct calibrate {
    const struct model *model;
    struct kernel *kernel;
    unsigned sums;
    struct transformer *transformer; /* owned */
    struct batch batch;              /* owned */
    float *hidden;                   /* owned, of the kernel: (sequence_len, width) */
    double *sum_x2, *sum_abs;        /* owned: (columns of the widest site) */
    float *min, *max;                /* owned: the same */
    struct pass_observer observer;
    struct call call;
};

/* ---- leaves ---- */

static enum err report(const struct calibrate *c, size_t site, size_t element)
{
    struct model_site s = model_site(c->model, site);
    char layer[32] = "";
    if (s.in_layer)
        (void)snprintf(layer, sizeof layer, "layer %zu: ", s.layer);
    return error_set(c->call.et, ERR_NOT_FINITE,
                     "row %" PRIu64 ", token %zu, %sthe input of %.*s is not finite",
                     c->batch.rows[0].index, element / s.columns, layer, TEXT_ARGS(s.name));
}

/* Squares of finite f32 elements do not leave f64, so their sums tell. */
static bool sums_are_finite(const struct calibrate *c, size_t columns)
{
    if ((c->sums & CALIBRATE_SUM_X2) == 0)
        return false;
    for (size_t i = 0; i < columns; i++) {
        if (!isfinite(c->sum_x2[i]))
            return false;
    }
    return true;
}

/* Sums from nothing, of what is asked for. */
static void sum_columns(const struct calibrate *c, size_t tokens, size_t columns, const float *x)
{
    for (size_t i = 0; i < columns; i++) {
        c->sum_x2[i] = c->sum_abs[i] = 0;
        c->min[i] = INFINITY;
        c->max[i] = -INFINITY;
    }
    if ((c->sums & CALIBRATE_SUM_X2) != 0)
        columns_add_squares(c->kernel, tokens, columns, x, c->sum_x2);
    if ((c->sums & CALIBRATE_SUM_ABS) != 0)
        columns_add_sizes(c->kernel, tokens, columns, x, c->sum_abs);
    if ((c->sums & CALIBRATE_RANGE) != 0)
        columns_widen_range(c->kernel, tokens, columns, x, c->min, c->max);
}

static enum err give_leaf(const struct calibrate *c, size_t site, const float *x)
{
    size_t tokens = c->batch.token_count, columns = model_site(c->model, site).columns;
    bool range = (c->sums & CALIBRATE_RANGE) != 0;
    sum_columns(c, tokens, columns, x);
    if (!sums_are_finite(c, columns)) {
        size_t bad = kernel_first_not_finite(c->kernel, tokens * columns, x);
        if (bad < tokens * columns)
            return report(c, site, bad);
    }
    struct calibrate_leaf leaf = {
        .sums = c->sums,
        .site = site,
        .row = c->batch.rows[0].index,
        .tokens = tokens,
        .columns = columns,
        .sum_x2 = (c->sums & CALIBRATE_SUM_X2) != 0 ? c->sum_x2 : NULL,
        .sum_abs = (c->sums & CALIBRATE_SUM_ABS) != 0 ? c->sum_abs : NULL,
        .min = range ? c->min : NULL,
        .max = range ? c->max : NULL,
        .x = x,
    };
    return c->call.leaf(c->call.context, &leaf);
}

static void observe(void *context, const struct pass *pass, size_t param, const float *x)
{
    struct calibrate *c = context;
    if (c->call.err == ERR_OK)
        c->call.err = give_leaf(c, model_site_of_param(pass->model, param), x);
}

/* ---- making ---- */

static size_t widest_site(const struct model *model)
{
    size_t widest = 0;
    for (size_t i = 0; i < model_site_count(model); i++)
        widest = MAX(widest, model_site(model, i).columns);
    return widest;
}

static struct transformer_plan plan_of(const struct model *model, size_t sequence_len)
{
    return (struct transformer_plan){.mode = TRANSFORMER_INFER,
                                     .tokens = sequence_len,
                                     .rows = 1,
                                     .positions = MIN(sequence_len, model_shape(model)->positions)};
}

enum err calibrate_size_bytes(const struct model *model, size_t sequence_len, size_t *size_bytes)
{
    const struct model_shape *s = model_shape(model);
    size_t widest = MAX(MAX(s->width, s->mlp_width), s->heads * s->head_width), most;
    struct transformer_plan plan = plan_of(model, sequence_len);
    /* No buffer of a pass has more than a few dozen floats for each token and column. */
    if (!check_mul(sequence_len, MAX(widest, s->vocabulary), &most) || most > SIZE_MAX / 512)
        return ERR_OVERFLOW;
    *size_bytes = transformer_size_bytes(model, NULL, &plan) +
                  sequence_len * s->width * sizeof(float) +
                  widest_site(model) * 2 * (sizeof(double) + sizeof(float));
    return ERR_OK;
}

enum err calibrate_create(const struct model *model, struct kernel *kernel, unsigned sums,
                          size_t sequence_len, struct calibrate **out)
{
    struct transformer_plan plan = plan_of(model, sequence_len);
    size_t widest = widest_site(model), size_bytes;
    TRY(calibrate_size_bytes(model, sequence_len, &size_bytes));
    struct calibrate *c = mem_alloc(1, sizeof *c);
    if (c == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err;
    *c = (struct calibrate){.model = model, .kernel = kernel, .sums = sums};
    c->observer = (struct pass_observer){.context = c, .observe = observe};
    c->hidden = kernel_alloc(kernel, sequence_len * model_shape(model)->width);
    c->sum_x2 = mem_alloc(widest, sizeof *c->sum_x2);
    c->sum_abs = mem_alloc(widest, sizeof *c->sum_abs);
    c->min = mem_alloc(widest, sizeof *c->min);
    c->max = mem_alloc(widest, sizeof *c->max);
    if (c->hidden == NULL || c->sum_x2 == NULL || c->sum_abs == NULL || c->min == NULL ||
        c->max == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    TRY_OUT(batch_init(&c->batch, sequence_len, 1));
    TRY_OUT(transformer_create(model, kernel, NULL, &plan, &c->transformer));
    transformer_pass(c->transformer)->batch = &c->batch;
    *out = c;
    return ERR_OK;
out:
    calibrate_destroy(&c);
    return err;
}

void calibrate_destroy(struct calibrate **calibrate)
{
    struct calibrate *c = *calibrate;
    if (c == NULL)
        return;
    transformer_destroy(&c->transformer);
    batch_fini(&c->batch);
    kernel_free(c->kernel, c->hidden);
    mem_free(c->sum_x2);
    mem_free(c->sum_abs);
    mem_free(c->min);
    mem_free(c->max);
    mem_free(c);
    *calibrate = NULL;
}

const struct model *calibrate_model(const struct calibrate *calibrate)
{
    return calibrate->model;
}

/* ---- running ---- */

static enum err start(struct calibrate *c, const struct batch_input *row, calibrate_leaf_f leaf,
                      void *context, struct err_text *et)
{
    const struct model_shape *shape = model_shape(c->model);
    struct batch_limits limits = {.vocabulary = shape->vocabulary,
                                  .positions = shape->positions,
                                  .positions_short = shape->positions_short};
    batch_clear(&c->batch);
    TRY(batch_add(&c->batch, row, &limits, et));
    c->call = (struct call){.leaf = leaf, .context = context, .et = et};
    transformer_pass(c->transformer)->observer = leaf != NULL ? &c->observer : NULL;
    return ERR_OK;
}

/* A site's fault comes before that of the layer around it, and its message is nearer. */
static enum err run_layer(struct calibrate *c, size_t layer, const float *x, float *next)
{
    struct err_text text = {""};
    enum err err = transformer_layer(c->transformer, layer, x, next, &text);
    if (c->call.err != ERR_OK)
        return c->call.err;
    return err == ERR_OK ? ERR_OK : error_set(c->call.et, err, "%s", text.text);
}

static enum err run_head(struct calibrate *c, const float *x)
{
    transformer_observe_head(c->transformer, x);
    return c->call.err;
}

enum err calibrate_row(struct calibrate *calibrate, const struct batch_input *row,
                       calibrate_leaf_f leaf, void *context, struct err_text *et)
{
    struct calibrate *c = calibrate;
    ASSERT(leaf != NULL);
    TRY(start(c, row, leaf, context, et));
    transformer_embed(c->transformer, c->hidden);
    for (size_t l = 0; l < model_shape(c->model)->layers; l++)
        TRY(run_layer(c, l, c->hidden, c->hidden));
    return run_head(c, c->hidden);
}

enum err calibrate_embed(struct calibrate *calibrate, const struct batch_input *row, float *hidden,
                         struct err_text *et)
{
    TRY(start(calibrate, row, NULL, NULL, et));
    transformer_embed(calibrate->transformer, hidden);
    return ERR_OK;
}

enum err calibrate_layer(struct calibrate *calibrate, const struct batch_input *row, size_t layer,
                         const float *x, float *next, calibrate_leaf_f leaf, void *context,
                         struct err_text *et)
{
    ASSERT(layer < model_shape(calibrate->model)->layers);
    TRY(start(calibrate, row, leaf, context, et));
    return run_layer(calibrate, layer, x, next);
}

enum err calibrate_head(struct calibrate *calibrate, const struct batch_input *row, const float *x,
                        calibrate_leaf_f leaf, void *context, struct err_text *et)
{
    ASSERT(leaf != NULL);
    TRY(start(calibrate, row, leaf, context, et));
    return run_head(calibrate, x);
}
