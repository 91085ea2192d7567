/* bulk_server.c - one request, one reply, under one lock. What is kept is not written again before
 * stop, so that a test may read it while the thread serves.
 */
#include "tests/lib/bulk/bulk_server.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/mem/mem.h"
#include "common/transport/transport.h"
#include "common/wire/wire.h"

enum { ARTIFACTS_MAX = 4096, WAIT_MS = 20 };

struct kept {
    struct digest digest;
    uint8_t *data; /* owned; written before anybody can find it, and not after */
    size_t size;
};

struct bulk_server {
    pthread_t thread;
    pthread_mutex_t lock;
    bool quit;
    unsigned faults[BULK_SERVER_FAULTS];
    unsigned lost;
    uint32_t lost_number; /* kind of request that is done and not answered, `lost` times */
    bool is_lost;         /* the one at hand is */
    uint64_t chunks, begun;
    char endpoint[256];
    struct transport *socket;
    struct arena arena;
    struct kept kept[ARTIFACTS_MAX];
    size_t count;
    struct bytes put;           /* the one put in progress */
    bool knows_put;             /* there is one */
    struct transport_id putter; /* whose it is */
    struct bytes damaged;       /* a copy of the chunk that is served wrong */
};

static const struct kept *find(struct bulk_server *s, struct digest digest)
{
    for (size_t i = 0; i < s->count; i++)
        if (digest_equal(s->kept[i].digest, digest))
            return &s->kept[i];
    return NULL;
}

static void keep(struct bulk_server *s, struct digest digest, struct span content)
{
    if (find(s, digest) != NULL)
        return;
    ASSERT(s->count < ARTIFACTS_MAX);
    struct kept *kept = &s->kept[s->count++];
    kept->digest = digest;
    kept->size = content.size;
    kept->data = mem_alloc_aligned(content.size + 1, 1);
    ASSERT(kept->data != NULL);
    if (content.size > 0)
        memcpy(kept->data, content.data, content.size);
}

static void reply(struct bulk_server *s, const struct transport_id *to,
                  const struct message_type *type, const void *value)
{
    struct bytes frame;
    if (s->is_lost)
        return;
    bytes_init(&frame, LIMIT_FRAME_BYTES);
    ASSERT(wire_encode(type, value, &frame) == ERR_OK);
    (void)!transport_send(s->socket, to, bytes_span(&frame));
    bytes_fini(&frame);
}

static void reply_put(struct bulk_server *s, const struct transport_id *to, uint64_t ticket,
                      enum err error, bool present)
{
    for (unsigned i = 0; i < s->faults[BULK_SERVER_LATE]; i++) {
        const struct msg_put_reply old = {.ticket = UINT64_MAX - i, .error = ERR_INTERNAL};
        reply(s, to, &message_type_msg_put_reply, &old);
    }
    const struct msg_put_reply answer = {ticket, (uint32_t)error, present};
    reply(s, to, &message_type_msg_put_reply, &answer);
}

static void on_chunk_get(struct bulk_server *s, const struct transport_id *to,
                         const struct msg_chunk_get *get)
{
    struct msg_chunk answer = {.ticket = get->ticket, .error = ERR_NOT_FOUND};
    const struct kept *kept = find(s, get->digest);
    size_t at = (size_t)get->index * DIGEST_CHUNK_BYTES;
    if (kept != NULL && at < kept->size) {
        answer.error = ERR_OK;
        answer.size_bytes = kept->size;
        answer.data.data = kept->data + at;
        answer.data.size = MIN(kept->size - at, (size_t)DIGEST_CHUNK_BYTES);
        s->chunks++;
        if (s->faults[BULK_SERVER_CORRUPT] > 0) {
            bytes_clear(&s->damaged);
            bytes_append(&s->damaged, answer.data.data, answer.data.size);
            ASSERT(bytes_status(&s->damaged) == ERR_OK);
            s->damaged.data[0] ^= 1;
            answer.data = bytes_span(&s->damaged);
        }
    }
    reply(s, to, &message_type_msg_chunk, &answer);
}

