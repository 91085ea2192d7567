/* bulk.c - one request, one reply; asked again until it is answered. Chunks are asked for several
 * at a time. */
#include "worker/cache/bulk.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/mem/arena.h"
#include "common/mem/mem.h"
#include "common/wire/wire.h"

enum {
    SLICE_MS = 50,         /* between two looks at `cancelled` */
    AGAIN_MS = 3000,       /* without an answer: is_due */
    RECONNECT_MS = 30000,  /* without an answer: a fresh connection */
    WINDOW = 4,            /* chunks under way at once: a network's round trip is hidden */
    PUT_RESTARTS_MAX = 8,  /* is_forgotten */
    PAUSE_SLICES_MAX = 10, /* between two attempts while there is no room */
    LATE_MAX = 4096,       /* replies to requests that were given up, before the awaited one */
};

struct bulk {
    struct bulk_options options;
    struct transport *socket; /* owned; NULL: not connected */
    char *endpoint;           /* owned; NULL: not known yet */
    struct bytes frame;       /* of the request */
    struct arena arena;       /* of the reply */
    uint64_t ticket;
};

enum err bulk_create(const struct bulk_options *options, struct bulk **out)
{
    struct bulk *bulk = mem_alloc(1, sizeof *bulk);
    if (bulk == NULL)
        return ERR_OUT_OF_MEMORY;
    bulk->options = *options;
    bytes_init(&bulk->frame, LIMIT_FRAME_BYTES);
    arena_init(&bulk->arena, WIRE_ARENA_BYTES);
    *out = bulk;
    return ERR_OK;
}

void bulk_destroy(struct bulk **bulk)
{
    if (*bulk == NULL)
        return;
    transport_close(&(*bulk)->socket);
    bytes_fini(&(*bulk)->frame);
    arena_fini(&(*bulk)->arena);
    mem_free((*bulk)->endpoint);
    mem_free(*bulk);
    *bulk = NULL;
}

enum err bulk_aim(struct bulk *bulk, struct text endpoint)
{
    if (bulk->endpoint != NULL && text_is(endpoint, bulk->endpoint))
        return ERR_OK;
    if (endpoint.size > LIMIT_PATH_BYTES)
        return ERR_LIMIT;
    char *copy = mem_copy_text(endpoint);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    mem_free(bulk->endpoint);
    bulk->endpoint = copy;
    transport_close(&bulk->socket);
    return ERR_OK;
}

static enum err reconnect(struct bulk *bulk)
{
    if (bulk->endpoint == NULL)
        return ERR_UNREACHABLE;
    transport_close(&bulk->socket);
    return transport_connect(bulk->endpoint, &bulk->options.transport, &bulk->socket, NULL);
}

/* Whether a silence so long is one after which something is to be done again: each lasts twice as
 * long as the one before, so that who is slow to answer is not asked faster than it answers. */
static bool is_due(uint32_t silent_ms)
{
    uint32_t times = silent_ms / AGAIN_MS;
    return silent_ms % AGAIN_MS == 0 && times > 0 && (times & (times + 1)) == 0;
}

/* Waits a slice of silence for the reply with our ticket. ERR_TIMEOUT: not yet. What else comes is
 * late, and takes no time from the slices. */
static enum err listen(struct bulk *bulk, uint32_t number, union message_any *reply)
{
    struct transport_frame frame;
    const struct message_type *type;
    for (int late = 0; late < LATE_MAX; late++) {
        TRY(transport_receive(bulk->socket, SLICE_MS, &frame));
        arena_reset(&bulk->arena);
        TRY(wire_decode(frame.body, &bulk->arena, &type, reply));
        /* Every reply of the bulk socket begins with its ticket. */
        if (type->number == number && reply->put_reply.ticket == bulk->ticket)
            return ERR_OK;
    }
    return ERR_PROTOCOL;
}

/* Sends the encoded request, and takes its reply. It is sent again over the same connection, which
 * ZeroMQ makes anew when it breaks: to the coordinator a fresh one is somebody else, who has begun
 * no put. That is left only for what cannot heal: a connection made anew before the coordinator saw
 * the old one end, whose id it does not take twice. */
static enum err exchange(struct bulk *bulk, uint32_t reply_number, union message_any *reply)
{
    bool sent = false;
    for (uint32_t waited = 0, silent = 0; waited < bulk->options.patience_ms;
         waited += SLICE_MS, silent += SLICE_MS) {
        if (atomic_load(bulk->options.cancelled))
            return ERR_CANCELLED;
        if (bulk->socket == NULL || silent >= RECONNECT_MS) {
            TRY(reconnect(bulk));
            sent = false;
            silent = 0;
        }
        if (!sent || is_due(silent)) {
            enum err err = transport_send(bulk->socket, NULL, bytes_span(&bulk->frame));
            if (err != ERR_OK && err != ERR_BUSY)
                return err;
            sent = err == ERR_OK;
        }
        enum err err = listen(bulk, reply_number, reply);
        if (err != ERR_TIMEOUT)
            return err;
    }
    return ERR_TIMEOUT;
}

