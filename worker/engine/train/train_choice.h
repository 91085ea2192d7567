/* train_choice.h - what the names in a recipe mean in a model: which modules get adapters, of which
 * rank, and which train as a whole.
 *
 * A module is what the family's folders call so: a parameter's name without ".weight". A parameter
 * may be two modules: the embedding of a tied model is the head too, under the head's name.
 *
 * Refuses to know: names and places of what trains. Internal to train.
 */
#ifndef WORKER_ENGINE_TRAIN_TRAIN_CHOICE_H
#define WORKER_ENGINE_TRAIN_TRAIN_CHOICE_H

#include "common/mem/arena.h"
#include "worker/engine/train/train_layout.h"

/* The modules of the model in its order, as the config chooses among them; for LoRA alone. In the
 * arena; names are borrowed from model and arena. ERR_RECIPE with the key and what there is: a name
 * that fits no module, a rank that a module cannot have, a module both adapted and saved, half of
 * what a tied model has as one, what cannot train in the form it lies in. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err train_choice_make(const struct model *model, const struct train_config *config,
                                      struct arena *arena, struct train_module **out, size_t *count,
                                      struct err_text *et);

/* The part of a module's name after its last dot. */
struct text train_choice_last_part(struct text module);

#endif
