/* gram_form.c - panels of the lower half, one product and one dot product for each. */
#include "worker/engine/solve/gram_form.h"

#include <float.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/kernel/lanes.h"

enum { BLOCK = 256 }; /* columns of a panel; part of the order of sums */

/* Floats of the panels before that of column j0, a multiple of BLOCK: each is BLOCK wide and begins
 * at its own diagonal. */
static size_t panel_at(size_t columns, size_t j0)
{
    size_t before = j0 / BLOCK, missing = before > 0 ? BLOCK * (before * (before - 1) / 2) : 0;
    return BLOCK * (before * columns - missing);
}

static size_t panel_width(size_t columns, size_t j0)
{
    return MIN(columns - j0, (size_t)BLOCK);
}

/* One panel. False: an element is no finite f32. */
static bool fill_panel(size_t columns, const double *gram, double tokens, size_t first,
                       size_t count, size_t j0, float *panel)
{
    size_t width = panel_width(count, j0);
    bool finite = true;
    for (size_t i = j0; i < count; i++) {
        for (size_t j = j0; j < j0 + width; j++) {
            size_t low = first + MAX(i, j), high = first + MIN(i, j);
            double value = gram[low * columns + high] / tokens * (i < j0 + width ? 1 : 2);
            finite = finite && value >= -(double)FLT_MAX && value <= (double)FLT_MAX;
            *panel++ = (float)value;
        }
    }
    return finite;
}

enum err gram_form_init(struct gram_form *form, struct kernel *kernel, size_t columns,
                        const double *gram, uint64_t tokens, size_t first, size_t count,
                        size_t rows_max)
{
    ASSERT(tokens > 0 && count > 0 && first <= columns && count <= columns - first);
    struct gram_form f = {.columns = count, .rows_max = rows_max, .kernel = kernel};
    size_t last = (count - 1) / BLOCK * BLOCK, floats = 0;
    if (!check_mul(count, count + BLOCK, &floats))
        return ERR_OUT_OF_MEMORY;
    floats = panel_at(count, last) + (count - last) * (count - last);
    f.panels = mem_alloc_aligned(floats, sizeof *f.panels);
    f.product = mem_alloc_aligned(rows_max, BLOCK * sizeof *f.product);
    enum err err = f.panels != NULL && f.product != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
    for (size_t j0 = 0; err == ERR_OK && j0 < count; j0 += BLOCK) {
        if (!fill_panel(columns, gram, (double)tokens, first, count, j0,
                        f.panels + panel_at(count, j0)))
            err = ERR_NOT_FINITE;
    }
    if (err == ERR_OK)
        *form = f;
    else
        gram_form_fini(&f);
    return err;
}

void gram_form_fini(struct gram_form *form)
{
    mem_free(form->panels);
    mem_free(form->product);
    *form = (struct gram_form){0};
}

/* ---- errors ---- */

/* The share of one block of columns in the errors of some rows. */
struct share {
    const struct lanes *lanes;
    size_t rows, width, stride;
    const float *product, *delta;
    double *errors;
};

enum { ROWS_AT_ONCE = 64 };

static void add_share(void *context, size_t index, unsigned thread)
{
    const struct share *s = context;
    (void)thread;
    for (size_t r = index * ROWS_AT_ONCE; r < MIN((index + 1) * ROWS_AT_ONCE, s->rows); r++)
        s->errors[r] +=
            (double)s->lanes->dot(s->width, s->product + r * s->width, s->delta + r * s->stride);
}

void gram_form_errors(struct gram_form *form, size_t rows, const float *delta, size_t stride,
                      double *errors)
{
    ASSERT(rows <= form->rows_max);
    for (size_t r = 0; r < rows; r++)
        errors[r] = 0;
    for (size_t j0 = 0; j0 < form->columns; j0 += BLOCK) {
        size_t width = panel_width(form->columns, j0);
        struct kernel_gemm gemm = {.m = rows,
                                   .n = width,
                                   .k = form->columns - j0,
                                   .a = delta + j0,
                                   .a_row_stride = stride,
                                   .a_col_stride = 1,
                                   .b = form->panels + panel_at(form->columns, j0),
                                   .b_dtype = DTYPE_F32,
                                   .b_row_stride = width,
                                   .b_col_stride = 1,
                                   .c = form->product,
                                   .c_row_stride = width};
        struct share share = {.lanes = kernel_lanes(form->kernel),
                              .rows = rows,
                              .width = width,
                              .stride = stride,
                              .product = form->product,
                              .delta = delta + j0,
                              .errors = errors};
        kernel_gemm(form->kernel, &gemm);
        kernel_parallel(form->kernel, (rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE, add_share, &share);
    }
}

double gram_form_sum(size_t rows, const double *errors)
{
    double sum = 0;
    for (size_t r = 0; r < rows; r++)
        sum += errors[r];
    return sum;
}
