/* tasks.h - a set of tasks: those of an ARRAY or WAVES stage, or the ranges of one round.
 *
 * Owns: which of them wait, run and are done, how often each failed, how long they take. A task
 * waits exactly when it is not done, has no live lease and its wave is open. Refuses to know: what
 * a task computes.
 *
 * With waves, the open one is that of the first task that is not done: all before it are complete,
 * none after it is begun. Without, all tasks are one open wave.
 */
#ifndef COORDINATOR_SCHED_TASKS_H
#define COORDINATOR_SCHED_TASKS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ds/bitset.h"
#include "common/message/message.h"
#include "coordinator/sched/wave.h"

struct lease;

struct task {
    struct lease *leases;             /* live attempts, borrowed from workers */
    const struct task_result *result; /* NULL until done; in memory of the job or the round */
    struct text worker;               /* whose result counts */
    bool is_reused;                   /* it is another job's, which `worker` names */
    uint8_t attempts;                 /* failures of its own */
    uint8_t losses;                   /* workers lost under it */
};

enum { TASKS_TIMES = 15 };

/* Run times of the last ones done. */
struct tasks_times {
    uint32_t ms[TASKS_TIMES];
    uint32_t count;
};

struct tasks {
    struct task *items; /* owned */
    uint32_t count, done, leases;
    struct wave_layout waves; /* zero: none */
    uint32_t open_end;        /* one past the last task of the open wave */
    uint32_t open_left;       /* tasks before it that are not done */
    struct bitset waiting;
    struct tasks_times times[2]; /* of shards, and of groups; without waves the first */
};

/* `count` tasks, all waiting. ERR_OUT_OF_MEMORY, ERR_LIMIT. Run times are kept from before, so that
 * a round knows how long the ranges of the one before took. */
MUST_CHECK enum err tasks_start(struct tasks *tasks, uint32_t count);

/* The tasks of `layout`, those of the first wave waiting. ERR_OUT_OF_MEMORY, ERR_LIMIT. */
MUST_CHECK enum err tasks_start_waves(struct tasks *tasks, const struct wave_layout *layout);
void tasks_fini(struct tasks *tasks);

/* Marks one done; the next wave opens after the last of one. */
void tasks_finish(struct tasks *tasks, uint32_t index, const struct task_result *result,
                  struct text worker);

/* Its result is gone: it waits again, unless it has a live lease or an earlier wave is open. Later
 * waves close. */
void tasks_undo(struct tasks *tasks, uint32_t index);

/* Its last live lease ended: it waits again, unless it is done or its wave is closed. */
void tasks_await(struct tasks *tasks, uint32_t index);

/* Whether its wave is the open one, or an earlier one. */
bool tasks_is_open(const struct tasks *tasks, uint32_t index);

void tasks_add_time(struct tasks *tasks, uint32_t index, uint64_t ms);

/* The run times that `index` is measured by, and their median, 0 when there is none. */
const struct tasks_times *tasks_times_of(const struct tasks *tasks, uint32_t index);
uint64_t tasks_median_ms(const struct tasks_times *times);

#endif
