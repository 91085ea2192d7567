/* client.c - the control connection: hello, requests. */
#include "cli/client/client.h"

#include <stdio.h>
#include <string.h>

#include "cli/client/client_bulk.h"
#include "cli/client/exchange.h"
#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/message/state.h"
#include "common/wire/wire.h"

enum { LINGER_MS = 200 };

struct client {
    struct exchange control;
    struct client_bulk bulk;
    struct transport_keys own;
    uint8_t server_public[TRANSPORT_KEY_BYTES];
    bool has_keys;
    struct client_facts facts;
    char bulk_endpoint[LIMIT_PATH_BYTES];
};

static enum err connect_to(const struct client *client, const char *endpoint,
                           size_t frame_bytes_max, struct transport **out, struct err_text *et)
{
    const struct transport_options options = {
        .frame_bytes_max = frame_bytes_max,
        .linger_ms = LINGER_MS,
        .own = client->has_keys ? &client->own : NULL,
        .server_public = client->has_keys ? client->server_public : NULL,
    };
    return transport_connect(endpoint, &options, out, et);
}

static enum err read_keys(struct client *client, const struct client_options *options,
                          struct err_text *et)
{
    if (options->keys == NULL && options->server == NULL)
        return ERR_OK;
    if (options->keys == NULL || options->server == NULL)
        return error_set(et, ERR_USAGE,
                         "expected both --secret and --server-key, found one of them");
    TRY(transport_keys_read(options->keys, &client->own, et));
    TRY(transport_keys_read_public(options->server, client->server_public, et));
    client->has_keys = true;
    return ERR_OK;
}

static enum err write_hello(struct client *client, const struct client_options *options)
{
    struct msg_hello hello = {
        .protocol = MESSAGE_PROTOCOL,
        .role = PEER_CLIENT,
        .name = text_of(options->user),
    };
    transport_random(&hello.session, sizeof hello.session);
    return wire_encode(&message_type_msg_hello, &hello, &client->control.greeting);
}

static enum err greet(struct client *client, struct err_text *et)
{
    TRY(exchange_greet(&client->control, &message_type_msg_welcome, et));
    const struct msg_welcome *welcome = &client->control.reply.welcome;
    if (welcome->error == ERR_VERSION)
        return exchange_fail_version(welcome->detail, et);
    if (welcome->error != 0)
        return error_set(et, (enum err)welcome->error, "the coordinator refuses this client: %.*s",
                         TEXT_ARGS(welcome->detail));
    if (welcome->bulk_endpoint.size >= sizeof client->bulk_endpoint)
        return error_set(et, ERR_PROTOCOL, "the coordinator's bulk endpoint is too long");
    memcpy(client->bulk_endpoint, welcome->bulk_endpoint.data, welcome->bulk_endpoint.size);
    client->bulk_endpoint[welcome->bulk_endpoint.size] = '\0';
    client->facts.incarnation = welcome->incarnation;
    client->facts.clock_ahead_ms = (int64_t)(welcome->unix_ms - exchange_unix_ms());
    (void)snprintf(client->facts.version, sizeof client->facts.version, "%.*s",
                   TEXT_ARGS(welcome->version));
    return ERR_OK;
}

enum err client_open(const struct client_options *options, struct client **out, struct err_text *et)
{
    struct client *client = mem_alloc(1, sizeof *client);
    if (client == NULL)
        return ERR_OUT_OF_MEMORY;
    exchange_init(&client->control, NULL, options->wait_ms);
    enum err err;
    TRY_OUT(read_keys(client, options, et));
    TRY_OUT(connect_to(client, options->endpoint, LIMIT_FRAME_BYTES, &client->control.socket, et));
    TRY_OUT(write_hello(client, options));
    TRY_OUT(greet(client, et));
    *out = client;
    return ERR_OK;
out:
    client_close(&client);
    return err;
}

const struct client_facts *client_facts(const struct client *client)
{
    return &client->facts;
}

void client_close(struct client **client)
{
    if (*client == NULL)
        return;
    client_bulk_fini(&(*client)->bulk);
    exchange_fini(&(*client)->control);
    mem_free(*client);
    *client = NULL;
}

