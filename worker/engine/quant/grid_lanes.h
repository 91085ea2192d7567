/* grid_lanes.h - the loops of integer grids over runs of values, one table an instruction set.
 *
 * For grid.c and grid_search.c. Every table gives the same bits: an element is computed alone, and
 * sums and extremes are kept in 16 lanes that are folded by a fixed tree.
 */
#ifndef WORKER_ENGINE_QUANT_GRID_LANES_H
#define WORKER_ENGINE_QUANT_GRID_LANES_H

#include <stddef.h>
#include <stdint.h>

/* A cell in numbers, and what errors are counted in. */
struct grid_measure {
    float scale, zero, lowest, highest;
    float unit; /* errors are multiplied with it before they are raised to a power */
};

struct grid_lanes {
    /* Widens [*low, *high] by the values. */
    void (*range)(size_t count, const float *x, float *low, float *high);
    void (*encode)(const struct grid_measure *measure, size_t count, const float *x, int8_t *codes);
    /* Sums of |value - x|^2.4, |value - x|^3, importance * |value - x|^3. */
    float (*error_2_4)(const struct grid_measure *measure, size_t count, const float *x);
    float (*error_3)(const struct grid_measure *measure, size_t count, const float *x);
    float (*error_3_weighted)(const struct grid_measure *measure, size_t count, const float *x,
                              const float *importance);
};

extern const struct grid_lanes grid_lanes_portable;
#if defined(__x86_64__)
extern const struct grid_lanes grid_lanes_avx2;
extern const struct grid_lanes grid_lanes_avx512;
#endif

/* The best that this processor can run. */
const struct grid_lanes *grid_lanes_best(void);

#endif
