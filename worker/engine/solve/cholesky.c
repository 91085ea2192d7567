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

/* SIDE: rows of a block and columns of a strip. */
enum { SIDE = 192, DEPTH = 128, DOWN = LANES_F64_ROWS, ACROSS = LANES_F64_COLUMNS };

_Static_assert(SIDE % DOWN == 0 && SIDE % ACROSS == 0, "a block is whole panels");

struct factor {
    const struct lanes_f64 *lanes;
    size_t n;
    double *a;
    size_t row0, rows; /* of the block at hand */
    double *diagonal;  /* (SIDE, SIDE): D */
    double *scratch;   /* one struct strip a thread */
    size_t failed;     /* row of D without a pivot, SIDE when there is none */
};

/* A thread's memory, and what it holds: columns [column0, column0 + columns) of the block. */
struct strip {
    size_t column0, columns;
    double *c;       /* (SIDE, SIDE) */
    double *above_a; /* panels (DEPTH, DOWN) */
    double *above_b; /* panels (DEPTH, ACROSS) */
};

enum { STRIP_DOUBLES = SIDE * (SIDE + 2 * DEPTH) };

/* Elements below the diagonal of the matrix are not touched: they are +0 in the strip. */
static struct strip load_strip(const struct factor *f, size_t index, unsigned thread)
{
    struct strip s = {.column0 = f->row0 + index * SIDE, .c = f->scratch + thread * STRIP_DOUBLES};
    s.columns = MIN((size_t)SIDE, f->n - s.column0);
    s.above_a = s.c + SIDE * SIDE;
    s.above_b = s.above_a + SIDE * DEPTH;
    memset(s.c, 0, SIDE * SIDE * sizeof(*s.c));
    for (size_t i = 0; i < f->rows; i++) {
        size_t skip = index == 0 ? i : 0;
        memcpy(s.c + i * SIDE + skip, f->a + (f->row0 + i) * f->n + s.column0 + skip,
               (s.columns - skip) * sizeof(*s.c));
    }
    return s;
}

static void store_strip(const struct factor *f, const struct strip *s)
{
    for (size_t i = 0; i < f->rows; i++) {
        size_t skip = s->column0 == f->row0 ? i : 0;
        memcpy(f->a + (f->row0 + i) * f->n + s->column0 + skip, s->c + i * SIDE + skip,
               (s->columns - skip) * sizeof(*s->c));
    }
}

/* Panels of `width` columns, one after the other, +0 beyond the last column. */
static void pack(const double *from, size_t stride, size_t depth, size_t columns, size_t width,
                 double *to)
{
    for (size_t j = 0; j < columns; j += width) {
        size_t count = MIN(width, columns - j);
        for (size_t p = 0; p < depth; p++, to += width) {
            for (size_t i = 0; i < count; i++)
                to[i] = from[p * stride + j + i];
            for (size_t i = count; i < width; i++)
                to[i] = 0;
        }
    }
}

static void update_task(void *context, size_t index, unsigned thread)
{
    const struct factor *f = context;
    struct strip s = load_strip(f, index, thread);
    for (size_t k0 = 0; k0 < f->row0; k0 += DEPTH) {
        size_t depth = MIN((size_t)DEPTH, f->row0 - k0);
        pack(f->a + k0 * f->n + f->row0, f->n, depth, f->rows, DOWN, s.above_a);
        pack(f->a + k0 * f->n + s.column0, f->n, depth, s.columns, ACROSS, s.above_b);
        for (size_t j = 0; j < s.columns; j += ACROSS)
            for (size_t i = 0; i < f->rows; i += DOWN)
                f->lanes->subtract(&(struct lanes_f64_product){.m = MIN((size_t)DOWN, f->rows - i),
                                                               .n = ACROSS,
                                                               .k = depth,
                                                               .a = s.above_a + i * depth,
                                                               .a_row = DOWN,
                                                               .b = s.above_b + j * depth,
                                                               .b_row = ACROSS,
                                                               .c = s.c + i * SIDE + j,
                                                               .c_row = SIDE});
    }
    store_strip(f, &s);
}

