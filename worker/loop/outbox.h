/* outbox.h - frames that wait until the connection takes them. Bounded: what does not fit is not
 * kept, and the protocol sends it again (results until acknowledged, heartbeats anew).
 */
#ifndef WORKER_LOOP_OUTBOX_H
#define WORKER_LOOP_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/mem/bytes.h"
#include "common/transport/transport.h"

enum { OUTBOX_FRAMES_MAX = 64 };

struct outbox {
    struct bytes frames[OUTBOX_FRAMES_MAX]; /* a ring; owned, kept for reuse */
    size_t first, count;
};

void outbox_init(struct outbox *outbox);
void outbox_fini(struct outbox *outbox);

/* An empty frame to encode into, at the end; NULL when the outbox is full. outbox_drop takes it
 * back when encoding failed. */
struct bytes *outbox_add(struct outbox *outbox);
void outbox_drop(struct outbox *outbox);
void outbox_clear(struct outbox *outbox);

/* Sends from the front until the socket takes no more. True when nothing is left. */
bool outbox_flush(struct outbox *outbox, struct transport *socket);

#endif
