/* graph_path.c - one pass over the stages in their order, which edges follow. */
#include "cli/graph/graph_path.h"

#include <stdlib.h>

#include "common/base/check.h"
#include "common/message/state.h"

enum { NONE = UINT32_MAX };

static int compare_seconds(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The time in the middle of those that stages of the kind took, 0: none did. */
static double median_of(const struct stage_row *rows, uint32_t count, uint32_t kind)
{
    double seconds[LIMIT_JOB_STAGES];
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].kind == kind && rows[i].state == STAGE_DONE && rows[i].seconds > 0)
            seconds[found++] = rows[i].seconds;
    }
    qsort(seconds, found, sizeof seconds[0], compare_seconds);
    return found == 0 ? 0 : seconds[found / 2];
}

static struct graph_step step_of(const struct stage_row *rows, uint32_t count, uint32_t index)
{
    const struct stage_row *row = &rows[index];
    double median = row->state == STAGE_DONE ? 0 : median_of(rows, count, row->kind);
    if (row->state == STAGE_DONE)
        return (struct graph_step){index, row->seconds,
                                   row->seconds > 0 ? GRAPH_MEASURED : GRAPH_UNKNOWN};
    if (row->state == STAGE_RUNNING && row->done > 0 && row->total >= row->done)
        return (struct graph_step){index, row->seconds * (double)row->total / (double)row->done,
                                   GRAPH_ESTIMATED};
    if (median > 0)
        return (struct graph_step){index, MAX(median, row->seconds), GRAPH_ESTIMATED};
    return (struct graph_step){index, row->seconds, GRAPH_UNKNOWN};
}

uint32_t graph_path(const struct stage_row *rows, uint32_t count,
                    struct graph_step steps[LIMIT_JOB_STAGES])
{
    double ends[LIMIT_JOB_STAGES];
    uint32_t before[LIMIT_JOB_STAGES], hops[LIMIT_JOB_STAGES], last = 0;
    count = MIN(count, (uint32_t)LIMIT_JOB_STAGES);
    for (uint32_t i = 0; i < count; i++) {
        struct stage_set needs = stage_set_of_row(&rows[i]);
        before[i] = NONE;
        hops[i] = 1;
        ends[i] = 0;
        for (uint32_t n = 0; n < i; n++) {
            bool is_later = before[i] == NONE || ends[n] > ends[before[i]] ||
                            (!(ends[n] < ends[before[i]]) && hops[n] > hops[before[i]]);
            if (stage_set_has(needs, n) && is_later)
                before[i] = n;
        }
        if (before[i] != NONE) {
            ends[i] = ends[before[i]];
            hops[i] = hops[before[i]] + 1;
        }
        ends[i] += step_of(rows, count, i).seconds;
        if (ends[i] > ends[last] || (!(ends[i] < ends[last]) && hops[i] > hops[last]))
            last = i;
    }
    if (count == 0)
        return 0;
    uint32_t found = hops[last];
    for (uint32_t at = found, i = last; at-- > 0; i = before[i])
        steps[at] = step_of(rows, count, i);
    return found;
}