/* Row i of c, all sums taken: becomes a row of U. */
static bool divide_row(const struct factor *f, size_t i, double *c)
{
    if (c == f->diagonal) {
        double square = c[i * SIDE + i];
        if (!(square > 0 && square <= DBL_MAX))
            return false;
        c[i * SIDE + i] = sqrt(square);
    }
    double pivot = f->diagonal[i * SIDE + i];
    for (size_t j = c == f->diagonal ? i + 1 : 0; j < SIDE; j++)
        c[i * SIDE + j] /= pivot;
    return true;
}

/* Subtracts from rows [i0, i1) of c what rows [k0, k1), already of U, have to do with them. */
static void subtract_rows(const struct factor *f, size_t k0, size_t k1, size_t i0, size_t i1,
                          double *c)
{
    f->lanes->subtract(&(struct lanes_f64_product){.m = i1 - i0,
                                                   .n = SIDE,
                                                   .k = k1 - k0,
                                                   .a = f->diagonal + k0 * SIDE + i0,
                                                   .a_row = SIDE,
                                                   .b = c + k0 * SIDE,
                                                   .b_row = SIDE,
                                                   .c = c + i0 * SIDE,
                                                   .c_row = SIDE});
}

/* The diagonal block or a strip of the block, (SIDE, SIDE): the first row without a pivot. */
static size_t finish(const struct factor *f, double *c)
{
    for (size_t i0 = 0; i0 < f->rows; i0 += DOWN) {
        size_t i1 = MIN(i0 + DOWN, f->rows);
        subtract_rows(f, 0, i0, i0, i1, c);
        for (size_t i = i0; i < i1; i++) {
            if (!divide_row(f, i, c))
                return i;
            subtract_rows(f, i, i + 1, i + 1, i1, c);
        }
    }
    return SIDE;
}

static void diagonal_task(void *context, size_t index, unsigned thread)
{
    struct factor *f = context;
    struct strip s = load_strip(f, index, thread);
    memcpy(f->diagonal, s.c, SIDE * SIDE * sizeof(*s.c));
    f->failed = finish(f, f->diagonal);
    memcpy(s.c, f->diagonal, SIDE * SIDE * sizeof(*s.c));
    store_strip(f, &s);
}

static void finish_task(void *context, size_t index, unsigned thread)
{
    const struct factor *f = context;
    struct strip s = load_strip(f, index + 1, thread);
    finish(f, s.c);
    store_strip(f, &s);
}

enum err cholesky_factor(struct kernel *kernel, size_t n, double *a, size_t *pivot)
{
    struct factor f = {.lanes = kernel_lanes_f64(kernel), .n = n, .a = a, .failed = SIDE};
    size_t doubles = SIDE * SIDE + (size_t)kernel_threads(kernel) * STRIP_DOUBLES;
    f.diagonal = mem_alloc_aligned(doubles, sizeof(double));
    if (f.diagonal == NULL)
        return ERR_OUT_OF_MEMORY;
    f.scratch = f.diagonal + SIDE * SIDE;
    for (f.row0 = 0; f.row0 < n && f.failed == SIDE; f.row0 += SIDE) {
        f.rows = MIN((size_t)SIDE, n - f.row0);
        size_t strips = (n - f.row0 + SIDE - 1) / SIDE;
        if (f.row0 > 0)
            kernel_parallel(kernel, strips, update_task, &f);
        kernel_parallel(kernel, 1, diagonal_task, &f);
        if (f.failed == SIDE)
            kernel_parallel(kernel, strips - 1, finish_task, &f);
    }
    mem_free(f.diagonal);
    if (f.failed == SIDE)
        return ERR_OK;
    if (pivot != NULL)
        *pivot = f.row0 - SIDE + f.failed;
    return ERR_NOT_POSITIVE;
}
