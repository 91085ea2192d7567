/* server_peer.c - see server_peer.h. */
#include "coordinator/loop/server_peer.h"

#include <string.h>

#include "common/base/check.h"
#include "common/ds/container.h"
#include "common/mem/mem.h"

/* Peers choose their addresses, so the table's key is a hash of them. */
static uint64_t key_of(const struct transport_id *address)
{
    uint64_t key;
    struct digest d = digest_of((struct span){address->v, sizeof address->v});
    memcpy(&key, d.v, sizeof key);
    return key;
}

static struct server_peer *of_node(struct list_node *node)
{
    return CONTAINER_OF(node, struct server_peer, node);
}

struct server_peer *server_peer_of(struct server *server, const struct transport_frame *frame)
{
    struct map_node *node = map_find(&server->peers_by_address, key_of(&frame->id));
    if (node == NULL)
        return NULL;
    struct server_peer *peer = CONTAINER_OF(node, struct server_peer, by_address);
    bool is_same = memcmp(&peer->address, &frame->id, sizeof frame->id) == 0 &&
                   peer->role == frame->role && strcmp(peer->user, frame->user) == 0;
    return is_same ? peer : NULL;
}

struct server_peer *server_peer_by_id(struct server *server, uint64_t id)
{
    struct map_node *node = map_find(&server->peers_by_id, id);
    return node == NULL ? NULL : CONTAINER_OF(node, struct server_peer, by_id);
}

/* The worker of this session at its address before, NULL when it has none. */
static struct server_peer *former_worker(struct server *server, const struct msg_hello *hello)
{
    struct map_node *node = map_find(&server->workers_by_session, hello->session);
    bool is_worker = hello->role == PEER_WORKER;
    return node == NULL || !is_worker ? NULL : CONTAINER_OF(node, struct server_peer, by_session);
}

static struct server_peer *silent_client(struct server *server)
{
    struct server_peer *found = NULL;
    for (struct list_node *n = list_first(&server->peers); n != NULL;
         n = list_next(&server->peers, n)) {
        struct server_peer *peer = of_node(n);
        if (!peer->is_worker && (found == NULL || peer->heard_ns < found->heard_ns))
            found = peer;
    }
    return found;
}

static void copy_text(char *out, size_t capacity, struct text text)
{
    size_t size = MIN(text.size, capacity - 1);
    if (size > 0)
        memcpy(out, text.data, size);
    out[size] = '\0';
}

enum err server_peer_add(struct server *server, const struct transport_frame *frame,
                         const struct msg_hello *hello, struct server_peer **out)
{
    bool is_worker = hello->role == PEER_WORKER;
    if (map_find(&server->peers_by_address, key_of(&frame->id)) != NULL)
        return ERR_DENIED;
    struct server_peer *former = former_worker(server, hello);
    if (is_worker && former == NULL && server->worker_count >= LIMIT_WORKERS)
        return ERR_LIMIT;
    if (!is_worker && server->client_count >= LIMIT_CLIENTS)
        server_peer_remove(server, silent_client(server));
    TRY(map_reserve(&server->peers_by_id, server->peers_by_id.count + 1));
    TRY(map_reserve(&server->peers_by_address, server->peers_by_address.count + 1));
    TRY(map_reserve(&server->workers_by_session, server->workers_by_session.count + 1));
    struct server_peer *peer = mem_alloc(1, sizeof *peer);
    if (peer == NULL)
        return ERR_OUT_OF_MEMORY;
    if (former != NULL)
        server_peer_remove(server, former); /* sched hears of the new one next */
    peer->address = frame->id;
    peer->id = ++server->next_peer;
    peer->role = frame->role;
    peer->is_worker = is_worker;
    copy_text(peer->user, sizeof peer->user, text_of(frame->user));
    copy_text(peer->name, sizeof peer->name, hello->name);
    peer->heard_ns = server_now().ns;
    bytes_init(&peer->outbox, LIMIT_PEER_OUTBOX_BYTES);
    list_node_init(&peer->node);
    list_append(&server->peers, &peer->node);
    map_add(&server->peers_by_id, &peer->by_id, peer->id);
    map_add(&server->peers_by_address, &peer->by_address, key_of(&peer->address));
    if (is_worker) {
        map_add(&server->workers_by_session, &peer->by_session, hello->session);
        server->worker_count++;
    } else {
        server->client_count++;
    }
    *out = peer;
    return ERR_OK;
}

void server_peer_remove(struct server *server, struct server_peer *peer)
{
    list_remove(&peer->node);
    map_remove(&server->peers_by_id, &peer->by_id);
    map_remove(&server->peers_by_address, &peer->by_address);
    if (peer->is_worker) {
        map_remove(&server->workers_by_session, &peer->by_session);
        server->worker_count--;
    } else {
        server->client_count--;
    }
    bytes_fini(&peer->outbox);
    mem_free(peer);
}

void server_peer_remove_all(struct server *server)
{
    while (!list_is_empty(&server->peers))
        server_peer_remove(server, of_node(list_first(&server->peers)));
}

/* Sends what the outbox holds, in order; what does not leave stays. */
static void flush(struct server *server, struct server_peer *peer)
{
    size_t at = 0;
    while (at < peer->outbox.size) {
        uint32_t size;
        memcpy(&size, peer->outbox.data + at, sizeof size);
        struct span frame = {peer->outbox.data + at + sizeof size, size};
        enum err err = transport_send(server->control, &peer->address, frame);
        if (err == ERR_BUSY)
            break;
        if (err == ERR_UNREACHABLE) {
            peer->is_deaf = true;
            bytes_clear(&peer->outbox);
            return;
        }
        if (err != ERR_OK)
            server_log("a frame of %u bytes could not be sent: %s", size, error_text(err));
        at += sizeof size + size;
    }
    memmove(peer->outbox.data, peer->outbox.data + at, peer->outbox.size - at);
    peer->outbox.size -= at;
}

void server_peer_send(struct server *server, struct server_peer *peer, struct span frame)
{
    if (peer->is_gone || peer->is_deaf)
        return;
    uint32_t size = (uint32_t)frame.size;
    bytes_append(&peer->outbox, &size, sizeof size);
    bytes_append(&peer->outbox, frame.data, frame.size);
    if (bytes_status(&peer->outbox) != ERR_OK)
        peer->is_gone = true;
    else
        flush(server, peer);
}

bool server_peer_flush(struct server *server)
{
    bool is_waiting = false;
    for (struct list_node *n = list_first(&server->peers); n != NULL;
         n = list_next(&server->peers, n)) {
        struct server_peer *peer = of_node(n);
        if (peer->outbox.size > 0)
            flush(server, peer);
        is_waiting |= peer->outbox.size > 0;
    }
    return is_waiting;
}

void server_peer_forget(struct server *server)
{
    uint64_t now_ns = server_now().ns;
    for (struct list_node *n = list_first(&server->peers); n != NULL;
         n = list_next(&server->peers, n)) {
        struct server_peer *peer = of_node(n);
        uint64_t silent_s = peer->is_worker ? SERVER_WORKER_SILENT_S : SERVER_CLIENT_SILENT_S;
        peer->is_gone |= now_ns - peer->heard_ns > silent_s * NS_PER_S;
    }
}
