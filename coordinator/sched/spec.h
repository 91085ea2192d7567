/* spec.h - what a task is told to do: its inputs by role and its range.
 *
 *   prepare      recipe, data/<i>/... or test/<i>/... or calib/<i>/..., model/... without weights
 *   pack         recipe, samples/{train,test,calib}/<n>, model/... without weights
 *   init         recipe, model/..., adapter/...
 *   reference    recipe, model/..., rows, test_rows, weights (where training goes on from an
 *                adapter: the first ones)
 *   train        recipe, model/..., rows, weights, reference/<n> where rows are pairs, anchor where
 *                init handed one in (as evaluate, export, merge, measure)
 *   evaluate     recipe, model/..., test_rows, weights (absent: the base model alone),
 * reference/<n> export       recipe, model/..., state, log calibrate, ...: rows of spec.c;
 * model/... is there what training made, where there is training
 *
 * Outputs of other stages are those of the stages that this one needs (job_stage_of).
 *
 * A task of an ARRAY stage finds its own number in `first` and how many there are in `total`. One
 * of a WAVES stage finds its period in `round`; a shard its number and how many shards there are,
 * as kind replay; a group its number among those of all periods and how many these are, as kind
 * quantize.
 */
#ifndef COORDINATOR_SCHED_SPEC_H
#define COORDINATOR_SCHED_SPEC_H

#include "common/mem/arena.h"
#include "coordinator/sched/job.h"

/* Task `index` of a running stage, in `arena`; texts are borrowed from the job. ERR_OUT_OF_MEMORY.
 */
MUST_CHECK enum err spec_build(const struct stage *stage, uint32_t index, struct arena *arena,
                               struct task_spec *out);

/* The trained or first state that the stage goes on from, under the name `state`; digest zero when
 * there is none. *checkpoint, when asked for: it is that one, or NULL. */
struct artifact_ref spec_state(const struct stage *stage, const struct checkpoint_row **checkpoint);

/* Name of an output that a result of this kind must have, NULL when there is none. */
const char *spec_output(enum stage_kind kind);

#endif
