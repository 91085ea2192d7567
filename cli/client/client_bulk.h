/* client_bulk.h - artifacts in chunks over the bulk socket. */
#ifndef CLI_CLIENT_CLIENT_BULK_H
#define CLI_CLIENT_CLIENT_BULK_H

#include <stdbool.h>

#include "cli/client/exchange.h"
#include "common/digest/digest.h"
#include "common/formats/source/file.h"

enum { CLIENT_BULK_LEAVES_BYTES_MAX = 64 << 20 }; /* an artifact of 2 TiB */

struct client_bulk {
    struct exchange exchange;
    bool is_open;
};

/* Takes over the socket. */
void client_bulk_init(struct client_bulk *bulk, struct transport *socket, uint32_t wait_ms);
void client_bulk_fini(struct client_bulk *bulk);
bool client_bulk_is_open(const struct client_bulk *bulk);

/* As client_upload and client_download. */
MUST_CHECK enum err client_bulk_upload(struct client_bulk *bulk, struct digest digest,
                                       struct span content, struct err_text *et);
MUST_CHECK enum err client_bulk_download(struct client_bulk *bulk, struct digest digest,
                                         file_sink_f sink, void *context, struct err_text *et);

/* The hashes of all chunks, checked against `digest`, and the size of the whole. */
MUST_CHECK enum err client_bulk_leaves(struct client_bulk *bulk, struct digest digest,
                                       struct bytes *leaves, uint64_t *size_bytes,
                                       struct err_text *et);

/* Chunk `index` of an artifact whose leaves these are; borrowed until the next call. */
MUST_CHECK enum err client_bulk_chunk(struct client_bulk *bulk, struct digest digest,
                                      struct span leaves, uint64_t size_bytes, uint64_t index,
                                      struct span *chunk, struct err_text *et);

#endif
