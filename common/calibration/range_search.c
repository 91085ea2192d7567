/* range_search.c - the table of methods; each makes a range of what it looks at. */
#include "common/calibration/range_search.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/calibration/moving_average.h"
#include "common/calibration/range_cost.h"
#include "common/calibration/range_cut.h"
#include "common/calibration/range_l2.h"
#include "common/calibration/statistics.h"

struct search {
    const struct range_search_options *options;
    const struct range_grid *grid;
    const struct range_search_input *input;
};

typedef enum err (*direct_f)(const struct search *s, struct range *out);
typedef enum err (*window_f)(const struct search *s, struct range_density *density,
                             struct range_window *out);

const struct range_search_options range_search_defaults = {99.99, MOVING_AVERAGE_CONSTANT};

/* ---- without a histogram ---- */

static enum err find_minmax(const struct search *s, struct range *out)
{
    if (!(fabsf(s->input->extremes.min) <= FLT_MAX && fabsf(s->input->extremes.max) <= FLT_MAX))
        return ERR_STATE;
    *out = s->input->extremes;
    return ERR_OK;
}

static enum err find_moving_average(const struct search *s, struct range *out)
{
    struct range r;
    if (s->input->records == NULL || s->input->record_count == 0)
        return ERR_STATE;
    moving_average_fold(s->options->constant, s->input->records, s->input->record_count,
                        s->input->record_stride, &r.min, &r.max);
    if (!(fabsf(r.min) <= FLT_MAX && fabsf(r.max) <= FLT_MAX))
        return ERR_NOT_FINITE;
    *out = r;
    return ERR_OK;
}

/* ---- from a histogram ---- */

/* The first fine bin up to whose end `share` of the values lie. */
static size_t quantile(const struct range_density *d, double share)
{
    double sum = 0.0;
    size_t i = 0;
    for (; i + 1 < 2 * d->side; i++) {
        sum += d->mass[i];
        if (sum >= share * d->total)
            break;
    }
    return i;
}

static enum err find_percentile(const struct search *s, struct range_density *d,
                                struct range_window *out)
{
    const double share = s->options->percentile / 100.0, side = (double)d->side;
    ASSERT(share >= 0.5 && share <= 1.0);
    if (s->grid->is_symmetric)
        range_density_fold(d);
    *out = (struct range_window){(double)(d->low * d->step), (double)(d->high * d->step)};
    if (share == 1.0)
        return ERR_OK;
    if (s->grid->is_symmetric) { /* a grid of zero alone would cut everything */
        out->high = MAX((double)quantile(d, share) - side, 1.0);
        return ERR_OK;
    }
    const double cut = (1.0 - share) / 2.0;
    out->high = (double)quantile(d, 1.0 - cut) - side;
    out->low = side - (double)quantile(d, cut);
    return ERR_OK;
}

/* 128 of 2048 bins. */
static size_t first_cut(const struct range_density *d)
{
    return MAX(d->side / d->step / 16, 1u);
}

static enum err find_entropy(const struct search *s, struct range_density *d,
                             struct range_window *out)
{
    struct range_cost_entropy cost;
    const struct range_cut cut = {range_cost_entropy, &cost, first_cut(d), 0.0, true};
    size_t levels = (size_t)1 << (s->grid->bits - (s->grid->is_symmetric ? 1 : 0));
    if (s->grid->is_symmetric)
        range_density_fold(d);
    TRY(range_cost_entropy_init(&cost, d, levels));
    *out = range_cut_ends(&cut, d);
    range_cost_entropy_fini(&cost);
    return ERR_OK;
}

static enum err find_mse(const struct search *s, struct range_density *d, struct range_window *out)
{
    struct range_cost_square cost;
    const bool even = s->grid->is_symmetric;
    const struct range_cut cut = {range_cost_square, &cost, even ? first_cut(d) : 0, 0.5, false};
    TRY(range_cost_square_init(&cost, d, s->grid));
    *out = even ? range_cut_even(&cut, d) : range_cut_ends(&cut, d);
    range_cost_square_fini(&cost);
    return ERR_OK;
}

