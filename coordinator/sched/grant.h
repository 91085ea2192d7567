/* grant.h - who gets what: jobs by priority and submission, their stages in order, tasks by index;
 * workers by how long they have been idle. */
#ifndef COORDINATOR_SCHED_GRANT_H
#define COORDINATOR_SCHED_GRANT_H

#include "coordinator/sched/core.h"

/* Gives out all that can be given. What finds no memory is postponed. */
void grant_all(struct sched *s);

/* When a slow attempt could be doubled, UINT64_MAX when no worker is free for it. */
struct instant grant_wake(const struct sched *s);

#endif