static enum err call(struct bulk *bulk, const struct message_type *type, const void *request,
                     uint32_t reply_number, union message_any *reply)
{
    bytes_clear(&bulk->frame);
    TRY(wire_encode(type, request, &bulk->frame));
    return exchange(bulk, reply_number, reply);
}

enum err bulk_leaves(struct bulk *bulk, struct digest digest, struct bytes *leaves,
                     uint64_t *size_bytes)
{
    size_t start = leaves->size;
    uint64_t count = 0, size = 0;
    enum err err = ERR_OK;
    do {
        union message_any reply;
        const struct msg_leaves_get request = {
            .ticket = ++bulk->ticket, .digest = digest, .first = count};
        TRY_OUT(call(bulk, &message_type_msg_leaves_get, &request, MSG_LEAVES, &reply));
        if (reply.leaves.error != ERR_OK) {
            err = (enum err)reply.leaves.error;
            goto out;
        }
        size = reply.leaves.size_bytes;
        struct span part = reply.leaves.leaves;
        uint64_t expected = size / DIGEST_CHUNK_BYTES + (size % DIGEST_CHUNK_BYTES != 0);
        count += part.size / DIGEST_BYTES;
        bool more = count < expected;
        if (part.size % DIGEST_BYTES != 0 || count > expected || (more && part.size == 0)) {
            err = ERR_PROTOCOL;
            goto out;
        }
        bytes_append(leaves, part.data, part.size);
        TRY_OUT(bytes_status(leaves));
        if (!more)
            break;
    } while (true);
    if (!digest_equal(digest_root(size, leaves->data + start, (size_t)count), digest))
        err = ERR_DIGEST;
    else
        *size_bytes = size;
out:
    if (err != ERR_OK)
        leaves->size = start;
    return err;
}

/* A request for a chunk that is under way. */
struct slot {
    uint64_t ticket; /* 0: free */
    uint64_t index;
    bool sent;
};

/* The chunks of one artifact on their way. */
struct window {
    struct digest digest;
    struct span leaves;
    const struct bulk_sink *sink;
    uint64_t next, count; /* chunks asked for so far, of all */
    struct slot slots[WINDOW];
    size_t under_way;
};

/* Gives free slots the next wanted chunks. */
static void fill_window(struct bulk *bulk, struct window *w)
{
    for (size_t i = 0; i < WINDOW; i++) {
        while (w->slots[i].ticket == 0 && w->next < w->count) {
            uint64_t index = w->next++;
            if (w->sink->has != NULL && w->sink->has(w->sink->context, index))
                continue;
            w->slots[i] = (struct slot){.ticket = ++bulk->ticket, .index = index};
            w->under_way++;
        }
    }
}

static enum err send_window(struct bulk *bulk, struct window *w)
{
    for (size_t i = 0; i < WINDOW; i++) {
        struct slot *slot = &w->slots[i];
        if (slot->ticket == 0 || slot->sent)
            continue;
        const struct msg_chunk_get request = {
            .ticket = slot->ticket, .digest = w->digest, .index = slot->index};
        bytes_clear(&bulk->frame);
        TRY(wire_encode(&message_type_msg_chunk_get, &request, &bulk->frame));
        enum err err = transport_send(bulk->socket, NULL, bytes_span(&bulk->frame));
        if (err == ERR_BUSY)
            return ERR_OK; /* not connected yet: at the next turn */
        TRY(err);
        slot->sent = true;
    }
    return ERR_OK;
}

/* A reply ends the request with its ticket; any other is late. *progress: something was taken. */
static enum err take_chunk(struct window *w, const struct msg_chunk *reply, bool *progress)
{
    struct slot *slot = NULL;
    for (size_t i = 0; i < WINDOW; i++)
        if (w->slots[i].ticket == reply->ticket && reply->ticket != 0)
            slot = &w->slots[i];
    if (slot == NULL)
        return ERR_OK;
    if (reply->error != ERR_OK)
        return (enum err)reply->error;
    struct digest leaf;
    memcpy(leaf.v, w->leaves.data + slot->index * DIGEST_BYTES, DIGEST_BYTES);
    if (!digest_equal(digest_leaf(reply->data), leaf))
        return ERR_DIGEST;
    TRY(w->sink->take(w->sink->context, slot->index, reply->data));
    *slot = (struct slot){.ticket = 0};
    w->under_way--;
    *progress = true;
    return ERR_OK;
}

static enum err listen_window(struct bulk *bulk, struct window *w, bool *progress, bool *silence)
{
    struct transport_frame frame;
    const struct message_type *type;
    union message_any reply;
    enum err err = transport_receive(bulk->socket, SLICE_MS, &frame);
    *silence = err == ERR_TIMEOUT;
    if (*silence)
        return ERR_OK;
    TRY(err);
    arena_reset(&bulk->arena);
    TRY(wire_decode(frame.body, &bulk->arena, &type, &reply));
    return type->number == MSG_CHUNK ? take_chunk(w, &reply.chunk, progress) : ERR_OK;
}

