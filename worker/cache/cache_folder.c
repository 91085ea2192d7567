/* cache_folder.c - files named by digest, bounded in bytes, fetched chunk by chunk. */
#include "worker/cache/cache_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/source/folder.h"
#include "common/mem/arena.h"
#include "common/mem/mem.h"
#include "worker/cache/cache_tree.h"

enum { LISTING_BYTES = 64 << 20, LEAVES_BYTES = 1 << 30 };

static enum err join(const char *folder, const char *kind, const char *name, char **out)
{
    size_t size = strlen(folder) + strlen(kind) + strlen(name) + 3;
    char *path = mem_alloc(size, 1);
    if (path == NULL)
        return ERR_OUT_OF_MEMORY;
    snprintf(path, size, "%s/%s%s%s", folder, kind, name[0] != '\0' ? "/" : "", name);
    *out = path;
    return ERR_OK;
}

enum err cache_folder_path(const struct cache_folder *folder, const char *kind,
                           struct digest digest, char **out)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(digest, hex);
    return join(folder->path, kind, hex, out);
}

static enum err lock_folder(struct cache_folder *folder, struct err_text *et)
{
    char *path = NULL;
    TRY(join(folder->path, "lock", "", &path));
    enum err err = ERR_OK;
    folder->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (folder->lock < 0)
        err = error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    else if (flock(folder->lock, LOCK_EX | LOCK_NB) != 0)
        err = error_set(et, ERR_EXISTS, "%s: another worker uses this cache", folder->path);
    mem_free(path);
    return err;
}

static enum err add_file(struct cache_folder *folder, struct digest digest, uint64_t size_bytes)
{
    struct cache_folder_file *files =
        mem_resize(folder->files, folder->count + 1, sizeof *folder->files);
    if (files == NULL)
        return ERR_OUT_OF_MEMORY;
    folder->files = files;
    files[folder->count++] = (struct cache_folder_file){
        .digest = digest, .size_bytes = size_bytes, .used = ++folder->clock};
    folder->size_bytes += size_bytes;
    return ERR_OK;
}

static enum err list_files(struct cache_folder *folder, struct err_text *et)
{
    char *path = NULL;
    struct arena arena;
    struct folder_listing listing;
    arena_init(&arena, LISTING_BYTES);
    enum err err = ERR_OK;
    TRY_OUT(join(folder->path, "files", "", &path));
    TRY_OUT(folder_list(path, &arena, &listing, et));
    for (size_t i = 0; i < listing.count; i++) {
        struct digest digest;
        if (digest_parse(text_of(listing.entries[i].name), &digest) == ERR_OK)
            TRY_OUT(add_file(folder, digest, listing.entries[i].size_bytes));
    }
out:
    arena_fini(&arena);
    mem_free(path);
    return err;
}

static enum err make_subfolders(const struct cache_folder *folder, struct err_text *et)
{
    static const char *const names[] = {"files", "part", "view"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char *path = NULL;
        TRY(join(folder->path, names[i], "", &path));
        enum err err = folder_create(path, et);
        mem_free(path);
        TRY(err);
    }
    return ERR_OK;
}

/* Views of an earlier life of this cache. */
static enum err remove_views(const struct cache_folder *folder)
{
    char *path = NULL;
    TRY(join(folder->path, "view", "", &path));
    cache_tree_remove(path);
    mem_free(path);
    return ERR_OK;
}

enum err cache_folder_init(struct cache_folder *folder, const char *path, uint64_t size_bytes_max,
                           struct err_text *et)
{
    char absolute[PATH_MAX]; /* links in views are read from other folders */
    *folder = (struct cache_folder){.lock = -1, .size_bytes_max = size_bytes_max};
    enum err err = ERR_OK;
    TRY_OUT(folder_create(path, et));
    if (realpath(path, absolute) == NULL) {
        err = error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
        goto out;
    }
    folder->path = mem_copy_text(text_of(absolute));
    if (folder->path == NULL) {
        err = ERR_OUT_OF_MEMORY;
        goto out;
    }
    TRY_OUT(lock_folder(folder, et));
    TRY_OUT(remove_views(folder));
    TRY_OUT(make_subfolders(folder, et));
    TRY_OUT(list_files(folder, et));
out:
    if (err != ERR_OK)
        cache_folder_fini(folder);
    return err;
}

