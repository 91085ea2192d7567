/* range_l2.c - both ends walk inward by quantiles while the error falls. */
#include "common/calibration/range_l2.h"

#include <math.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

static const double quantile_step = 1e-5;

struct walk {
    const double *mass; /* [bins] from the first bin in use to the last */
    const double *sums; /* [bins]: of mass up to and with each bin */
    size_t bins, levels;
};

static double clamp(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

/* Integral of x^2 from begin to end. */
static double integral(double begin, double end)
{
    return (end * end * end - begin * begin * begin) / 3.0;
}

/* Squared error of `levels` even levels over bins [first, last], with values spread evenly within
 * bins; values outside go to the outermost levels. In bins. */
static double error_of(const struct walk *w, size_t first, size_t last)
{
    const double width = (double)(last - first + 1) / (double)w->levels;
    const double top = (double)w->levels - 1.0, half = width / 2.0;
    double sum = 0.0;
    for (size_t i = 0; i < w->bins; i++) {
        if (w->mass[i] == 0.0)
            continue;
        double begin = (double)i - (double)first, end = begin + 1.0;
        double level_begin = clamp(floor(begin / width), 0.0, top);
        double level_end = clamp(floor(end / width), 0.0, top);
        double part = integral(begin - (level_begin + 0.5) * width, half) +
                      (level_end - level_begin - 1.0) * integral(-half, half) +
                      integral(-half, end - (level_end + 0.5) * width);
        sum += w->mass[i] * part;
    }
    return sum;
}

static void search(const struct walk *w, size_t *first, size_t *last)
{
    const double total = w->sums[w->bins - 1];
    double alpha = 0.0, beta = 1.0, least = INFINITY;
    size_t start = 0, end = w->bins - 1;
    while (alpha < beta) {
        double next_alpha = alpha + quantile_step, next_beta = beta - quantile_step;
        size_t l = start, r = end, next_start = start, next_end = end;
        while (l < end && w->sums[l] < next_alpha * total)
            l++;
        while (r > start && w->sums[r] > next_beta * total)
            r--;
        if (l - start > end - r) {
            next_start = l;
            alpha = next_alpha;
        } else {
            next_end = r;
            beta = next_beta;
        }
        if (next_start == start && next_end == end)
            continue;
        double error = error_of(w, next_start, next_end);
        if (error > least)
            break;
        least = error;
        start = next_start;
        end = next_end;
    }
    *first = start;
    *last = end;
}

enum err range_l2(const struct range_density *d, size_t levels, struct range_window *out)
{
    /* The first fine bin in use: a side without values leaves empty bins beside zero. */
    size_t begin = d->side - d->low * d->step, end = d->side + d->high * d->step;
    while (d->mass[begin] == 0.0)
        begin += d->step;
    while (d->mass[end - 1] == 0.0)
        end -= d->step;
    struct walk w = {.mass = d->mass + begin, .bins = end - begin, .levels = levels};
    double *sums = mem_alloc(w.bins, sizeof *sums);
    if (sums == NULL)
        return ERR_OUT_OF_MEMORY;
    double sum = 0.0;
    for (size_t i = 0; i < w.bins; i++)
        sums[i] = sum += w.mass[i];
    w.sums = sums;
    size_t first, last;
    search(&w, &first, &last);
    out->low = (double)d->side - (double)(begin + first);
    out->high = (double)(begin + last + 1) - (double)d->side;
    mem_free(sums);
    return ERR_OK;
}
