/* outbox.h - frames that wait until the connection takes them. Bounded: what does not fit is not
 * kept, and the protocol sends it again (results until acknowledged, heartbeats anew).
 */
#ifndef WORKER_LOOP_OUTBOX_H
#define WORKER_LOOP_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/mem/bytes.h"
#include "common/message/message.h"
#include "common/transport/transport.h"

enum { OUTBOX_FRAMES_MAX = 64 };

struct outbox {
    struct bytes frames[OUTBOX_FRAMES_MAX]; /* a ring; owned, kept for reuse */
    size_t first, count;
};

void outbox_init(struct outbox *outbox);
void outbox_fini(struct outbox *outbox);

/* A message at the end, as a frame. A result that no frame holds is said as the failure that it is:
 * unsaid, its lease would be renewed for ever. */
void outbox_put(struct outbox *outbox, uint32_t number, const union message_any *message);
void outbox_clear(struct outbox *outbox);

/* Sends from the front until the socket takes no more. True when nothing is left. */
bool outbox_flush(struct outbox *outbox, struct transport *socket);

#endif
