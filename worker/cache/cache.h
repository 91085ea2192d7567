/* cache.h - the artifacts of this worker, by digest: found, verified once, kept within bounds.
 *
 * An artifact is looked for where it costs least: among what is open, at the path its reference
 * names, in the folder of the cache, at the coordinator. A file is read through and hashed once;
 * its identity (device, inode, size, time of change) is remembered with the digest. Fetched files
 * are kept in the folder until room is needed, the longest unused first, open ones never; round
 * traffic stays in memory and goes when it is released.
 *
 *   FOLDER/lock   one process a folder        FOLDER/files/HEX  whole and verified
 *   FOLDER/part/HEX  chunks fetched so far, so that a fetch goes on after a restart
 *   FOLDER/view/HEX  folders of links that give artifacts their file names back
 *
 * Belongs to the compute thread; only cache_cancel may be called from elsewhere.
 * Refuses to know: tasks, messages other than those of the bulk socket.
 */
#ifndef WORKER_CACHE_CACHE_H
#define WORKER_CACHE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/message/message.h"
#include "common/transport/transport.h"

struct cache;

struct cache_options {
    const char *folder;                 /* made when missing */
    bool is_private;                    /* removed by cache_destroy */
    uint64_t size_bytes_max;            /* of FOLDER/files */
    struct transport_options transport; /* of the bulk socket */
    uint32_t patience_ms;               /* for a coordinator that does not answer */
};

/* An open artifact. Read-only for callers. */
struct cache_item {
    struct digest digest;
    struct span bytes; /* the whole content, aligned to 8 */
    const char *path;  /* a file with this content, NULL for what lies in memory */
};

/* ERR_EXISTS: another process uses the folder. ERR_DENIED, ERR_IO... with the path in `et`. */
MUST_CHECK enum err cache_create(const struct cache_options *options, struct cache **out,
                                 struct err_text *et);
void cache_destroy(struct cache **cache);

/* Where the coordinator serves artifacts. */
MUST_CHECK enum err cache_aim(struct cache *cache, struct text bulk_endpoint);

/* From another thread: the call in progress, and all further ones, end with ERR_CANCELLED until
 * cache_resume. */
void cache_cancel(struct cache *cache);
void cache_resume(struct cache *cache);

/* Opens what `ref` names. Caller releases *out. ERR_NOT_FOUND: nobody has it (ERR_UNREACHABLE for
 * round traffic, which may be made again); ERR_DIGEST: what was found is something else; ERR_LIMIT:
 * larger than the cache; ERR_DISK_FULL, ERR_IO, ERR_TIMEOUT, ERR_CANCELLED; the artifact is named
 * in `et`. */
MUST_CHECK enum err cache_open(struct cache *cache, const struct artifact_ref *ref,
                               const struct cache_item **out, struct err_text *et);
void cache_release(struct cache *cache, const struct cache_item **item);

/* Gives the coordinator `content`; *ref is its reference, its name borrowed from `name`. */
MUST_CHECK enum err cache_put(struct cache *cache, struct text name, struct span content,
                              bool ephemeral, struct artifact_ref *ref, struct err_text *et);

/* After a task for which the disk was full: what lies here unused leaves it to the next one. */
void cache_clear(struct cache *cache);

/* A folder with a link for each of `items` under the name beside it, so that readers of folders can
 * be used. The items stay open for as long as the view is. Caller frees *path with cache_unview. */
MUST_CHECK enum err cache_view(struct cache *cache, const struct cache_item *const *items,
                               const struct text *names, size_t count, char **path,
                               struct err_text *et);
void cache_unview(struct cache *cache, char **path);

#endif
