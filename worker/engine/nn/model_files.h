/* model_files.h - the data of a model's parameters from its open safetensors files. */
#ifndef WORKER_ENGINE_NN_MODEL_FILES_H
#define WORKER_ENGINE_NN_MODEL_FILES_H

#include "worker/engine/nn/model_state.h"

/* Every parameter points into model->files or, where kernels need another form, into the arena.
 * ERR_NOT_FOUND, ERR_SHAPE, ERR_UNSUPPORTED: `et` names the tensor. */
MUST_CHECK enum err model_files_load(struct model *model, struct err_text *et);

#endif
