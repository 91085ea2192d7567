/* awq_trial.c - see the header. */
#include "worker/engine/solve/awq_trial.h"

#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/kernel.h"

enum err awq_trial_init(struct awq_trial *trial, struct kernel *kernel,
                        const struct grid_scheme *scheme, const struct awq_input *input,
                        size_t rows_max)
{
    size_t elements = 0, threads = kernel_threads(kernel);
    *trial = (struct awq_trial){
        .kernel = kernel, .scheme = *scheme, .columns = input->columns, .rows_max = rows_max};
    trial->scheme.range = GRID_MINMAX;
    if (!check_mul(rows_max, input->columns, &elements))
        return ERR_OUT_OF_MEMORY;
    trial->delta = mem_alloc_aligned(elements, sizeof *trial->delta);
    trial->values = mem_alloc(input->columns, threads * sizeof *trial->values);
    trial->codes = mem_alloc(input->columns, threads);
    trial->errors = mem_alloc(rows_max, sizeof *trial->errors);
    if (trial->delta == NULL || trial->values == NULL || trial->codes == NULL ||
        trial->errors == NULL)
        return ERR_OUT_OF_MEMORY;
    return gram_form_init(&trial->form, kernel, input->columns, input->gram, input->tokens, 0,
                          input->columns, rows_max);
}

void awq_trial_fini(struct awq_trial *trial)
{
    gram_form_fini(&trial->form);
    mem_free(trial->delta);
    mem_free(trial->values);
    mem_free(trial->codes);
    mem_free(trial->errors);
    *trial = (struct awq_trial){0};
}

struct rounding {
    const struct awq_trial *trial;
    const struct awq_attempt *attempt;
    struct grid *grid;
};

/* A row times the scales of its columns; clamped to the bounds of its cells. */
static void scale_row(const struct rounding *r, size_t row, float *x)
{
    size_t columns = r->grid->columns;
    const float *weights = r->attempt->weights + row * columns, *times = r->attempt->times;
    for (size_t c = 0; c < columns; c++)
        x[c] = times != NULL ? weights[c] * times[c] : weights[c];
}

static void clamp_row(const struct rounding *r, size_t row, float *x)
{
    const struct grid *grid = r->grid;
    const float *bounds = r->attempt->bounds + row / grid->cell_rows * grid->across;
    for (size_t c = 0; c < grid->columns; c++) {
        float bound = bounds[c / grid->cell_columns];
        x[c] = MIN(MAX(x[c], -bound), bound);
    }
}

static void change_row(const struct rounding *r, const float *values, float *x)
{
    const float *over = r->attempt->over;
    for (size_t c = 0; c < r->grid->columns; c++)
        x[c] = over != NULL ? (values[c] - x[c]) / over[c] : values[c] - x[c];
}

/* One line of cells. */
static void round_line(void *context, size_t line, unsigned thread)
{
    const struct rounding *r = context;
    struct grid *grid = r->grid;
    size_t columns = grid->columns, first = line * grid->cell_rows;
    int8_t *codes = r->trial->codes + thread * columns;
    float *values = r->trial->values + thread * columns;
    for (size_t row = first; row < first + grid->cell_rows; row++) {
        float *x = r->trial->delta + row * columns;
        scale_row(r, row, x);
        if (r->attempt->bounds != NULL)
            clamp_row(r, row, x);
    }
    grid_find_line(grid, line, r->trial->delta, NULL);
    for (size_t row = first; row < first + grid->cell_rows; row++) {
        float *x = r->trial->delta + row * columns;
        grid_encode_row(grid, row, x, codes);
        grid_decode_row(grid, row, codes, values);
        if (r->attempt->bounds != NULL) /* the change is from what the weights were */
            scale_row(r, row, x);
        change_row(r, values, x);
    }
}

enum err awq_trial_error(struct awq_trial *trial, const struct awq_attempt *attempt, double *error)
{
    struct grid grid = {0};
    ASSERT(attempt->rows <= trial->rows_max);
    TRY(grid_init(&grid, &trial->scheme, attempt->rows, trial->columns, "awq", NULL));
    struct rounding rounding = {trial, attempt, &grid};
    kernel_parallel(trial->kernel, grid.down, round_line, &rounding);
    gram_form_errors(&trial->form, attempt->rows, trial->delta, trial->columns, trial->errors);
    *error = gram_form_sum(attempt->rows, trial->errors);
    grid_fini(&grid);
    return ERR_OK;
}
