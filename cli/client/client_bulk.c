/* client_bulk.c - begin, chunks, end; leaves first, then chunks. */
#include "cli/client/client_bulk.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"

enum {
    UPLOAD_ATTEMPTS_MAX = 12, /* in all about ten seconds of pauses */
    RETRY_MS = 10,
    RETRY_DOUBLINGS_MAX = 7
};

void client_bulk_init(struct client_bulk *bulk, struct transport *socket, uint32_t wait_ms)
{
    exchange_init(&bulk->exchange, socket, wait_ms);
    bulk->is_open = true;
}

void client_bulk_fini(struct client_bulk *bulk)
{
    if (bulk->is_open)
        exchange_fini(&bulk->exchange);
    bulk->is_open = false;
}

bool client_bulk_is_open(const struct client_bulk *bulk)
{
    return bulk->is_open;
}

static const char *short_name(struct digest digest, char out[DIGEST_HEX_BYTES])
{
    digest_hex(digest, out);
    out[12] = '\0';
    return out;
}

/* One step of an upload; *present is true when the coordinator has all of it. */
static enum err put(struct client_bulk *bulk, const struct message_type *type, void *request,
                    struct digest digest, bool *present, struct err_text *et)
{
    TRY(exchange_request(&bulk->exchange, type, request, &message_type_msg_put_reply, et));
    const struct msg_put_reply *reply = &bulk->exchange.reply.put_reply;
    char name[DIGEST_HEX_BYTES];
    if (reply->error != 0)
        return error_set(et, (enum err)reply->error, "upload of %s: %s", short_name(digest, name),
                         error_text((enum err)reply->error));
    *present = reply->present;
    return ERR_OK;
}

static enum err upload_once(struct client_bulk *bulk, struct digest digest, struct span content,
                            struct err_text *et)
{
    bool present = false;
    struct msg_put_begin begin = {.digest = digest, .size_bytes = content.size};
    TRY(put(bulk, &message_type_msg_put_begin, &begin, digest, &present, et));
    uint64_t index = 0;
    for (size_t at = 0; at < content.size && !present; at += DIGEST_CHUNK_BYTES, index++) {
        size_t size = MIN(content.size - at, (size_t)DIGEST_CHUNK_BYTES);
        struct msg_put_chunk chunk = {
            .digest = digest, .index = index, .data = {content.data + at, size}};
        TRY(put(bulk, &message_type_msg_put_chunk, &chunk, digest, &present, et));
    }
    if (present)
        return ERR_OK;
    struct msg_put_end end = {.digest = digest};
    return put(bulk, &message_type_msg_put_end, &end, digest, &present, et);
}

/* A coordinator that was started again knows nothing of an upload in progress; one that has too
 * many at once takes this one later. */
enum err client_bulk_upload(struct client_bulk *bulk, struct digest digest, struct span content,
                            struct err_text *et)
{
    enum err err = ERR_OK;
    for (unsigned attempt = 0; attempt < UPLOAD_ATTEMPTS_MAX; attempt++) {
        if (attempt > 0)
            exchange_pause(RETRY_MS << MIN(attempt, RETRY_DOUBLINGS_MAX));
        err = upload_once(bulk, digest, content, et);
        if (err != ERR_STATE && err != ERR_BUSY)
            break;
    }
    return err;
}

enum err client_bulk_leaves(struct client_bulk *bulk, struct digest digest, struct bytes *leaves,
                            uint64_t *size_bytes, struct err_text *et)
{
    char name[DIGEST_HEX_BYTES];
    const struct msg_leaves *reply = &bulk->exchange.reply.leaves;
    uint64_t expected = 1;
    *size_bytes = 0;
    for (uint64_t count = 0; count < expected;) {
        struct msg_leaves_get get = {.digest = digest, .first = count};
        TRY(exchange_request(&bulk->exchange, &message_type_msg_leaves_get, &get,
                             &message_type_msg_leaves, et));
        if (reply->error != 0)
            return error_set(et, (enum err)reply->error, "artifact %s: %s",
                             short_name(digest, name), error_text((enum err)reply->error));
        *size_bytes = reply->size_bytes;
        expected =
            reply->size_bytes / DIGEST_CHUNK_BYTES + (reply->size_bytes % DIGEST_CHUNK_BYTES != 0);
        if (reply->leaves.size % DIGEST_BYTES != 0 || (reply->leaves.size == 0 && count < expected))
            return error_set(et, ERR_PROTOCOL, "artifact %s: the list of leaves ends too early",
                             short_name(digest, name));
        bytes_append(leaves, reply->leaves.data, reply->leaves.size);
        TRY(bytes_status(leaves));
        count = leaves->size / DIGEST_BYTES;
    }
    bool equal = leaves->size / DIGEST_BYTES == expected &&
                 digest_equal(digest_root(*size_bytes, leaves->data, (size_t)expected), digest);
    if (!equal)
        return error_set(et, ERR_DIGEST, "artifact %s: its leaves do not give its name",
                         short_name(digest, name));
    return ERR_OK;
}

enum err client_bulk_chunk(struct client_bulk *bulk, struct digest digest, struct span leaves,
                           uint64_t size_bytes, uint64_t index, struct span *chunk,
                           struct err_text *et)
{
    char name[DIGEST_HEX_BYTES];
    struct msg_chunk_get get = {.digest = digest, .index = index};
    uint64_t begin = index * DIGEST_CHUNK_BYTES;
    ASSERT(begin < size_bytes && (index + 1) * DIGEST_BYTES <= leaves.size);
    TRY(exchange_request(&bulk->exchange, &message_type_msg_chunk_get, &get,
                         &message_type_msg_chunk, et));
    const struct msg_chunk *reply = &bulk->exchange.reply.chunk;
    if (reply->error != 0)
        return error_set(et, (enum err)reply->error, "artifact %s: chunk %" PRIu64 ": %s",
                         short_name(digest, name), index, error_text((enum err)reply->error));
    struct digest found = digest_leaf(reply->data);
    if (reply->data.size != MIN(size_bytes - begin, (uint64_t)DIGEST_CHUNK_BYTES) ||
        memcmp(found.v, leaves.data + index * DIGEST_BYTES, DIGEST_BYTES) != 0)
        return error_set(et, ERR_DIGEST, "artifact %s: chunk %" PRIu64 " does not match its leaf",
                         short_name(digest, name), index);
    *chunk = reply->data;
    return ERR_OK;
}

enum err client_bulk_download(struct client_bulk *bulk, struct digest digest, file_sink_f sink,
                              void *context, struct err_text *et)
{
    struct bytes leaves;
    bytes_init(&leaves, CLIENT_BULK_LEAVES_BYTES_MAX);
    uint64_t size_bytes = 0;
    enum err err;
    TRY_OUT(client_bulk_leaves(bulk, digest, &leaves, &size_bytes, et));
    for (uint64_t index = 0; index * DIGEST_CHUNK_BYTES < size_bytes; index++) {
        struct span chunk;
        TRY_OUT(
            client_bulk_chunk(bulk, digest, bytes_span(&leaves), size_bytes, index, &chunk, et));
        TRY_OUT(sink(context, chunk));
    }
    err = ERR_OK;
out:
    bytes_fini(&leaves);
    return err;
}