/* Late replies, a chunk each, are not waited for. */
static enum err reconnect_window(struct bulk *bulk, struct window *w)
{
    TRY(reconnect(bulk));
    for (size_t i = 0; i < WINDOW; i++)
        w->slots[i].sent = false;
    return ERR_OK;
}

enum err bulk_chunks(struct bulk *bulk, struct digest digest, struct span leaves,
                     const struct bulk_sink *sink)
{
    struct window w = {
        .digest = digest, .leaves = leaves, .sink = sink, .count = leaves.size / DIGEST_BYTES};
    uint32_t waited = 0;
    bool progress = false, silence = false;
    for (fill_window(bulk, &w); w.under_way > 0; fill_window(bulk, &w)) {
        if (atomic_load(bulk->options.cancelled))
            return ERR_CANCELLED;
        if (waited >= bulk->options.patience_ms)
            return ERR_TIMEOUT;
        if (bulk->socket == NULL || (silence && is_due(waited)))
            TRY(reconnect_window(bulk, &w));
        progress = false;
        TRY(send_window(bulk, &w));
        TRY(listen_window(bulk, &w, &progress, &silence));
        waited = progress ? 0 : waited + (silence ? SLICE_MS : 0);
    }
    return ERR_OK;
}

/* One step of a put: an error of the reply is the step's. */
static enum err put_step(struct bulk *bulk, const struct message_type *type, const void *request,
                         bool *present)
{
    union message_any reply;
    TRY(call(bulk, type, request, MSG_PUT_REPLY, &reply));
    *present = reply.put_reply.present;
    return (enum err)reply.put_reply.error;
}

static enum err put_once(struct bulk *bulk, struct digest digest, struct span content,
                         bool ephemeral)
{
    bool present;
    const struct msg_put_begin begin = {.ticket = ++bulk->ticket,
                                        .digest = digest,
                                        .size_bytes = content.size,
                                        .ephemeral = ephemeral};
    TRY(put_step(bulk, &message_type_msg_put_begin, &begin, &present));
    if (present)
        return ERR_OK;
    for (uint64_t index = 0; index * DIGEST_CHUNK_BYTES < content.size; index++) {
        size_t at = (size_t)index * DIGEST_CHUNK_BYTES;
        const struct msg_put_chunk chunk = {
            .ticket = ++bulk->ticket,
            .digest = digest,
            .index = index,
            .data = {content.data + at, MIN(content.size - at, (size_t)DIGEST_CHUNK_BYTES)},
        };
        TRY(put_step(bulk, &message_type_msg_put_chunk, &chunk, &present));
        if (present)
            return ERR_OK;
    }
    const struct msg_put_end end = {.ticket = ++bulk->ticket, .digest = digest};
    return put_step(bulk, &message_type_msg_put_end, &end, &present);
}

/* Nothing is under way: what comes is late. */
static enum err rest(struct bulk *bulk, uint32_t slices)
{
    struct transport_frame frame;
    for (uint32_t i = 0, late = 0; i < slices && late < LATE_MAX;) {
        if (atomic_load(bulk->options.cancelled))
            return ERR_CANCELLED;
        enum err err = transport_receive(bulk->socket, SLICE_MS, &frame);
        if (err == ERR_TIMEOUT)
            i++;
        else if (err != ERR_OK && err != ERR_PROTOCOL)
            return err;
        else
            late++;
    }
    return ERR_OK;
}

/* An end before the last chunk: the coordinator refuses it, and keeps nothing for a put that nobody
 * goes on with. */
static void give_up(struct bulk *bulk, struct digest digest)
{
    const struct msg_put_end end = {.ticket = ++bulk->ticket, .digest = digest};
    bytes_clear(&bulk->frame);
    enum err err = wire_encode(&message_type_msg_put_end, &end, &bulk->frame);
    if (err == ERR_OK && bulk->socket != NULL)
        err = transport_send(bulk->socket, NULL, bytes_span(&bulk->frame));
    (void)err; /* unheard, it goes with the next beginning, or once we were silent for long */
}

/* A put that the coordinator does not know is begun anew: it was started again, or takes us for
 * somebody else. */
static bool is_forgotten(enum err err)
{
    return err == ERR_STATE || err == ERR_NOT_FOUND;
}

enum err bulk_put(struct bulk *bulk, struct digest digest, struct span content, bool ephemeral)
{
    uint32_t waited_ms = 0, slices = 1;
    int restarts = 0;
    enum err err = put_once(bulk, digest, content, ephemeral);
    while (err == ERR_BUSY || is_forgotten(err)) {
        restarts += is_forgotten(err);
        if (restarts > PUT_RESTARTS_MAX || waited_ms >= bulk->options.patience_ms)
            return is_forgotten(err) ? ERR_UNREACHABLE : ERR_BUSY;
        TRY(rest(bulk, slices));
        waited_ms += slices * SLICE_MS;
        slices = MIN(slices * 2, (uint32_t)PAUSE_SLICES_MAX);
        err = put_once(bulk, digest, content, ephemeral);
    }
    if (err != ERR_OK)
        give_up(bulk, digest);
    return err;
}
