/* result.h - results of attempts: counted once, compared when doubled, blamed when failed. */
#ifndef COORDINATOR_SCHED_RESULT_H
#define COORDINATOR_SCHED_RESULT_H

#include "coordinator/sched/core.h"

/* A worker's msg_lease_result. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err result_take(struct sched *s, struct worker *worker,
                                const struct msg_lease_result *message);

/* The worker was lost, or the attempt ran out of time: the task goes to others. With `blame` the
 * task is one loss nearer to failing its job. */
void result_lose(struct sched *s, struct lease *lease, bool blame);

#endif
