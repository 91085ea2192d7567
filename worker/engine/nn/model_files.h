/* model_files.h - the data of a model's parameters from its open safetensors files. */
#ifndef WORKER_ENGINE_NN_MODEL_FILES_H
#define WORKER_ENGINE_NN_MODEL_FILES_H

#include "worker/engine/nn/model_state.h"

enum { MODEL_FILES_NAME_BYTES = 512 };

/* The names that a parameter may have in a file: its own with form 0, then those of files that wrap
 * the network differently. False beyond the last form; a name that is too long is empty. */
bool model_files_name(const struct model_param *p, size_t form, char out[MODEL_FILES_NAME_BYTES]);

/* Every parameter points into model->files or, where kernels need another form, into the arena.
 * `load` (or NULL) as in model_open_as. ERR_NOT_FOUND, ERR_SHAPE, ERR_UNSUPPORTED, ERR_NOT_FINITE:
 * `et` names the tensor. */
MUST_CHECK enum err model_files_load(struct model *model, const struct model_load *load,
                                     struct err_text *et);

#endif
