/* server_long.h - requests of clients that read whole files: on the pool, each once.
 *
 * A client asks again every few seconds until it is answered, so a request is known by its peer and
 * ticket while it is out. One that needs what somebody else is reading leaves its thread and looks
 * again a moment later.
 */
#ifndef COORDINATOR_LOOP_SERVER_LONG_H
#define COORDINATOR_LOOP_SERVER_LONG_H

#include "coordinator/loop/server_state.h"

struct server_long;

/* On a thread of the pool. ERR_BUSY: it has to wait, and is called again. */
typedef enum err (*server_long_run_f)(struct server_long *request);
/* On the loop's thread, once, with the last word of `run`: answers and frees. ERR_CANCELLED: the
 * server stops, nobody is answered. ERR_BUSY: as many as may be are out. */
typedef void (*server_long_done_f)(struct server_long *request, enum err err);

struct server_long {
    /* set by whoever starts it */
    struct server *server; /* borrowed */
    uint64_t peer, ticket;
    server_long_run_f run;
    server_long_done_f done;
    /* private */
    uv_work_t work;
    struct list_node node; /* of server.longs */
    enum err err;
    bool is_waiting; /* for who reads what it needs */
};

/* The peer's request has no answer yet: asked again, nothing is to be done. */
bool server_long_is_out(const struct server *server, uint64_t peer, uint64_t ticket);

void server_long_start(struct server_long *request);

/* Those that wait look again. Called by the watch timer. */
void server_long_watch(struct server *server);

/* Ends those that wait; nothing may be on the pool. */
void server_long_cancel(struct server *server);

#endif
