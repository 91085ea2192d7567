/* train_adapter.h - the trained adapter under the names that the rest of the world knows.
 *
 * Elsewhere a fused module is one module: PEFT has no name for its parts. So the adapters of the
 * parts, and one on the module itself, become one adapter of the module that computes the same. The
 * same holds for an adapter with an anchor (A0, B0), which adds s (B A - B0 A0) x:
 *
 *   A = their A stacked, then A0       (ranks in all, in)
 *   B = their B in blocks, then -B0    (out, ranks in all): a part's columns are 0 but in its rows
 *
 * with a rank and an alpha of its own, so that the scale stays. A matrix that trained as embedding
 * and head of a tied model goes under both names. Everything else is as in the layout.
 */
#ifndef WORKER_ENGINE_TRAIN_TRAIN_ADAPTER_H
#define WORKER_ENGINE_TRAIN_TRAIN_ADAPTER_H

#include "common/mem/arena.h"
#include "worker/engine/train/train_layout.h"

/* Modules whose rank and alpha are not those of the adapter. */
struct train_adapter_module {
    struct text name; /* "model.layers.0.self_attn.qkv_proj", or "qkv_proj" of all that end so */
    size_t rank;
    double alpha;
};

struct train_adapter {
    const struct train_entry *entries; /* sorted by name; offsets count from `values` */
    size_t entry_count;
    const float *values;
    size_t rank; /* twice the recipe's with an anchor */
    double alpha;
    /* What names the modules and no others, sorted: the last part of their names ("q_proj"), or the
     * whole name where other modules end so and have no adapter. */
    const struct text *targets;
    size_t target_count;
    const struct text *saved; /* the same of modules that trained as a whole (modules_to_save) */
    size_t saved_count;
    const struct train_adapter_module *modules; /* sorted by name */
    size_t module_count;
};

/* `anchor`: what adapters started from, where they were anchored, else NULL. Everything is in the
 * arena, or borrowed from layout and values. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err train_adapter_fold(const struct train_config *config,
                                       const struct train_layout *layout, const float *values,
                                       const float *anchor, struct arena *arena,
                                       struct train_adapter *out);

#endif
