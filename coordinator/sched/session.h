/* session.h - workers come, beat, are drained, fall silent and leave. */
#ifndef COORDINATOR_SCHED_SESSION_H
#define COORDINATOR_SCHED_SESSION_H

#include "coordinator/sched/core.h"

/* Each: ERR_OUT_OF_MEMORY and nothing changed. */
MUST_CHECK enum err session_hello(struct sched *s, struct peer_id peer,
                                  const struct msg_hello *hello);
MUST_CHECK enum err session_heartbeat(struct sched *s, struct worker *worker,
                                      const struct msg_heartbeat *heartbeat);
MUST_CHECK enum err session_drain(struct sched *s, struct peer_id client,
                                  const struct msg_worker_drain *drain);

/* Drains the worker of that number, if there is one. */
MUST_CHECK enum err session_let_go(struct sched *s, uint64_t worker, struct text reason);

/* A message of a worker that no hello introduced: it is asked to say hello. */
MUST_CHECK enum err session_stranger(struct sched *s, struct peer_id peer);

void session_gone(struct sched *s, struct peer_id peer);

/* The process of the worker of that number is dead: when its connection is gone too and its last
 * words are read, or after a moment, what it had goes to others and counts as a loss. */
MUST_CHECK enum err session_crashed(struct sched *s, uint64_t worker);
void session_leave(struct sched *s, struct worker *worker, const struct msg_leave *leave);

/* While the process stood still, what workers said was not read: that is not their silence. */
void session_pause(struct sched *s, struct duration pause);

/* Workers and leases whose time has come. */
void session_deadlines(struct sched *s);

#endif
