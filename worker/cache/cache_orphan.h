/* cache_orphan.h - caches that should have gone with their process and did not, because it was
 * killed. */
#ifndef WORKER_CACHE_CACHE_ORPHAN_H
#define WORKER_CACHE_CACHE_ORPHAN_H

#include <stddef.h>

/* Removes the caches below `parent` whose names begin with `prefix`, that belong to this user and
 * that no process of this machine has locked. What has never been locked stays: its worker may be
 * about to. Returns
 * how many were removed. */
size_t cache_orphan_sweep(const char *parent, const char *prefix);

#endif
