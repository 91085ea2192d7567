/* model_params.h - the list of a model's parameters in model order: names, shapes, relations. */
#ifndef WORKER_ENGINE_NN_MODEL_PARAMS_H
#define WORKER_ENGINE_NN_MODEL_PARAMS_H

#include "worker/engine/nn/model_state.h"

/* Fills params, param_count, layer_params and indices from family and shape; no data yet.
 * ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err model_params_list(struct model *model);

#endif
