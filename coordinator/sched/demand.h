/* demand.h - how many workers would have something to do, and what those have at hand that are
 * there: what scale decides by.
 */
#ifndef COORDINATOR_SCHED_DEMAND_H
#define COORDINATOR_SCHED_DEMAND_H

#include "coordinator/sched/sched.h"

enum { DEMAND_ROWS_MAX = 256 };

/* What workers of a profile and a size could do. */
struct demand {
    struct text profile;   /* borrowed until the next step */
    uint64_t memory_bytes; /* a worker needs so much for such a task; 0: nothing is known */
    uint32_t now;          /* tasks that run, and those that would if there were workers */
    uint32_t soon; /* the same when what runs now is done; all rows together at least `now` */
};

/* A row for each profile and need of memory that unfinished jobs have, the largest need first. A
 * round counts with the ranges that more workers would cut it into; a stage that waits for another
 * counts once that one runs. Needs that find no room among `capacity` rows are not told apart. */
size_t demand_rows(const struct sched *s, struct demand *rows, size_t capacity);

/* What a worker has at hand, for whoever decides which of them may go. */
struct demand_load {
    uint64_t worker;
    struct text name, profiles;       /* borrowed until the next step */
    struct text provider, allocation; /* empty: nobody's */
    enum worker_state state;
    uint64_t memory_bytes; /* 0: not known */
    bool is_connected, is_draining;
    uint32_t lease_count;
    uint64_t idle_ms;    /* since it had a lease; 0 while it has one */
    uint64_t at_risk_ms; /* work that would be lost with it: age of its leases together */
    uint64_t ends_in_ms; /* until its time is over; UINT64_MAX: no end is known */
};

size_t demand_loads(const struct sched *s, struct instant now, struct demand_load *rows,
                    size_t capacity);

#endif
