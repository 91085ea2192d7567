/* gptq_walk.h - the factor of a Gram matrix as GPTQ walks along it; for gptq.c only.
 *
 * Columns are numbered here in the order in which they are rounded. R^T, unit lower triangular,
 * lies in panels of DOWN of its rows: element (j, k), k < j, at panel(j / DOWN)[k * DOWN + j %
 * DOWN]. Panel p ends with k = DOWN * (p + 1) - 1, so that panels before it have DOWN^2 p (p + 1) /
 * 2 elements.
 */
#ifndef WORKER_ENGINE_SOLVE_GPTQ_WALK_H
#define WORKER_ENGINE_SOLVE_GPTQ_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/engine/kernel/lanes_f64.h"
#include "worker/engine/solve/gptq.h"

enum { GPTQ_DOWN = LANES_F64_ROWS };

struct gptq {
    size_t columns, dead_count;
    enum gptq_order order;
    double damp;      /* part of the mean diagonal */
    double added;     /* what was added to the diagonal */
    uint32_t *places; /* owned; (columns): the original column of each */
    bool *dead;       /* owned; (columns), by original column */
    double *panels;   /* owned */
    double *diagonal; /* owned; (columns): D */
};

/* Elements of all panels before that of row j; j = columns rounded up: of all. */
static inline size_t gptq_walk_before(size_t j)
{
    size_t p = j / GPTQ_DOWN;
    return (size_t)GPTQ_DOWN * GPTQ_DOWN * (p * (p + 1) / 2);
}

/* Element (j, 0). */
static inline const double *gptq_walk_row(const struct gptq *g, size_t j)
{
    return g->panels + gptq_walk_before(j) + j % GPTQ_DOWN;
}

/* Rounds all rows. values: (rows, columns) holds the weights, zeros in dead columns, and receives
 * what the codes say; grid: all cells found unless they are to be found on the way (`moving`).
 * row_errors: (rows). ERR_OUT_OF_MEMORY: values are as they were. */
MUST_CHECK enum err gptq_walk(struct kernel *kernel, const struct gptq *g, struct grid *grid,
                              bool moving, const float *importance, int8_t *codes, float *values,
                              double *row_errors);

#endif
