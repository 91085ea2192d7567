/* task_mergeable.h - whether `merge:` and a model go together: asked before a job is submitted, and
 * again before it merges. */
#ifndef WORKER_TASK_TASK_MERGEABLE_H
#define WORKER_TASK_TASK_MERGEABLE_H

#include "common/recipe/recipe.h"
#include "worker/engine/train/train_layout.h"

/* `stored`: the base as its files have it; the layout of what trains on it. ERR_RECIPE: the base
 * has not all its bits (full), has them all (dequantized), is ternary, or is one matrix where the
 * adapter is of half of it. `et` says what would do. */
MUST_CHECK enum err task_mergeable_check(const struct recipe *recipe, const struct model *stored,
                                         const struct train_layout *layout, struct err_text *et);

#endif
