/* grid_search.h - the range of a grid's cell with the least error over its values.
 *
 * For grid.c; everyone else asks grid_cell_find.
 */
#ifndef WORKER_ENGINE_QUANT_GRID_SEARCH_H
#define WORKER_ENGINE_QUANT_GRID_SEARCH_H

#include "worker/engine/quant/grid.h"

/* As the arguments of grid_cell_find. */
struct grid_search {
    const struct grid_scheme *scheme; /* range is MSE or IMPORTANCE */
    size_t rows, columns, stride;
    const float *x;
    const float *importance; /* or NULL; MSE makes no use of it */
};

/* min <= 0 <= max: the range of the values. */
struct grid_cell grid_search_range(const struct grid_search *search, float min, float max);

#endif
