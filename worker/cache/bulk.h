/* bulk.h - artifacts to and from the coordinator in chunks, over a socket of its own.
 *
 * Calls wait for their answers on the compute thread. A coordinator that is away (restarting, cut
 * off) is asked again until its patience ends or the work is cancelled, so a transfer goes on where
 * it was. Nothing received is believed: leaves are held against the
 * artifact's digest, chunks against their leaves.
 *
 * Refuses to know: files, what is cached.
 */
#ifndef WORKER_CACHE_BULK_H
#define WORKER_CACHE_BULK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/digest/digest.h"
#include "common/mem/bytes.h"
#include "common/transport/transport.h"

struct bulk;

struct bulk_options {
    struct transport_options transport;
    uint32_t patience_ms;         /* a call fails after so long without an answer */
    const atomic_bool *cancelled; /* borrowed; set by another thread: calls end soon */
};

MUST_CHECK enum err bulk_create(const struct bulk_options *options, struct bulk **out);
void bulk_destroy(struct bulk **bulk);

/* Where the coordinator serves; connects at the next call. ERR_LIMIT, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err bulk_aim(struct bulk *bulk, struct text endpoint);

/* Appends the leaves of an artifact, verified, and tells its size. ERR_NOT_FOUND: the coordinator
 * does not have it; ERR_DIGEST: what came are not its leaves; ERR_TIMEOUT, ERR_CANCELLED. */
MUST_CHECK enum err bulk_leaves(struct bulk *bulk, struct digest digest, struct bytes *leaves,
                                uint64_t *size_bytes);

/* Where chunks go. `has` tells whether a chunk need not come (NULL: all come); `take` gets each
 * verified chunk once, in any order, borrowed for the call. */
struct bulk_sink {
    bool (*has)(void *context, uint64_t index);
    enum err (*take)(void *context, uint64_t index, struct span chunk);
    void *context;
};

/* Fetches the chunks of an artifact, several under way at once. `leaves` as bulk_leaves gave them.
 * Errors as above and those of `take`; ERR_DIGEST: a chunk is not what its leaf says. */
MUST_CHECK enum err bulk_chunks(struct bulk *bulk, struct digest digest, struct span leaves,
                                const struct bulk_sink *sink);

/* Gives the coordinator an artifact; returns when it has all of it (durably, unless `ephemeral`).
 * Its own errors (ERR_DISK_FULL, ERR_BUSY: no room for so long, ...), ERR_UNREACHABLE: it forgot
 * what was begun again and again; ERR_TIMEOUT, ERR_CANCELLED: it is told to forget it. */
MUST_CHECK enum err bulk_put(struct bulk *bulk, struct digest digest, struct span content,
                             bool ephemeral);

#endif
