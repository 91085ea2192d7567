/* task_sums.h - what a row says in numbers, as a leaf of the fold, and a fold's as a task's result.
 * Internal to task. */
#ifndef WORKER_TASK_TASK_SUMS_H
#define WORKER_TASK_TASK_SUMS_H

#include "common/message/message.h"
#include "common/numeric/fold.h"
#include "worker/engine/train/train.h"

/* `is_pair`: the row's loss was that of a pair. */
void task_sums_leaf(const struct train_result *row, bool is_pair, double sums[FOLD_SUMS]);

/* Fills loss, weight and the sums over pairs. */
void task_sums_report(const double sums[FOLD_SUMS], struct task_result *result);

#endif
