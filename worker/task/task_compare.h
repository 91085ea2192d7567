/* task_compare.h - which test rows a task of several has. Internal to task. */
#ifndef WORKER_TASK_TASK_COMPARE_H
#define WORKER_TASK_TASK_COMPARE_H

#include "common/formats/dataset/rows.h"
#include "worker/engine/compare/scores.h"
#include "worker/task/task_run.h"

/* Fills range, sizes and rules of *out: of n tasks over R rows, task i has
 * [R i / n, R (i + 1) / n). `blob` is what `rows` were opened from; sizes are of the weights under
 * model/ and result/. ERR_PROTOCOL: no such task; errors of perplexity_of_rows. */
MUST_CHECK enum err task_compare_range(const struct task_run *run, const struct rows *rows,
                                       struct span blob, struct scores *out, struct err_text *et);

/* Hands the scores in as the output `name`. */
MUST_CHECK enum err task_compare_hand_in(struct task_run *run, const char *name,
                                         const struct scores *scores,
                                         const struct compare_sums *rows, struct err_text *et);

#endif
