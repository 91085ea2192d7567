/* pace.c - differences of times, tokens and steps. */
#include "cli/plot/pace.h"

#include <math.h>

#include "common/base/check.h"

double pace_between(const struct log_point *before, const struct log_point *point)
{
    if (before == NULL || point->unix_ms <= before->unix_ms || point->tokens <= before->tokens)
        return (double)NAN;
    return (double)(point->tokens - before->tokens) * 1000 /
           (double)(point->unix_ms - before->unix_ms);
}

struct pace pace_of(const struct log_point *points, size_t count, uint64_t steps_total)
{
    const struct log_point *last = NULL, *first = NULL;
    struct pace pace = {.seconds_left = -1};
    size_t seen = 0;
    for (size_t i = count; i > 0; i--) {
        const struct log_point *point = &points[i - 1];
        if (point->is_eval || (last != NULL && point->variant != last->variant))
            continue;
        if (seen >= PACE_POINTS && last->unix_ms - first->unix_ms >= PACE_MS)
            break;
        last = last == NULL ? point : last;
        first = point;
        seen++;
    }
    if (seen < 2 || last->unix_ms <= first->unix_ms)
        return pace;
    double tokens_per_s = pace_between(first, last);
    pace.tokens_per_s = isfinite(tokens_per_s) ? tokens_per_s : 0;
    if (last->step > first->step && steps_total >= last->step)
        pace.seconds_left = (double)(last->unix_ms - first->unix_ms) / 1000 *
                            (double)(steps_total - last->step) / (double)(last->step - first->step);
    return pace;
}
