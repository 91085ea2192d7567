/* gram_error.c - quadratic forms of many rows at once.
 *
 * A form is taken from half of the matrix, d G d^T = 2 sum over i of d_i s_i with
 *
 *   s_i = G_ii / 2 d_i + sum over j > i of G_ji d_j       one chain, j ascending
 *
 * Rows of the matrices are the independent outputs: 24 of them lie side by side in a panel
 * (columns, 24), a few panels are a thread's work, and the Gram matrix passes by tile by tile.
 */
#include "worker/engine/solve/gram_error.h"

#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/lanes_f64.h"

enum { ACROSS = LANES_F64_COLUMNS, DOWN = LANES_F64_ROWS, PANELS_MAX = 5 };
enum { DEPTH = 128, BLOCK = 64 }; /* rows and columns of G at hand */

_Static_assert(BLOCK % DOWN == 0, "a block is whole panels");

struct forms {
    const struct lanes_f64 *lanes;
    size_t rows, columns, panels; /* panels of a task */
    const float *w, *values;
    const double *gram;
    double *row_errors;
    double *scratch; /* scratch_doubles a thread */
    size_t scratch_doubles;
};

/* panel (columns, ACROSS): the differences of rows row0 and on, +0 beyond the last. */
static void load_panel(const struct forms *f, size_t row0, double *panel)
{
    memset(panel, 0, f->columns * ACROSS * sizeof(*panel));
    for (size_t r = 0; r < MIN((size_t)ACROSS, f->rows - row0); r++) {
        const float *w = f->w + (row0 + r) * f->columns;
        const float *values = f->values + (row0 + r) * f->columns;
        for (size_t j = 0; j < f->columns; j++)
            panel[j * ACROSS + r] = (double)values[j] - (double)w[j];
    }
}

/* tiles: panels (depth, DOWN) of G from row j0 and columns i0 to i1, without what is above the
 * diagonal and with half of the diagonal; +0 beyond the last column. */
static void load_tiles(const struct forms *f, size_t j0, size_t depth, size_t i0, size_t i1,
                       double *tiles)
{
    for (size_t j = 0; j < depth; j++) {
        const double *row = f->gram + (j0 + j) * f->columns;
        double *to = tiles + j * DOWN;
        for (size_t i = i0; i < i1; i += DOWN, to += depth * DOWN) {
            if (i + DOWN <= i1 && i + DOWN <= j0 + j) {
                memcpy(to, row + i, DOWN * sizeof(*to));
                continue;
            }
            for (size_t k = 0; k < DOWN; k++) {
                double value = i + k < i1 && i + k <= j0 + j ? row[i + k] : 0.0;
                to[k] = i + k == j0 + j ? value / 2 : value;
            }
        }
    }
}

/* Columns [i0, i1) of all panels: errors -= d_i (-s_i). */
static void add_columns(const struct forms *f, size_t panels, size_t i0, size_t i1, const double *d,
                        double *sums, double *tiles, double *errors)
{
    memset(sums, 0, panels * BLOCK * ACROSS * sizeof(*sums));
    for (size_t j0 = i0; j0 < f->columns; j0 += DEPTH) {
        size_t depth = MIN((size_t)DEPTH, f->columns - j0);
        load_tiles(f, j0, depth, i0, i1, tiles);
        for (size_t p = 0; p < panels; p++)
            for (size_t i = 0; i < i1 - i0; i += DOWN)
                f->lanes->subtract(
                    &(struct lanes_f64_product){.m = DOWN,
                                                .n = ACROSS,
                                                .k = depth,
                                                .a = tiles + i * depth,
                                                .a_row = DOWN,
                                                .b = d + (p * f->columns + j0) * ACROSS,
                                                .b_row = ACROSS,
                                                .c = sums + (p * BLOCK + i) * ACROSS,
                                                .c_row = ACROSS});
    }
    for (size_t p = 0; p < panels; p++)
        for (size_t i = i0; i < i1; i++)
            for (size_t r = 0; r < ACROSS; r++)
                errors[p * ACROSS + r] -=
                    d[(p * f->columns + i) * ACROSS + r] * sums[(p * BLOCK + i - i0) * ACROSS + r];
}

static void forms_task(void *context, size_t index, unsigned thread)
{
    const struct forms *f = context;
    double *tiles = f->scratch + thread * f->scratch_doubles, *sums = tiles + DEPTH * BLOCK;
    double *d = sums + PANELS_MAX * BLOCK * ACROSS, errors[PANELS_MAX * ACROSS] = {0};
    size_t row0 = index * f->panels * ACROSS, count = MIN(f->panels * ACROSS, f->rows - row0);
    size_t panels = (count + ACROSS - 1) / ACROSS;
    for (size_t p = 0; p < panels; p++)
        load_panel(f, row0 + p * ACROSS, d + p * f->columns * ACROSS);
    for (size_t i0 = 0; i0 < f->columns; i0 += BLOCK)
        add_columns(f, panels, i0, MIN(i0 + BLOCK, f->columns), d, sums, tiles, errors);
    for (size_t r = 0; r < count; r++)
        f->row_errors[row0 + r] = 2 * errors[r];
}

enum err gram_error(struct kernel *kernel, size_t rows, size_t columns, const float *w,
                    const float *values, const double *gram, double *row_errors, double *error)
{
    size_t threads = kernel_threads(kernel), panels = (rows + ACROSS - 1) / ACROSS;
    struct forms f = {.lanes = kernel_lanes_f64(kernel),
                      .rows = rows,
                      .columns = columns,
                      .panels = MAX(MIN((size_t)PANELS_MAX, panels / threads), (size_t)1),
                      .w = w,
                      .values = values,
                      .gram = gram,
                      .row_errors = row_errors};
    double *own = NULL;
    enum err err = ERR_OK;
    if (columns > SIZE_MAX / sizeof(double) / (PANELS_MAX + 1) / ACROSS)
        return ERR_OUT_OF_MEMORY;
    f.scratch_doubles = (DEPTH + PANELS_MAX * ACROSS) * BLOCK + f.panels * ACROSS * columns;
    f.scratch = mem_alloc_aligned(threads, f.scratch_doubles * sizeof(double));
    if (row_errors == NULL)
        f.row_errors = own = mem_alloc(rows, sizeof(double));
    if (f.scratch == NULL || f.row_errors == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    kernel_parallel(kernel, (panels + f.panels - 1) / f.panels, forms_task, &f);
    *error = 0;
    for (size_t r = 0; r < rows; r++)
        *error += f.row_errors[r];
out:
    mem_free(f.scratch);
    mem_free(own);
    return err;
}
