/* site_range.h - ranges of a site, whole or column by column, from its statistics. */
#ifndef COMMON_CALIBRATION_SITE_RANGE_H
#define COMMON_CALIBRATION_SITE_RANGE_H

#include "common/calibration/range_search.h"
#include "common/calibration/statistics.h"

/* out: one range, or (columns) when `per_channel`. ERR_STATE: the site lacks what the method needs
 * (range_search_kinds), or nothing was seen; errors of range_search, after which
 * `out` holds nothing of use. */
MUST_CHECK enum err
site_range_find(const struct statistics *stats, const struct statistics_site *site,
                enum range_search_method method, const struct range_search_options *options,
                const struct range_grid *grid, bool per_channel, struct range *out);

#endif
