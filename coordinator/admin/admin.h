/* admin.h - what is shown to people: replies to requests that only look, from const views of sched.
 *
 * Replies borrow from sched and from `arena`; encode them before the next step. They are cut to fit
 * a frame. Refuses to know: sockets, files, the store (the loop hands in records one by one).
 */
#ifndef COORDINATOR_ADMIN_ADMIN_H
#define COORDINATOR_ADMIN_ADMIN_H

#include "common/base/error.h"
#include "common/mem/arena.h"
#include "common/message/message.h"
#include "coordinator/sched/sched.h"
#include "coordinator/sched/sched_explain.h"

/* ERR_NOT_FOUND, ERR_AMBIGUOUS with text: the prefix; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err admin_jobs(const struct sched *sched, const struct msg_jobs_get *request,
                               struct arena *arena, struct msg_jobs *reply, struct err_text *et);
MUST_CHECK enum err admin_job(const struct sched *sched, const struct msg_job_get *request,
                              struct instant now, struct arena *arena, struct msg_job *reply,
                              struct err_text *et);
MUST_CHECK enum err admin_workers(const struct sched *sched, const struct msg_workers_get *request,
                                  struct instant now, struct arena *arena,
                                  struct msg_workers *reply);
/* The prefix names a job, or else a checkpoint by its digest. */
MUST_CHECK enum err admin_checkpoints(const struct sched *sched,
                                      const struct msg_checkpoints_get *request,
                                      struct arena *arena, struct msg_checkpoints *reply,
                                      struct err_text *et);

/* What done tasks of a job made, page by page. */
MUST_CHECK enum err admin_artifacts(const struct sched *sched,
                                    const struct msg_artifacts_get *request, struct arena *arena,
                                    struct msg_artifacts *reply, struct err_text *et);

/* Why a job, or each that is not over, does not go on. ERR_NOT_FOUND too when the job has no stage
 * of that name. */
MUST_CHECK enum err admin_explain(const struct sched *sched, const struct msg_explain_get *request,
                                  const struct sched_explain_view *view, struct arena *arena,
                                  struct msg_explain *reply, struct err_text *et);

/* The job that `prefix` names, with a message for people when there is none or more than one. */
MUST_CHECK enum err admin_find(const struct sched *sched, struct text prefix, size_t *index,
                               struct err_text *et);

#endif
