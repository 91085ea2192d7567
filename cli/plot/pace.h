/* pace.h - how fast a training goes, from the times of its log points.
 *
 * Refuses to know: clocks. What is told is as old as the last point.
 */
#ifndef CLI_PLOT_PACE_H
#define CLI_PLOT_PACE_H

#include <stddef.h>
#include <stdint.h>

#include "common/message/message.h"

enum { PACE_POINTS = 10, PACE_MS = 10000 };

struct pace {
    double tokens_per_s; /* 0: unknown */
    double seconds_left; /* negative: unknown */
};

/* Over the last training points of the variant that has the last of all, at least PACE_POINTS and
 * PACE_MS where there are as many; evaluations between them count as time. `steps_total` 0:
 * unknown. */
struct pace pace_of(const struct log_point *points, size_t count, uint64_t steps_total);

/* Tokens a second between two training points of one variant, NaN where that cannot be told: at the
 * first point, and where training went on after a break. */
double pace_between(const struct log_point *before, const struct log_point *point);

#endif
