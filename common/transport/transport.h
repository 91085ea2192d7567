/* transport.h - frames in and out of sockets; the one door to ZeroMQ.
 *
 * Two kinds of socket: a ROUTER that listens (coordinator) and a DEALER that connects (worker,
 * client). One ZeroMQ message is one frame. A socket belongs to the thread that made it.
 *
 * What it settles once, for everybody
 *  1. A frame to a peer that is gone is ERR_UNREACHABLE, to a full queue ERR_BUSY; nothing is
 * dropped in silence. Success still means "queued", never "arrived": protocols acknowledge.
 *  2. A DEALER queues only while it is connected and comes with a fresh random routing id, so a
 *     coordinator never confuses two lives of a worker.
 *  3. TCP needs keys: CURVE, a list of known keys, each with a name and a role; whoever is not on
 * the list gets no connection. A local socket (ipc) lies in a folder that only its owner enters.
 *  4. Frames above frame_bytes_max close the connection before they are read.
 *
 * Refuses to know: what frames mean, the event loop. A loop watches transport_fd, which is
 * edge-triggered: readable means "look again", not "there is a frame". After the descriptor fires
 * and after every send or receive ask transport_pending, and drain with a budget while it is true.
 */
#ifndef COMMON_TRANSPORT_TRANSPORT_H
#define COMMON_TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/transport/transport_keys.h"
#include "common/transport/transport_zap.h"

struct transport;

/* A connection as a ROUTER knows it: 128 random bits chosen by the peer at each start. */
enum { TRANSPORT_ID_BYTES = 16 };
struct transport_id {
    uint8_t v[TRANSPORT_ID_BYTES];
};

struct transport_options {
    size_t frame_bytes_max;           /* larger frames close the connection */
    uint32_t linger_ms;               /* how long a close waits for unsent frames; 0 drops them */
    const struct transport_keys *own; /* own pair for TCP; NULL for ipc and inproc */
    const struct transport_zap *zap;  /* listen on TCP: who may connect; started before */
    const uint8_t *server_public;     /* connect over TCP: TRANSPORT_KEY_BYTES of the coordinator */
};

/* One received frame. */
struct transport_frame {
    struct span body;                /* borrowed until the next receive on this socket */
    struct transport_id id;          /* ROUTER: the connection it came from */
    enum transport_role role;        /* ROUTER: what its key may do; ADMIN on a local socket */
    char user[TRANSPORT_USER_BYTES]; /* ROUTER: name beside its key, "local" on a local socket */
};

/* Process-wide start of the library, once, before any other thread: signals stay the program's own.
 * transport_shutdown ends the library's threads after the last socket was closed. */
MUST_CHECK enum err transport_startup(void);
void transport_shutdown(void);

/* A ROUTER listening on `endpoint` (ipc://PATH, tcp://HOST:PORT, inproc://NAME). ERR_DENIED: TCP
 * without keys or without a ZAP handler, a local socket in a folder that others may enter.
 * ERR_EXISTS: the address is in use. ERR_USAGE: not an endpoint. Text in `et`. */
MUST_CHECK enum err transport_listen(const char *endpoint, const struct transport_options *options,
                                     struct transport **out, struct err_text *et);

/* A DEALER that connects, and reconnects for as long as it lives; it need not be answered now.
 * Errors as above. */
MUST_CHECK enum err transport_connect(const char *endpoint, const struct transport_options *options,
                                      struct transport **out, struct err_text *et);
/* The connection of a DEALER made anew, with a fresh routing id: a ROUTER that has not noticed yet
 * that the one before broke takes no other with its id. What was under way is lost. The keys given
 * to transport_connect must still be there. On an error *t stays as it was. */
MUST_CHECK enum err transport_renew(struct transport **t, struct err_text *et);
void transport_close(struct transport **t);

/* The endpoint as bound, with the port that "tcp://...:*" got. Borrowed until close. */
const char *transport_endpoint(const struct transport *t);

/* Descriptor to poll for reading; edge-triggered, see above. */
int transport_fd(const struct transport *t);

/* True when a frame waits. */
bool transport_pending(const struct transport *t);

/* The next frame; waits at most `wait_ms` (0: not at all, negative: for ever). ERR_TIMEOUT: none
 * came. ERR_PROTOCOL: something came that is not one frame from a peer of ours; it was dropped, ask
 * again. ERR_IO: the library was shut down. */
MUST_CHECK enum err transport_receive(struct transport *t, int wait_ms,
                                      struct transport_frame *frame);

/* Queues one frame; `to` names the connection on a ROUTER and is NULL on a DEALER. The body is
 * copied. Never waits. ERR_UNREACHABLE, ERR_BUSY, ERR_LIMIT (above frame_bytes_max). A DEALER that
 * is not connected at the moment says ERR_BUSY. */
MUST_CHECK enum err transport_send(struct transport *t, const struct transport_id *to,
                                   struct span body);

/* Random bytes from the system. */
void transport_random(void *out, size_t size);

#endif
