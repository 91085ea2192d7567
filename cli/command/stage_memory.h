/* stage_memory.h - what the stages of a recipe need of a worker's memory, by the engine's own
 * plans, and which workers have it.
 *
 * Weights that are mapped from their files are not counted: the kernel takes their pages back.
 * Weights that load_in_4bit or load_in_8bit make are. All are figures for one row, one tensor or
 * one layer at a time, so a worker that has less cannot do it at all.
 */
#ifndef CLI_COMMAND_STAGE_MEMORY_H
#define CLI_COMMAND_STAGE_MEMORY_H

#include <stdio.h>

#include "cli/client/client.h"
#include "common/mem/arena.h"
#include "common/message/message.h"
#include "common/recipe/recipe.h"

enum { STAGE_MEMORY_ROWS_MAX = 8, STAGE_MEMORY_ADVICE_BYTES = 160 };

struct stage_memory_plan {
    struct stage_memory rows[STAGE_MEMORY_ROWS_MAX];
    uint32_t count;
};

/* Of all variants the largest. Errors of base_model_check, which was called before. */
MUST_CHECK enum err stage_memory_plan(const struct recipe *recipe, struct arena *arena,
                                      struct stage_memory_plan *out, struct err_text *et);

/* Of the workers that could be given tasks, who can take which stage: a line a stage to `out`, NULL
 * for none. ERR_NO_PLACE when there are workers and all are too small for one of the stages, with
 * the nearest change of the recipe that fits in `et`. Errors of client_request. */
MUST_CHECK enum err stage_memory_check(const struct stage_memory_plan *plan,
                                       const struct recipe *recipe, struct client *client,
                                       FILE *out, struct arena *arena, struct err_text *et);

#endif
