/* cache_known.h - files whose content was hashed in this process, by identity. Internal to cache.
 */
#ifndef WORKER_CACHE_CACHE_KNOWN_H
#define WORKER_CACHE_CACHE_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "common/digest/digest.h"

/* A file that changes gets another time of change; then it is hashed again. The time of its content
 * can be set back (touch, rsync, tar), that of its inode can not. */
struct cache_identity {
    uint64_t device, inode, size_bytes;
    int64_t mtime_s, mtime_ns;
    int64_t ctime_s, ctime_ns;
};

enum { CACHE_KNOWN_MAX = 8192 };

struct cache_known {
    struct cache_known_row {
        struct cache_identity identity;
        struct digest digest;
    } * rows; /* owned; a ring: the oldest row makes room */
    size_t count, next;
};

struct cache_identity cache_known_identity(const struct stat *st);
bool cache_known_is_same(const struct cache_identity *a, const struct cache_identity *b);
void cache_known_fini(struct cache_known *known);

/* The digest of a known file, NULL when it is not known. */
const struct digest *cache_known_find(const struct cache_known *known,
                                      const struct cache_identity *identity);

/* Remembers; without memory for it the file is hashed again next time. */
void cache_known_add(struct cache_known *known, const struct cache_identity *identity,
                     struct digest digest);

#endif
