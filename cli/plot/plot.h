/* plot.h - lines over a common axis, before they are drawn: what there is, between which ends, with
 * which ticks.
 *
 * Values that are not finite, and on a logarithmic axis those that are not positive, leave a gap.
 * Refuses to know: jobs, terminals, pictures.
 */
#ifndef CLI_PLOT_PLOT_H
#define CLI_PLOT_PLOT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"

enum { PLOT_LINES_MAX = 192, PLOT_NAME_BYTES = 96, PLOT_TICKS_MAX = 16 };

struct plot_point {
    double x, y;
};

/* A line; its points ascend in x. */
struct plot_line {
    char name[PLOT_NAME_BYTES];
    const struct plot_point *points; /* borrowed */
    size_t count;
    const struct plot_point *raw; /* borrowed: before smoothing, as many; or NULL */
};

struct plot {
    const char *title;    /* borrowed */
    const char *subtitle; /* borrowed, may be NULL */
    const char *x_title;  /* borrowed: "step" */
    struct plot_line lines[PLOT_LINES_MAX];
    size_t line_count;
    bool is_log;     /* the axis of y */
    bool x_is_whole; /* no ticks between whole numbers of x */
};

/* An axis from `low` to `high`; at least two ticks unless it is a single value. */
struct plot_axis {
    double low, high;
    bool is_log;
    double ticks[PLOT_TICKS_MAX];
    size_t tick_count;
    double step; /* between ticks of a linear axis; 0: logarithmic */
};

/* The axes of all lines, with at most so many ticks (cut to PLOT_TICKS_MAX). ERR_STATE when no
 * point can be drawn: there is none, or (in words) none that a logarithmic axis has a place for. */
MUST_CHECK enum err plot_axes(const struct plot *plot, size_t x_ticks, size_t y_ticks,
                              struct plot_axis *x, struct plot_axis *y, struct err_text *et);

/* Place of a value between the ends, 0 to 1; NaN for one that has none. */
double plot_axis_place(const struct plot_axis *axis, double value);

/* A tick as text, with the digits that its step needs: "0.25", "1.5k", "2e-05". Returns `out`. */
enum { PLOT_LABEL_BYTES = 24 };
const char *plot_axis_label(const struct plot_axis *axis, double value, char out[PLOT_LABEL_BYTES]);

/* Means that decay by `weight` (0 to 1, 1 excluded) a point and begin without a bias; what is not
 * finite stays and counts for nothing. `out` has room for `count`. */
void plot_smooth(const struct plot_point *points, size_t count, double weight,
                 struct plot_point *out);

/* For each of `columns` columns of the axis the first, least, largest and last point, in their
 * order: a line through them looks like one through all. `out` has room for 4 * columns + 4 points.
 * Gaps stay as points whose y is NaN. Returns how many. */
size_t plot_thin(const struct plot_point *points, size_t count, const struct plot_axis *x,
                 size_t columns, struct plot_point *out);

#endif
