/* range_cost.h - what a window costs, by divergence and by squared error; for this folder only.
 *
 * Both answer in a time of the levels alone, from sums over the bins up to each.
 */
#ifndef COMMON_CALIBRATION_RANGE_COST_H
#define COMMON_CALIBRATION_RANGE_COST_H

#include "common/calibration/range_density.h"
#include "common/calibration/range_grid.h"

/* KL divergence of the values, those outside moved to the edges of the window, from the values
 * inside, each level's spread evenly over its bins that are not empty. */
struct range_cost_entropy {
    const struct range_density *density; /* borrowed */
    size_t levels;
    double *mass;     /* owned: [2 * side], the bins at zero like their neighbours */
    double *sums;     /* owned: [2 * side + 1] of mass */
    double *logs;     /* owned: [2 * side + 1] of mass * log(mass) */
    double *occupied; /* owned: [2 * side + 1] bins that are not empty */
};

MUST_CHECK enum err range_cost_entropy_init(struct range_cost_entropy *cost,
                                            const struct range_density *density, size_t levels);
void range_cost_entropy_fini(struct range_cost_entropy *cost);

/* A range_cut_f; the context is a struct range_cost_entropy. low and high are whole. */
double range_cost_entropy(void *cost, double low, double high);

/* Squared error of the bins' middles on `grid`, in fine bins, times the values. */
struct range_cost_square {
    const struct range_density *density; /* borrowed */
    struct range_grid grid;
    double *moments; /* owned: [2 * side + 1, 3] of mass, mass * middle, mass * middle^2 */
};

MUST_CHECK enum err range_cost_square_init(struct range_cost_square *cost,
                                           const struct range_density *density,
                                           const struct range_grid *grid);
void range_cost_square_fini(struct range_cost_square *cost);

/* A range_cut_f; the context is a struct range_cost_square. */
double range_cost_square(void *cost, double low, double high);

#endif
