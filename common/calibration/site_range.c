/* site_range.c - what a method looks at, picked from a site. */
#include "common/calibration/site_range.h"

#include <math.h>

static struct range_search_input whole(const struct statistics *stats,
                                       const struct statistics_site *site)
{
    struct range_search_input input = {
        .extremes = {-INFINITY, INFINITY},
        .records = site->average,
        .record_count = (size_t)(stats->rows.end - stats->rows.begin),
        .record_stride = 1,
        .histogram = &site->histogram,
    };
    struct range extremes;
    if (statistics_range(site, &extremes.min, &extremes.max))
        input.extremes = extremes;
    return input;
}

static struct range_search_input column(const struct statistics *stats,
                                        const struct statistics_site *site, size_t c)
{
    struct range_search_input input = {
        .extremes = {-INFINITY, INFINITY},
        .record_count = (size_t)(stats->rows.end - stats->rows.begin),
        .record_stride = site->columns,
        .histogram = &site->histogram_channel,
        .channel = c,
    };
    if (site->average_channel != NULL)
        input.records = site->average_channel + 2 * c;
    if (site->min != NULL)
        input.extremes = (struct range){site->min[c], site->max[c]};
    return input;
}

enum err site_range_find(const struct statistics *stats, const struct statistics_site *site,
                         enum range_search_method method,
                         const struct range_search_options *options, const struct range_grid *grid,
                         bool per_channel, struct range *out)
{
    unsigned needed = range_search_kinds(method, per_channel);
    if ((site->kinds & needed) != needed || site->tokens == 0)
        return ERR_STATE;
    for (size_t c = 0; c < (per_channel ? site->columns : 1); c++) {
        struct range_search_input input = per_channel ? column(stats, site, c) : whole(stats, site);
        TRY(range_search(method, options, grid, &input, &out[c]));
    }
    return ERR_OK;
}
