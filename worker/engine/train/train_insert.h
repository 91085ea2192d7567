/* train_insert.h - what trains beside the modules of a model: bottlenecks and prompts.
 *
 * Their entries in the vector are named after the layer they are in, wherever the family keeps it:
 *
 *   model.layers.3.attention_adapter.down.weight   (width / reduction, width), .bias
 *   model.layers.3.mlp_adapter.up.weight           (width, width / reduction), .bias
 *   model.layers.3.parallel_adapter...             beside the mlp
 *   model.layers.3.layer_adapter...                behind the layer
 *   prompt_embeddings                              (vectors, width), as PEFT
 *
 * For train_layout.c, and for who reads folders of them.
 */
#ifndef WORKER_ENGINE_TRAIN_TRAIN_INSERT_H
#define WORKER_ENGINE_TRAIN_TRAIN_INSERT_H

#include "common/mem/arena.h"
#include "worker/engine/train/train_layout.h"

/* Whether a method, or the part of an entry, is one of these. */
bool train_insert_is(enum train_method method);
bool train_insert_is_part(enum train_part part);

/* ERR_RECIPE: a setting out of its range; `et` names the recipe's key. */
MUST_CHECK enum err train_insert_check(const struct model *model, const struct train_config *config,
                                       struct err_text *et);

/* Number of entries; writes them, without offsets, names in the arena. ERR_OUT_OF_MEMORY. */
size_t train_insert_count(const struct model *model, const struct train_config *config);
MUST_CHECK enum err train_insert_entries(const struct model *model,
                                         const struct train_config *config, struct arena *arena,
                                         struct train_entry *entries);

/* Tells the binding about an entry that has its offset. */
void train_insert_bind(const struct model *model, const struct train_config *config,
                       const struct train_entry *entry, struct binding *binding);

/* First values of an entry: a bottleneck starts as nothing, since its second matrix is 0; its first
 * one is normal with deviation 0.02 (Houlsby, Pfeiffer) or Kaiming-uniform (parallel). A function
 * of (seed, name, position), and for prompts of the embeddings. */
void train_insert_values(const struct model *model, enum train_prompt prompt, uint64_t seed,
                         const struct train_entry *entry, float *values);

/* A prompt's vectors become the embeddings of `ids`, over and over or as far as they go. Tokens are
 * below the vocabulary; count > 0. */
void train_insert_tokens(const struct model *model, const uint32_t *ids, size_t count,
                         size_t prompt_count, float *values);

#endif
