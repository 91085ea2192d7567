/* wave.h - the order of tasks in a WAVES stage: periods of a wave of shards and a wave of groups.
 *
 *   task     0 .. a-1    a .. a+b-1    a+b .. 2a+b-1    ...     a shards, b groups
 *   wave      shards       groups         shards
 *   period             0                           1    ...
 *
 * Owns: which task stands where. Refuses to know: what a wave waits for (tasks.h), what is done in
 * it.
 */
#ifndef COORDINATOR_SCHED_WAVE_H
#define COORDINATOR_SCHED_WAVE_H

#include <stdbool.h>
#include <stdint.h>

/* All of them 0: no waves; else none is, and there are at most LIMIT_STAGE_TASKS tasks. */
struct wave_layout {
    uint32_t shards, groups, periods;
};

struct wave_place {
    uint32_t period;
    bool is_group;  /* else a shard */
    uint32_t index; /* in its wave */
};

uint32_t wave_task_count(const struct wave_layout *layout);

/* task < wave_task_count. */
struct wave_place wave_place(const struct wave_layout *layout, uint32_t task);

/* The task at a place: what wave_place inverts. */
uint32_t wave_task(const struct wave_layout *layout, struct wave_place place);

/* One past the last task of the wave that `task` is in. */
uint32_t wave_end(const struct wave_layout *layout, uint32_t task);

#endif
