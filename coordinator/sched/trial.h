/* trial.h - two results of one task differ under a profile that promises equal bits.
 *
 * The first result counts already. For a task of an array a third worker computes it again: who
 * disagrees with the other two is quarantined, and when it is the counted result that is wrong, the
 * job fails, because other results may rest on it. In a round the third opinion would come too
 * late, so the round is computed again from the last checkpoint. Every difference goes on record
 * with both hashes, also when nobody can be named.
 */
#ifndef COORDINATOR_SCHED_TRIAL_H
#define COORDINATOR_SCHED_TRIAL_H

#include "coordinator/sched/core.h"

/* Whether two results are equal where they must be: outputs, facts and sums, not times. */
bool trial_is_same(const struct task_result *a, const struct task_result *b);

/* Worker `suspect` delivered `found`, which differs from the result that counts. ERR_OUT_OF_MEMORY:
 * nothing changed. */
MUST_CHECK enum err trial_open(struct sched *s, struct stage *stage, uint32_t index,
                               const struct worker *suspect, const struct task_result *found);

/* The third result. Room for its acknowledgement is left. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err trial_decide(struct sched *s, struct stage *stage, uint32_t index,
                                 const struct task_result *third);

/* A worker that could decide trial `i` of sched.trials now, or NULL; ends trials of jobs that
 * ended. */
struct worker *trial_judge(struct sched *s, size_t i);

#endif
