/* round.h - a ROUNDS stage: open, rounds of ranges, fold, evaluate, save, and on.
 *
 *            ┌────────────── a failed OPEN or FOLD: CLOSE, rest ──────────┐
 *            ▼                                                            │
 *  CLOSED ─OPEN─▶ OPENING ─▶ READY ─▶ ROUND ─all ranges in─▶ FOLDING ─▶ READY ─▶ ...
 *                              │                                          ▲
 *                              ├─ every save_steps ─▶ SAVING ─────────────┘
 *                              └─ all steps done and saved ─▶ task_done, CLOSE
 *
 * Owns: which round is at hand and what its sums were. Refuses to know: what the loop does in a
 * work.
 */
#ifndef COORDINATOR_SCHED_ROUND_H
#define COORDINATOR_SCHED_ROUND_H

#include "coordinator/sched/core.h"

/* Takes the next step of a running stage, if it is due. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err round_advance(struct sched *s, struct stage *stage);

/* The outcome of the stage's work, which succeeded. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err round_opened(struct sched *s, struct stage *stage,
                                 const struct sched_work_done *done);
MUST_CHECK enum err round_folded(struct sched *s, struct stage *stage,
                                 const struct sched_work_done *done);
MUST_CHECK enum err round_checkpointed(struct sched *s, struct stage *stage,
                                       const struct sched_work_done *done);

/* The result of a range: kept until the fold. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err round_keep(struct stage *stage, uint32_t index,
                               const struct task_result *result, const char *worker);

/* Forgets the open state. Emits CLOSE when one is owed: room for one work is reserved. */
void round_close(struct sched *s, struct stage *stage);

#endif
