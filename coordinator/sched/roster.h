/* roster.h - the workers as the scheduler heard of them, and the pools they offer themselves to.
 *
 * Owns: who is connected, quiet, lost, draining, resting or quarantined, and which workers could
 * take a task of a profile right now. A worker is one process start (its session); two processes of
 * one name are two workers. Refuses to know: what tasks are.
 */
#ifndef COORDINATOR_SCHED_ROSTER_H
#define COORDINATOR_SCHED_ROSTER_H

#include "common/ds/heap.h"
#include "common/ds/list.h"
#include "common/ds/map.h"
#include "coordinator/sched/lease.h"
#include "coordinator/sched/sched.h"

enum { ROSTER_SLOTS = 2, ROSTER_PROFILES = 4, ROSTER_GHOSTS = 4 };

/* An answer that unfinished work was begun with: only workers that give it may go on with it. */
struct roster_answer {
    struct list_node node; /* of pool.answers */
    struct digest answer;  /* zero: none yet */
};

/* A numeric profile: the jobs that want it and the workers that offer it. */
struct pool {
    char *name;            /* owned */
    struct heap jobs;      /* with waiting tasks: priority, then submission */
    struct list idle;      /* members without a lease, longest idle first */
    struct list busy;      /* members with one lease, which can take another */
    uint32_t member_count; /* workers that may be given its tasks, now or when they are free */
    struct digest answer;  /* known answer and versions of the first worker; others must agree */
    uint32_t agreed_count; /* living workers that agree on it; 0: the next one sets it, but to one
                              of `answers` while there are any */
    struct list answers;   /* of unfinished jobs */
};

/* A worker's place in one pool. */
struct roster_seat {
    struct list_node node; /* in *list */
    struct list *list;     /* the pool's idle or busy, or NULL */
    struct worker *worker;
    struct pool *pool;
    bool is_agreed; /* counted in agreed_count */
    bool is_member; /* counted in member_count */
};

/* An attempt that was cancelled because another one won: its result may still be on the way, and is
 * then compared. */
struct roster_ghost {
    uint64_t fence, job, round;
    uint32_t stage, index;
};

struct worker {
    uint64_t id;
    uint64_t session;
    struct peer_id peer;
    struct map_node by_session, by_peer;
    struct list_node departed; /* in roster.departed while LOST or LEFT */
    struct heap_node by_deadline;
    size_t place;                           /* in roster.workers */
    char *name, *isa, *profiles, *versions; /* owned */
    char *provider, *allocation;            /* owned; empty: nobody's */
    char *last_end;                         /* owned; how its process before died, or empty */
    char *drain_reason;                     /* owned; why it goes or went; NULL: nothing is said */
    double tokens_per_second;               /* of its last tasks, later ones counting more */
    struct digest answer;                   /* known answer linked with the versions */
    uint64_t memory_bytes, rss_bytes, tasks_done;
    uint32_t threads;
    enum worker_state state;
    bool is_connected, is_draining, is_quarantined;
    bool is_replaced; /* a newer process has its name: given up sooner */
    struct instant heard, rest_until;
    struct instant dead_at;    /* its process ended; 0: it lives, for all that is known */
    struct instant idle_since; /* while it has no lease */
    struct instant ends_at;    /* its time is over; UINT64_MAX: no end is known */
    uint32_t faults;           /* in a row */
    enum err fault;            /* the last of them */
    uint64_t full_job;         /* that met a full disk here last, and has done nothing since; 0 */
    uint32_t lease_count;
    struct lease slots[ROSTER_SLOTS];
    struct roster_seat seats[ROSTER_PROFILES];
    uint32_t seat_count;
    struct roster_ghost ghosts[ROSTER_GHOSTS];
    uint32_t ghost_count;
};

struct roster {
    struct worker **workers; /* owned, in no order */
    size_t count, capacity;
    uint64_t last_id;
    struct map by_session, by_peer;
    struct list departed;
    struct heap deadlines;
    struct pool **pools; /* owned; LIMIT_POOLS pointers */
    size_t pool_count;
    char **quarantined; /* owned names, durable */
    size_t quarantined_count;
    bool has_new_answer; /* of some pool: other jobs may be granted now */
};

void roster_init(struct roster *roster);
void roster_fini(struct roster *roster);

/* The pool of a profile, made when it is new. ERR_LIMIT beyond LIMIT_POOLS. */
MUST_CHECK enum err roster_pool(struct roster *roster, struct text profile, struct pool **out);

/* Whether workers of the profile promise equal bits, so that their answers matter. */
bool roster_is_versioned(const struct pool *pool);

/* Whether LIMIT_WORKERS are connected. */
bool roster_is_full(const struct roster *roster);

/* A new worker of this hello, in state READY, where the roster is not full. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err roster_join(struct roster *roster, const struct msg_hello *hello,
                                struct peer_id peer, struct instant now, struct worker **out);

/* NULL when nobody of that name or peer is known. */
struct worker *roster_of_session(const struct roster *roster, uint64_t session);
struct worker *roster_of_peer(const struct roster *roster, struct peer_id peer);

/* The worker speaks through `peer` from now on. */
void roster_connect(struct roster *roster, struct worker *worker, struct peer_id peer);
void roster_disconnect(struct roster *roster, struct worker *worker);

/* It was heard: READY again when it was quiet or lost. */
void roster_hear(struct roster *roster, struct worker *worker, struct instant now);

/* No new tasks for a while, twice as long with each fault in a row. */
void roster_rest(struct roster *roster, struct worker *worker, enum err fault, struct instant now);

/* Why it goes or went, cut to a line; empty says nothing new. */
void roster_say_why(struct worker *worker, struct text reason);

/* Neither LOST nor LEFT. */
bool roster_is_living(const struct worker *worker);

/* LOST or LEFT; its leases must be gone. */
void roster_depart(struct roster *roster, struct worker *worker, enum worker_state state);

/* Puts the worker where it belongs after any change: seats, counts, next deadline. */
void roster_place(struct roster *roster, struct worker *worker, struct instant now);

/* Brings a worker whose deadline came up to date. True when it is lost: the caller takes its leases
 * away and calls roster_depart. */
bool roster_is_lost(struct roster *roster, struct worker *worker, struct instant now);

/* Could take a task of the pool at once. */
bool roster_may_take(const struct worker *worker, const struct pool *pool, struct instant now);

/* Names of quarantined workers, from records. */
MUST_CHECK enum err roster_quarantine(struct roster *roster, struct text name);
bool roster_is_quarantined(const struct roster *roster, struct text name);

#endif