enum err client_request(struct client *client, const struct message_type *type, void *request,
                        const struct message_type *reply_type, const union message_any **reply,
                        struct err_text *et)
{
    TRY(exchange_request(&client->control, type, request, reply_type, et));
    *reply = &client->control.reply;
    return ERR_OK;
}

void client_set_wait(struct client *client, uint32_t wait_ms)
{
    client->control.wait_ms = wait_ms;
}

static enum err open_bulk(struct client *client, struct err_text *et)
{
    if (client_bulk_is_open(&client->bulk))
        return ERR_OK;
    if (client->bulk_endpoint[0] == '\0')
        return error_set(et, ERR_PROTOCOL, "the coordinator names no bulk endpoint");
    struct transport *socket = NULL;
    TRY(connect_to(client, client->bulk_endpoint, LIMIT_BULK_FRAME_BYTES, &socket, et));
    client_bulk_init(&client->bulk, socket, client->control.wait_ms);
    return ERR_OK;
}

enum err client_upload(struct client *client, struct digest digest, struct span content,
                       struct err_text *et)
{
    TRY(open_bulk(client, et));
    return client_bulk_upload(&client->bulk, digest, content, et);
}

enum err client_download(struct client *client, struct digest digest, file_sink_f sink,
                         void *context, struct err_text *et)
{
    TRY(open_bulk(client, et));
    return client_bulk_download(&client->bulk, digest, sink, context, et);
}

struct client_reader {
    struct client_bulk *bulk; /* borrowed */
    struct digest digest;
    struct bytes leaves; /* owned */
    struct bytes chunk;  /* owned; empty before the first read */
    uint64_t chunk_index;
    uint64_t size_bytes;
};

enum err client_reader_open(struct client *client, struct digest digest, struct client_reader **out,
                            struct err_text *et)
{
    TRY(open_bulk(client, et));
    struct client_reader *reader = mem_alloc(1, sizeof *reader);
    if (reader == NULL)
        return ERR_OUT_OF_MEMORY;
    reader->bulk = &client->bulk;
    reader->digest = digest;
    bytes_init(&reader->leaves, CLIENT_BULK_LEAVES_BYTES_MAX);
    bytes_init(&reader->chunk, DIGEST_CHUNK_BYTES);
    enum err err =
        client_bulk_leaves(reader->bulk, digest, &reader->leaves, &reader->size_bytes, et);
    if (err != ERR_OK)
        client_reader_close(&reader);
    *out = reader;
    return err;
}

void client_reader_close(struct client_reader **reader)
{
    if (*reader == NULL)
        return;
    bytes_fini(&(*reader)->leaves);
    bytes_fini(&(*reader)->chunk);
    mem_free(*reader);
    *reader = NULL;
}

uint64_t client_reader_size(const struct client_reader *reader)
{
    return reader->size_bytes;
}

static enum err keep_chunk(struct client_reader *reader, uint64_t index, struct err_text *et)
{
    struct span chunk;
    if (reader->chunk.size > 0 && reader->chunk_index == index)
        return ERR_OK;
    TRY(client_bulk_chunk(reader->bulk, reader->digest, bytes_span(&reader->leaves),
                          reader->size_bytes, index, &chunk, et));
    bytes_clear(&reader->chunk);
    bytes_append(&reader->chunk, chunk.data, chunk.size);
    reader->chunk_index = index;
    return bytes_status(&reader->chunk);
}

enum err client_reader_read(struct client_reader *reader, uint64_t begin, void *out, size_t size,
                            struct err_text *et)
{
    uint8_t *to = out;
    ASSERT(begin <= reader->size_bytes && size <= reader->size_bytes - begin);
    while (size > 0) {
        TRY(keep_chunk(reader, begin / DIGEST_CHUNK_BYTES, et));
        size_t at = (size_t)(begin % DIGEST_CHUNK_BYTES);
        size_t part = MIN(size, reader->chunk.size - at);
        memcpy(to, reader->chunk.data + at, part);
        begin += part;
        to += part;
        size -= part;
    }
    return ERR_OK;
}
