/* outbox.c - a ring of frames. */
#include "worker/loop/outbox.h"

#include "common/base/check.h"
#include "common/base/limits.h"

void outbox_init(struct outbox *outbox)
{
    outbox->first = 0;
    outbox->count = 0;
    for (size_t i = 0; i < OUTBOX_FRAMES_MAX; i++)
        bytes_init(&outbox->frames[i], LIMIT_FRAME_BYTES);
}

void outbox_fini(struct outbox *outbox)
{
    for (size_t i = 0; i < OUTBOX_FRAMES_MAX; i++)
        bytes_fini(&outbox->frames[i]);
}

struct bytes *outbox_add(struct outbox *outbox)
{
    if (outbox->count == OUTBOX_FRAMES_MAX)
        return NULL;
    struct bytes *frame = &outbox->frames[(outbox->first + outbox->count) % OUTBOX_FRAMES_MAX];
    outbox->count++;
    bytes_clear(frame);
    return frame;
}

void outbox_drop(struct outbox *outbox)
{
    ASSERT(outbox->count > 0);
    outbox->count--;
}

void outbox_clear(struct outbox *outbox)
{
    outbox->count = 0;
}

bool outbox_flush(struct outbox *outbox, struct transport *socket)
{
    while (outbox->count > 0) {
        struct bytes *frame = &outbox->frames[outbox->first];
        if (transport_send(socket, NULL, bytes_span(frame)) != ERR_OK)
            return false;
        outbox->first = (outbox->first + 1) % OUTBOX_FRAMES_MAX;
        outbox->count--;
    }
    return true;
}
