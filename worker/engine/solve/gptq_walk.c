/* gptq_walk.c - rounds the rows of a matrix column by column, many rows at once.
 *
 * ACROSS rows of the matrix lie side by side in a panel (columns, ACROSS) of differences E = values
 * - weights; a few panels are a thread's work. Columns go in spans, whole groups where scales are
 * found on the way:
 *
 *            0         begin     end         1. targets of the span: w - R^T[span, before]
 * E[before], R^T      |  before   | span   |             product after product, all panels of the
 * thread
 *                                            2. panel by panel, along the span: a column's target
 * is E        |   done    | now    |  later      complete when the columns before it are rounded
 *
 * Where scales are found on the way, a group is walked twice: first without rounding, which gives
 * the weights as the columns before the group have moved them; then with the scales found of them.
 */
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/solve/gptq_walk.h"

enum { ACROSS = LANES_F64_COLUMNS, DEPTH = 192, SPAN = 128, PANELS_MAX = 5 };

struct walk {
    const struct gptq *g;
    const struct lanes_f64 *lanes;
    struct grid *grid;
    bool moving;
    const float *importance;
    int8_t *codes;
    float *values;
    double *row_errors;
    size_t span;   /* columns */
    size_t panels; /* of a task */
    uint8_t *scratch;
    size_t scratch_bytes; /* a thread's */
};

/* A thread's work and memory. */
struct share {
    size_t row0, panels;
    size_t begin, end; /* the span */
    double *e;         /* panels of (columns, ACROSS) */
    double *targets;   /* panels of (span, ACROSS) */
    double *weights;   /* (span, ACROSS), of the panel at hand */
    float *moved;      /* (ACROSS, span): rows of it, in f32 */
    int8_t *codes;     /* (span, ACROSS) */
    double weighted[ACROSS * PANELS_MAX], squares[ACROSS * PANELS_MAX]; /* of the errors */
};

static size_t share_bytes(const struct walk *k, size_t panels)
{
    size_t doubles = panels * (k->g->columns + k->span) + k->span;
    size_t bytes = ACROSS * (doubles * sizeof(double) + k->span * (sizeof(float) + 1));
    return (bytes + 63) / 64 * 64;
}

static struct share take_share(const struct walk *k, size_t index, unsigned thread)
{
    struct share s = {.row0 = index * k->panels * ACROSS};
    size_t rows = MIN(k->panels * ACROSS, k->grid->rows - s.row0);
    s.panels = (rows + ACROSS - 1) / ACROSS;
    s.e = (double *)(void *)(k->scratch + thread * k->scratch_bytes);
    s.targets = s.e + k->panels * k->g->columns * ACROSS;
    s.weights = s.targets + k->panels * k->span * ACROSS;
    s.moved = (float *)(void *)(s.weights + k->span * ACROSS);
    s.codes = (int8_t *)(s.moved + k->span * ACROSS);
    return s;
}

/* Rows of the matrix that panel `p` holds. */
static size_t panel_rows(const struct walk *k, const struct share *s, size_t p)
{
    return MIN((size_t)ACROSS, k->grid->rows - s->row0 - p * ACROSS);
}

/* to (span, ACROSS): weights of panel p, +0 beyond the last row. */
static void load_weights(const struct walk *k, const struct share *s, size_t p, double *to)
{
    size_t rows = panel_rows(k, s, p);
    memset(to, 0, (s->end - s->begin) * ACROSS * sizeof(*to));
    for (size_t r = 0; r < rows; r++) {
        const float *from = k->values + (s->row0 + p * ACROSS + r) * k->g->columns;
        for (size_t j = s->begin; j < s->end; j++)
            to[(j - s->begin) * ACROSS + r] = (double)from[k->g->places[j]];
    }
}

/* c (m, ACROSS) -= columns [k0, k1) of rows [j, j + m) of R^T times E; the rows are of one panel.
 */
