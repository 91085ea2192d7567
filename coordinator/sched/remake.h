/* remake.h - what a job made and lost is made again.
 *
 *   an attempt cannot read its inputs        the state cannot be opened     retry of a done job
 *                   │                                     │                          │
 *                   ▼                                     │                          ▼
 *   work VERIFY: read all its inputs again                │          work VERIFY: its results
 *        │                    │                           ▼                          │
 *   an input of the job    what a task made or ──▶ record ARTIFACT_LOST ◀────────────┘
 *   changed: it fails      a checkpoint was              │
 *                                                        ▼
 *                     the tasks that made it wait again; training goes on from the checkpoint
 * before
 *
 * Equal work gives equal bits, so whatever was computed from a lost artifact stays right.
 *
 * Owns: what becomes undone when an artifact is lost. Refuses to know: files.
 */
#ifndef COORDINATOR_SCHED_REMAKE_H
#define COORDINATOR_SCHED_REMAKE_H

#include "coordinator/sched/core.h"

/* Whether an attempt or an OPEN that failed so may have met a damaged input. */
bool remake_is_input(enum err error);

/* ERR_STATE: the job made nothing of the kind. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err remake_apply_lost(struct sched *s, const struct rec_artifact_lost *record);

/* Undoes the stage and all that rests on it, so that it is made again; what was given up stays so.
 */
void remake_undo_branch(struct sched *s, struct stage *stage);

/* Takes back what is at work on inputs that have to be made first. Room for a send for each lease
 * and a work for each stage is reserved. */
void remake_stop_dependents(struct sched *s, struct job *job);

/* An attempt at the task failed for want of its inputs; `is_fatal`: unless they are the reason, the
 * job fails as it did. */
void remake_suspect(struct sched *s, struct stage *stage, uint32_t index, enum err error,
                    struct text detail, bool is_fatal);

/* Emits the work VERIFY of a suspect stage once no other is out. ERR_OUT_OF_MEMORY: nothing
 * changed. */
MUST_CHECK enum err remake_verify(struct sched *s, struct stage *stage);

/* Its outcome. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err remake_verified(struct sched *s, struct stage *stage,
                                    const struct sched_work_done *done);

/* The state that the stage's OPEN wanted is lost. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err remake_state(struct sched *s, struct stage *stage, struct text why);

/* The results of a done job are read again. ERR_STATE: there are none. ERR_OUT_OF_MEMORY: nothing
 * changed. */
MUST_CHECK enum err remake_results(struct sched *s, struct job *job);

#endif
