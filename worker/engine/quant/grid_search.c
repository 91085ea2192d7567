/* grid_search.c - shrinking a range step by step.
 *
 * Errors count in steps of the full range's cell, so that small and large weights are the same to
 * the powers. A run of columns is summed by grid_lanes.h, runs one after another in
 * f64. An error that is not a number is no improvement.
 */
#include "worker/engine/quant/grid_search.h"

#include "worker/engine/quant/grid_lanes.h"

/* The candidates of a search: 1 - i / steps for i below `count`. */
struct shrink {
    unsigned count, steps;
};

static double error_of(const struct grid_search *s, struct grid_cell cell, float unit)
{
    const struct grid_measure m = {cell.scale, (float)cell.zero, (float)grid_code_min(s->scheme),
                                   (float)grid_code_max(s->scheme), unit};
    const struct grid_lanes *lanes = grid_lanes_best();
    double sum = 0;
    for (size_t row = 0; row < s->rows; row++) {
        const float *x = s->x + row * s->stride;
        if (s->scheme->range == GRID_MSE)
            sum += (double)lanes->error_2_4(&m, s->columns, x);
        else if (s->importance == NULL)
            sum += (double)lanes->error_3(&m, s->columns, x);
        else
            sum += (double)lanes->error_3_weighted(&m, s->columns, x, s->importance);
    }
    return sum;
}

struct grid_cell grid_search_range(const struct grid_search *search, float min, float max)
{
    static const struct shrink mse = {20, 100}, importance = {20, 20};
    struct shrink shrink = search->scheme->range == GRID_MSE ? mse : importance;
    struct grid_cell full = grid_cell_of_range(search->scheme, min, max), best = full;
    double least = error_of(search, full, 1.0f / full.scale);
    for (unsigned i = 1; i < shrink.count && least > 0; i++) {
        float p = (float)(1.0 - (double)i / shrink.steps);
        struct grid_cell cell = grid_cell_of_range(search->scheme, min * p, max * p);
        double error = error_of(search, cell, 1.0f / full.scale);
        if (error < least) {
            least = error;
            best = cell;
        }
    }
    return best;
}
