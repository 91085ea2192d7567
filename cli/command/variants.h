/* variants.h - the trainings of one job beside each other, the best of them marked. */
#ifndef CLI_COMMAND_VARIANTS_H
#define CLI_COMMAND_VARIANTS_H

#include "cli/command/command.h"
#include "common/message/message.h"

enum { VARIANTS_PROGRESS_BYTES = LIMIT_NAME_BYTES + 48 };

/* "train 12/200" in `out`; returns it. */
const char *variants_progress(struct text stage, uint64_t done, uint64_t total,
                              char out[VARIANTS_PROGRESS_BYTES]);

/* One line a variant; nothing for a job without. */
MUST_CHECK enum err variants_print(struct invocation *invocation, const struct job_row *row);

#endif
