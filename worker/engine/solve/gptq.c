/* gptq.c - makes a Gram matrix ready, and what surrounds the rounding of one matrix.
 *
 * The upper triangular R of G = R D R^T comes from a Cholesky factor from the last column up: with
 * J, which turns the order of rows or columns round, J G J = U^T U gives G = (J U J)^T (J U J), and
 * M = J U J is lower triangular. D_j = M_jj^2 and R_kj = M_jk / M_jj.
 */
#include "worker/engine/solve/gptq.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/solve/cholesky.h"
#include "worker/engine/solve/gptq_walk.h"

/* ---- the factor ---- */

struct preparation {
    struct gptq *g;
    const double *gram;
    double *a; /* J G J, damped, then U */
    double mean;
};

static bool is_finite(double value)
{
    return value - value == 0;
}

/* Finds dead columns and the mean diagonal of the others, 1 without any. */
static enum err look_at_gram(struct gptq *g, const double *gram, double *mean)
{
    size_t n = g->columns;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double finite = 0;
        for (size_t j = 0; j <= i; j++)
            finite += gram[i * n + j] - gram[i * n + j]; /* 0, or NaN */
        if (!is_finite(finite) || gram[i * n + i] < 0)
            return ERR_NOT_FINITE;
        g->dead[i] = gram[i * n + i] == 0;
        g->dead_count += g->dead[i];
        sum += gram[i * n + i];
    }
    *mean = g->dead_count < n ? sum / (double)(n - g->dead_count) : 1;
    return is_finite(*mean) ? ERR_OK : ERR_NOT_FINITE;
}

struct place {
    double diagonal;
    uint32_t column;
};

static int largest_first(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->diagonal != y->diagonal)
        return x->diagonal < y->diagonal ? 1 : -1;
    return (x->column > y->column) - (x->column < y->column);
}

static enum err order_columns(struct gptq *g, const double *gram)
{
    size_t n = g->columns;
    for (size_t i = 0; i < n; i++)
        g->places[i] = (uint32_t)i;
    if (g->order == GPTQ_ORDER_COLUMNS)
        return ERR_OK;
    struct place *places = mem_alloc(n, sizeof(*places));
    if (places == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++)
        places[i] = (struct place){gram[i * n + i], (uint32_t)i};
    qsort(places, n, sizeof(*places), largest_first);
    for (size_t i = 0; i < n; i++)
        g->places[i] = places[i].column;
    mem_free(places);
    return ERR_OK;
}

/* Row `index` of J G J on and right of its diagonal. */
static void turn_task(void *context, size_t index, unsigned thread)
{
    const struct preparation *p = context;
    const struct gptq *g = p->g;
    size_t n = g->columns, row = n - 1 - index, i = g->places[row];
    double *to = p->a + index * n;
    (void)thread;
    for (size_t j = 0; j <= row; j++) {
        size_t k = g->places[j];
        double value = i > k ? p->gram[i * n + k] : p->gram[k * n + i];
        to[n - 1 - j] = g->dead[i] || g->dead[k] ? 0 : value;
    }
    to[index] = (g->dead[i] ? p->mean : to[index]) + g->added;
}

/* One panel of R^T and its part of D. */
static void panel_task(void *context, size_t index, unsigned thread)
{
    const struct preparation *p = context;
    struct gptq *g = p->g;
    size_t n = g->columns, first = index * GPTQ_DOWN;
    double *panel = g->panels + gptq_walk_before(first);
    (void)thread;
    for (size_t j = first; j < MIN(first + GPTQ_DOWN, n); j++) {
        const double *last = p->a + (n - 1 - j) * n + n - 1;
        double pivot = last[-(ptrdiff_t)j];
        g->diagonal[j] = pivot * pivot;
        for (size_t k = 0; k < j; k++)
            panel[k * GPTQ_DOWN + j - first] = last[-(ptrdiff_t)k] / pivot;
    }
}

/* Factors with growing damping until one succeeds. */
static enum err factor_damped(struct kernel *kernel, struct preparation *p, double damp)
{
    enum { TRIES = 3 };
    struct gptq *g = p->g;
    enum err err = ERR_NOT_POSITIVE;
    for (int i = 0; i < TRIES && err == ERR_NOT_POSITIVE; i++) {
        g->damp = i == 0 ? damp : g->damp > 0 ? g->damp * 10 : 0.01;
        g->added = g->damp * p->mean;
        kernel_parallel(kernel, g->columns, turn_task, p);
        err = cholesky_factor(kernel, g->columns, p->a, NULL);
    }
    return err;
}

