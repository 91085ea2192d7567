/* stage_memory.h - what the stages of a recipe need of a worker's memory (task_memory.h), and which
 * workers have it.
 *
 * Weights that are mapped from files are no need: the system takes their pages back. But where a
 * worker has no room for them beside what a pass needs, each pass reads them from disk again, and
 * that is said too.
 */
#ifndef CLI_COMMAND_STAGE_MEMORY_H
#define CLI_COMMAND_STAGE_MEMORY_H

#include <stdio.h>

#include "cli/client/client.h"
#include "common/mem/arena.h"
#include "common/message/message.h"
#include "common/message/state.h"
#include "common/recipe/recipe.h"

struct stage_memory_plan {
    struct stage_memory rows[STAGE_KIND_COUNT];
    uint32_t count;
    uint64_t mapped_bytes; /* of the base as stages that train see it */
};

/* Of all variants the largest. Errors of base_model_check, which was called before; ERR_RECIPE: it
 * is more than the recipe's own resources have. */
MUST_CHECK enum err stage_memory_plan(const struct recipe *recipe, struct arena *arena,
                                      struct stage_memory_plan *out, struct err_text *et);

/* Of the workers that could be given tasks, who can take which stage: a line a stage to `out`, NULL
 * for none; to `notices` that the base does not fit beside them. ERR_NO_PLACE when there are
 * workers and all are too small for one of the stages, with the nearest change of the recipe that
 * fits in `et`. Errors of client_request. */
MUST_CHECK enum err stage_memory_check(const struct stage_memory_plan *plan,
                                       const struct recipe *recipe, struct client *client,
                                       FILE *out, FILE *notices, struct arena *arena,
                                       struct err_text *et);

#endif
