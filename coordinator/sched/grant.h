/* grant.h - who gets what: jobs by priority and submission, their stages in order, tasks by index;
 * workers by how long they have been idle. */
#ifndef COORDINATOR_SCHED_GRANT_H
#define COORDINATOR_SCHED_GRANT_H

#include "coordinator/sched/core.h"

/* Gives out all that can be given. What finds no memory is postponed. */
void grant_all(struct sched *s);

/* The worker will be there for as long as such tasks take, by those that are done. */
bool grant_is_in_time(const struct sched *s, const struct worker *worker, const struct stage *stage,
                      uint32_t index);

/* It has the memory that a task of the stage needs at least, as the client found out. */
bool grant_has_memory(const struct worker *worker, const struct stage *stage);

/* When a slow attempt could be doubled, UINT64_MAX when no worker is free for it. */
struct instant grant_wake(const struct sched *s);

#endif
