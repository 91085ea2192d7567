/* checkpoint_find.h - checkpoints as people name them.
 *
 *   77ad10f                  the beginning of its id
 *   JOB                      the latest of a job (id, name or `last`)
 *   JOB@latest  JOB@best     of lowest held-out loss
 *   JOB@TAG  JOB@800         by a name it was given; by its step
 *   JOB@77ad10f              the job's own, where several jobs made the same
 */
#ifndef CLI_COMMAND_CHECKPOINT_FIND_H
#define CLI_COMMAND_CHECKPOINT_FIND_H

#include "cli/client/client.h"
#include "common/mem/arena.h"

/* Those of a job, or whose id begins so; newest first, in `arena`. ERR_NOT_FOUND. */
MUST_CHECK enum err checkpoint_find_list(struct client *client, const char *prefix,
                                         struct arena *arena, struct msg_checkpoints *out,
                                         struct err_text *et);

/* The one that is meant. ERR_NOT_FOUND; ERR_AMBIGUOUS with what to say instead. */
MUST_CHECK enum err checkpoint_find_one(struct client *client, const char *name,
                                        struct arena *arena, struct checkpoint_row *out,
                                        struct err_text *et);

/* Whether its id begins with `name`, which is long enough to be one. */
bool checkpoint_find_is_id(const struct checkpoint_row *row, const char *name);

/* Row of lowest held-out loss among those of the stage of row `like`, the oldest of equals; the
 * count when none was evaluated. */
uint32_t checkpoint_find_best(const struct msg_checkpoints *rows, uint32_t like);

/* Whether row `index` is what its training goes on from. */
bool checkpoint_find_is_latest(const struct msg_checkpoints *rows, uint32_t index);

/* Seven characters of the id, "" for none. Returns `out`. */
enum { CHECKPOINT_FIND_BYTES = DIGEST_HEX_BYTES };
const char *checkpoint_find_name(struct digest digest, char out[CHECKPOINT_FIND_BYTES]);

#endif
