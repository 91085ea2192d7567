/* model_site.h - the inputs of a model's linear modules: which modules share one, what feeds it.
 *
 * A site is one input, (T, columns), that one or more linear modules multiply: what calibration
 * measures, and the place where a scale of columns can be moved from the modules into what feeds
 * them. Sites are derived from the family's row; nothing is stored.
 *
 * Refuses to know: activations, statistics, formats of weights.
 *
 * Invariants
 *  1. Every linear parameter that has data is in exactly one site; a fused module stands for its
 *     parts. The head is a site too: of a tied model, its parameter is the embedding.
 *  2. Sites lie in the order in which a pass comes to them: those of layer 0, of layer 1, ..., the
 *     head. Every layer has the same number of them.
 *  3. No two sites are fed by the same norm: where one norm serves attention and mlp, their modules
 *     share one site.
 */
#ifndef WORKER_ENGINE_NN_MODEL_SITE_H
#define WORKER_ENGINE_NN_MODEL_SITE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/span.h"
#include "worker/engine/nn/model.h"

enum { MODEL_SITE_PARAMS_MAX = 5 };

struct model_site {
    struct text name; /* of its first parameter without ".weight"; borrowed from the model */
    size_t layer;     /* of the head: 0 */
    bool in_layer;    /* false: the head */
    size_t columns;
    size_t params[MODEL_SITE_PARAMS_MAX]; /* linear modules, in model order */
    size_t param_count;
    /* The gain of the norm whose output the input is (its bias: struct model_param), or
     * MODEL_NO_PARAM. */
    ptrdiff_t norm;
    /* The linear module, never a part, each of whose rows named by model_site_source_row multiplies
     * whole columns of the input (the values under attention's sums, up beside a gate), or
     * MODEL_NO_PARAM: the input is not linear in any module's output. */
    ptrdiff_t source;
};

/* Sites in all; of one layer, so that site s of layer l is site l * count + s. */
size_t model_site_count(const struct model *model);
size_t model_site_layer_count(const struct model *model);

struct model_site model_site(const struct model *model, size_t index);

/* The site whose input the linear parameter (or part of one) multiplies; of a tied model's
 * embedding: the head. The parameter is such a one. */
size_t model_site_of_param(const struct model *model, size_t param);

/* Index of the site with this name. ERR_NOT_FOUND. */
MUST_CHECK enum err model_site_find(const struct model *model, struct text name, size_t *index);

/* The row of site->source, counted as in the family's folders, whose output the column is or is
 * multiplied with. Several columns may have one row: query heads that share a value head. */
size_t model_site_source_row(const struct model *model, const struct model_site *site,
                             size_t column);

#endif
