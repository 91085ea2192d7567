/* sched_totals.h - the scheduler in numbers: what is there, and what was done since it started. For
 * gauges and counters, so there are no ids and no names.
 */
#ifndef COORDINATOR_SCHED_SCHED_TOTALS_H
#define COORDINATOR_SCHED_SCHED_TOTALS_H

#include "coordinator/sched/sched.h"

/* Since the process started. */
struct sched_counts {
    uint64_t tasks_done; /* ranges of rounds included */
    uint64_t tasks_failed;
    uint64_t rounds; /* folded, evaluations included */
    uint64_t steps, tokens;
    uint64_t checkpoints;
    uint64_t workers_lost;
};

struct sched_totals {
    struct sched_counts counts;
    uint64_t jobs[JOB_STATE_COUNT];
    uint64_t jobs_failed[ERR_COUNT]; /* by reason */
    uint64_t variants_failed;        /* branches given up */
    uint64_t tasks_ready, tasks_running;
    uint64_t trainings;                       /* at work, after their first step */
    double loss_max, loss_min, grad_norm_max; /* of their last steps; NaN when there is none */
    double stalled_s; /* of jobs that run or wait, the longest without a result; 0: none */
    uint64_t workers[WORKER_STATE_COUNT];
    uint64_t threads, rss_bytes; /* of workers in reach */
};

void sched_totals(const struct sched *s, struct instant now, struct sched_totals *out);

#endif