void cache_folder_fini(struct cache_folder *folder)
{
    if (folder->is_private && folder->path != NULL)
        cache_tree_remove(folder->path);
    if (folder->lock >= 0)
        close(folder->lock);
    mem_free(folder->path);
    mem_free(folder->files);
    *folder = (struct cache_folder){.lock = -1};
}

struct cache_folder_file *cache_folder_find(const struct cache_folder *folder, struct digest digest)
{
    for (size_t i = 0; i < folder->count; i++)
        if (digest_equal(folder->files[i].digest, digest))
            return &folder->files[i];
    return NULL;
}

void cache_folder_use(struct cache_folder *folder, struct cache_folder_file *file)
{
    file->used = ++folder->clock;
}

void cache_folder_remove(struct cache_folder *folder, struct digest digest)
{
    struct cache_folder_file *file = cache_folder_find(folder, digest);
    char *path = NULL;
    if (file == NULL)
        return;
    if (cache_folder_path(folder, "files", digest, &path) == ERR_OK)
        unlink(path); /* else it is listed again by the next life */
    mem_free(path);
    folder->size_bytes -= file->size_bytes;
    *file = folder->files[--folder->count];
}

static const struct cache_folder_file *longest_unused(const struct cache_folder *folder)
{
    const struct cache_folder_file *oldest = NULL;
    for (size_t i = 0; i < folder->count; i++)
        if (folder->files[i].open == 0 && (oldest == NULL || folder->files[i].used < oldest->used))
            oldest = &folder->files[i];
    return oldest;
}

/* What others put on the disk counts too: a cache must not stand in its own way. */
static bool disk_has(const struct cache_folder *folder, uint64_t size_bytes)
{
    struct statvfs fs;
    return statvfs(folder->path, &fs) != 0 || (uint64_t)fs.f_bavail * fs.f_frsize >= size_bytes;
}

/* Removes files, the longest unused first, until `size_bytes` more fit: into the cache, and onto
 * the disk as far as that helps. */
static enum err make_room(struct cache_folder *folder, uint64_t size_bytes, struct err_text *et)
{
    const struct cache_folder_file *oldest = longest_unused(folder);
    while (folder->size_bytes + size_bytes > folder->size_bytes_max) {
        if (oldest == NULL)
            return error_set(et, ERR_LIMIT,
                             "%s: %llu bytes do not fit beside the %llu in use; the cache may hold "
                             "%llu (--cache-size)",
                             folder->path, (unsigned long long)size_bytes,
                             (unsigned long long)folder->size_bytes,
                             (unsigned long long)folder->size_bytes_max);
        cache_folder_remove(folder, oldest->digest);
        oldest = longest_unused(folder);
    }
    for (; oldest != NULL && !disk_has(folder, size_bytes); oldest = longest_unused(folder))
        cache_folder_remove(folder, oldest->digest);
    return ERR_OK;
}

void cache_folder_clear(struct cache_folder *folder)
{
    const struct cache_folder_file *file = NULL;
    if (disk_has(folder, folder->size_bytes))
        return;
    while ((file = longest_unused(folder)) != NULL)
        cache_folder_remove(folder, file->digest);
}

/* Parts of other artifacts: a fetch that was given up. */
static enum err remove_other_parts(const struct cache_folder *folder, const char *keep,
                                   struct err_text *et)
{
    char *path = NULL;
    struct arena arena;
    struct folder_listing listing;
    arena_init(&arena, LISTING_BYTES);
    enum err err = ERR_OK;
    TRY_OUT(join(folder->path, "part", "", &path));
    TRY_OUT(folder_list(path, &arena, &listing, et));
    for (size_t i = 0; i < listing.count; i++) {
        char *name = folder_join(&arena, path, listing.entries[i].name);
        if (name != NULL && strcmp(name, keep) != 0)
            unlink(name);
    }
out:
    arena_fini(&arena);
    mem_free(path);
    return err;
}

