/* lease.h - who may run which attempt of a task, and until when.
 *
 * A lease is a slot of its worker, so giving one allocates nothing. Invariants
 *  1. A task has at most one live lease, and at most two when a slow one is doubled or a result is
 *     on trial.
 *  2. Fences only grow; none is given twice, also across restarts.
 *  3. The earliest expiry is the first of a heap.
 */
#ifndef COORDINATOR_SCHED_LEASE_H
#define COORDINATOR_SCHED_LEASE_H

#include "common/ds/heap.h"
#include "common/ds/list.h"
#include "common/message/message.h"

struct job;
struct sched;
struct stage;
struct worker;

struct lease {
    uint64_t fence; /* 0: the slot is free */
    struct worker *worker;
    struct job *job;
    struct stage *stage;
    uint32_t index;
    bool is_accepted;
    struct lease *sibling;        /* next attempt of the same task */
    struct list_node of_job;      /* in job.leases */
    struct heap_node by_expiry;   /* in sched.expiries */
    struct heap_node by_patience; /* in sched.patience: when it counts as slow */
    struct instant granted;
    uint64_t done, total; /* progress as the worker told */
};

/* Takes a free slot of the worker for the task; both must have been checked. */
struct lease *lease_give(struct sched *s, struct worker *worker, struct job *job,
                         struct stage *stage, uint32_t index);

/* The attempt is over or given up: the slot is free and the task waits again, unless it is done or
 * has another attempt. */
void lease_release(struct sched *s, struct lease *lease);

/* The worker's live lease of that fence, or NULL. */
struct lease *lease_find(struct worker *worker, uint64_t fence);

/* Heard of: lives on for another LIMIT_LEASE_TTL_MS. */
void lease_renew(struct sched *s, struct lease *lease);

/* The attempt is no longer wanted: its slot is free, its worker is told, and its fence is kept for
 * a comparison should the result be on the way. Room for one send is reserved. */
void lease_cancel(struct sched *s, struct lease *lease);

/* When the attempt counts as slow, by what is known of its fellows now. */
struct instant lease_slow_at(const struct lease *lease);

/* Look at it again then. */
void lease_set_patience(struct sched *s, struct lease *lease, struct instant when);

#endif
