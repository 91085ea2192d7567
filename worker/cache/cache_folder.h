/* cache_folder.h - the files of the cache on disk and which of them go first. Internal to cache. */
#ifndef WORKER_CACHE_CACHE_FOLDER_H
#define WORKER_CACHE_CACHE_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/digest/digest.h"
#include "worker/cache/bulk.h"

struct cache_folder_file {
    struct digest digest;
    uint64_t size_bytes;
    uint64_t used; /* larger is later */
    unsigned open; /* items that map it */
};

struct cache_folder {
    char *path;      /* owned */
    int lock;        /* descriptor, -1 */
    bool is_private; /* goes with the process */
    uint64_t size_bytes_max, size_bytes;
    struct cache_folder_file *files; /* owned */
    size_t count;
    uint64_t clock; /* of uses */
};

/* Makes and locks the folder, lists what is in it, throws away views of an earlier life. */
MUST_CHECK enum err cache_folder_init(struct cache_folder *folder, const char *path,
                                      uint64_t size_bytes_max, struct err_text *et);

/* A private folder is removed with all that is in it. */
void cache_folder_fini(struct cache_folder *folder);

/* The file of a digest, NULL when it is not there. Borrowed until the next call. */
struct cache_folder_file *cache_folder_find(const struct cache_folder *folder,
                                            struct digest digest);

/* "PATH/KIND/HEX", kind "files" or "part". ERR_OUT_OF_MEMORY; caller frees with mem_free. */
MUST_CHECK enum err cache_folder_path(const struct cache_folder *folder, const char *kind,
                                      struct digest digest, char **out);

void cache_folder_use(struct cache_folder *folder, struct cache_folder_file *file);

/* Removes a file (damaged, or no longer wanted). */
void cache_folder_remove(struct cache_folder *folder, struct digest digest);

/* After a disk was full: removes the files that nobody has open, unless as much as all of them is
 * free here anyway, and so it was another disk. */
void cache_folder_clear(struct cache_folder *folder);

/* Fetches an artifact into files/, continuing a part of it that is there. */
MUST_CHECK enum err cache_folder_fetch(struct cache_folder *folder, struct bulk *bulk,
                                       struct digest digest, uint64_t size_bytes,
                                       struct err_text *et);

#endif
