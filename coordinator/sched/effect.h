/* effect.h - the effects of the step at hand, in the scheduler's own memory.
 *
 * A decision reserves room first, then changes state, then emits; emitting cannot fail. So a step
 * that runs out of memory stops between two decisions, never within one.
 */
#ifndef COORDINATOR_SCHED_EFFECT_H
#define COORDINATOR_SCHED_EFFECT_H

#include "common/mem/arena.h"
#include "coordinator/sched/sched.h"

struct effect {
    struct arena arena;           /* what records, sends and works point to */
    struct sched_record *records; /* owned */
    struct sched_send *sends;     /* owned */
    struct sched_work *works;     /* owned */
    size_t record_count, record_capacity;
    size_t send_count, send_capacity;
    size_t work_count, work_capacity;
};

void effect_init(struct effect *effect);
void effect_fini(struct effect *effect);

/* Forgets the effects of the step before. */
void effect_reset(struct effect *effect);

/* Room for so many more. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err effect_reserve(struct effect *effect, size_t records, size_t sends,
                                   size_t works);

/* Each takes reserved room and returns it zeroed, to be filled at once. */
struct sched_record *effect_record(struct effect *effect, enum record_number number);
union message_any *effect_send(struct effect *effect, struct peer_id peer,
                               enum message_number number);
struct sched_work *effect_work(struct effect *effect, enum sched_work_kind kind);

#endif
