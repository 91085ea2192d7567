/* task_state.h - the vector of trainables in files: "weight.<parameter>" tensors, all F32.
 * Internal to task. */
#ifndef WORKER_TASK_TASK_STATE_H
#define WORKER_TASK_TASK_STATE_H

#include "common/mem/bytes.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/train/train_layout.h"

/* Reads the weights of a state or weights file into `values` (device memory of `kernel`, or host
 * memory with `kernel` NULL). ERR_SHAPE: a tensor of the layout is missing or of another shape;
 * `name` is for messages. */
MUST_CHECK enum err task_state_read(struct span content, const char *name,
                                    const struct train_layout *layout, struct kernel *kernel,
                                    float *values, struct err_text *et);

/* Appends a state file of step 0 without moments. */
MUST_CHECK enum err task_state_write(const struct train_layout *layout, const float *values,
                                     struct bytes *out);

#endif
