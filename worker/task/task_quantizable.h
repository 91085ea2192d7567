/* task_quantizable.h - whether `quantize:` and a model go together, from headers alone: asked
 * before a job is submitted, and again before it decides which tensor becomes what. Hours of
 * calibration should not end in a message that could have been the first.
 */
#ifndef WORKER_TASK_TASK_QUANTIZABLE_H
#define WORKER_TASK_TASK_QUANTIZABLE_H

#include "common/recipe/recipe.h"
#include "worker/engine/nn/model.h"

/* `path`: the folder or GGUF file that the model is of; NULL where its weights are still to be
 * made. ERR_RECIPE: a scheme, type, pattern or key that there is not, or that does not go with
 * another; ERR_SHAPE: groups do not divide a layer; ERR_UNSUPPORTED: the model is quantized
 * already, lies in a GGUF file, or its family's weights or tensor names cannot be written in the
 * scheme's format. `et` says which and what would do. */
MUST_CHECK enum err task_quantizable_check(const struct recipe *recipe, const struct model *model,
                                           const char *path, struct err_text *et);

#endif
