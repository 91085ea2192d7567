/* server_submit.h - from a recipe and its inputs to a durable job. */
#ifndef COORDINATOR_LOOP_SERVER_SUBMIT_H
#define COORDINATOR_LOOP_SERVER_SUBMIT_H

#include "coordinator/loop/server_state.h"

/* Checks the inputs on a thread of the pool (present, or a path with this content) and plans the
 * job; then either names what is missing or hands the record to sched, which answers. Refusals are
 * answered with a status. */
void server_submit_start(struct server *server, struct server_peer *peer,
                         const struct msg_submit *message);

#endif
