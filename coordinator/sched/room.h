/* room.h - what the checkpoints of a training still take on the coordinator's disk.
 *
 * Asked before its first round, so that a disk which cannot hold them is told of then and not after
 * a night. Owns: how many there will be at once. Refuses to know: how much is free.
 */
#ifndef COORDINATOR_SCHED_ROOM_H
#define COORDINATOR_SCHED_ROOM_H

#include "coordinator/sched/core.h"

/* Of a training that is about to open and has made no checkpoint yet; all zero for others. */
struct sched_room room_of(const struct sched *s, const struct stage *stage);

#endif
