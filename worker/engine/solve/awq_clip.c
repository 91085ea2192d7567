/* awq_clip.c - one column of cells at a time: all its cells try a bound, one product weighs them.
 */
#include "worker/engine/solve/awq_clip.h"

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/solve/awq_trial.h"

/* The cells of a matrix, their bounds so far, and one column of them under work. */
struct clip {
    struct awq_trial trial; /* owned; its delta holds (rows, cell_columns) of the column at work */
    struct grid grid;       /* owned, for its shape */
    const struct awq_options *options;
    const float *scales;  /* borrowed, or NULL */
    float *weights;       /* borrowed */
    float *most, *bounds; /* owned, (down, across): largest weight; bound */
    double *best;         /* owned, (down): least error of the column's cells */
    size_t column;        /* index of the column of cells */
    unsigned step;        /* at work */
};

static void clip_fini(struct clip *clip)
{
    awq_trial_fini(&clip->trial);
    grid_fini(&clip->grid);
    mem_free(clip->most);
    mem_free(clip->bounds);
    mem_free(clip->best);
}

static enum err clip_init(struct clip *clip, size_t rows, size_t columns)
{
    TRY(grid_init(&clip->grid, &clip->trial.scheme, rows, columns, "awq", NULL));
    size_t cells = clip->grid.down * clip->grid.across;
    clip->most = mem_alloc(cells, sizeof *clip->most);
    clip->bounds = mem_alloc(cells, sizeof *clip->bounds);
    clip->best = mem_alloc(clip->grid.down, sizeof *clip->best);
    if (clip->most == NULL || clip->bounds == NULL || clip->best == NULL)
        return ERR_OUT_OF_MEMORY;
    return ERR_OK;
}

static float *cell_weights(const struct clip *clip, size_t line)
{
    const struct grid *grid = &clip->grid;
    return clip->weights + line * grid->cell_rows * grid->columns +
           clip->column * grid->cell_columns;
}

static float bound_of(const struct clip *clip, size_t at)
{
    float part = 1 - (float)clip->step / (float)clip->options->clip_steps;
    return clip->step == 0 ? clip->most[at] : clip->most[at] * part;
}

/* The largest weight of every cell of a line. */
static void find_most(void *context, size_t line, unsigned thread)
{
    struct clip *clip = context;
    const struct grid *grid = &clip->grid;
    (void)thread;
    for (size_t r = line * grid->cell_rows; r < (line + 1) * grid->cell_rows; r++) {
        for (size_t c = 0; c < grid->columns; c++) {
            float *most = &clip->most[line * grid->across + c / grid->cell_columns];
            *most = MAX(*most, __builtin_fabsf(clip->weights[r * grid->columns + c]));
        }
    }
}

/* One cell under the bound of the step: delta = (Q(clamp(w)) - w) / s. */
static void try_cell(void *context, size_t line, unsigned thread)
{
    const struct clip *clip = context;
    const struct grid *grid = &clip->grid;
    size_t n = grid->cell_columns;
    float *delta = clip->trial.delta + line * grid->cell_rows * n;
    int8_t *codes = clip->trial.codes + thread * grid->columns;
    const float *w = cell_weights(clip, line);
    const float *scales = clip->scales != NULL ? clip->scales + clip->column * n : NULL;
    float bound = bound_of(clip, line * grid->across + clip->column);
    for (size_t r = 0; r < grid->cell_rows; r++) {
        for (size_t c = 0; c < n; c++)
            delta[r * n + c] = MIN(MAX(w[r * grid->columns + c], -bound), bound);
    }
    struct grid_cell cell = grid_cell_find(&grid->scheme, grid->cell_rows, n, n, delta, NULL);
    for (size_t r = 0; r < grid->cell_rows; r++) {
        float *at = delta + r * n;
        grid_cell_encode(&grid->scheme, cell, n, at, codes);
        grid_cell_decode(cell, n, codes, at);
        for (size_t c = 0; c < n; c++) {
            float change = at[c] - w[r * grid->columns + c];
            at[c] = scales != NULL ? change / scales[c] : change;
        }
    }
}

