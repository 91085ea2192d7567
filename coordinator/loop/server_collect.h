/* server_collect.h - artifacts that no record reaches are removed, on the thread pool. */
#ifndef COORDINATOR_LOOP_SERVER_COLLECT_H
#define COORDINATOR_LOOP_SERVER_COLLECT_H

#include "coordinator/loop/server_state.h"

/* Starts a collection when it is time, or sooner when the disk is nearly full. Called by the watch
 * timer. */
void server_collect_watch(struct server *server);

#endif