static void on_leaves_get(struct bulk_server *s, const struct transport_id *to,
                          const struct msg_leaves_get *get)
{
    struct msg_leaves answer = {.ticket = get->ticket, .error = ERR_NOT_FOUND};
    const struct kept *kept = find(s, get->digest);
    struct digest_tree tree;
    digest_tree_init(&tree);
    if (kept != NULL) {
        struct digest root;
        digest_tree_update(&tree, (struct span){kept->data, kept->size});
        ASSERT(digest_tree_finish(&tree, &root) == ERR_OK);
        answer.error = ERR_OK;
        answer.size_bytes = kept->size;
        answer.leaves.data = tree.leaves;
        answer.leaves.size = tree.leaf_count * DIGEST_BYTES;
    }
    reply(s, to, &message_type_msg_leaves, &answer);
    digest_tree_fini(&tree);
}

static void on_put_begin(struct bulk_server *s, const struct transport_id *to,
                         const struct msg_put_begin *begin)
{
    bool is_busy = s->faults[BULK_SERVER_BUSY] > 0;
    bool is_present = !is_busy && find(s, begin->digest) != NULL;
    s->faults[BULK_SERVER_BUSY] -= is_busy;
    s->begun++;
    s->knows_put = !is_busy && !is_present;
    s->putter = *to;
    bytes_clear(&s->put);
    reply_put(s, to, begin->ticket, is_busy ? ERR_BUSY : ERR_OK, is_present);
}

/* Of another connection it knows no put. */
static bool knows_put(const struct bulk_server *s, const struct transport_id *to)
{
    return s->knows_put && memcmp(&s->putter, to, sizeof *to) == 0;
}

/* One that came before, the last time unanswered, is not taken twice. */
static void on_put_chunk(struct bulk_server *s, const struct transport_id *to,
                         const struct msg_put_chunk *chunk)
{
    if (s->faults[BULK_SERVER_FORGETFUL] > 0) {
        s->faults[BULK_SERVER_FORGETFUL]--;
        s->knows_put = false;
    }
    bool is_known = knows_put(s, to);
    if (is_known && chunk->index * DIGEST_CHUNK_BYTES == s->put.size)
        bytes_append(&s->put, chunk->data.data, chunk->data.size);
    reply_put(s, to, chunk->ticket, is_known ? ERR_OK : ERR_STATE, false);
}

static void on_put_end(struct bulk_server *s, const struct transport_id *to,
                       const struct msg_put_end *end)
{
    struct digest digest;
    bool is_known = knows_put(s, to);
    ASSERT(digest_of_artifact(bytes_span(&s->put), &digest) == ERR_OK);
    bool good = is_known && digest_equal(digest, end->digest);
    if (good)
        keep(s, digest, bytes_span(&s->put));
    s->knows_put = s->knows_put && !is_known;
    reply_put(s, to, end->ticket, good ? ERR_OK : is_known ? ERR_DIGEST : ERR_STATE, good);
}

static void handle(struct bulk_server *s, const struct transport_frame *frame)
{
    const struct message_type *type;
    union message_any m;
    arena_reset(&s->arena);
    if (wire_decode(frame->body, &s->arena, &type, &m) != ERR_OK)
        return;
    s->is_lost = s->lost > 0 && type->number == s->lost_number;
    s->lost -= s->is_lost;
    switch (type->number) {
    case MSG_CHUNK_GET:
        on_chunk_get(s, &frame->id, &m.chunk_get);
        break;
    case MSG_LEAVES_GET:
        on_leaves_get(s, &frame->id, &m.leaves_get);
        break;
    case MSG_PUT_BEGIN:
        on_put_begin(s, &frame->id, &m.put_begin);
        break;
    case MSG_PUT_CHUNK:
        on_put_chunk(s, &frame->id, &m.put_chunk);
        break;
    case MSG_PUT_END:
        on_put_end(s, &frame->id, &m.put_end);
        break;
    default:
        break;
    }
}

