/* watchdog.h - a training that is broken is stopped instead of run to its end.
 *
 * Looks at every step's folded sums: a loss of exactly zero (nothing is learned from such rows, and
 * nothing says so) ends the training at once, one above the recipe's loss_watchdog_threshold for
 * loss_watchdog_patience steps in a row ends it then. What is not finite never gets this far: the
 * worker or the fold refuses it. Checkpoints are made of weights whose loss was in bounds only, so
 * the last one is good, and a restart, which goes back to it, counts the same steps again.
 *
 * Refuses to know: the rows' content, records, workers beyond the name of one.
 */
#ifndef COORDINATOR_SCHED_WATCHDOG_H
#define COORDINATOR_SCHED_WATCHDOG_H

#include "coordinator/sched/core.h"

/* After a training step: run->step and run->loss are those of the step, its ranges are still there.
 * Gives the stage up (ERR_DIVERGED) with step, rows and what is kept named. */
void watchdog_look(struct sched *s, struct stage *stage, const struct sched_work_done *done);

/* "; the checkpoint of step 40 is kept", or "" for what is no training. Static or in the memory of
 * views. */
const char *watchdog_kept(const struct sched *s, const struct stage *stage);

#endif
