/* task_start.h - whether the adapter that `lora_model_dir` names is what a recipe goes on from:
 * asked before a job is submitted, and again where training starts.
 */
#ifndef WORKER_TASK_TASK_START_H
#define WORKER_TASK_TASK_START_H

#include "common/formats/peft/peft_adapter.h"
#include "worker/engine/train/train_layout.h"

/* Every entry of the layout is a tensor of floats in the adapter, nothing else is in it, and its
 * modules are scaled as the layout's. ERR_SHAPE, ERR_UNSUPPORTED: they are not; `et` names the
 * tensor or the module, and the keys. */
MUST_CHECK enum err task_start_check(const struct peft_adapter *adapter,
                                     const struct train_layout *layout, struct err_text *et);

#endif
