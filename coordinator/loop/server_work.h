/* server_work.h - what sched asks to be computed: training states, folds, checkpoints, logs, on the
 * thread pool. A stage has at most one work out, so its state belongs to that work's thread. */
#ifndef COORDINATOR_LOOP_SERVER_WORK_H
#define COORDINATOR_LOOP_SERVER_WORK_H

#include "coordinator/loop/server_state.h"

/* Copies a work and all it points to into `works`; it starts after the commit. */
MUST_CHECK enum err server_work_prepare(struct server *server, const struct sched_work *work,
                                        struct list *works);
/* Starts all, in order; outcomes come back as events. A server that stops starts none: nobody would
 * take the outcome, and what is not done now the next life does. */
void server_work_start(struct server *server, struct list *works);
/* Forgets works that never started. */
void server_work_discard(struct list *works);
/* Forgets all training states; no work may be out. */
void server_work_close_stages(struct server *server);

#endif