/* After a step: each cell's error, and its bound where that is less than before. */
static void keep_best(struct clip *clip)
{
    const struct grid *grid = &clip->grid;
    for (size_t line = 0; line < grid->down; line++) {
        size_t at = line * grid->across + clip->column;
        double error = gram_form_sum(grid->cell_rows, clip->trial.errors + line * grid->cell_rows);
        if (clip->step > 0 && !(error < clip->best[line]))
            continue;
        clip->best[line] = error;
        clip->bounds[at] = bound_of(clip, at);
    }
}

static enum err search_column(struct clip *clip, const struct awq_input *input)
{
    const struct grid *grid = &clip->grid;
    struct awq_trial *t = &clip->trial;
    struct gram_form own = {0}, *form = &t->form;
    if (grid->across > 1) {
        TRY(gram_form_init(&own, t->kernel, input->columns, input->gram, input->tokens,
                           clip->column * grid->cell_columns, grid->cell_columns, grid->rows));
        form = &own;
    }
    for (clip->step = 0; clip->step < MAX(clip->options->clip_tried, 1u); clip->step++) {
        kernel_parallel(t->kernel, grid->down, try_cell, clip);
        gram_form_errors(form, grid->rows, t->delta, grid->cell_columns, t->errors);
        keep_best(clip);
    }
    gram_form_fini(&own);
    return ERR_OK;
}

static void apply(void *context, size_t line, unsigned thread)
{
    const struct clip *clip = context;
    const struct grid *grid = &clip->grid;
    (void)thread;
    for (size_t r = line * grid->cell_rows; r < (line + 1) * grid->cell_rows; r++) {
        for (size_t c = 0; c < grid->columns; c++) {
            float bound = clip->bounds[line * grid->across + c / grid->cell_columns];
            float *w = &clip->weights[r * grid->columns + c];
            *w = MIN(MAX(*w, -bound), bound);
        }
    }
}

/* Weighs all bounds together, and clips if they are worth it. */
static enum err finish(struct clip *clip, struct awq_clip *out)
{
    const struct grid *grid = &clip->grid;
    struct awq_attempt attempt = {
        .rows = grid->rows, .weights = clip->weights, .over = clip->scales};
    struct awq_clip result = {.cells = grid->down * grid->across};
    TRY(awq_trial_error(&clip->trial, &attempt, &result.error_plain));
    attempt.bounds = clip->bounds;
    TRY(awq_trial_error(&clip->trial, &attempt, &result.error));
    if (!(result.error < result.error_plain)) {
        result.error = result.error_plain;
        *out = result;
        return ERR_OK;
    }
    for (size_t i = 0; i < result.cells; i++)
        result.clipped += clip->bounds[i] < clip->most[i];
    kernel_parallel(clip->trial.kernel, grid->down, apply, clip);
    *out = result;
    return ERR_OK;
}

enum err awq_clip(struct kernel *kernel, const struct grid_scheme *scheme,
                  const struct awq_options *options, const struct awq_input *input,
                  const float *scales, size_t rows, float *weights, struct awq_clip *out)
{
    struct clip clip = {.options = options, .scales = scales, .weights = weights};
    enum err err;
    ASSERT(input->tokens > 0 && options->clip_tried <= options->clip_steps);
    TRY(grid_check(scheme, rows, input->columns, "awq", NULL));
    TRY_OUT(awq_trial_init(&clip.trial, kernel, scheme, input, rows));
    TRY_OUT(clip_init(&clip, rows, input->columns));
    kernel_parallel(kernel, clip.grid.down, find_most, &clip);
    for (clip.column = 0; clip.column < clip.grid.across; clip.column++)
        TRY_OUT(search_column(&clip, input));
    TRY_OUT(finish(&clip, out));
out:
    clip_fini(&clip);
    return err;
}