static void subtract(const struct walk *k, size_t j, size_t m, size_t k0, size_t k1,
                     const double *e, double *c)
{
    k->lanes->subtract(&(struct lanes_f64_product){.m = m,
                                                   .n = ACROSS,
                                                   .k = k1 - k0,
                                                   .a = gptq_walk_row(k->g, j) + k0 * GPTQ_DOWN,
                                                   .a_row = GPTQ_DOWN,
                                                   .b = e + k0 * ACROSS,
                                                   .b_row = ACROSS,
                                                   .c = c,
                                                   .c_row = ACROSS});
}

/* Where the piece of [j, end) that lies in one panel of R^T ends. */
static size_t piece_end(size_t j, size_t end)
{
    return MIN((j / GPTQ_DOWN + 1) * GPTQ_DOWN, end);
}

static void begin_span(const struct walk *k, struct share *s)
{
    for (size_t p = 0; p < s->panels; p++)
        load_weights(k, s, p, s->targets + p * k->span * ACROSS);
    for (size_t k0 = 0; k0 < s->begin; k0 += DEPTH) {
        size_t k1 = MIN(k0 + DEPTH, s->begin);
        for (size_t p = 0; p < s->panels; p++) {
            const double *e = s->e + p * k->g->columns * ACROSS;
            double *targets = s->targets + p * k->span * ACROSS;
            for (size_t j = s->begin, next; j < s->end; j = next) {
                next = piece_end(j, s->end);
                subtract(k, j, next - j, k0, k1, e, targets + (j - s->begin) * ACROSS);
            }
        }
    }
}

/* ---- a span of one panel ---- */

/* One column of complete targets: rounds and writes down the differences. */
static void round_column(const struct walk *k, struct share *s, size_t p, size_t j,
                         const double *target, double *e)
{
    const struct grid *grid = k->grid;
    size_t column = k->g->places[j], rows = panel_rows(k, s, p);
    size_t across = column / grid->cell_columns;
    const double *weights = s->weights + (j - s->begin) * ACROSS;
    int8_t *codes = s->codes + (j - s->begin) * ACROSS;
    for (size_t r = 0; r < rows; r++) {
        size_t at = (s->row0 + p * ACROSS + r) / grid->cell_rows * grid->across + across;
        struct grid_cell cell = {grid->scales[at], grid->zeros[at]};
        int code = grid_cell_code(&grid->scheme, cell, (float)target[r]);
        double value = (double)grid_cell_value(cell, code), off = value - target[r];
        codes[r] = (int8_t)code;
        e[r] = value - weights[r];
        s->weighted[p * ACROSS + r] += off * off * k->g->diagonal[j];
        s->squares[p * ACROSS + r] += e[r] * e[r];
    }
    for (size_t r = rows; r < ACROSS; r++)
        e[r] = 0;
}

/* One column of complete targets, not rounded: E is how far the weights moved. */
static void move_column(struct share *s, size_t j, const double *target, double *e)
{
    const double *weights = s->weights + (j - s->begin) * ACROSS;
    for (size_t r = 0; r < ACROSS; r++)
        e[r] = target[r] - weights[r];
}

/* Columns [begin, end) of the span of panel p. */
static void walk_columns(const struct walk *k, struct share *s, size_t p, size_t begin, size_t end,
                         bool round)
{
    double *e = s->e + p * k->g->columns * ACROSS;
    const double *targets = s->targets + p * k->span * ACROSS;
    for (size_t j0 = begin, j1; j0 < end; j0 = j1) {
        double piece[GPTQ_DOWN * ACROSS];
        j1 = piece_end(j0, end);
        memcpy(piece, targets + (j0 - s->begin) * ACROSS, (j1 - j0) * ACROSS * sizeof(*piece));
        subtract(k, j0, j1 - j0, s->begin, j0, e, piece);
        for (size_t j = j0; j < j1; j++) {
            const double *target = piece + (j - j0) * ACROSS;
            if (round)
                round_column(k, s, p, j, target, e + j * ACROSS);
            else
                move_column(s, j, target, e + j * ACROSS);
            if (j + 1 < j1)
                subtract(k, j + 1, j1 - j - 1, j, j + 1, e, piece + (j + 1 - j0) * ACROSS);
        }
    }
}

