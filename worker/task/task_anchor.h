/* task_anchor.h - what anchored adapters started from, where the job has such. Internal to task.
 *
 * The first state that init made, handed to the tasks that need it as the input "anchor".
 */
#ifndef WORKER_TASK_TASK_ANCHOR_H
#define WORKER_TASK_TASK_ANCHOR_H

#include "worker/engine/train/train_layout.h"
#include "worker/task/task_run.h"

/* Fills `values`, of the layout, in memory of the kernel or with kernel NULL of the host, and says
 * in *found whether there is an anchor. ERR_SHAPE when it is not of this layout. */
MUST_CHECK enum err task_anchor_read(struct task_run *run, const struct train_layout *layout,
                                     struct kernel *kernel, float *values, bool *found,
                                     struct err_text *et);

#endif
