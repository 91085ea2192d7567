/* fake_quant_grid.h - a matrix that trains, on an integer grid: its cells, its codes, and where the
 * gradient ends.
 *
 * The gradient of rounding is taken to be 1 where a value lies within the grid and 0 where it is
 * clipped to the grid's first or last number. Internal to fake_quant.c.
 */
#ifndef WORKER_ENGINE_TRAIN_FAKE_QUANT_GRID_H
#define WORKER_ENGINE_TRAIN_FAKE_QUANT_GRID_H

#include "worker/engine/quant/grid.h"

struct fake_quant_grid {
    struct grid cells; /* owned */
    uint8_t *mask;     /* owned: a bit an element, 1: clipped; rows of whole bytes; or NULL */
    int8_t *codes;     /* owned: (threads, columns) */
};

/* The engine's type for such a matrix. */
enum dtype fake_quant_grid_dtype(const struct grid_scheme *scheme, size_t columns);

/* The scheme is of rows or of groups in rows. Errors of grid_init. */
MUST_CHECK enum err fake_quant_grid_init(struct fake_quant_grid *grid,
                                         const struct grid_scheme *scheme, size_t rows,
                                         size_t columns, bool masks, unsigned threads,
                                         struct err_text *et);
void fake_quant_grid_fini(struct fake_quant_grid *grid); /* a zeroed object is allowed */

/* Finds the cells of a row x, (columns), and writes its codes in `dtype`. Rows may be encoded at
 * the same time by different threads. */
void fake_quant_grid_encode(struct fake_quant_grid *grid, size_t row, const float *x,
                            unsigned thread, enum dtype dtype, void *to);

/* Sets the gradient of clipped elements to 0: (rows, columns), or turned (columns, rows). */
void fake_quant_grid_mask(const struct fake_quant_grid *grid, bool turned, float *gradient);

size_t fake_quant_grid_size_bytes(const struct fake_quant_grid *grid);

/* The same before there is one. */
size_t fake_quant_grid_estimate(const struct grid_scheme *scheme, size_t rows, size_t columns,
                                bool masks);

#endif
