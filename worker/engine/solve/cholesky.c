/* cholesky.c - blocks of rows of U, from the top.
 *
 *        row0
 *     . . U  |  U       1. update: block of rows -= U[above]^T U[above], strip by strip
 *  row0 -----+-----     2. the diagonal block becomes its factor, on one thread
 *          D |  S  S    3. finish: each strip S is divided by D
 *
 * An update packs both operands into panels that fill the registers, a piece of DEPTH rows at a
 * time, and works on a contiguous copy of its strip, so that no power of two in n sends everything
 * to the same lines of a cache.
 */
#include "worker/engine/solve/cholesky.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/lanes_f64.h"

/* ROWS: of a block, WIDE: columns of a strip. */
enum { ROWS = 192, WIDE = 384, DEPTH = 128, DOWN = LANES_F64_ROWS, ACROSS = LANES_F64_COLUMNS };

_Static_assert(ROWS % DOWN == 0 && ROWS % ACROSS == 0, "a block is whole panels");
_Static_assert(WIDE % ACROSS == 0 && WIDE >= ROWS, "so is a strip");

struct factor {
    const struct lanes_f64 *lanes;
    size_t n;
    double *a;
    size_t row0, rows; /* of the block at hand */
    double *diagonal;  /* (ROWS, WIDE): D */
    double *scratch;   /* STRIP_DOUBLES a thread */
    size_t failed;     /* row of D without a pivot, ROWS when there is none */
};

/* A thread's memory, and what it holds: columns [column0, column0 + columns) of the block. */
struct strip {
    size_t column0, columns;
    double *c;       /* (ROWS, WIDE) */
    double *above_a; /* panels (DEPTH, DOWN) */
    double *above_b; /* a panel (DEPTH, ACROSS) */
};

enum { STRIP_DOUBLES = ROWS * WIDE + DEPTH * (ROWS + ACROSS) };

static struct strip strip_at(const struct factor *f, size_t column0, unsigned thread)
{
    struct strip s = {.column0 = column0, .c = f->scratch + thread * STRIP_DOUBLES};
    s.columns = MIN((size_t)WIDE, f->n - column0);
    s.above_a = s.c + ROWS * WIDE;
    s.above_b = s.above_a + ROWS * DEPTH;
    return s;
}

/* Elements below the diagonal of the matrix are not touched: they are +0 in the strip. */
static void load_strip(const struct factor *f, const struct strip *s)
{
    memset(s->c, 0, ROWS * WIDE * sizeof(*s->c));
    for (size_t i = 0; i < f->rows; i++) {
        size_t skip = s->column0 == f->row0 ? i : 0;
        memcpy(s->c + i * WIDE + skip, f->a + (f->row0 + i) * f->n + s->column0 + skip,
               (s->columns - skip) * sizeof(*s->c));
    }
}

static void store_strip(const struct factor *f, const struct strip *s)
{
    for (size_t i = 0; i < f->rows; i++) {
        size_t skip = s->column0 == f->row0 ? i : 0;
        memcpy(f->a + (f->row0 + i) * f->n + s->column0 + skip, s->c + i * WIDE + skip,
               (s->columns - skip) * sizeof(*s->c));
    }
}

/* Panels of `width` columns, one after the other, +0 beyond the last column. */
static inline __attribute__((always_inline)) void
pack(const double *from, size_t stride, size_t depth, size_t columns, size_t width, double *to)
{
    size_t whole = columns / width * width, rest = columns - whole;
    for (size_t p = 0; p < depth; p++) {
        const double *row = from + p * stride;
        double *at = to + p * width;
        for (size_t j = 0; j < whole; j += width, at += depth * width)
            memcpy(at, row + j, width * sizeof(*to));
        if (rest > 0) {
            memcpy(at, row + whole, rest * sizeof(*to));
            memset(at + rest, 0, (width - rest) * sizeof(*to));
        }
    }
}

static void update_task(void *context, size_t index, unsigned thread)
{
    const struct factor *f = context;
    struct strip s = strip_at(f, f->row0 + index * WIDE, thread);
    load_strip(f, &s);
    for (size_t k0 = 0; k0 < f->row0; k0 += DEPTH) {
        size_t depth = MIN((size_t)DEPTH, f->row0 - k0);
        pack(f->a + k0 * f->n + f->row0, f->n, depth, f->rows, DOWN, s.above_a);
        for (size_t j = 0; j < s.columns; j += ACROSS) {
            pack(f->a + k0 * f->n + s.column0 + j, f->n, depth, MIN((size_t)ACROSS, s.columns - j),
                 ACROSS, s.above_b);
            for (size_t i = 0; i < f->rows; i += DOWN)
                f->lanes->subtract(&(struct lanes_f64_product){.m = MIN((size_t)DOWN, f->rows - i),
                                                               .n = ACROSS,
                                                               .k = depth,
                                                               .a = s.above_a + i * depth,
                                                               .a_row = DOWN,
                                                               .b = s.above_b,
                                                               .b_row = ACROSS,
                                                               .c = s.c + i * WIDE + j,
                                                               .c_row = WIDE});
        }
    }
    store_strip(f, &s);
}

