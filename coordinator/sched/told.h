/* told.h - how many tasks a stage has when an earlier stage counts them.
 *
 * A stage whose plan has no number of tasks takes it from facts in the results of stages that it
 * needs, also through others: <word of its kind>_tasks, for WAVES <word>_shards, _groups, _periods.
 * The nearest stage that tells it counts, by its first task. It is taken when the last of the
 * needed stages is done, so that records alone determine it, and it stays.
 *
 * Owns: names and bounds of these facts. Refuses to know: who tells them.
 */
#ifndef COORDINATOR_SCHED_TOLD_H
#define COORDINATOR_SCHED_TOLD_H

#include "coordinator/sched/job.h"

/* Whether the plan leaves the number of tasks to an earlier stage. */
bool told_is(const struct stage_plan *plan);

/* Gives their tasks to the stages that can know them now. What is told wrongly leaves a stage
 * without tasks. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err told_start(struct job *job);

/* Why a stage whose needs are done got no tasks: ERR_INTERNAL when a fact is missing, ERR_DATA when
 * it is 0, ERR_LIMIT when there would be too many. */
MUST_CHECK enum err told_check(const struct stage *stage, struct err_text *et);

#endif
