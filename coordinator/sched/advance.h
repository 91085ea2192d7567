/* advance.h - what a job does next: its stages start, its rounds turn, it ends.
 *
 * Everything here looks at what is, not at what happened, so it may be asked again at any time and
 * a decision that found no memory is made later.
 */
#ifndef COORDINATOR_SCHED_ADVANCE_H
#define COORDINATOR_SCHED_ADVANCE_H

#include "coordinator/sched/core.h"

/* Does all that is due for the jobs that were touched. What finds no memory is postponed. */
void advance_all(struct sched *s);

/* The job fails for this reason as soon as the record fits; the first reason stays. */
void advance_doom(struct sched *s, struct job *job, enum err error, const char *format, ...)
    PRINTF(4, 5);

/* The stage cannot go on. Where others of the job can, the job gives up this one and what needs it:
 * a variant whose numbers ran away does not end the others. Else it fails, as by advance_doom. */
void advance_give_up(struct sched *s, struct stage *stage, enum err error, const char *format, ...)
    PRINTF(4, 5);

/* Enters `state` (FAILED, CANCELLED) and takes everything of the job back: leases, open states.
 * Leaves room for one send of the caller. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err advance_end(struct sched *s, struct job *job, enum job_state state,
                                enum err error, struct text detail);

/* Takes everything of a stage that is not done back: its works and open state, not its leases. Room
 * for one work is reserved. */
void advance_stop_stage(struct sched *s, struct stage *stage);

/* Its needs are done, but as many variants of the job train as may at once: their states fill the
 * coordinator's memory, and those of ranks that differ the workers'. */
bool advance_waits_for_fellows(const struct stage *stage);

/* The outcome of a work. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err advance_work_done(struct sched *s, enum sched_event_kind kind,
                                      const struct sched_work_done *done);

/* Jobs whose failed work may be tried again. */
void advance_retries(struct sched *s);

#endif
