/* range_density.c - counts spread over fine bins: divided by a power of two, so exact to 2^53. */
#include "common/calibration/range_density.h"

#include <math.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

static double count_at(const struct histogram *h, size_t channel, size_t bin, bool above)
{
    const uint64_t *counts = h->counts + channel * histogram_width(h);
    if (!h->is_signed)
        return above ? (double)counts[bin] : 0.0;
    return (double)counts[above ? h->bins + bin : h->bins - 1 - bin];
}

/* Spreads one side; returns its bins in use. */
static size_t spread(struct range_density *d, const struct histogram *h, size_t channel, bool above)
{
    size_t used = 0;
    for (size_t bin = 0; bin < h->bins; bin++) {
        double count = count_at(h, channel, bin, above);
        if (count == 0.0)
            continue;
        used = bin + 1;
        d->total += count;
        for (size_t i = bin * d->step; i < (bin + 1) * d->step; i++)
            d->mass[above ? d->side + i : d->side - 1 - i] = count / (double)d->step;
    }
    return used;
}

enum err range_density_init(struct range_density *density, const struct histogram *h,
                            size_t channel)
{
    struct range_density d = {.step = 1};
    while (h->bins * d.step < RANGE_DENSITY_BINS_MIN)
        d.step *= 2;
    d.side = h->bins * d.step;
    d.width = ldexp(1.0 / (double)d.step, h->exponents[channel]);
    d.mass = mem_alloc(2 * d.side, sizeof *d.mass);
    if (d.mass == NULL)
        return ERR_OUT_OF_MEMORY;
    d.low = spread(&d, h, channel, false);
    d.high = spread(&d, h, channel, true);
    if (d.total == 0.0) {
        mem_free(d.mass);
        return ERR_STATE;
    }
    *density = d;
    return ERR_OK;
}

void range_density_fini(struct range_density *density)
{
    mem_free(density->mass);
    *density = (struct range_density){0};
}

void range_density_fold(struct range_density *d)
{
    for (size_t i = 0; i < d->side; i++) {
        d->mass[d->side + i] += d->mass[d->side - 1 - i];
        d->mass[d->side - 1 - i] = 0.0;
    }
    d->high = MAX(d->low, d->high);
    d->low = 0;
}
