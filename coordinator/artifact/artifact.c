/* artifact.c - the table of artifacts: who is there, who is held, what may go. */
#include "coordinator/artifact/artifact.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"
#include "coordinator/artifact/artifact_entry.h"

static void lock(struct artifact_store *store)
{
    ASSERT(pthread_mutex_lock(&store->lock) == 0);
}

static void unlock(struct artifact_store *store)
{
    ASSERT(pthread_mutex_unlock(&store->lock) == 0);
}

static enum err not_found(struct err_text *et, struct digest digest)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(digest, hex);
    return error_set(et, ERR_NOT_FOUND, "artifact %.12s is not here", hex);
}

static struct artifact_entry **bucket_of(struct artifact_store *store, struct digest digest)
{
    size_t index = ((size_t)digest.v[0] << 8 | digest.v[1]) % ARTIFACT_BUCKETS;
    return &store->buckets[index];
}

void artifact_entry_path(const struct artifact_store *store, struct digest digest, char *out)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(digest, hex);
    (void)snprintf(out, ARTIFACT_PATH_BYTES, "%s/%.2s/%s", store->folder, hex, hex + 2);
}

struct artifact_identity artifact_entry_identity(const struct stat *st)
{
    return (struct artifact_identity){st->st_dev, st->st_ino, st->st_size, st->st_mtim,
                                      st->st_ctim};
}

static bool identity_equal(struct artifact_identity a, struct artifact_identity b)
{
    return a.device == b.device && a.inode == b.inode && a.size == b.size &&
           a.modified.tv_sec == b.modified.tv_sec && a.modified.tv_nsec == b.modified.tv_nsec &&
           a.changed.tv_sec == b.changed.tv_sec && a.changed.tv_nsec == b.changed.tv_nsec;
}

void artifact_entry_free(struct artifact_store *store, struct artifact_entry *entry)
{
    ASSERT(entry->references == 0);
    if (entry->bytes != NULL)
        store->ephemeral_bytes -= entry->size_bytes;
    source_close(&entry->source);
    mem_free(entry->bytes);
    mem_free(entry->path);
    mem_free(entry->leaves);
    mem_free(entry);
}

/* Out of the table; freed now or with the last reference. */
static void unlist(struct artifact_store *store, struct artifact_entry *entry)
{
    struct artifact_entry **link = bucket_of(store, entry->digest);
    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    entry->is_listed = false;
    if (entry->references == 0)
        artifact_entry_free(store, entry);
}

static struct artifact_entry *look_up(struct artifact_store *store, struct digest digest)
{
    struct artifact_entry *entry = *bucket_of(store, digest);
    while (entry != NULL && !digest_equal(entry->digest, digest))
        entry = entry->next;
    return entry;
}

void artifact_entry_forget(struct artifact_store *store, struct digest digest)
{
    struct artifact_entry *entry = look_up(store, digest);
    if (entry != NULL && entry->home == ARTIFACT_FILE)
        unlist(store, entry);
}

static void list(struct artifact_store *store, struct artifact_entry *entry)
{
    struct artifact_entry **bucket = bucket_of(store, entry->digest);
    entry->next = *bucket;
    entry->is_listed = true;
    entry->serial = ++store->serial;
    *bucket = entry;
}

static bool is_settling(const struct artifact_store *store, struct digest digest)
{
    const struct artifact_settling *at = store->settlings;
    while (at != NULL && !digest_equal(at->digest, digest))
        at = at->next;
    return at != NULL;
}

void artifact_entry_settle_begin(struct artifact_store *store, struct artifact_settling *settling)
{
    while (is_settling(store, settling->digest))
        ASSERT(pthread_cond_wait(&store->settled, &store->lock) == 0);
    settling->next = store->settlings;
    store->settlings = settling;
}

void artifact_entry_settle_end(struct artifact_store *store,
                               const struct artifact_settling *settling)
{
    struct artifact_settling **link = &store->settlings;
    while (*link != settling)
        link = &(*link)->next;
    *link = settling->next;
    ASSERT(pthread_cond_broadcast(&store->settled) == 0);
}

