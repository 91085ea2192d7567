/* server_bulk_reply.c - see server_bulk_reply.h. */
#include "coordinator/loop/server_bulk_reply.h"

#include <stdio.h>

#include "common/base/check.h"
#include "common/message/message.h"
#include "common/wire/wire.h"

static void encode(uint32_t number, const void *message, struct bytes *out)
{
    enum err err = wire_encode(message_type_of(number), message, out);
    if (err != ERR_OK)
        (void)fprintf(stderr, "bulk: an answer cannot be encoded: %s\n", error_text(err));
}

static void get_chunk(struct server_bulk_session *s, const struct msg_chunk_get *request,
                      struct bytes *out)
{
    struct msg_chunk reply = {.ticket = request->ticket};
    struct artifact artifact = {0};
    enum err err = artifact_acquire(s->artifacts, request->digest, &artifact, NULL);
    if (err == ERR_OK) {
        size_t chunks = (artifact.bytes.size + DIGEST_CHUNK_BYTES - 1) / DIGEST_CHUNK_BYTES;
        reply.size_bytes = artifact.bytes.size;
        if (request->index < chunks) {
            size_t begin = (size_t)request->index * DIGEST_CHUNK_BYTES;
            reply.data.data = artifact.bytes.data + begin;
            reply.data.size = MIN(artifact.bytes.size - begin, (size_t)DIGEST_CHUNK_BYTES);
        } else if (artifact.bytes.size > 0 || request->index > 0) {
            err = ERR_PROTOCOL;
        }
    }
    reply.error = (uint32_t)err;
    encode(MSG_CHUNK, &reply, out);
    artifact_release(s->artifacts, &artifact);
}

static enum err get_leaves(struct server_bulk_session *s, const struct msg_leaves_get *request,
                           struct bytes *out)
{
    struct msg_leaves reply = {.ticket = request->ticket};
    struct artifact artifact = {0};
    struct span leaves = {0};
    enum err err = artifact_acquire(s->artifacts, request->digest, &artifact, NULL);
    if (err == ERR_OK)
        err = artifact_leaves(s->artifacts, &artifact, &leaves);
    if (err == ERR_OK) {
        reply.size_bytes = artifact.bytes.size;
        size_t count = leaves.size / DIGEST_BYTES;
        size_t first = (size_t)MIN(request->first, (uint64_t)count);
        reply.leaves.data = leaves.data + first * DIGEST_BYTES;
        reply.leaves.size = MIN((count - first) * DIGEST_BYTES, (size_t)DIGEST_CHUNK_BYTES);
    }
    reply.error = (uint32_t)err;
    if (err != ERR_BUSY)
        encode(MSG_LEAVES, &reply, out);
    artifact_release(s->artifacts, &artifact);
    return err == ERR_BUSY ? ERR_BUSY : ERR_OK;
}

static void put_reply(struct bytes *out, uint64_t ticket, enum err err, bool is_present)
{
    struct msg_put_reply reply = {.ticket = ticket, .error = (uint32_t)err, .present = is_present};
    encode(MSG_PUT_REPLY, &reply, out);
}

static bool is_begun(const struct server_bulk_session *s, struct digest digest)
{
    return s->put != NULL && digest_equal(artifact_put_digest(s->put), digest);
}

/* Workers bring results and round traffic, submitters inputs, viewers nothing. */
static enum err may_put(const struct server_bulk_session *s, const struct msg_put_begin *request)
{
    bool is_allowed = s->role == TRANSPORT_ADMIN || s->role == TRANSPORT_WORKER ||
                      (s->role == TRANSPORT_SUBMIT && !request->ephemeral);
    uint64_t free_bytes;
    if (!is_allowed)
        return ERR_DENIED;
    if (request->ephemeral)
        return ERR_OK;
    TRY(artifact_free_bytes(s->artifacts, &free_bytes));
    bool fits =
        free_bytes > s->free_bytes_min && request->size_bytes <= free_bytes - s->free_bytes_min;
    return fits ? ERR_OK : ERR_DISK_FULL;
}

/* Begun again after a lost reply or a reconnect, a put starts from its first chunk. */
static void put_begin(struct server_bulk_session *s, const struct msg_put_begin *request,
                      struct bytes *out)
{
    artifact_put_abandon(&s->put);
    enum err err = may_put(s, request);
    if (err == ERR_OK)
        err = artifact_put_begin(s->artifacts, request->digest, request->size_bytes,
                                 request->ephemeral, &s->put, NULL);
    put_reply(out, request->ticket, err, err == ERR_OK && s->put == NULL);
}

/* After a chunk that fails there is nothing to go on with. */
static void put_chunk(struct server_bulk_session *s, const struct msg_put_chunk *request,
                      struct bytes *out)
{
    enum err err = ERR_STATE;
    if (is_begun(s, request->digest)) {
        err = artifact_put_chunk(s->put, request->index, request->data, NULL);
        if (err != ERR_OK)
            artifact_put_abandon(&s->put);
    }
    put_reply(out, request->ticket, err, false);
}

static void put_end(struct server_bulk_session *s, const struct msg_put_end *request,
                    struct bytes *out)
{
    enum err err = ERR_STATE;
    if (is_begun(s, request->digest))
        err = artifact_put_end(&s->put, NULL);
    put_reply(out, request->ticket, err, err == ERR_OK);
}

enum err server_bulk_reply(struct server_bulk_session *session, struct span frame,
                           struct bytes *out)
{
    enum err err = ERR_OK;
    const struct message_type *type;
    union message_any message;
    struct arena arena;
    arena_init(&arena, WIRE_ARENA_BYTES);
    if (wire_decode(frame, &arena, &type, &message) == ERR_OK) {
        switch (type->number) {
        case MSG_CHUNK_GET:
            get_chunk(session, &message.chunk_get, out);
            break;
        case MSG_LEAVES_GET:
            err = get_leaves(session, &message.leaves_get, out);
            break;
        case MSG_PUT_BEGIN:
            put_begin(session, &message.put_begin, out);
            break;
        case MSG_PUT_CHUNK:
            put_chunk(session, &message.put_chunk, out);
            break;
        case MSG_PUT_END:
            put_end(session, &message.put_end, out);
            break;
        default:
            break;
        }
    }
    arena_fini(&arena);
    return err;
}

void server_bulk_reply_end(struct server_bulk_session *session)
{
    artifact_put_abandon(&session->put);
}
