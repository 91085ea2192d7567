/* attempt.h - the attempts a worker holds, in the order of their grants. Internal to agent.
 *
 * WAITING ──start──▶ RUNNING ──outcome──▶ FINISHED ──acknowledged──▶ (forgotten)
 *    │                  │ stale, cancelled
 *    └──▶ (forgotten)   └──▶ STOPPING ──outcome, ignored──▶ (forgotten)
 *
 * Invariants: at most one attempt is RUNNING or STOPPING; fences are unique in the table.
 */
#ifndef WORKER_AGENT_ATTEMPT_H
#define WORKER_AGENT_ATTEMPT_H

#include "common/base/limits.h"
#include "common/mem/arena.h"
#include "worker/agent/agent.h"

enum attempt_state { ATTEMPT_WAITING, ATTEMPT_RUNNING, ATTEMPT_STOPPING, ATTEMPT_FINISHED };

struct attempt {
    uint64_t fence, job;
    enum attempt_state state;
    uint64_t done, total;
    struct task_spec *spec;          /* in `memory` */
    struct msg_lease_result *result; /* FINISHED: in `memory` */
    struct instant sent;             /* FINISHED: when the result was last sent */
    struct arena memory;
};

struct attempt_table {
    struct attempt *rows[LIMIT_WORKER_LEASES]; /* owned */
    size_t count;
};

/* Forgets every attempt. */
void attempt_fini(struct attempt_table *table);

/* Adds a WAITING attempt with a copy of the grant. ERR_BUSY: the table is full. ERR_OUT_OF_MEMORY.
 */
MUST_CHECK enum err attempt_add(struct attempt_table *table, const struct msg_lease_grant *grant);

/* The attempt of `fence`, or the one that computes; NULL when there is none. */
struct attempt *attempt_find(const struct attempt_table *table, uint64_t fence);
struct attempt *attempt_computing(const struct attempt_table *table);

/* The oldest WAITING attempt, NULL when there is none. */
struct attempt *attempt_next(const struct attempt_table *table);

void attempt_forget(struct attempt_table *table, struct attempt *attempt);

/* RUNNING to FINISHED with a copy of the outcome. ERR_OUT_OF_MEMORY leaves it RUNNING. */
MUST_CHECK enum err attempt_finish(struct attempt *attempt, const struct agent_outcome *outcome);

/* Rows of a heartbeat or hello: every attempt that is not being stopped. */
size_t attempt_statuses(const struct attempt_table *table, struct lease_status *rows,
                        size_t capacity);

#endif
