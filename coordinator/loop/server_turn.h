/* server_turn.h - one turn of the loop: events into sched, effects collected, one commit, then out.
 *
 * Everything that is to leave the process passes through here, also replies that only look: they
 * may show what this turn decided, so they wait for its commit.
 */
#ifndef COORDINATOR_LOOP_SERVER_TURN_H
#define COORDINATOR_LOOP_SERVER_TURN_H

#include "coordinator/loop/server_state.h"

MUST_CHECK enum err server_turn_init(struct server *server);
void server_turn_fini(struct server *server);

/* Steps the scheduler; `event` gets its times here. Effects wait for server_turn_end. A failure is
 * fatal and handled. */
void server_turn_step(struct server *server, struct sched_event *event);

/* Adds a record of the loop's own. */
void server_turn_record(struct server *server, uint32_t number, const union message_record *record);

/* A message to a peer, after the commit. `message` is the msg_* structure of `number`; one that
 * does not fit a frame becomes a status. */
void server_turn_send(struct server *server, uint64_t peer, uint32_t number, const void *message);
void server_turn_status(struct server *server, uint64_t peer, uint64_t ticket, enum err err,
                        const char *detail);

/* Commits, sends, starts. Called before the loop waits. */
void server_turn_end(struct server *server);

#endif