static void *run(void *context)
{
    struct bulk_server *s = context;
    for (;;) {
        struct transport_frame frame;
        enum err err = transport_receive(s->socket, WAIT_MS, &frame);
        pthread_mutex_lock(&s->lock);
        bool quit = s->quit;
        if (err == ERR_OK && s->faults[BULK_SERVER_MUTE] > 0)
            s->faults[BULK_SERVER_MUTE]--;
        else if (err == ERR_OK)
            handle(s, &frame);
        pthread_mutex_unlock(&s->lock);
        if (quit)
            return NULL;
    }
}

struct bulk_server *bulk_server_start(const char *folder)
{
    const struct transport_options options = {.frame_bytes_max = LIMIT_FRAME_BYTES};
    struct bulk_server *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    (void)snprintf(s->endpoint, sizeof s->endpoint, "ipc://%s/bulk.sock", folder);
    bytes_init(&s->put, SIZE_MAX);
    bytes_init(&s->damaged, DIGEST_CHUNK_BYTES);
    arena_init(&s->arena, WIRE_ARENA_BYTES);
    pthread_mutex_init(&s->lock, NULL);
    if (transport_listen(s->endpoint, &options, &s->socket, NULL) != ERR_OK ||
        pthread_create(&s->thread, NULL, run, s) != 0) {
        transport_close(&s->socket);
        mem_free(s);
        return NULL;
    }
    return s;
}

void bulk_server_stop(struct bulk_server **server)
{
    struct bulk_server *s = *server;
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->quit = true;
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    for (size_t i = 0; i < s->count; i++)
        mem_free(s->kept[i].data);
    transport_close(&s->socket);
    bytes_fini(&s->put);
    bytes_fini(&s->damaged);
    arena_fini(&s->arena);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
    *server = NULL;
}

const char *bulk_server_endpoint(const struct bulk_server *server)
{
    return server->endpoint;
}

struct digest bulk_server_add(struct bulk_server *server, struct span content)
{
    struct digest digest;
    ASSERT(digest_of_artifact(content, &digest) == ERR_OK);
    pthread_mutex_lock(&server->lock);
    keep(server, digest, content);
    pthread_mutex_unlock(&server->lock);
    return digest;
}

struct span bulk_server_find(struct bulk_server *server, struct digest digest)
{
    pthread_mutex_lock(&server->lock);
    const struct kept *kept = find(server, digest);
    struct span found = {kept != NULL ? kept->data : NULL, kept != NULL ? kept->size : 0};
    pthread_mutex_unlock(&server->lock);
    return found;
}

void bulk_server_misbehave(struct bulk_server *server, enum bulk_server_fault fault, unsigned count)
{
    pthread_mutex_lock(&server->lock);
    server->faults[fault] = count;
    pthread_mutex_unlock(&server->lock);
}

void bulk_server_lose(struct bulk_server *server, uint32_t number, unsigned count)
{
    pthread_mutex_lock(&server->lock);
    server->lost_number = number;
    server->lost = count;
    pthread_mutex_unlock(&server->lock);
}

uint64_t bulk_server_begun(struct bulk_server *server)
{
    pthread_mutex_lock(&server->lock);
    uint64_t begun = server->begun;
    pthread_mutex_unlock(&server->lock);
    return begun;
}

bool bulk_server_knows_put(struct bulk_server *server)
{
    pthread_mutex_lock(&server->lock);
    bool is_there = server->knows_put;
    pthread_mutex_unlock(&server->lock);
    return is_there;
}

uint64_t bulk_server_chunks(struct bulk_server *server)
{
    pthread_mutex_lock(&server->lock);
    uint64_t chunks = server->chunks;
    pthread_mutex_unlock(&server->lock);
    return chunks;
}
