/* server_bulk.h - artifacts in chunks, on the second socket.
 *
 * Frames of a peer are answered in their order, one after the other, on the thread pool: hashing
 * and disks never delay heartbeats. What a peer is sending (struct artifact_put) belongs to it and
 * goes when it was silent too long.
 */
#ifndef COORDINATOR_LOOP_SERVER_BULK_H
#define COORDINATOR_LOOP_SERVER_BULK_H

#include "coordinator/loop/server_state.h"

/* Takes in what waits, at most a budget of frames; true when there is more. */
bool server_bulk_drain(struct server *server);

/* Sends what could not leave, forgets silent peers. Called by the watch timer. */
void server_bulk_watch(struct server *server);

/* Forgets all peers; nothing may be on the pool. */
void server_bulk_fini(struct server *server);

#endif
