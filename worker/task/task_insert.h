/* task_insert.h - between what trains beside the modules of a model (prompts, bottlenecks) and the
 * folders that keep it. For this folder, and for who runs a model with such an adapter.
 */
#ifndef WORKER_TASK_TASK_INSERT_H
#define WORKER_TASK_TASK_INSERT_H

#include "common/formats/peft/peft_insert.h"
#include "worker/engine/train/train_layout.h"

/* What a folder's config says of settings that train_insert_is; names are left to the caller. Texts
 * are static. */
struct peft_insert_config task_insert_describe(const struct model *model,
                                               const struct train_config *config);

/* The settings that a folder was trained under. ERR_UNSUPPORTED: words that are not known here, or
 * vectors of another width than the model's; `et` names the folder's key. */
MUST_CHECK enum err task_insert_settings(const struct model *model,
                                         const struct peft_insert_config *folder,
                                         struct train_config *out, struct err_text *et);

/* The vector of the layout from a folder's tensors, which are its entries and no others.
 * ERR_SHAPE, ERR_UNSUPPORTED with the tensor. */
MUST_CHECK enum err task_insert_values(const struct peft_insert *insert,
                                       const struct train_layout *layout, float *values,
                                       struct err_text *et);

#endif
