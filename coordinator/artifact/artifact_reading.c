/* artifact_reading.c - who reads what, so that each content is read once for all who ask. */
#include "common/base/check.h"
#include "coordinator/artifact/artifact_entry.h"

enum {
    READINGS_MAX = 6, /* half of the pool's threads: the others serve who needs no reading */
    SMALL_BYTES_MAX = 16 << 20 /* read in a moment */
};

enum err artifact_reading_begin(struct artifact_store *store, struct digest digest,
                                uint64_t size_bytes, struct artifact_reading *reading)
{
    size_t count = 0;
    bool is_read = false;
    *reading =
        (struct artifact_reading){.digest = digest, .is_small = size_bytes <= SMALL_BYTES_MAX};
    if (reading->is_small)
        return ERR_OK;
    ASSERT(pthread_mutex_lock(&store->lock) == 0);
    for (const struct artifact_reading *at = store->readings; at != NULL; at = at->next) {
        is_read |= digest_equal(at->digest, digest);
        count++;
    }
    bool is_begun = !is_read && count < READINGS_MAX;
    if (is_begun) {
        reading->next = store->readings;
        store->readings = reading;
    }
    ASSERT(pthread_mutex_unlock(&store->lock) == 0);
    return is_begun ? ERR_OK : ERR_BUSY;
}

void artifact_reading_end(struct artifact_store *store, const struct artifact_reading *reading)
{
    if (reading->is_small)
        return;
    ASSERT(pthread_mutex_lock(&store->lock) == 0);
    struct artifact_reading **link = &store->readings;
    while (*link != reading)
        link = &(*link)->next;
    *link = reading->next;
    ASSERT(pthread_mutex_unlock(&store->lock) == 0);
}
