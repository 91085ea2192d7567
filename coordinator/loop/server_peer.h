/* server_peer.h - the table of who speaks on the control socket, with bounded outboxes. */
#ifndef COORDINATOR_LOOP_SERVER_PEER_H
#define COORDINATOR_LOOP_SERVER_PEER_H

#include "coordinator/loop/server_state.h"

/* Who sent the frame: NULL when it has not said hello, or when another key did from that address.
 */
struct server_peer *server_peer_of(struct server *server, const struct transport_frame *frame);
struct server_peer *server_peer_by_id(struct server *server, uint64_t id);

/* Takes in a peer, pushing out the client that was silent longest when the table is full. A worker
 * that comes with a new address takes the place of what it was before: from there nobody speaks any
 * more. ERR_LIMIT: too many workers. ERR_DENIED: the address is another key's. ERR_OUT_OF_MEMORY.
 */
MUST_CHECK enum err server_peer_add(struct server *server, const struct transport_frame *frame,
                                    const struct msg_hello *hello, struct server_peer **out);
void server_peer_remove(struct server *server, struct server_peer *peer);
void server_peer_remove_all(struct server *server);

/* Sends a frame, or keeps it until it can leave. A peer whose connection is closed is marked
 * is_deaf, one whose outbox overflows is_gone. */
void server_peer_send(struct server *server, struct server_peer *peer, struct span frame);
/* Marks peers that were silent for long as gone: a connection that broke makes no sound. */
void server_peer_forget(struct server *server);

/* Tries again what is kept for all peers; true while something is. */
bool server_peer_flush(struct server *server);

#endif
