/* log_filter.c - see log_filter.h. */
#include "cli/plot/log_filter.h"

#include "common/base/check.h"

bool log_filter_takes(struct log_filter *filter, const struct log_point *point,
                      uint64_t steps_total)
{
    if (point->variant >= LIMIT_VARIANTS)
        return false;
    uint64_t part = MAX(steps_total / LOG_FILTER_PARTS, (uint64_t)1);
    uint64_t step = filter->lines[point->variant][point->is_eval].step;
    uint64_t unix_ms = filter->lines[point->variant][point->is_eval].unix_ms;
    bool is_begun = filter->lines[point->variant][point->is_eval].is_begun;
    bool is_due = steps_total > 0 && point->step >= step + part;
    bool is_late = point->unix_ms >= unix_ms + LOG_FILTER_EVERY_MS;
    bool is_last = steps_total > 0 && point->step >= steps_total;
    if (is_begun && !is_due && !is_late && !is_last)
        return false;
    filter->lines[point->variant][point->is_eval].step = point->step;
    filter->lines[point->variant][point->is_eval].unix_ms = point->unix_ms;
    filter->lines[point->variant][point->is_eval].is_begun = true;
    return true;
}
