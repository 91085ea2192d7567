/* server_prune.h - what records let go of is removed from disk: at once, unlike a collection.
 *
 * Looked at on the loop's thread, at the end of a turn: after the commit of whatever let go, and
 * only when nothing is on its way to a record that might name one of the files again (a submission
 * that was checked, a checkpoint that was written). There they leave the store by a rename; the
 * bytes are removed on the pool.
 */
#ifndef COORDINATOR_LOOP_SERVER_PRUNE_H
#define COORDINATOR_LOOP_SERVER_PRUNE_H

#include "coordinator/loop/server_state.h"

/* MSG_CHECKPOINT_CONTROL: PRUNE and dry runs are answered here, the rest goes to sched. */
void server_prune_control(struct server *server, struct server_peer *peer,
                          const union message_any *message);

/* Prunes at the end of this turn, or of the first that allows it. */
void server_prune_want(struct server *server);

/* The end of a turn. */
void server_prune_turn(struct server *server);

void server_prune_init(struct server *server);
/* Clients that still wait for an answer are forgotten. */
void server_prune_fini(struct server *server);

#endif
