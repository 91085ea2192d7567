/* fake_quant_check.h - what a fake quantizer takes, and what it refuses: known before anything is
 * encoded, so that a recipe can be refused before it is a job. */
#ifndef WORKER_ENGINE_TRAIN_FAKE_QUANT_CHECK_H
#define WORKER_ENGINE_TRAIN_FAKE_QUANT_CHECK_H

#include "worker/engine/train/fake_quant.h"

/* Whether the parameter is quantized: linear modules of the layers, with `embedding` also embedding
 * and head; no part of a fused module. */
bool fake_quant_check_takes(const struct model *model, const struct fake_quant_config *config,
                            size_t param);

/* Whether model and trainables can be quantized so. ERR_RECIPE: a module is quantized already, has
 * no whole blocks or groups, or an adapter is not of plain LoRA without dropout; `et` names it and
 * the recipe's keys. */
MUST_CHECK enum err fake_quant_check(const struct model *model, const struct train_layout *layout,
                                     const struct fake_quant_config *config, struct err_text *et);

#endif
