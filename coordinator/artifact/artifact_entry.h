/* artifact_entry.h - what the files of this folder share: the table of artifacts and its lock. */
#ifndef COORDINATOR_ARTIFACT_ARTIFACT_ENTRY_H
#define COORDINATOR_ARTIFACT_ARTIFACT_ENTRY_H

#include <pthread.h>
#include <sys/stat.h>

#include "common/formats/source/source.h"
#include "coordinator/artifact/artifact.h"

enum artifact_home { ARTIFACT_FILE, ARTIFACT_PATH, ARTIFACT_MEMORY };

enum { ARTIFACT_PATH_BYTES = 4096, ARTIFACT_BUCKETS = 4096 };

/* A file as it was when its content was verified. */
struct artifact_identity {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed; /* of content, of inode */
};

struct artifact_entry {
    struct artifact_entry *next; /* of the bucket */
    struct digest digest;
    uint64_t size_bytes;
    enum artifact_home home;
    uint32_t references;               /* artifacts in hand */
    uint32_t pins;                     /* MEMORY */
    bool is_listed;                    /* in the table; else it dies with the last reference */
    uint64_t serial;                   /* order of arrival */
    uint8_t *bytes;                    /* owned: MEMORY */
    struct source source;              /* FILE, PATH: open while referenced */
    char *path;                        /* owned: PATH */
    struct artifact_identity identity; /* PATH */
    uint8_t *leaves;                   /* owned: NULL until known */
    size_t leaf_count;
};

/* A file that gets its name, which may not last yet. */
struct artifact_settling {
    struct artifact_settling *next;
    struct digest digest;
};

struct artifact_store {
    pthread_mutex_t lock;   /* guards everything below and all entries */
    pthread_cond_t settled; /* one of the settlings has ended */
    struct artifact_settling *settlings;
    struct artifact_reading *readings;
    char folder[ARTIFACT_PATH_BYTES - 128];
    uint64_t ephemeral_bytes;
    uint64_t ephemeral_bytes_max;
    uint64_t serial;
    struct artifact_entry *buckets[ARTIFACT_BUCKETS];
};

/* All of these want the lock held. */

/* The entry, NULL when there is none; a durable file not yet in the table is taken in, unless it is
 * being settled: what may not last is not here. */
struct artifact_entry *artifact_entry_find(struct artifact_store *store, struct digest digest);

/* Waits until nobody else settles the file of that digest; the lock is free meanwhile. */
void artifact_entry_settle_begin(struct artifact_store *store, struct artifact_settling *settling);
void artifact_entry_settle_end(struct artifact_store *store,
                               const struct artifact_settling *settling);

/* Takes over `entry`. When the artifact is in the table already with content that lasts at least as
 * long, `entry` is freed instead. */
void artifact_entry_publish(struct artifact_store *store, struct artifact_entry *entry);
void artifact_entry_free(struct artifact_store *store, struct artifact_entry *entry);

/* The durable file is gone: its entry too, now or with the last reference. */
void artifact_entry_forget(struct artifact_store *store, struct digest digest);

/* Reserves room for round traffic, pushing out the oldest that nobody holds or pinned. */
MUST_CHECK enum err artifact_entry_reserve(struct artifact_store *store, uint64_t size_bytes,
                                           struct err_text *et);

/* Path of the durable file. `out`: ARTIFACT_PATH_BYTES. No lock needed. */
void artifact_entry_path(const struct artifact_store *store, struct digest digest, char *out);

struct artifact_identity artifact_entry_identity(const struct stat *st);

#endif