struct artifact_entry *artifact_entry_find(struct artifact_store *store, struct digest digest)
{
    struct artifact_entry *entry = look_up(store, digest);
    if (entry != NULL || is_settling(store, digest))
        return entry;
    char path[ARTIFACT_PATH_BYTES];
    struct stat st;
    artifact_entry_path(store, digest, path);
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return NULL;
    entry = mem_alloc(1, sizeof *entry);
    if (entry == NULL)
        return NULL;
    entry->digest = digest;
    entry->size_bytes = (uint64_t)st.st_size;
    entry->home = ARTIFACT_FILE;
    list(store, entry);
    return entry;
}

void artifact_entry_publish(struct artifact_store *store, struct artifact_entry *entry)
{
    struct artifact_entry *old = look_up(store, entry->digest);
    if (old != NULL && old->home == ARTIFACT_FILE) {
        artifact_entry_free(store, entry);
        return;
    }
    if (old != NULL) {
        entry->pins = old->pins;
        unlist(store, old);
    }
    list(store, entry);
}

static struct artifact_entry *oldest_loose(struct artifact_store *store)
{
    struct artifact_entry *oldest = NULL;
    for (size_t i = 0; i < ARTIFACT_BUCKETS; i++)
        for (struct artifact_entry *e = store->buckets[i]; e != NULL; e = e->next)
            if (e->home == ARTIFACT_MEMORY && e->references == 0 && e->pins == 0 &&
                (oldest == NULL || e->serial < oldest->serial))
                oldest = e;
    return oldest;
}

enum err artifact_entry_reserve(struct artifact_store *store, uint64_t size_bytes,
                                struct err_text *et)
{
    while (size_bytes > store->ephemeral_bytes_max - store->ephemeral_bytes) {
        struct artifact_entry *oldest = oldest_loose(store);
        if (oldest == NULL)
            return error_set(et, ERR_BUSY,
                             "round traffic: %" PRIu64 " of %" PRIu64
                             " bytes are in use, no room for %" PRIu64,
                             store->ephemeral_bytes, store->ephemeral_bytes_max, size_bytes);
        unlist(store, oldest);
    }
    store->ephemeral_bytes += size_bytes;
    return ERR_OK;
}

