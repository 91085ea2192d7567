/* outbox.c - a ring of frames. */
#include "worker/loop/outbox.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/wire/wire.h"

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

static enum err encode_failure(const struct msg_lease_result *result, enum err err,
                               struct bytes *frame)
{
    const struct msg_lease_result failed = {
        .fence = result->fence,
        .error = (uint32_t)err,
        .detail = TEXT("the task's result is larger than a message may be"),
    };
    return wire_encode(&message_type_msg_lease_result, &failed, frame);
}

void outbox_put(struct outbox *outbox, uint32_t number, const union message_any *message)
{
    if (outbox->count == OUTBOX_FRAMES_MAX)
        return;
    struct bytes *frame = &outbox->frames[(outbox->first + outbox->count) % OUTBOX_FRAMES_MAX];
    bytes_clear(frame);
    enum err err = wire_encode(message_type_of(number), message, frame);
    bool has_no_frame = err != ERR_OK && err != ERR_OUT_OF_MEMORY;
    if (has_no_frame && number == MSG_LEASE_RESULT)
        err = encode_failure(&message->lease_result, err, frame);
    outbox->count += err == ERR_OK;
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
