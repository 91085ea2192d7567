/* artifact.h - bytes under the name of their hash, as the coordinator keeps and serves them.
 *
 * Three homes, one name:
 *   durable    a file FOLDER/ab/cdef..., complete or absent: written beside, synced, renamed
 *   ephemeral  memory: weights and gradients of rounds, recomputed to the same bits when lost
 *   path       a file somewhere else that a job was frozen with; checked again when size or time of
 *              the file are not what they were
 *
 * Every function may be called from any thread. Refuses to know: jobs, sockets, what content means.
 */
#ifndef COORDINATOR_ARTIFACT_ARTIFACT_H
#define COORDINATOR_ARTIFACT_ARTIFACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/digest/digest.h"
#include "common/mem/bytes.h"

struct artifact_store;
struct artifact_entry;

struct artifact_options {
    const char *folder;           /* of the durable files; made when missing, mode 0700 */
    uint64_t ephemeral_bytes_max; /* memory for round traffic */
};

/* Opens the folder and removes what a killed process left half-written. */
MUST_CHECK enum err artifact_store_open(const struct artifact_options *options,
                                        struct artifact_store **out, struct err_text *et);
/* Nothing may be held any more. NULL is allowed. */
void artifact_store_close(struct artifact_store **store);

/* Content in hand: valid until artifact_release, whatever is dropped or collected meanwhile. */
struct artifact {
    struct span bytes;
    struct digest digest;
    struct artifact_entry *entry; /* owned: one reference */
};

/* ERR_NOT_FOUND with the digest in `et`; ERR_DIGEST when a path's file changed since it was
 * verified; ERR_IO. */
MUST_CHECK enum err artifact_acquire(struct artifact_store *store, struct digest digest,
                                     struct artifact *out, struct err_text *et);
/* A zeroed or released artifact is allowed. */
void artifact_release(struct artifact_store *store, struct artifact *artifact);

/* Whether the content is there and of this size, without opening it. What lies in memory counts
 * only when `ephemeral`: a record names nothing that the next start does not find. */
bool artifact_is_present(struct artifact_store *store, struct digest digest, uint64_t size_bytes,
                         bool ephemeral);

/* Who reads a whole content because somebody asked for it is its reader: nobody asked reads it too
 * meanwhile, and only some contents are read at once. So who asks again and again takes no second
 * thread and no second reading. Small contents do not count. */
struct artifact_reading {
    struct artifact_reading *next; /* of the store's readers */
    struct digest digest;
    bool is_small;
};

/* ERR_BUSY: it is read already, or as many as may be are: to be tried again a moment later. The
 * store points to `reading` until artifact_reading_end. */
MUST_CHECK enum err artifact_reading_begin(struct artifact_store *store, struct digest digest,
                                           uint64_t size_bytes, struct artifact_reading *reading);
void artifact_reading_end(struct artifact_store *store, const struct artifact_reading *reading);

/* Leaf hashes of an artifact in hand, DIGEST_BYTES each; computed on the first call (reads the
 * content, as its reader: ERR_BUSY). Valid as long as the artifact is held. ERR_DIGEST. */
MUST_CHECK enum err artifact_leaves(struct artifact_store *store, const struct artifact *artifact,
                                    struct span *leaves);

/* Reads an artifact again, as its reader, and compares with its name. ERR_BUSY, ERR_DIGEST,
 * ERR_NOT_FOUND, ERR_IO. */
MUST_CHECK enum err artifact_verify(struct artifact_store *store, struct digest digest,
                                    struct err_text *et);

/* The same, whoever else reads it, and what is found damaged is no longer here: a durable file is
 * moved to FOLDER/damaged, a path forgotten. So the same content can be stored again. */
MUST_CHECK enum err artifact_check(struct artifact_store *store, struct digest digest,
                                   struct err_text *et);

/* Stores content that lies in memory, durably. Returns its name. Present already is success; it is
 * read then, and written anew where it is damaged. ERR_DISK_FULL, ERR_IO. */
