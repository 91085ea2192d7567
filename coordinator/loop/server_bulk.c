/* server_bulk.c - see server_bulk.h. */
#include "coordinator/loop/server_bulk.h"

#include <string.h>

#include "common/base/check.h"
#include "common/ds/container.h"
#include "common/mem/mem.h"
#include "common/wire/wire.h"
#include "coordinator/loop/server_bulk_reply.h"

enum { QUEUE_BYTES_MAX = 64 << 20, SILENT_S = 120, BATCH_BYTES = 4 << 20 };

/* A connection of the bulk socket. */
struct server_bulk_peer {
    uv_work_t request;
    struct list_node node; /* of server.bulk_peers */
    struct server *server; /* borrowed */
    struct transport_id address;
    uint64_t heard_ns;
    struct bytes queue;                 /* owned: frames that wait, each after its u32 size */
    struct server_bulk_session session; /* owned; of the pool's thread while is_busy */
    struct bytes batch;                 /* owned: frames at work; as above */
    size_t batch_done;                  /* bytes of `batch` that need no work any more; as above */
    struct bytes replies;               /* owned: their answers, each after its u32 size */
    size_t replies_sent;                /* bytes of `replies` that left */
    bool is_busy;
};

static void start(struct server_bulk_peer *peer);

static struct server_bulk_peer *of_node(struct list_node *node)
{
    return CONTAINER_OF(node, struct server_bulk_peer, node);
}

static struct server_bulk_peer *find(struct server *server, const struct transport_id *address)
{
    for (struct list_node *n = list_first(&server->bulk_peers); n != NULL;
         n = list_next(&server->bulk_peers, n))
        if (memcmp(&of_node(n)->address, address, sizeof *address) == 0)
            return of_node(n);
    return NULL;
}

/* NULL: the limit is reached, or no memory. What is silent is forgotten by the watch. */
static struct server_bulk_peer *add(struct server *server, const struct transport_frame *frame)
{
    if (server->bulk_peer_count >= LIMIT_BULK_PEERS)
        return NULL;
    struct server_bulk_peer *peer = mem_alloc(1, sizeof *peer);
    if (peer == NULL)
        return NULL;
    peer->server = server;
    peer->request.data = peer;
    peer->address = frame->id;
    peer->session.artifacts = server->artifacts;
    peer->session.free_bytes_min = server->options->free_bytes_min;
    peer->session.role = frame->role;
    bytes_init(&peer->queue, QUEUE_BYTES_MAX);
    bytes_init(&peer->batch, QUEUE_BYTES_MAX);
    bytes_init(&peer->replies, SIZE_MAX);
    list_node_init(&peer->node);
    list_append(&server->bulk_peers, &peer->node);
    server->bulk_peer_count++;
    return peer;
}

static void forget(struct server_bulk_peer *peer)
{
    ASSERT(!peer->is_busy);
    list_remove(&peer->node);
    peer->server->bulk_peer_count--;
    server_bulk_reply_end(&peer->session);
    bytes_fini(&peer->queue);
    bytes_fini(&peer->batch);
    bytes_fini(&peer->replies);
    mem_free(peer);
}

/* The next frame of a buffer of sized frames; false at its end. */
static bool next_frame(const struct bytes *frames, size_t *at, struct span *frame)
{
    uint32_t size;
    if (*at >= frames->size)
        return false;
    memcpy(&size, frames->data + *at, sizeof size);
    *frame = (struct span){frames->data + *at + sizeof size, size};
    *at += sizeof size + size;
    return true;
}

/* Whole or, without memory for it, not at all. */
static void append_frame(struct bytes *frames, struct span frame)
{
    uint32_t size = (uint32_t)frame.size;
    uint8_t *at = bytes_extend(frames, sizeof size + frame.size);
    if (at == NULL)
        return;
    memcpy(at, &size, sizeof size);
    if (size > 0)
        memcpy(at + sizeof size, frame.data, size);
}

/* On a thread of the pool. */
static void on_batch(uv_work_t *request)
{
    struct server_bulk_peer *peer = request->data;
    struct span frame;
    struct bytes reply;
    bytes_init(&reply, LIMIT_FRAME_BYTES);
    for (size_t at = peer->batch_done; next_frame(&peer->batch, &at, &frame);
         peer->batch_done = at) {
        bytes_clear(&reply);
        if (server_bulk_reply(&peer->session, frame, &reply) == ERR_BUSY)
            break;
        if (reply.size > 0)
            append_frame(&peer->replies, bytes_span(&reply));
    }
    bytes_fini(&reply);
}

