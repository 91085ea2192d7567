/* cache_known.c - a ring of identities, searched in order: a worker knows some hundreds. */
#include "worker/cache/cache_known.h"

#include "common/mem/mem.h"

struct cache_identity cache_known_identity(const struct stat *st)
{
    return (struct cache_identity){
        .device = (uint64_t)st->st_dev,
        .inode = (uint64_t)st->st_ino,
        .size_bytes = (uint64_t)st->st_size,
        .mtime_s = st->st_mtim.tv_sec,
        .mtime_ns = st->st_mtim.tv_nsec,
        .ctime_s = st->st_ctim.tv_sec,
        .ctime_ns = st->st_ctim.tv_nsec,
    };
}

void cache_known_fini(struct cache_known *known)
{
    mem_free(known->rows);
    *known = (struct cache_known){.rows = NULL};
}

bool cache_known_is_same(const struct cache_identity *a, const struct cache_identity *b)
{
    return a->device == b->device && a->inode == b->inode && a->size_bytes == b->size_bytes &&
           a->mtime_s == b->mtime_s && a->mtime_ns == b->mtime_ns && a->ctime_s == b->ctime_s &&
           a->ctime_ns == b->ctime_ns;
}

const struct digest *cache_known_find(const struct cache_known *known,
                                      const struct cache_identity *identity)
{
    for (size_t i = 0; i < known->count; i++)
        if (cache_known_is_same(&known->rows[i].identity, identity))
            return &known->rows[i].digest;
    return NULL;
}

void cache_known_add(struct cache_known *known, const struct cache_identity *identity,
                     struct digest digest)
{
    if (known->rows == NULL)
        known->rows = mem_alloc(CACHE_KNOWN_MAX, sizeof *known->rows);
    if (known->rows == NULL)
        return;
    known->rows[known->next].identity = *identity;
    known->rows[known->next].digest = digest;
    known->next = (known->next + 1) % CACHE_KNOWN_MAX;
    if (known->count < CACHE_KNOWN_MAX)
        known->count++;
}