/* Removes what a killed process was writing. */
static enum err clear_staging(const char *folder, struct err_text *et)
{
    char path[ARTIFACT_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/staging", folder);
    TRY(folder_create(path, et));
    struct arena arena;
    struct folder_listing listing;
    arena_init(&arena, 64 << 20);
    enum err err = folder_list(path, &arena, &listing, et);
    for (size_t i = 0; err == ERR_OK && i < listing.count; i++) {
        const char *name = folder_join(&arena, path, listing.entries[i].name);
        if (name == NULL)
            err = error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", path);
        else if (unlink(name) != 0)
            err = error_set(et, error_from_errno(errno), "%s: %s", name, strerror(errno));
    }
    arena_fini(&arena);
    return err;
}

/* What a killed process left under its name, in a folder that it may have made, lasts from now on:
 * it counts as present. */
static enum err sync_folders(const char *folder, struct err_text *et)
{
    char path[ARTIFACT_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/staging", folder);
    TRY(folder_sync_parent(path, et));
    for (unsigned i = 0; i < 256; i++) {
        (void)snprintf(path, sizeof path, "%s/%02x", folder, i);
        if (!folder_exists(path))
            continue;
        (void)snprintf(path, sizeof path, "%s/%02x/file", folder, i);
        TRY(folder_sync_parent(path, et));
    }
    return folder_sync_parent(folder, et);
}

enum err artifact_store_open(const struct artifact_options *options, struct artifact_store **out,
                             struct err_text *et)
{
    if (strlen(options->folder) >= sizeof((struct artifact_store *)0)->folder)
        return error_set(et, ERR_LIMIT, "%s: the path is too long", options->folder);
    TRY(folder_create(options->folder, et));
    TRY(clear_staging(options->folder, et));
    TRY(sync_folders(options->folder, et));
    struct artifact_store *store = mem_alloc(1, sizeof *store);
    if (store == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "artifacts: out of memory");
    ASSERT(pthread_mutex_init(&store->lock, NULL) == 0);
    ASSERT(pthread_cond_init(&store->settled, NULL) == 0);
    memcpy(store->folder, options->folder, strlen(options->folder) + 1);
    store->ephemeral_bytes_max = options->ephemeral_bytes_max;
    *out = store;
    return ERR_OK;
}

void artifact_store_close(struct artifact_store **store)
{
    struct artifact_store *s = *store;
    if (s == NULL)
        return;
    for (size_t i = 0; i < ARTIFACT_BUCKETS; i++)
        while (s->buckets[i] != NULL) {
            ASSERT(s->buckets[i]->references == 0);
            unlist(s, s->buckets[i]);
        }
    (void)pthread_cond_destroy(&s->settled);
    (void)pthread_mutex_destroy(&s->lock);
    mem_free(s);
    *store = NULL;
}

/* Opens the mapping of the first who holds it. Lock held. */
static enum err open_entry(struct artifact_store *store, struct artifact_entry *entry,
                           struct err_text *et)
{
    char path[ARTIFACT_PATH_BYTES];
    struct stat st;
    if (entry->home == ARTIFACT_MEMORY || entry->references > 0)
        return ERR_OK;
    artifact_entry_path(store, entry->digest, path);
    const char *name = entry->home == ARTIFACT_PATH ? entry->path : path;
    if (stat(name, &st) != 0) {
        enum err err = error_set(et, error_from_errno(errno), "%s: %s", name, strerror(errno));
        unlist(store, entry);
        return err;
    }
    if (entry->home == ARTIFACT_PATH &&
        !identity_equal(entry->identity, artifact_entry_identity(&st))) {
        enum err err =
            error_set(et, ERR_DIGEST, "%s: changed since the job was frozen with it", name);
        unlist(store, entry);
        return err;
    }
    TRY(source_open(&entry->source, name, et));
    if (entry->source.bytes.size == entry->size_bytes)
        return ERR_OK;
    size_t found = entry->source.bytes.size;
    source_close(&entry->source);
    entry->source = (struct source){0};
    return error_set(et, ERR_DIGEST, "%s: %zu bytes, expected %" PRIu64, name, found,
                     entry->size_bytes);
}

enum err artifact_acquire(struct artifact_store *store, struct digest digest, struct artifact *out,
                          struct err_text *et)
{
    lock(store);
    struct artifact_entry *entry = artifact_entry_find(store, digest);
    enum err err = entry == NULL ? not_found(et, digest) : open_entry(store, entry, et);
    if (err == ERR_OK) {
        entry->references++;
        *out = (struct artifact){.bytes = entry->source.bytes, .digest = digest, .entry = entry};
        if (entry->home == ARTIFACT_MEMORY)
            out->bytes = (struct span){entry->bytes, (size_t)entry->size_bytes};
    }
    unlock(store);
    return err;
}

void artifact_release(struct artifact_store *store, struct artifact *artifact)
{
    struct artifact_entry *entry = artifact->entry;
    if (entry == NULL)
        return;
    *artifact = (struct artifact){0};
    lock(store);
    ASSERT(entry->references > 0);
    if (--entry->references == 0) {
        source_close(&entry->source);
        entry->source = (struct source){0};
        if (!entry->is_listed)
            artifact_entry_free(store, entry);
    }
    unlock(store);
}

bool artifact_is_present(struct artifact_store *store, struct digest digest, uint64_t size_bytes,
                         bool ephemeral)
{
    lock(store);
    struct artifact_entry *entry = artifact_entry_find(store, digest);
    bool is_present = entry != NULL && entry->size_bytes == size_bytes &&
                      (entry->home != ARTIFACT_MEMORY || ephemeral);
    struct stat st;
    if (is_present && entry->home == ARTIFACT_PATH && entry->references == 0 &&
        (stat(entry->path, &st) != 0 ||
         !identity_equal(entry->identity, artifact_entry_identity(&st)))) {
        unlist(store, entry);
        is_present = false;
    }
    unlock(store);
    return is_present;
}

/* False while they are not known. */
static bool find_leaves(struct artifact_store *store, const struct artifact_entry *entry,
                        struct span *leaves)
{
    lock(store);
    bool is_known = entry->leaves != NULL || entry->size_bytes == 0;
    *leaves = (struct span){entry->leaves, entry->leaf_count * DIGEST_BYTES};
    unlock(store);
    return is_known;
}

static enum err hash_leaves(struct artifact_store *store, const struct artifact *artifact)
{
    struct artifact_entry *entry = artifact->entry;
    struct digest_tree tree;
    struct digest root;
    digest_tree_init(&tree);
    digest_tree_update(&tree, artifact->bytes);
    enum err err = digest_tree_finish(&tree, &root);
    if (err == ERR_OK && !digest_equal(root, artifact->digest))
        err = ERR_DIGEST;
    if (err == ERR_OK) {
        lock(store);
        if (entry->leaves == NULL) {
            entry->leaves = tree.leaves;
            entry->leaf_count = tree.leaf_count;
            tree.leaves = NULL;
        }
        unlock(store);
    }
    digest_tree_fini(&tree);
    return err;
}

enum err artifact_leaves(struct artifact_store *store, const struct artifact *artifact,
                         struct span *leaves)
{
    struct artifact_reading reading;
    enum err err = ERR_OK;
    if (find_leaves(store, artifact->entry, leaves))
        return ERR_OK;
    TRY(artifact_reading_begin(store, artifact->digest, artifact->entry->size_bytes, &reading));
    if (!find_leaves(store, artifact->entry, leaves))
        err = hash_leaves(store, artifact);
    artifact_reading_end(store, &reading);
    if (err == ERR_OK)
        (void)find_leaves(store, artifact->entry, leaves);
    return err;
}

static enum err compare(const struct artifact *artifact, struct err_text *et)
{
    struct digest root;
    char hex[DIGEST_HEX_BYTES];
    TRY(digest_of_artifact(artifact->bytes, &root));
    if (digest_equal(root, artifact->digest))
        return ERR_OK;
    digest_hex(artifact->digest, hex);
    return error_set(et, ERR_DIGEST, "artifact %.12s: the content is not what its name says", hex);
}

enum err artifact_verify(struct artifact_store *store, struct digest digest, struct err_text *et)
{
    struct artifact artifact;
    struct artifact_reading reading;
    TRY(artifact_acquire(store, digest, &artifact, et));
    enum err err = artifact_reading_begin(store, digest, artifact.bytes.size, &reading);
    if (err == ERR_OK) {
        err = compare(&artifact, et);
        artifact_reading_end(store, &reading);
    }
    artifact_release(store, &artifact);
    return err;
}

/* Kept for whoever wants to know what happened to the disk; a later one of its name replaces it. */
static enum err set_aside(struct artifact_store *store, struct digest digest, struct err_text *et)
{
    char hex[DIGEST_HEX_BYTES];
    char from[ARTIFACT_PATH_BYTES];
    char to[ARTIFACT_PATH_BYTES];
    digest_hex(digest, hex);
    artifact_entry_path(store, digest, from);
    (void)snprintf(to, sizeof to, "%s/damaged", store->folder);
    TRY(folder_create(to, et));
    (void)snprintf(to, sizeof to, "%s/damaged/%s", store->folder, hex);
    if (rename(from, to) != 0)
        return error_set(et, error_from_errno(errno), "%s: %s", from, strerror(errno));
    return folder_sync_parent(from, et);
}

enum err artifact_check(struct artifact_store *store, struct digest digest, struct err_text *et)
{
    struct artifact artifact = {0};
    enum err err = artifact_acquire(store, digest, &artifact, et);
    if (err == ERR_OK)
        err = compare(&artifact, et);
    artifact_release(store, &artifact);
    if (err != ERR_DIGEST)
        return err;
    struct err_text failure = {""};
    lock(store);
    struct artifact_entry *entry = artifact_entry_find(store, digest);
    if (entry != NULL && entry->home == ARTIFACT_FILE)
        err = set_aside(store, digest, &failure);
    if (entry != NULL && entry->home != ARTIFACT_MEMORY)
        unlist(store, entry);
    unlock(store);
    return err == ERR_DIGEST || err == ERR_OK ? ERR_DIGEST : error_set(et, err, "%s", failure.text);
}

void artifact_path(struct artifact_store *store, struct digest digest, char *out, size_t capacity)
{
    char path[ARTIFACT_PATH_BYTES] = "";
    lock(store);
    struct artifact_entry *entry = artifact_entry_find(store, digest);
    if (entry != NULL && entry->home == ARTIFACT_FILE)
        artifact_entry_path(store, digest, path);
    else if (entry != NULL && entry->home == ARTIFACT_PATH)
        (void)snprintf(path, sizeof path, "%s", entry->path);
    unlock(store);
    size_t size = strlen(path) + 1;
    ASSERT(capacity > 0);
    out[0] = '\0';
    if (size <= capacity)
        memcpy(out, path, size);
}

static void add_pins(struct artifact_store *store, struct digest digest, bool is_pin)
{
    lock(store);
    struct artifact_entry *entry = look_up(store, digest);
    if (entry != NULL && (is_pin || entry->pins > 0))
        entry->pins = is_pin ? entry->pins + 1 : entry->pins - 1;
    unlock(store);
}

void artifact_pin(struct artifact_store *store, struct digest digest)
{
    add_pins(store, digest, true);
}

void artifact_unpin(struct artifact_store *store, struct digest digest)
{
    add_pins(store, digest, false);
}

void artifact_drop(struct artifact_store *store, struct digest digest)
{
    lock(store);
    struct artifact_entry *entry = look_up(store, digest);
    if (entry != NULL && entry->home == ARTIFACT_MEMORY && entry->pins == 0)
        unlist(store, entry);
    unlock(store);
}

void artifact_drop_unpinned(struct artifact_store *store)
{
    lock(store);
    for (struct artifact_entry *e = oldest_loose(store); e != NULL; e = oldest_loose(store))
        unlist(store, e);
    unlock(store);
}

void artifact_touch(struct artifact_store *store, struct digest digest)
{
    char path[ARTIFACT_PATH_BYTES];
    artifact_entry_path(store, digest, path);
    lock(store); /* a collection looks at times under the lock */
    (void)utimensat(AT_FDCWD, path, NULL, 0);
    unlock(store);
}

enum err artifact_free_bytes(const struct artifact_store *store, uint64_t *free_bytes)
{
    struct statvfs fs;
    if (statvfs(store->folder, &fs) != 0)
        return error_from_errno(errno);
    *free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return ERR_OK;
}

/* Removes the file `name` of the folder `prefix` ("ab") unless somebody needs it. */
static void collect_file(struct artifact_store *store, const char *prefix, const char *name,
                         artifact_root_f is_root, void *context, int64_t before_unix_s,
                         uint64_t *removed_count)
{
    char hex[DIGEST_HEX_BYTES];
    char path[ARTIFACT_PATH_BYTES];
    struct digest digest;
    struct stat st;
    if (strlen(name) != DIGEST_HEX_BYTES - 3)
        return;
    (void)snprintf(hex, sizeof hex, "%s%s", prefix, name);
    if (digest_parse(text_of(hex), &digest) != ERR_OK || is_root(context, digest))
        return;
    lock(store);
    struct artifact_entry *entry = look_up(store, digest);
    artifact_entry_path(store, digest, path);
    if ((entry == NULL || (entry->references == 0 && entry->pins == 0)) && stat(path, &st) == 0 &&
        st.st_mtim.tv_sec < before_unix_s && unlink(path) == 0) {
        *removed_count += 1;
        if (entry != NULL && entry->home == ARTIFACT_FILE)
            unlist(store, entry);
    }
    unlock(store);
}

enum err artifact_collect(struct artifact_store *store, artifact_root_f is_root, void *context,
                          int64_t before_unix_s, uint64_t *removed_count, struct err_text *et)
{
    enum err err = ERR_OK;
    *removed_count = 0;
    for (unsigned i = 0; i < 256 && err == ERR_OK; i++) {
        char prefix[3];
        char path[ARTIFACT_PATH_BYTES];
        struct folder_listing listing;
        struct arena arena;
        (void)snprintf(prefix, sizeof prefix, "%02x", i);
        (void)snprintf(path, sizeof path, "%s/%s", store->folder, prefix);
        if (!folder_exists(path))
            continue;
        arena_init(&arena, 64 << 20);
        err = folder_list(path, &arena, &listing, et);
        for (size_t j = 0; err == ERR_OK && j < listing.count; j++)
            collect_file(store, prefix, listing.entries[j].name, is_root, context, before_unix_s,
                         removed_count);
        arena_fini(&arena);
    }
    return err;
}
