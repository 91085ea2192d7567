/* range_density.h - a channel's counts as the searches want them; for this folder only.
 *
 * Positions are in fine bins from zero: value = position * width. A side has `side` fine bins;
 * fine bin i of [0, 2 * side) covers positions [i - side, i - side + 1). A histogram that has fewer
 * bins than RANGE_DENSITY_BINS_MIN a side is split evenly: `step` fine bins are one of its own.
 */
#ifndef COMMON_CALIBRATION_RANGE_DENSITY_H
#define COMMON_CALIBRATION_RANGE_DENSITY_H

#include <stddef.h>

#include "common/calibration/histogram.h"

enum { RANGE_DENSITY_BINS_MIN = 1024, RANGE_DENSITY_BINS_MAX = HISTOGRAM_BINS_MAX };

struct range_density {
    size_t side; /* fine bins of one sign */
    size_t step; /* fine bins of a bin */
    double width;
    size_t low, high; /* bins in use on the side below and above zero: up to the outermost count */
    double total;
    double *mass; /* owned: [2 * side] */
};

/* ERR_STATE: nothing was counted; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err range_density_init(struct range_density *density, const struct histogram *h,
                                       size_t channel);
void range_density_fini(struct range_density *density);

/* The same of |x|: all of it above zero. */
void range_density_fold(struct range_density *density);

#endif
