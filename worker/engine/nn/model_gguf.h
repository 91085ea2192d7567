/* model_gguf.h - a model from a GGUF file: keys become the config, tensors the parameters' data.
 *
 * What the converters of GGUF changed is taken as it is, never changed back in memory:
 *   rows of q and k in pairs          model_param.row_order, seen by the products (kernel.h)
 *   gains of norms stored plus one    the family of the open model is RMS, not RMS_PLUS_ONE
 *   fused q, k, v without groups      model_param.row_order, seen by linear.c
 *   Conv1D weights turned             the same: PLAIN, not TURNED
 * Names of parameters are those of the family's Hugging Face files, so that adapters and
 * checkpoints do not know where a model came from.
 */
#ifndef WORKER_ENGINE_NN_MODEL_GGUF_H
#define WORKER_ENGINE_NN_MODEL_GGUF_H

#include "worker/engine/nn/model.h"

/* As model_open_as for a GGUF file or the first of several. */
MUST_CHECK enum err model_gguf_open(const char *path, const struct model_load *load,
                                    struct model **out, struct err_text *et);

#endif