/* The cells of columns [begin, end), one group, of panel p: of the weights plus E. */
static void find_cells(const struct walk *k, struct share *s, size_t p, size_t begin, size_t end)
{
    const double *e = s->e + p * k->g->columns * ACROSS;
    size_t count = end - begin;
    for (size_t r = 0; r < panel_rows(k, s, p); r++) {
        for (size_t j = 0; j < count; j++)
            s->moved[j] = (float)(s->weights[(begin - s->begin + j) * ACROSS + r] +
                                  e[(begin + j) * ACROSS + r]);
        grid_set(k->grid, s->row0 + p * ACROSS + r, begin,
                 grid_cell_find(&k->grid->scheme, 1, count, count, s->moved,
                                k->importance != NULL ? k->importance + begin : NULL));
    }
}

static void store_span(const struct walk *k, const struct share *s, size_t p)
{
    for (size_t r = 0; r < panel_rows(k, s, p); r++) {
        size_t row = s->row0 + p * ACROSS + r;
        for (size_t j = s->begin; j < s->end; j++) {
            size_t column = k->g->places[j];
            int8_t code = s->codes[(j - s->begin) * ACROSS + r];
            k->codes[row * k->g->columns + column] = code;
            k->values[row * k->g->columns + column] =
                grid_cell_value(grid_at(k->grid, row, column), code);
        }
    }
}

static void finish_span(const struct walk *k, struct share *s, size_t p)
{
    load_weights(k, s, p, s->weights);
    size_t group = k->moving ? k->grid->cell_columns : s->end - s->begin;
    for (size_t begin = s->begin; begin < s->end; begin += group) {
        size_t end = begin + group;
        if (k->moving) {
            walk_columns(k, s, p, begin, end, false);
            find_cells(k, s, p, begin, end);
        }
        walk_columns(k, s, p, begin, end, true);
    }
    store_span(k, s, p);
}

static void walk_task(void *context, size_t index, unsigned thread)
{
    const struct walk *k = context;
    struct share s = take_share(k, index, thread);
    for (s.begin = 0; s.begin < k->g->columns; s.begin = s.end) {
        s.end = MIN(s.begin + k->span, k->g->columns);
        begin_span(k, &s);
        for (size_t p = 0; p < s.panels; p++)
            finish_span(k, &s, p);
    }
    for (size_t i = 0; i < MIN(s.panels * ACROSS, k->grid->rows - s.row0); i++) {
        double error = s.weighted[i] - k->g->added * s.squares[i];
        k->row_errors[s.row0 + i] = error > 0 ? error : 0;
    }
}

enum err gptq_walk(struct kernel *kernel, const struct gptq *g, struct grid *grid, bool moving,
                   const float *importance, int8_t *codes, float *values, double *row_errors)
{
    size_t threads = kernel_threads(kernel), panels = (grid->rows + ACROSS - 1) / ACROSS;
    size_t group = moving ? grid->cell_columns : 1;
    struct walk k = {.g = g,
                     .lanes = kernel_lanes_f64(kernel),
                     .grid = grid,
                     .moving = moving,
                     .importance = importance,
                     .codes = codes,
                     .values = values,
                     .row_errors = row_errors,
                     .span = MIN(MAX(SPAN / group * group, group), g->columns),
                     .panels = MAX(MIN((size_t)PANELS_MAX, panels / threads), (size_t)1)};
    k.scratch_bytes = share_bytes(&k, k.panels);
    k.scratch = mem_alloc_aligned(threads, k.scratch_bytes);
    if (k.scratch == NULL)
        return ERR_OUT_OF_MEMORY;
    kernel_parallel(kernel, (panels + k.panels - 1) / k.panels, walk_task, &k);
    mem_free(k.scratch);
    return ERR_OK;
}
