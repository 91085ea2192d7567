/* tasks.h - a set of tasks: those of an ARRAY stage, or the ranges of one round.
 *
 * Owns: which of them wait, run and are done, how often each failed, how long they take. A task
 * waits exactly when it is not done and has no live lease. Refuses to know: what a task computes.
 */
#ifndef COORDINATOR_SCHED_TASKS_H
#define COORDINATOR_SCHED_TASKS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ds/bitset.h"
#include "common/message/message.h"

struct lease;

struct task {
    struct lease *leases;             /* live attempts, borrowed from workers */
    const struct task_result *result; /* NULL until done; in memory of the job or the round */
    struct text worker;               /* whose result counts */
    uint8_t attempts;                 /* failures of its own */
    uint8_t losses;                   /* workers lost under it */
};

enum { TASKS_TIMES = 15 };

struct tasks {
    struct task *items; /* owned */
    uint32_t count, done, leases;
    struct bitset waiting;
    uint32_t times_ms[TASKS_TIMES]; /* run times of the last ones done */
    uint32_t time_count;
};

/* `count` tasks, all waiting. ERR_OUT_OF_MEMORY, ERR_LIMIT. Run times are kept from before, so that
 * a round knows how long the ranges of the one before took. */
MUST_CHECK enum err tasks_start(struct tasks *tasks, uint32_t count);
void tasks_fini(struct tasks *tasks);

/* Marks one done. */
void tasks_finish(struct tasks *tasks, uint32_t index, const struct task_result *result,
                  struct text worker);

/* Its result is gone: it waits again, unless it has a live lease. */
void tasks_undo(struct tasks *tasks, uint32_t index);

void tasks_add_time(struct tasks *tasks, uint64_t ms);

/* Median of the run times kept, 0 when there is none. */
uint64_t tasks_median_ms(const struct tasks *tasks);

#endif