/* Row i of c, all sums taken: becomes a row of U. */
static bool divide_row(const struct factor *f, size_t i, size_t columns, double *c)
{
    if (c == f->diagonal) {
        double square = c[i * WIDE + i];
        if (!(square > 0 && square <= DBL_MAX))
            return false;
        c[i * WIDE + i] = sqrt(square);
    }
    double pivot = f->diagonal[i * WIDE + i];
    for (size_t j = c == f->diagonal ? i + 1 : 0; j < columns; j++)
        c[i * WIDE + j] /= pivot;
    return true;
}

/* Subtracts from rows [i0, i1) of c what rows [k0, k1), already of U, have to do with them. */
static void subtract_rows(const struct factor *f, size_t k0, size_t k1, size_t i0, size_t i1,
                          size_t columns, double *c)
{
    f->lanes->subtract(&(struct lanes_f64_product){.m = i1 - i0,
                                                   .n = columns,
                                                   .k = k1 - k0,
                                                   .a = f->diagonal + k0 * WIDE + i0,
                                                   .a_row = WIDE,
                                                   .b = c + k0 * WIDE,
                                                   .b_row = WIDE,
                                                   .c = c + i0 * WIDE,
                                                   .c_row = WIDE});
}

/* The diagonal block or a strip of the block: returns the first row without a pivot. */
static size_t finish(const struct factor *f, double *c, size_t columns)
{
    for (size_t i0 = 0; i0 < f->rows; i0 += DOWN) {
        size_t i1 = MIN(i0 + DOWN, f->rows);
        subtract_rows(f, 0, i0, i0, i1, columns, c);
        for (size_t i = i0; i < i1; i++) {
            if (!divide_row(f, i, columns, c))
                return i;
            subtract_rows(f, i, i + 1, i + 1, i1, columns, c);
        }
    }
    return ROWS;
}

static void diagonal_task(void *context, size_t index, unsigned thread)
{
    struct factor *f = context;
    struct strip s = strip_at(f, f->row0, thread);
    (void)index;
    s.columns = f->rows;
    s.c = f->diagonal;
    load_strip(f, &s);
    f->failed = finish(f, s.c, ROWS);
    store_strip(f, &s);
}

static void finish_task(void *context, size_t index, unsigned thread)
{
    const struct factor *f = context;
    struct strip s = strip_at(f, f->row0 + f->rows + index * WIDE, thread);
    load_strip(f, &s);
    finish(f, s.c, (s.columns + ACROSS - 1) / ACROSS * ACROSS);
    store_strip(f, &s);
}

static size_t strips(size_t columns)
{
    return (columns + WIDE - 1) / WIDE;
}

enum err cholesky_factor(struct kernel *kernel, size_t n, double *a, size_t *pivot)
{
    struct factor f = {.lanes = kernel_lanes_f64(kernel), .n = n, .a = a, .failed = ROWS};
    size_t doubles = ROWS * WIDE + (size_t)kernel_threads(kernel) * STRIP_DOUBLES;
    f.diagonal = mem_alloc_aligned(doubles, sizeof(double));
    if (f.diagonal == NULL)
        return ERR_OUT_OF_MEMORY;
    f.scratch = f.diagonal + ROWS * WIDE;
    for (f.row0 = 0; f.row0 < n && f.failed == ROWS; f.row0 += f.rows) {
        f.rows = MIN((size_t)ROWS, n - f.row0);
        if (f.row0 > 0)
            kernel_parallel(kernel, strips(n - f.row0), update_task, &f);
        kernel_parallel(kernel, 1, diagonal_task, &f);
        if (f.failed == ROWS)
            kernel_parallel(kernel, strips(n - f.row0 - f.rows), finish_task, &f);
    }
    mem_free(f.diagonal);
    if (f.failed == ROWS)
        return ERR_OK;
    if (pivot != NULL)
        *pivot = f.row0 - f.rows + f.failed;
    return ERR_NOT_POSITIVE;
}
