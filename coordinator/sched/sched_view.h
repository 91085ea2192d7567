/* sched_view.h - what the views of sched.h have in common. */
#ifndef COORDINATOR_SCHED_SCHED_VIEW_H
#define COORDINATOR_SCHED_SCHED_VIEW_H

#include "coordinator/sched/job.h"

/* The first stage of the variant, or of all with SCHED_ALL, that runs, else the first that is not
 * done, else the last; NULL: the variant has none. */
const struct stage *sched_view_at_work(const struct job *job, uint32_t variant);

/* Steps for a training, tasks for everything else; *total 0: not known yet. */
void sched_view_count(const struct stage *stage, uint64_t *done, uint64_t *total);

/* Digests that records of the job reach. */
void sched_view_each_root(const struct job *job, void (*visit)(void *context, struct digest digest),
                          void *context);

/* Why its last work failed. */
const char *sched_view_fault(const struct stage *stage);

/* As it is shown: in a job that is over, nothing is at work. */
enum stage_state sched_view_state(const struct stage *stage);

#endif
