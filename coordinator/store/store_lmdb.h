/* store_lmdb.h - the store on disk: LMDB with its default sync, one writer, one transaction a
 * batch. */
#ifndef COORDINATOR_STORE_STORE_LMDB_H
#define COORDINATOR_STORE_STORE_LMDB_H

#include "coordinator/store/store.h"

enum { STORE_LMDB_MAP_GIB = 64 };

struct store_lmdb_options {
    const char *folder;      /* made when missing, mode 0700; holds the map and the lock */
    uint64_t map_size_bytes; /* address space reserved, fixed for the life of the process; 0 means
                                STORE_LMDB_MAP_GIB */
};

/* Opens, takes the exclusive lock and verifies the whole chain. ERR_BUSY: another process has it.
 * ERR_UNSUPPORTED: the folder is on a network file system, whose locks and mappings cannot be
 * trusted. ERR_STORE: damaged, or the last record is missing. */
MUST_CHECK enum err store_lmdb_open(const struct store_lmdb_options *options, struct store **out,
                                    struct err_text *et);

#endif