enum err gptq_create(struct kernel *kernel, const struct gptq_options *options, size_t columns,
                     const double *gram, struct gptq **out)
{
    ASSERT(columns > 0 && columns <= UINT32_MAX && options->damp >= 0);
    size_t whole = (columns + GPTQ_DOWN - 1) / GPTQ_DOWN * GPTQ_DOWN, elements;
    enum err err = ERR_OK;
    struct gptq *g = mem_alloc(1, sizeof(*g));
    if (g == NULL || !check_mul(columns, columns, &elements)) {
        mem_free(g);
        return ERR_OUT_OF_MEMORY;
    }
    struct preparation p = {.g = g, .gram = gram};
    *g = (struct gptq){.columns = columns, .order = options->order};
    g->places = mem_alloc(columns, sizeof(*g->places));
    g->dead = mem_alloc(columns, sizeof(*g->dead));
    g->diagonal = mem_alloc(columns, sizeof(*g->diagonal));
    if (g->places == NULL || g->dead == NULL || g->diagonal == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    TRY_OUT(look_at_gram(g, gram, &p.mean));
    TRY_OUT(order_columns(g, gram));
    p.a = mem_alloc(elements, sizeof(*p.a));
    if (p.a == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    TRY_OUT(factor_damped(kernel, &p, options->damp));
    g->panels = mem_alloc_aligned(gptq_walk_before(whole), sizeof(*g->panels));
    if (g->panels == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    kernel_parallel(kernel, whole / GPTQ_DOWN, panel_task, &p);
    *out = g;
    g = NULL;
out:
    mem_free(p.a);
    gptq_destroy(&g);
    return err;
}

void gptq_destroy(struct gptq **gptq)
{
    struct gptq *g = *gptq;
    if (g == NULL)
        return;
    mem_free(g->places);
    mem_free(g->dead);
    mem_free(g->diagonal);
    mem_free(g->panels);
    mem_free(g);
    *gptq = NULL;
}

double gptq_damp(const struct gptq *gptq)
{
    return gptq->damp;
}

size_t gptq_dead_count(const struct gptq *gptq)
{
    return gptq->dead_count;
}

/* ---- one matrix ---- */

struct find_call {
    struct grid *grid;
    const float *values, *importance;
};

static void find_task(void *context, size_t index, unsigned thread)
{
    const struct find_call *f = context;
    (void)thread;
    grid_find_line(f->grid, index, f->values, f->importance);
}

/* The weights, zeros where a column is dead. */
static void copy_weights(const struct gptq *g, size_t rows, const float *w, float *values)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < g->columns; j++)
            values[r * g->columns + j] = g->dead[j] ? 0 : w[r * g->columns + j];
}

enum err gptq_quantize(struct kernel *kernel, const struct gptq *gptq,
                       const struct grid_scheme *scheme, size_t rows, const float *w,
                       const float *importance, const char *name, struct err_text *et,
                       struct gptq_result *result)
{
    enum err err = ERR_OK;
    struct gptq_result r = {0};
    double *row_errors = NULL;
    /* A group as wide as the matrix starts before anything moved. */
    bool moving = scheme->strategy == GRID_GROUP && gptq->order == GPTQ_ORDER_COLUMNS &&
                  scheme->group_size < gptq->columns;
    TRY_OUT(grid_init(&r.grid, scheme, rows, gptq->columns, name, et));
    r.codes = mem_alloc(rows * gptq->columns, sizeof(*r.codes));
    r.values = mem_alloc(rows * gptq->columns, sizeof(*r.values));
    row_errors = mem_alloc(rows, sizeof(*row_errors));
    if (r.codes == NULL || r.values == NULL || row_errors == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    copy_weights(gptq, rows, w, r.values);
    if (!moving) {
        struct find_call find = {&r.grid, r.values, importance};
        kernel_parallel(kernel, r.grid.down, find_task, &find);
    }
    TRY_OUT(gptq_walk(kernel, gptq, &r.grid, moving, importance, r.codes, r.values, row_errors));
    for (size_t i = 0; i < rows; i++)
        r.error += row_errors[i];
    *result = r;
    r = (struct gptq_result){0};
out:
    mem_free(row_errors);
    gptq_result_fini(&r);
    return err;
}

void gptq_result_fini(struct gptq_result *result)
{
    grid_fini(&result->grid);
    mem_free(result->codes);
    mem_free(result->values);
    *result = (struct gptq_result){0};
}