static enum err write_error(const char *path, struct err_text *et)
{
    enum err err = errno == ENOSPC || errno == EDQUOT ? ERR_DISK_FULL : error_from_errno(errno);
    return error_set(et, err, "%s: %s", path, strerror(errno));
}

static enum err write_at(int fd, const char *path, struct span data, uint64_t offset,
                         struct err_text *et)
{
    while (data.size > 0) {
        ssize_t written = pwrite(fd, data.data, data.size, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return write_error(path, et);
        data.data += written;
        data.size -= (size_t)written;
        offset += (uint64_t)written;
    }
    return ERR_OK;
}

/* A part file that grows. */
struct part {
    int fd;
    const char *path;
    uint64_t size_bytes;
    struct span leaves;
    uint8_t *scratch; /* owned: one chunk */
    struct err_text *et;
};

static size_t chunk_size(const struct part *part, uint64_t index)
{
    uint64_t left = part->size_bytes - index * DIGEST_CHUNK_BYTES;
    return (size_t)MIN(left, (uint64_t)DIGEST_CHUNK_BYTES);
}

/* True when the part file holds this chunk already. */
static bool has_chunk(void *context, uint64_t index)
{
    struct part *part = context;
    size_t size = chunk_size(part, index), got = 0;
    struct digest leaf;
    while (got < size) {
        ssize_t n = pread(part->fd, part->scratch + got, size - got,
                          (off_t)(index * DIGEST_CHUNK_BYTES + got));
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    memcpy(leaf.v, part->leaves.data + index * DIGEST_BYTES, DIGEST_BYTES);
    return digest_equal(digest_leaf((struct span){part->scratch, size}), leaf);
}

static enum err take_chunk(void *context, uint64_t index, struct span chunk)
{
    struct part *part = context;
    if (chunk.size != chunk_size(part, index))
        return ERR_DIGEST;
    return write_at(part->fd, part->path, chunk, index * DIGEST_CHUNK_BYTES, part->et);
}

static enum err fetch_chunks(int fd, const char *path, struct bulk *bulk, struct digest digest,
                             uint64_t size_bytes, const struct bytes *leaves, struct err_text *et)
{
    struct part part = {.fd = fd,
                        .path = path,
                        .size_bytes = size_bytes,
                        .leaves = bytes_span(leaves),
                        .scratch = mem_alloc(DIGEST_CHUNK_BYTES, 1),
                        .et = et};
    const struct bulk_sink sink = {.has = has_chunk, .take = take_chunk, .context = &part};
    if (part.scratch == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = bulk_chunks(bulk, digest, part.leaves, &sink);
    if (err == ERR_OK && (ftruncate(fd, (off_t)size_bytes) != 0 || fsync(fd) != 0))
        err = write_error(path, et);
    mem_free(part.scratch);
    return err;
}

enum err cache_folder_fetch(struct cache_folder *folder, struct bulk *bulk, struct digest digest,
                            uint64_t size_bytes, struct err_text *et)
{
    char *part = NULL, *file = NULL;
    struct bytes leaves;
    bytes_init(&leaves, LEAVES_BYTES);
    int fd = -1;
    uint64_t size = 0;
    enum err err = ERR_OK;
    TRY_OUT(cache_folder_path(folder, "part", digest, &part));
    TRY_OUT(cache_folder_path(folder, "files", digest, &file));
    TRY_OUT(remove_other_parts(folder, part, et));
    TRY_OUT(make_room(folder, size_bytes, et));
    TRY_OUT(bulk_leaves(bulk, digest, &leaves, &size));
    if (size != size_bytes) {
        err = ERR_DIGEST;
        goto out;
    }
    fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        err = write_error(part, et);
        goto out;
    }
    TRY_OUT(fetch_chunks(fd, part, bulk, digest, size, &leaves, et));
    if (rename(part, file) != 0) {
        err = write_error(file, et);
        goto out;
    }
    TRY_OUT(add_file(folder, digest, size));
out:
    if (fd >= 0)
        close(fd);
    bytes_fini(&leaves);
    mem_free(part);
    mem_free(file);
    return err;
}
