/* artifact_put.c - content on its way in: staged, verified, synced, renamed, then in the table. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"
#include "coordinator/artifact/artifact_entry.h"

struct artifact_put {
    struct artifact_store *store; /* borrowed */
    struct artifact_entry *entry; /* owned: MEMORY has its bytes reserved */
    struct digest_tree tree;      /* owned */
    uint64_t next_index;
    int fd;     /* owned: FILE, -1 otherwise */
    char *temp; /* owned: FILE */
};

static void lock(struct artifact_store *store)
{
    ASSERT(pthread_mutex_lock(&store->lock) == 0);
}

static void unlock(struct artifact_store *store)
{
    ASSERT(pthread_mutex_unlock(&store->lock) == 0);
}

void artifact_put_abandon(struct artifact_put **out)
{
    struct artifact_put *put = *out;
    if (put == NULL)
        return;
    if (put->fd >= 0)
        (void)close(put->fd);
    if (put->temp != NULL)
        (void)unlink(put->temp);
    mem_free(put->temp);
    digest_tree_fini(&put->tree);
    if (put->entry != NULL) {
        lock(put->store);
        artifact_entry_free(put->store, put->entry);
        unlock(put->store);
    }
    mem_free(put);
    *out = NULL;
}

static enum err open_memory(struct artifact_put *put, struct err_text *et)
{
    struct artifact_store *store = put->store;
    struct artifact_entry *entry = put->entry;
    if (entry->size_bytes > SIZE_MAX)
        return error_set(et, ERR_OVERFLOW, "round traffic: %" PRIu64 " bytes", entry->size_bytes);
    lock(store);
    enum err err = artifact_entry_reserve(store, entry->size_bytes, et);
    unlock(store);
    TRY(err);
    entry->bytes =
        mem_resize(NULL, (size_t)entry->size_bytes, 1); /* no byte is read before it came */
    if (entry->bytes != NULL)
        return ERR_OK;
    lock(store);
    store->ephemeral_bytes -= entry->size_bytes;
    unlock(store);
    return error_set(et, ERR_OUT_OF_MEMORY, "round traffic: %" PRIu64 " bytes", entry->size_bytes);
}

static enum err open_file(struct artifact_put *put, struct err_text *et)
{
    char path[ARTIFACT_PATH_BYTES];
    lock(put->store);
    uint64_t serial = ++put->store->serial;
    unlock(put->store);
    (void)snprintf(path, sizeof path, "%s/staging/%" PRIu64, put->store->folder, serial);
    put->temp = mem_copy_text(text_of(path));
    if (put->temp == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", path);
    put->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (put->fd < 0)
        return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    return ERR_OK;
}

/* What is in the table and not on disk as it was, or has another size than its name stands for, was
 * changed behind the store's back: it does not count. */
static struct artifact_entry *find(struct artifact_store *store, struct digest digest,
                                   uint64_t size_bytes)
{
    char path[ARTIFACT_PATH_BYTES];
    struct stat st;
    struct artifact_entry *entry = artifact_entry_find(store, digest);
    if (entry == NULL || entry->home != ARTIFACT_FILE)
        return entry;
    artifact_entry_path(store, digest, path);
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size_bytes &&
        entry->size_bytes == size_bytes)
        return entry;
    artifact_entry_forget(store, digest);
    return NULL;
}

enum err artifact_put_begin(struct artifact_store *store, struct digest digest, uint64_t size_bytes,
                            bool ephemeral, struct artifact_put **out, struct err_text *et)
{
    lock(store);
    struct artifact_entry *present = find(store, digest, size_bytes);
    bool is_present = present != NULL && present->size_bytes == size_bytes &&
                      (present->home == ARTIFACT_FILE || ephemeral);
    if (is_present)
        present->serial = ++store->serial;
    unlock(store);
    *out = NULL;
    if (is_present) {
        if (!ephemeral)
            artifact_touch(store, digest);
        return ERR_OK;
    }
    struct artifact_put *put = mem_alloc(1, sizeof *put);
    if (put == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "artifacts: out of memory");
    enum err err;
    put->store = store;
    put->fd = -1;
    digest_tree_init(&put->tree);
    put->entry = mem_alloc(1, sizeof *put->entry);
    if (put->entry == NULL) {
        err = error_set(et, ERR_OUT_OF_MEMORY, "artifacts: out of memory");
        goto out;
    }
    put->entry->digest = digest;
    put->entry->size_bytes = size_bytes;
    put->entry->home = ephemeral ? ARTIFACT_MEMORY : ARTIFACT_FILE;
    TRY_OUT(ephemeral ? open_memory(put, et) : open_file(put, et));
    *out = put;
    return ERR_OK;
out:
    artifact_put_abandon(&put);
    return err;
}

