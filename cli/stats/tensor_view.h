/* tensor_view.h - one tensor and its input in detail: `qctl stats JOB TENSOR`. */
#ifndef CLI_STATS_TENSOR_VIEW_H
#define CLI_STATS_TENSOR_VIEW_H

#include "cli/stats/overview.h"
#include "common/calibration/range_search.h"
#include "common/recipe/recipe.h"

/* Where a method would end the range of the input, for signed symmetric 8 bits. */
struct tensor_view_clip {
    enum range_search_method method;
    double limit; /* |x|; NaN: it needs what was not recorded */
    double scale;
    struct range_grid_error error; /* with a histogram */
    bool is_chosen;                /* the recipe's observer, and it has a use for it */
};

struct tensor_view {
    const struct overview_row *row; /* borrowed */
    struct tensor_view_clip clips[RANGE_SEARCH_METHOD_COUNT];
    bool has_histogram;
};

/* The row that `name` names: its tensor or its input, with or without ".weight", or an end or part
 * that only one has. ERR_NOT_FOUND with the nearest, ERR_AMBIGUOUS with two of them;
 * ERR_OUT_OF_MEMORY. `stats` may be NULL; borrows `overview`. */
MUST_CHECK enum err tensor_view_find(const struct overview *overview, const struct recipe *recipe,
                                     const struct statistics *stats, const char *name,
                                     struct tensor_view *out, struct err_text *et);

/* ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err tensor_view_print(const struct tensor_view *view, const struct style *style,
                                      FILE *out);

/* Writes one object. */
void tensor_view_write(const struct tensor_view *view, struct json_write *w);

#endif
