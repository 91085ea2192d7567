/* server_verify.h - artifacts read again, on a thread of the pool, because somebody could not use
 * them. What turns out damaged is not here any more afterwards. */
#ifndef COORDINATOR_LOOP_SERVER_VERIFY_H
#define COORDINATOR_LOOP_SERVER_VERIFY_H

#include "common/mem/arena.h"
#include "coordinator/artifact/artifact.h"
#include "coordinator/sched/sched.h"

/* The state that an OPEN wants. ERR_DIGEST, ERR_NOT_FOUND with a text that follows a colon; ERR_IO.
 */
MUST_CHECK enum err server_verify_state(struct artifact_store *artifacts, struct digest digest,
                                        struct err_text *et);

/* The work VERIFY: fills done->lost (in `arena`) and restored_count. A recipe is written again from
 * the job's record, an input that lies under a path is taken in again; both count as restored. */
MUST_CHECK enum err server_verify_run(struct artifact_store *artifacts,
                                      const struct sched_work *work, struct arena *arena,
                                      struct sched_work_done *done, struct err_text *et);

#endif