/* True when all answers left; otherwise the watch timer tries again. */
static bool send_replies(struct server_bulk_peer *peer)
{
    size_t at = peer->replies_sent;
    struct span frame;
    while (next_frame(&peer->replies, &at, &frame)) {
        enum err err = transport_send(peer->server->bulk, &peer->address, frame);
        if (err == ERR_BUSY)
            return false;
        if (err == ERR_UNREACHABLE)
            at = peer->replies.size; /* nobody is there to hear the rest */
        peer->replies_sent = at;
    }
    bytes_clear(&peer->replies);
    peer->replies_sent = 0;
    return true;
}

static void on_batch_done(uv_work_t *request, int status)
{
    struct server_bulk_peer *peer = request->data;
    peer->server->works_out--;
    peer->is_busy = false;
    bool is_through = peer->batch_done == peer->batch.size;
    if (is_through) {
        bytes_clear(&peer->batch);
        peer->batch_done = 0;
    }
    if (status == 0 && !peer->server->is_stopping && send_replies(peer) && is_through)
        start(peer); /* otherwise the watch timer does */
}

/* The next frames of the queue. */
static void fill_batch(struct server_bulk_peer *peer)
{
    struct span frame;
    size_t at = 0;
    size_t taken = 0;
    while (taken < BATCH_BYTES && next_frame(&peer->queue, &at, &frame)) {
        append_frame(&peer->batch, frame);
        taken = at;
    }
    if (bytes_status(&peer->batch) != ERR_OK) { /* unanswered frames are sent again */
        bytes_clear(&peer->batch);
        return;
    }
    memmove(peer->queue.data, peer->queue.data + taken, peer->queue.size - taken);
    peer->queue.size -= taken;
}

/* Puts what waits to work, unless something is or answers wait. */
static void start(struct server_bulk_peer *peer)
{
    if (peer->is_busy || peer->replies.size > 0)
        return;
    if (peer->batch.size == 0 && peer->queue.size > 0)
        fill_batch(peer);
    if (peer->batch.size == 0)
        return;
    peer->is_busy = true;
    peer->server->works_out++;
    ASSERT(uv_queue_work(&peer->server->loop, &peer->request, on_batch, on_batch_done) == 0);
}

bool server_bulk_drain(struct server *server)
{
    for (int i = 0; i < SERVER_BULK_BUDGET && !server->is_stopping; i++) {
        struct transport_frame frame;
        enum err err = transport_receive(server->bulk, 0, &frame);
        if (err == ERR_TIMEOUT)
            return false;
        if (err != ERR_OK)
            continue;
        struct server_bulk_peer *peer = find(server, &frame.id);
        if (peer == NULL)
            peer = add(server, &frame);
        if (peer == NULL) {
            server_log("bulk: no room for one more connection, of %s", frame.user);
            continue;
        }
        if (peer->session.role != frame.role) {
            server_log("bulk: %s uses another key's address; a frame was dropped", frame.user);
            continue;
        }
        peer->heard_ns = server_now().ns;
        if (frame.body.size + peer->queue.size + sizeof(uint32_t) > QUEUE_BYTES_MAX) {
            server_log("bulk: %s sends faster than it is served; a frame was dropped", frame.user);
            continue;
        }
        append_frame(&peer->queue, frame.body);
        if (bytes_status(&peer->queue) != ERR_OK)
            bytes_clear(&peer->queue); /* out of memory: unanswered frames are sent again */
        start(peer);
    }
    return !server->is_stopping && transport_pending(server->bulk);
}

void server_bulk_watch(struct server *server)
{
    uint64_t now_ns = server_now().ns;
    struct list_node *next;
    for (struct list_node *n = list_first(&server->bulk_peers); n != NULL; n = next) {
        struct server_bulk_peer *peer = of_node(n);
        next = list_next(&server->bulk_peers, n);
        if (peer->is_busy)
            continue;
        if (now_ns - peer->heard_ns > SILENT_S * NS_PER_S)
            forget(peer);
        else if (send_replies(peer))
            start(peer);
    }
}

void server_bulk_fini(struct server *server)
{
    while (!list_is_empty(&server->bulk_peers))
        forget(of_node(list_first(&server->bulk_peers)));
}
