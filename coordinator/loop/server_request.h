/* server_request.h - requests that only look: jobs, job, events, workers, checkpoints, verify. */
#ifndef COORDINATOR_LOOP_SERVER_REQUEST_H
#define COORDINATOR_LOOP_SERVER_REQUEST_H

#include "coordinator/loop/server_state.h"

/* Each answers `peer` with its reply or a status. */
void server_request_jobs(struct server *server, struct server_peer *peer,
                         const union message_any *message);
void server_request_job(struct server *server, struct server_peer *peer,
                        const union message_any *message);
void server_request_explain(struct server *server, struct server_peer *peer,
                            const union message_any *message);
void server_request_events(struct server *server, struct server_peer *peer,
                           const union message_any *message);
void server_request_workers(struct server *server, struct server_peer *peer,
                            const union message_any *message);
void server_request_checkpoints(struct server *server, struct server_peer *peer,
                                const union message_any *message);
void server_request_artifacts(struct server *server, struct server_peer *peer,
                              const union message_any *message);
void server_request_verify(struct server *server, struct server_peer *peer,
                           const union message_any *message);

#endif
