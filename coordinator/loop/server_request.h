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

/* The replies of two of them, for whoever else shows them; texts are borrowed from the server's
 * arena. Events: of the job that `prefix` names, or all. */
MUST_CHECK enum err server_request_explain_rows(struct server *server,
                                                const struct msg_explain_get *request,
                                                struct msg_explain *reply, struct err_text *et);
MUST_CHECK enum err server_request_event_rows(struct server *server,
                                              const struct msg_events_get *request,
                                              struct msg_events *reply, struct err_text *et);

#endif
