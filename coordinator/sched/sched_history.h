/* sched_history.h - views of what is done to checkpoints, and of what was let go of, for the loop.
 */
#ifndef COORDINATOR_SCHED_SCHED_HISTORY_H
#define COORDINATOR_SCHED_SCHED_HISTORY_H

#include "common/mem/arena.h"
#include "coordinator/sched/sched.h"

/* The event SCHED_HISTORY. */
struct sched_history_request {
    const struct msg_checkpoint_control *control;
    uint64_t bytes; /* FORGET: that pruning then frees, for the answer */
};

/* What FORGET would do to each checkpoint of the job, newest first, in `arena`. ERR_USAGE,
 * ERR_STATE, ERR_NOT_FOUND, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err sched_history_judge(const struct sched *s, size_t index,
                                        const struct msg_checkpoint_control *control,
                                        uint64_t unix_ms, struct arena *arena,
                                        struct checkpoint_verdict **verdicts, uint32_t *count,
                                        struct err_text *et);

/* Known answer of the workers that the job was begun with; zero before. */
struct digest sched_history_answer(const struct sched *s, size_t index);

/* Artifacts that a record let go of, oldest first; some may be reached in another way. The loop
 * drops the first so many once it has looked. Borrowed until the next step or drop. */
const struct digest *sched_history_orphans(const struct sched *s, size_t *count);
void sched_history_drop(struct sched *s, size_t count);

#endif
