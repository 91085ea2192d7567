/* train_merge.h - weights with what training made of them inside: no adapter is left to add.
 *
 *   W' = W + scale * (B A - B0 A0)     of each adapter on a module, and of those on its parts;
 *                                      B0 A0 where they are anchored
 *   W'_i = m_i W'_i / |W'_i|           where an adapter has magnitudes
 *   E'_v = E_v + scale * A_v^T B^T     of the embedding's lookup
 *
 * or the trained values themselves where a parameter trained as a whole. The product is one chain
 * over the ranks an element, then scaled, then added: two more roundings, in f32, whatever the
 * number of threads and however the rows are cut.
 *
 * Refuses to know: files, types, where W comes from; it may be another model than the one that was
 * trained on, as long as it has the same parameters (the same model before it was quantized).
 */
#ifndef WORKER_ENGINE_TRAIN_TRAIN_MERGE_H
#define WORKER_ENGINE_TRAIN_TRAIN_MERGE_H

#include "worker/engine/train/train_layout.h"

struct kernel;

/* All borrowed. */
struct train_merge {
    const struct model *model; /* whose weights are merged into */
    const struct train_layout *layout;
    const float *values; /* of the layout */
    const float *anchor; /* what adapters started from, where they are anchored, else NULL */
    struct kernel *kernel;
};

/* Whether `model` has the parameters of `trained`, which the layout was made for: ERR_SHAPE with
 * the first that differs. ERR_RECIPE: one matrix is embedding and head, and what trained is of one
 * of them alone. */
MUST_CHECK enum err train_merge_check(const struct train_merge *merge, const struct model *trained,
                                      struct err_text *et);

/* Whether anything at the parameter trained; false for a part, which is merged with its module. */
bool train_merge_touches(const struct train_merge *merge, size_t param);

/* Rows [first, first + count) of a parameter that has data, as (count, columns), in the order and
 * sense of model_values_read. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err train_merge_rows(const struct train_merge *merge, size_t param, size_t first,
                                     size_t count, float *out);

#endif
