/* task_pairs.h - log-probabilities of pairs of answers before training: the artifact of a range of
 * pairs, and all of them for a job. Internal to task.
 *
 * An artifact is a safetensors file with the tensor log_probabilities, F64 [n, 2], chosen and
 * rejected, and the note kind = reference/1. The job's pairs are those of training and behind them
 * those that are held out, in the order of their rows, whatever order training takes them in.
 */
#ifndef WORKER_TASK_TASK_PAIRS_H
#define WORKER_TASK_TASK_PAIRS_H

#include "common/mem/bytes.h"
#include "worker/engine/train/preference.h"
#include "worker/task/task_run.h"

struct task_pairs {
    double (*log_p)[PREFERENCE_SIDES]; /* owned: (count) */
    uint64_t count;
    struct digest key; /* of the artifacts they came from; zero: none are open */
};

/* Appends the artifact of `count` pairs. */
MUST_CHECK enum err task_pairs_write(const double (*log_p)[PREFERENCE_SIDES], uint64_t count,
                                     struct bytes *out);

/* Makes *pairs those of the inputs reference/0, reference/1, ..., unless they are that already.
 * ERR_NOT_FOUND: there are none; ERR_FORMAT: not of that form, or not finite. */
MUST_CHECK enum err task_pairs_load(struct task_run *run, struct task_pairs *pairs,
                                    struct err_text *et);
void task_pairs_fini(struct task_pairs *pairs);

#endif