static enum err find_l2(const struct search *s, struct range_density *d, struct range_window *out)
{
    return range_l2(d, (size_t)1 << s->grid->bits, out);
}

/* ---- the table ---- */

static const struct method {
    const char *name;
    unsigned kinds, channel_kinds;
    direct_f direct; /* one of the two */
    window_f window;
} methods[RANGE_SEARCH_METHOD_COUNT] = {
    [RANGE_SEARCH_MINMAX] = {"minmax", STATISTICS_MIN_MAX, STATISTICS_MIN_MAX, find_minmax, NULL},
    [RANGE_SEARCH_MOVING_AVERAGE] = {"moving_average", STATISTICS_AVERAGE,
                                     STATISTICS_AVERAGE_CHANNEL, find_moving_average, NULL},
    [RANGE_SEARCH_PERCENTILE] = {"percentile", STATISTICS_HISTOGRAM, STATISTICS_HISTOGRAM_CHANNEL,
                                 NULL, find_percentile},
    [RANGE_SEARCH_ENTROPY] = {"entropy", STATISTICS_HISTOGRAM, STATISTICS_HISTOGRAM_CHANNEL, NULL,
                              find_entropy},
    [RANGE_SEARCH_MSE] = {"mse", STATISTICS_HISTOGRAM, STATISTICS_HISTOGRAM_CHANNEL, NULL,
                          find_mse},
    [RANGE_SEARCH_L2] = {"l2", STATISTICS_HISTOGRAM, STATISTICS_HISTOGRAM_CHANNEL, NULL, find_l2},
};

const char *range_search_name(enum range_search_method method)
{
    return methods[method].name;
}

enum range_search_method range_search_find_method(struct text name)
{
    enum range_search_method i = 0;
    while (i < RANGE_SEARCH_METHOD_COUNT && !text_is(name, methods[i].name))
        i++;
    return i;
}

unsigned range_search_kinds(enum range_search_method method, bool per_channel)
{
    return per_channel ? methods[method].channel_kinds : methods[method].kinds;
}

static enum err find_window(const struct search *s, window_f find, struct range *out)
{
    struct range_density density;
    struct range_window window;
    if (s->input->histogram == NULL || s->input->histogram->channels == 0)
        return ERR_STATE;
    TRY(range_density_init(&density, s->input->histogram, s->input->channel));
    enum err err = find(s, &density, &window);
    if (err == ERR_OK) /* whole and half bins times powers of two: exact in f32 */
        *out = (struct range){(float)(-window.low * density.width),
                              (float)(window.high * density.width)};
    range_density_fini(&density);
    return err;
}

/* What the grid needs of the range: even for a symmetric one, and nothing beyond the extremes. */
static struct range fit(const struct range_grid *grid, struct range r, struct range extremes)
{
    if (grid->is_symmetric) {
        float largest = MAX(fabsf(extremes.min), fabsf(extremes.max));
        float c = MIN(MAX(fabsf(r.min), fabsf(r.max)), largest);
        return (struct range){-c, c};
    }
    r.min = MIN(MAX(r.min, extremes.min), extremes.max);
    r.max = MAX(MIN(r.max, extremes.max), r.min);
    return r;
}

enum err range_search(enum range_search_method method, const struct range_search_options *options,
                      const struct range_grid *grid, const struct range_search_input *input,
                      struct range *out)
{
    ASSERT(method < RANGE_SEARCH_METHOD_COUNT);
    const struct search s = {options, grid, input};
    const struct method *m = &methods[method];
    struct range found;
    TRY(m->direct != NULL ? m->direct(&s, &found) : find_window(&s, m->window, &found));
    *out = fit(grid, found, input->extremes);
    return ERR_OK;
}
