/* task_override.h - what quantized layers compute with: the tensors of quantize tasks as plain
 * weights, laid over the model they came from. Internal to task. */
#ifndef WORKER_TASK_TASK_OVERRIDE_H
#define WORKER_TASK_TASK_OVERRIDE_H

#include "worker/engine/nn/model_overlay.h"
#include "worker/task/task_run.h"
#include "worker/task/task_scheme.h"

enum { TASK_OVERRIDE_MAX = 64 };

struct task_overrides {
    struct model_override items[TASK_OVERRIDE_MAX];
    size_t count;
};

/* Adds the layers and norms in one task's "tensors"; values lie in `arena`. ERR_SHAPE, ERR_FORMAT
 * with the tensor. */
MUST_CHECK enum err task_override_add(struct task_overrides *overrides, struct span tensors,
                                      const struct model *model, const struct task_scheme *scheme,
                                      size_t layer, struct arena *arena, struct err_text *et);

#endif
