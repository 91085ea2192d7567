/* sched_explain.h - why a job does not go on, or not faster, and what would change that. Pure.
 *
 * Every stage that could be at work has at least one row; one that waits for others has one. What
 * keeps workers away is told once for each stage that waits for them. Refuses to know: how
 * providers start workers; their rows come in as they are shown.
 */
#ifndef COORDINATOR_SCHED_SCHED_EXPLAIN_H
#define COORDINATOR_SCHED_SCHED_EXPLAIN_H

#include "coordinator/sched/sched.h"

/* What the scheduler itself does not know. Borrowed. */
struct sched_explain_view {
    struct instant now;
    const struct provider_row *providers;
    size_t provider_count;
};

/* Rows of the job, at most `capacity`: of all its stages, or of the one of that name. A job that is
 * done has none. Borrowed until the next step. */
size_t sched_explain(const struct sched *s, size_t index, struct text stage,
                     const struct sched_explain_view *view, struct explain_row *rows,
                     size_t capacity);

#endif
