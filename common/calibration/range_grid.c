/* range_grid.c - the rule, and what it costs. */
#include "common/calibration/range_grid.h"

#include <float.h>
#include <math.h>

#include "common/base/check.h"

int32_t range_grid_min(const struct range_grid *grid)
{
    ASSERT(grid->bits >= RANGE_GRID_BITS_MIN && grid->bits <= RANGE_GRID_BITS_MAX);
    return grid->is_signed ? -(1 << (grid->bits - 1)) : 0;
}

int32_t range_grid_max(const struct range_grid *grid)
{
    return range_grid_min(grid) + (1 << grid->bits) - 1;
}

static struct range_scale symmetric(const struct range_grid *grid, struct range range)
{
    float levels = (float)(range_grid_max(grid) - range_grid_min(grid));
    float largest = MAX(fabsf(range.min), fabsf(range.max));
    int32_t zero = grid->is_signed ? 0 : 1 << (grid->bits - 1);
    return (struct range_scale){MAX(largest / (levels / 2.0f), FLT_EPSILON), zero};
}

struct range_scale range_grid_scale(const struct range_grid *grid, struct range range)
{
    int32_t qmin = range_grid_min(grid), qmax = range_grid_max(grid);
    float low = MIN(range.min, 0.0f), high = MAX(range.max, 0.0f);
    ASSERT(range.min <= range.max && low >= -FLT_MAX && high <= FLT_MAX);
    if (grid->is_symmetric)
        return symmetric(grid, range);
    float levels = (float)(qmax - qmin), width = high - low;
    float scale = width <= FLT_MAX ? width / levels : high / levels - low / levels;
    scale = MAX(scale, FLT_EPSILON);
    int32_t zero = qmin - (int32_t)rintf(low / scale);
    return (struct range_scale){scale, MIN(MAX(zero, qmin), qmax)};
}

struct range_grid_error range_grid_error(const struct range_grid *grid, struct range_scale scale,
                                         const struct histogram *h, size_t channel)
{
    const double qmin = range_grid_min(grid), qmax = range_grid_max(grid);
    const uint64_t *counts = h->counts + channel * histogram_width(h);
    const double width = ldexp(1.0, h->exponents[channel]);
    double squares = 0.0, clipped = 0.0, total = 0.0;
    for (size_t i = 0; i < histogram_width(h); i++) {
        if (counts[i] == 0)
            continue;
        double count = (double)counts[i];
        double value = histogram_edge(h, channel, i) + 0.5 * width;
        double code = rint(value / (double)scale.scale) + scale.zero;
        double within = fmin(fmax(code, qmin), qmax);
        double error = (within - scale.zero) * (double)scale.scale - value;
        squares += count * error * error;
        clipped += within == code ? 0.0 : count;
        total += count;
    }
    if (total == 0.0)
        return (struct range_grid_error){0.0, 0.0};
    return (struct range_grid_error){squares / total, clipped / total};
}
