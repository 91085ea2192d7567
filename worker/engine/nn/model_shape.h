/* model_shape.h - the sizes of a model as its config.json says, checked.
 *
 * Refuses to know: parameters, files of weights.
 */
#ifndef WORKER_ENGINE_NN_MODEL_SHAPE_H
#define WORKER_ENGINE_NN_MODEL_SHAPE_H

#include "worker/engine/nn/model.h"

/* ERR_UNSUPPORTED: a family without a row (`family` NULL) or an option that nobody computes;
 * ERR_FORMAT: sizes that do not fit together. `et` names the key. */
MUST_CHECK enum err model_shape_read(const struct hf_config *config, const struct family *family,
                                     struct model_shape *shape, struct err_text *et);

#endif
