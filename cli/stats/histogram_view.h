/* histogram_view.h - a histogram of |x| in lines of text, with marks where ranges would end. */
#ifndef CLI_STATS_HISTOGRAM_VIEW_H
#define CLI_STATS_HISTOGRAM_VIEW_H

#include <stdio.h>

#include "cli/render/style.h"
#include "common/base/error.h"
#include "common/calibration/histogram.h"

enum { HISTOGRAM_VIEW_ROWS = 24, HISTOGRAM_VIEW_ROWS_MAX = 128, HISTOGRAM_VIEW_WIDTH = 48 };

struct histogram_view_mark {
    const char *name;
    double value; /* |x|; NaN: no mark */
    bool is_chosen;
};

/* Counts of |x| of the first channel, over equal steps from 0 to the largest that was seen. */
struct histogram_view {
    double step;
    uint64_t counts[HISTOGRAM_VIEW_ROWS_MAX];
    size_t rows; /* in use, 0: nothing was counted */
};

/* At most `rows_max` rows, up to HISTOGRAM_VIEW_ROWS_MAX. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err histogram_view_init(struct histogram_view *view, const struct histogram *h,
                                        size_t rows_max);

/* Bars grow with the logarithm of the count, so that single outliers are seen. What lies beyond the
 * chosen mark is set apart. */
void histogram_view_print(const struct histogram_view *view,
                          const struct histogram_view_mark *marks, size_t mark_count,
                          const struct style *style, FILE *out);

#endif