MUST_CHECK enum err artifact_store_bytes(struct artifact_store *store, struct span content,
                                         struct digest *digest, struct err_text *et);

/* Takes the memory of `content` over as round traffic; it is empty afterwards, and as it was on an
 * error. Returns its name. ERR_BUSY: no room. */
MUST_CHECK enum err artifact_keep_bytes(struct artifact_store *store, struct bytes *content,
                                        struct digest *digest, struct err_text *et);

/* Hashes the file at `path` and remembers it under its name when digest and size are these. A file
 * remembered before and not changed since is not read again. ERR_DIGEST when it is another file,
 * ERR_NOT_FOUND, ERR_DENIED, ERR_IO. */
MUST_CHECK enum err artifact_register_path(struct artifact_store *store, const char *path,
                                           struct digest digest, uint64_t size_bytes,
                                           struct err_text *et);

/* Path of the durable or registered file; empty when there is none (round traffic). Terminated;
 * `out` has room for `capacity` bytes. */
void artifact_path(struct artifact_store *store, struct digest digest, char *out, size_t capacity);

/* Keeps round traffic from being pushed out, until as many unpins; absent digests are ignored. */
void artifact_pin(struct artifact_store *store, struct digest digest);
void artifact_unpin(struct artifact_store *store, struct digest digest);

/* Forgets round traffic (once nobody holds it). Durable and path artifacts are left alone. */
void artifact_drop(struct artifact_store *store, struct digest digest);
/* The same for all round traffic that is not pinned. */
void artifact_drop_unpinned(struct artifact_store *store);

/* Counts a durable file as written now, so that a collection spares it until a record names it. */
void artifact_touch(struct artifact_store *store, struct digest digest);

/* Removes durable files that `is_root` does not name, that nobody holds and that were written
 * before `before_unix_s`: a younger one may be the output of a result still on its way. */
typedef bool (*artifact_root_f)(void *context, struct digest digest);
MUST_CHECK enum err artifact_collect(struct artifact_store *store, artifact_root_f is_root,
                                     void *context, int64_t before_unix_s, uint64_t *removed_count,
                                     struct err_text *et);

/* Bytes of the durable file, 0 when there is none. */
uint64_t artifact_size(struct artifact_store *store, struct digest digest);

/* Takes a durable file out of the store in no time, also when somebody still reads it: it is not
 * here any more, and its bytes lie aside until artifact_discard, or the next start, removes them.
 * ERR_NOT_FOUND, ERR_IO. */
MUST_CHECK enum err artifact_retire(struct artifact_store *store, struct digest digest,
                                    uint64_t *number, uint64_t *size_bytes);
MUST_CHECK enum err artifact_discard(struct artifact_store *store, uint64_t number);

/* Free bytes of the file system of the durable files. */
MUST_CHECK enum err artifact_free_bytes(const struct artifact_store *store, uint64_t *free_bytes);

/* Content on its way in, chunk by chunk. One thread at a time. */
struct artifact_put;

/* ERR_BUSY: no room for round traffic; ERR_DISK_FULL, ERR_IO. When the artifact is here already,
 * *out is NULL. */
MUST_CHECK enum err artifact_put_begin(struct artifact_store *store, struct digest digest,
                                       uint64_t size_bytes, bool ephemeral,
                                       struct artifact_put **out, struct err_text *et);
/* Chunks come in ascending order and have DIGEST_CHUNK_BYTES each but the last; the one before may
 * come again, when its answer was lost. ERR_PROTOCOL otherwise: the put can only be abandoned then.
 */
MUST_CHECK enum err artifact_put_chunk(struct artifact_put *put, uint64_t index, struct span data,
                                       struct err_text *et);
/* Verifies, makes durable, publishes; *put is NULL afterwards, also on failure. ERR_DIGEST: the
 * content is not what its name says. */
MUST_CHECK enum err artifact_put_end(struct artifact_put **put, struct err_text *et);
void artifact_put_abandon(struct artifact_put **put);
struct digest artifact_put_digest(const struct artifact_put *put);

#endif
