/* server_collect.h - artifacts that no record reaches are removed, on the thread pool. */
#ifndef COORDINATOR_LOOP_SERVER_COLLECT_H
#define COORDINATOR_LOOP_SERVER_COLLECT_H

#include "coordinator/loop/server_state.h"

/* The end of a turn, when what let go of a file is committed: starts a collection when it is time,
 * or sooner when the disk is nearly full. */
void server_collect_turn(struct server *server);

#endif
