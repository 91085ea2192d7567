/* range_cost.c - running sums first, then a window by its levels. */
#include "common/calibration/range_cost.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/scalar.h"

/* ---- divergence ---- */

static double times_log(double mass)
{
    return mass > 0.0 ? mass * scalar_log(mass) : 0.0;
}

enum err range_cost_entropy_init(struct range_cost_entropy *cost, const struct range_density *d,
                                 size_t levels)
{
    const size_t bins = 2 * d->side, step = d->step, zero = d->side;
    struct range_cost_entropy c = {.density = d, .levels = levels};
    c.mass = mem_alloc(4 * bins + 3, sizeof *c.mass);
    if (c.mass == NULL)
        return ERR_OUT_OF_MEMORY;
    c.sums = c.mass + bins;
    c.logs = c.sums + bins + 1;
    c.occupied = c.logs + bins + 1;
    memcpy(c.mass, d->mass, bins * sizeof *c.mass);
    memcpy(c.mass + zero, d->mass + zero + step, step * sizeof *c.mass);
    memcpy(c.mass + zero - step, d->mass + zero - 2 * step, step * sizeof *c.mass);
    for (size_t i = 0; i < bins; i++) {
        c.sums[i + 1] = c.sums[i] + c.mass[i];
        c.logs[i + 1] = c.logs[i] + times_log(c.mass[i]);
        c.occupied[i + 1] = c.occupied[i] + (c.mass[i] > 0.0 ? 1.0 : 0.0);
    }
    *cost = c;
    return ERR_OK;
}

void range_cost_entropy_fini(struct range_cost_entropy *cost)
{
    mem_free(cost->mass);
    *cost = (struct range_cost_entropy){0};
}

/* Log of the even mass of the bins [begin, end) that are not empty; 0 when all are. */
static double level_log(const struct range_cost_entropy *c, size_t begin, size_t end)
{
    double occupied = c->occupied[end] - c->occupied[begin];
    return occupied > 0.0 ? scalar_log((c->sums[end] - c->sums[begin]) / occupied) : 0.0;
}

/* What the mass moved to an edge bin of the window costs. The bin's level is [begin, end). */
static double edge_cost(const struct range_cost_entropy *c, size_t edge, double moved, size_t begin,
                        size_t end)
{
    if (moved <= 0.0)
        return 0.0;
    if (c->mass[edge] <= 0.0)
        return INFINITY;
    return times_log(c->mass[edge] + moved) - times_log(c->mass[edge]) -
           moved * level_log(c, begin, end);
}

double range_cost_entropy(void *cost, double low, double high)
{
    const struct range_cost_entropy *c = cost;
    const size_t side = c->density->side, levels = c->levels;
    const size_t a = side - (size_t)low, b = side + (size_t)high, count = b - a;
    const double total = c->sums[2 * side], inside = c->sums[b] - c->sums[a];
    if (count == 0 || inside <= 0.0)
        return INFINITY;
    double sum = c->logs[b] - c->logs[a];
    size_t begin = a, first_end = b, last_begin = a;
    for (size_t j = 0; j < levels;
         j++) { /* level j: bins k of the window with k * levels / count in j */
        size_t end = a + ((j + 1) * count + levels - 1) / levels;
        if (end > begin) {
            sum -= (c->sums[end] - c->sums[begin]) * level_log(c, begin, end);
            first_end = begin == a ? end : first_end;
            last_begin = begin;
        }
        begin = end;
    }
    const double below = c->sums[a], above = total - c->sums[b];
    if (count == 1)
        sum += edge_cost(c, a, below + above, a, b);
    else
        sum += edge_cost(c, a, below, a, first_end) + edge_cost(c, b - 1, above, last_begin, b);
    return sum / total - scalar_log(total) + scalar_log(inside);
}

/* ---- squared error ---- */

enum { MOMENTS = 3 };

enum err range_cost_square_init(struct range_cost_square *cost, const struct range_density *d,
                                const struct range_grid *grid)
{
    struct range_cost_square c = {.density = d, .grid = *grid};
    const double spread = d->step > 1 ? 1.0 / 12.0 : 0.0; /* of a bin's values about its middle */
    c.moments = mem_alloc(2 * d->side + 1, MOMENTS * sizeof *c.moments);
    if (c.moments == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < 2 * d->side; i++) {
        double middle = (double)i - (double)d->side + 0.5;
        const double *before = c.moments + MOMENTS * i;
        double *after = c.moments + MOMENTS * (i + 1);
        after[0] = before[0] + d->mass[i];
        after[1] = before[1] + d->mass[i] * middle;
        after[2] = before[2] + d->mass[i] * (middle * middle + spread);
    }
    *cost = c;
    return ERR_OK;
}

void range_cost_square_fini(struct range_cost_square *cost)
{
    mem_free(cost->moments);
    *cost = (struct range_cost_square){0};
}

/* Moments of all values below `position`: whole bins by their middles, or the even part of one. */
static void moments_below(const struct range_cost_square *c, double position, double out[MOMENTS])
{
    const struct range_density *d = c->density;
    const double bins = 2.0 * (double)d->side, from = position + (double)d->side;
    double bin = d->step > 1 ? floor(from) : ceil(from - 0.5);
    bin = fmin(fmax(bin, 0.0), bins);
    memcpy(out, c->moments + MOMENTS * (size_t)bin, MOMENTS * sizeof *out);
    double part = fmin(from - bin, 1.0);
    if (d->step == 1 || part <= 0.0 || bin == bins)
        return;
    double begin = bin - (double)d->side, mass = d->mass[(size_t)bin];
    out[0] += mass * part;
    out[1] += mass * part * (begin + part / 2.0);
    out[2] += mass * part * (begin * begin + begin * part + part * part / 3.0);
}

double range_cost_square(void *cost, double low, double high)
{
    const struct range_cost_square *c = cost;
    const int32_t qmin = range_grid_min(&c->grid), qmax = range_grid_max(&c->grid);
    const double levels = (double)(qmax - qmin);
    double scale = c->grid.is_symmetric ? fmax(low, high) / (levels / 2.0) : (low + high) / levels;
    double zero = c->grid.is_symmetric ? (double)(c->grid.is_signed ? 0 : 1 << (c->grid.bits - 1))
                                       : (double)qmin + rint(low / scale);
    double sum = 0.0, begin[MOMENTS] = {0}, end[MOMENTS];
    if (!(scale > 0.0))
        return INFINITY;
    for (int32_t code = qmin; code <= qmax; code++) {
        double value = ((double)code - zero) * scale;
        moments_below(c, code == qmax ? (double)c->density->side : value + 0.5 * scale, end);
        sum += (end[2] - begin[2]) - 2.0 * value * (end[1] - begin[1]) +
               value * value * (end[0] - begin[0]);
        memcpy(begin, end, sizeof begin);
    }
    return sum;
}
