/* control.h - what clients ask of jobs: submit, cancel, pause, resume, retry. */
#ifndef COORDINATOR_SCHED_CONTROL_H
#define COORDINATOR_SCHED_CONTROL_H

#include "coordinator/sched/core.h"

/* Each answers the client; ERR_OUT_OF_MEMORY and nothing changed. */
MUST_CHECK enum err control_submit(struct sched *s, struct peer_id client, uint64_t ticket,
                                   const struct rec_job_submitted *record);
MUST_CHECK enum err control_job(struct sched *s, struct peer_id client,
                                const struct msg_job_control *control);

#endif
