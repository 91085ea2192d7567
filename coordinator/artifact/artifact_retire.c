/* artifact_retire.c - durable files that nobody wants any more, taken out at once.
 *
 * A rename takes a moment and an unlink of many gigabytes does not, so the two are apart: what is
 * retired is gone from the store, and what a killed process left of it goes with the next start, as
 * all that lies in staging.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/check.h"
#include "coordinator/artifact/artifact_entry.h"

static void staging_path(const struct artifact_store *store, uint64_t number, char *out)
{
    (void)snprintf(out, ARTIFACT_PATH_BYTES, "%s/staging/retired-%" PRIu64, store->folder, number);
}

uint64_t artifact_size(struct artifact_store *store, struct digest digest)
{
    char path[ARTIFACT_PATH_BYTES];
    struct stat st;
    artifact_entry_path(store, digest, path);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

enum err artifact_retire(struct artifact_store *store, struct digest digest, uint64_t *number,
                         uint64_t *size_bytes)
{
    char from[ARTIFACT_PATH_BYTES], to[ARTIFACT_PATH_BYTES];
    struct stat st;
    artifact_entry_path(store, digest, from);
    if (stat(from, &st) != 0 || !S_ISREG(st.st_mode))
        return ERR_NOT_FOUND;
    ASSERT(pthread_mutex_lock(&store->lock) == 0);
    *number = ++store->serial;
    *size_bytes = (uint64_t)st.st_size;
    staging_path(store, *number, to);
    enum err err = rename(from, to) == 0 ? ERR_OK : error_from_errno(errno);
    if (err == ERR_OK)
        artifact_entry_forget(store, digest);
    ASSERT(pthread_mutex_unlock(&store->lock) == 0);
    return err;
}

enum err artifact_discard(struct artifact_store *store, uint64_t number)
{
    char path[ARTIFACT_PATH_BYTES];
    staging_path(store, number, path);
    return unlink(path) == 0 ? ERR_OK : error_from_errno(errno);
}
