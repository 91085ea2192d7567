/* task_log.h - the log artifact of a run (JSON Lines of log points) as trainer_state.json.
 * Internal to task. */
#ifndef WORKER_TASK_TASK_LOG_H
#define WORKER_TASK_TASK_LOG_H

#include "common/formats/hf/trainer_log.h"
#include "common/mem/arena.h"
#include "common/recipe/recipe.h"

/* The points in `content`; they live in `arena`. ERR_FORMAT with the line. */
MUST_CHECK enum err task_log_read(struct span content, struct arena *arena, struct trainer_log *out,
                                  struct err_text *et);

/* The last training point, or the last evaluation; NULL when there is none. */
const struct trainer_log_point *task_log_last(const struct trainer_log *log, bool is_eval);

#endif