static enum err write_all(int fd, struct span data)
{
    while (data.size > 0) {
        ssize_t done = write(fd, data.data, data.size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? error_from_errno(errno) : ERR_IO;
        data.data += done;
        data.size -= (size_t)done;
    }
    return ERR_OK;
}

enum err artifact_put_chunk(struct artifact_put *put, uint64_t index, struct span data,
                            struct err_text *et)
{
    uint64_t begin = put->next_index * DIGEST_CHUNK_BYTES;
    uint64_t size_bytes = put->entry->size_bytes;
    uint64_t expected =
        begin < size_bytes ? MIN(size_bytes - begin, (uint64_t)DIGEST_CHUNK_BYTES) : 0;
    if (put->next_index > 0 && index == put->next_index - 1)
        return ERR_OK;
    if (index != put->next_index || data.size != expected || data.size == 0)
        return error_set(et, ERR_PROTOCOL,
                         "chunk %" PRIu64 " of %zu bytes, expected chunk %" PRIu64 " of %" PRIu64,
                         index, data.size, put->next_index, expected);
    if (put->entry->home == ARTIFACT_MEMORY) {
        memcpy(put->entry->bytes + begin, data.data, data.size);
    } else {
        enum err err = write_all(put->fd, data);
        if (err != ERR_OK)
            return error_set(et, err, "%s: %s", put->temp, error_text(err));
    }
    digest_tree_update(&put->tree, data);
    put->next_index++;
    return ERR_OK;
}

/* The folder of a file, made under the lock: nobody puts a file into one that may not last. */
static enum err make_folder(struct artifact_store *store, const char *path, struct err_text *et)
{
    enum err err = ERR_OK;
    lock(store);
    if (!folder_exists(path)) {
        err = folder_create(path, et);
        if (err == ERR_OK)
            err = folder_sync_parent(path, et);
        if (err != ERR_OK)
            (void)rmdir(path);
    }
    unlock(store);
    return err;
}

/* Under its final name, in a way that survives power loss. */
static enum err make_durable(struct artifact_put *put, struct err_text *et)
{
    char path[ARTIFACT_PATH_BYTES];
    artifact_entry_path(put->store, put->entry->digest, path);
    if (fsync(put->fd) != 0)
        return error_set(et, error_from_errno(errno), "%s: fsync: %s", put->temp, strerror(errno));
    char *slash = strrchr(path, '/');
    *slash = '\0';
    TRY(make_folder(put->store, path, et));
    *slash = '/';
    if (rename(put->temp, path) != 0)
        return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    mem_free(put->temp);
    put->temp = NULL;
    enum err err = folder_sync_parent(path, et);
    if (err != ERR_OK)
        (void)unlink(path); /* what may not last is not there */
    return err;
}

/* Into the table, with its leaves. Lock held. */
static void publish(struct artifact_put *put)
{
    struct artifact_entry *entry = put->entry;
    entry->leaves = put->tree.leaves;
    entry->leaf_count = put->tree.leaf_count;
    put->tree.leaves = NULL;
    put->entry = NULL;
    artifact_entry_publish(put->store, entry);
}

/* Of two who bring the same file the second waits for the first, and finds it there or brings it
 * itself: a file that may not last takes no other away. Lock held; free while the disk works. */
static enum err settle_file(struct artifact_put *put, struct err_text *et)
{
    struct artifact_store *store = put->store;
    struct artifact_settling settling = {.digest = put->entry->digest};
    enum err err = ERR_OK;
    artifact_entry_settle_begin(store, &settling);
    const struct artifact_entry *there = find(store, settling.digest, put->entry->size_bytes);
    if (there == NULL || there->home != ARTIFACT_FILE) {
        unlock(store);
        err = make_durable(put, et);
        lock(store);
    }
    artifact_entry_settle_end(store, &settling);
    return err;
}

/* Complete and as its name says: here from now on. */
static enum err settle(struct artifact_put *put, struct err_text *et)
{
    struct artifact_store *store = put->store;
    enum err err = ERR_OK;
    lock(store);
    if (put->entry->home == ARTIFACT_FILE)
        err = settle_file(put, et);
    if (err == ERR_OK)
        publish(put);
    unlock(store);
    return err;
}

enum err artifact_put_end(struct artifact_put **out, struct err_text *et)
{
    struct artifact_put *put = *out;
    struct digest root;
    enum err err;
    TRY_OUT(digest_tree_finish(&put->tree, &root));
    if (put->tree.size_bytes != put->entry->size_bytes || !digest_equal(root, put->entry->digest)) {
        char hex[DIGEST_HEX_BYTES];
        digest_hex(put->entry->digest, hex);
        err = error_set(et, ERR_DIGEST, "artifact %.12s: the content that came is another", hex);
        goto out;
    }
    err = settle(put, et);
out:
    artifact_put_abandon(out);
    return err;
}

struct digest artifact_put_digest(const struct artifact_put *put)
{
    return put->entry->digest;
}

/* Writes what is hashed already; *tree goes to the entry. */
static enum err store_file(struct artifact_put *put, struct span content, struct digest_tree *tree,
                           struct err_text *et)
{
    enum err err = write_all(put->fd, content);
    if (err != ERR_OK)
        return error_set(et, err, "%s: %s", put->temp, error_text(err));
    digest_tree_fini(&put->tree);
    put->tree = *tree;
    *tree = (struct digest_tree){0};
    return settle(put, et);
}

enum err artifact_store_bytes(struct artifact_store *store, struct span content,
                              struct digest *digest, struct err_text *et)
{
    struct digest_tree tree;
    struct digest root;
    struct artifact_put *put = NULL;
    enum err err;
    digest_tree_init(&tree);
    digest_tree_update(&tree, content);
    TRY_OUT(digest_tree_finish(&tree, &root));
    TRY_OUT(artifact_put_begin(store, root, content.size, false, &put, et));
    if (put == NULL) { /* it is here, and may be damaged */
        err = artifact_check(store, root, et);
        if (err == ERR_DIGEST || err == ERR_NOT_FOUND)
            err = artifact_put_begin(store, root, content.size, false, &put, et);
    }
    if (err == ERR_OK && put != NULL)
        err = store_file(put, content, &tree, et);
    if (err == ERR_OK)
        *digest = root;
out:
    artifact_put_abandon(&put);
    digest_tree_fini(&tree);
    return err;
}

enum err artifact_keep_bytes(struct artifact_store *store, struct bytes *content,
                             struct digest *digest, struct err_text *et)
{
    struct digest_tree tree;
    struct artifact_entry *entry = mem_alloc(1, sizeof *entry);
    enum err err;
    digest_tree_init(&tree);
    if (entry == NULL) {
        err = ERR_OUT_OF_MEMORY;
        goto out;
    }
    digest_tree_update(&tree, bytes_span(content));
    TRY_OUT(digest_tree_finish(&tree, &entry->digest));
    entry->home = ARTIFACT_MEMORY;
    entry->size_bytes = content->size;
    entry->leaves = tree.leaves;
    entry->leaf_count = tree.leaf_count;
    lock(store);
    err = artifact_entry_reserve(store, entry->size_bytes, et);
    if (err == ERR_OK) {
        *digest = entry->digest;
        tree.leaves = NULL;
        entry->bytes = bytes_take(content);
        artifact_entry_publish(store, entry);
        entry = NULL;
    }
    unlock(store);
out:
    digest_tree_fini(&tree);
    mem_free(entry);
    return err == ERR_OUT_OF_MEMORY ? error_set(et, err, "artifacts: out of memory") : err;
}
