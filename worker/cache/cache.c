/* cache.c - where an artifact is looked for, and in which order. */
#include "worker/cache/cache.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/mem/arena.h"
#include "common/mem/mem.h"
#include "worker/cache/bulk.h"
#include "worker/cache/cache_folder.h"
#include "worker/cache/cache_known.h"

enum { PATH_BYTES = 8192, VIEW_BYTES = 1 << 20, HASHED_AT_ONCE = 1 << 26 };

/* What callers hold as a struct cache_item. */
struct entry {
    struct cache_item item; /* first */
    struct entry *next;
    unsigned users;
    struct source source; /* owned: the mapping of `path` */
    uint8_t *memory;      /* owned: content without a file */
    char *path;           /* owned */
    bool in_folder;       /* counted by the folder's file as open */
};

struct cache {
    struct cache_folder folder;
    struct cache_known known;
    struct bulk *bulk;     /* owned */
    struct entry *entries; /* owned: what is open */
    uint64_t view_count;
    atomic_bool cancelled;
};

enum err cache_create(const struct cache_options *options, struct cache **out, struct err_text *et)
{
    struct cache *cache = mem_alloc(1, sizeof *cache);
    if (cache == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = ERR_OK;
    cache->folder.lock = -1;
    atomic_init(&cache->cancelled, false);
    const struct bulk_options bulk = {
        .transport = options->transport,
        .patience_ms = options->patience_ms,
        .cancelled = &cache->cancelled,
    };
    TRY_OUT(bulk_create(&bulk, &cache->bulk));
    TRY_OUT(cache_folder_init(&cache->folder, options->folder, options->size_bytes_max, et));
    cache->folder.is_private = options->is_private;
    *out = cache;
    cache = NULL;
out:
    cache_destroy(&cache);
    return err;
}

static void close_entry(struct cache *cache, struct entry *entry)
{
    source_close(&entry->source);
    mem_free(entry->memory);
    mem_free(entry->path);
    struct cache_folder_file *file =
        entry->in_folder ? cache_folder_find(&cache->folder, entry->item.digest) : NULL;
    if (file != NULL)
        file->open--;
    mem_free(entry);
}

void cache_destroy(struct cache **cache)
{
    if (*cache == NULL)
        return;
    while ((*cache)->entries != NULL) {
        struct entry *next = (*cache)->entries->next;
        close_entry(*cache, (*cache)->entries);
        (*cache)->entries = next;
    }
    bulk_destroy(&(*cache)->bulk);
    cache_known_fini(&(*cache)->known);
    cache_folder_fini(&(*cache)->folder);
    mem_free(*cache);
    *cache = NULL;
}

enum err cache_aim(struct cache *cache, struct text bulk_endpoint)
{
    return bulk_aim(cache->bulk, bulk_endpoint);
}

void cache_cancel(struct cache *cache)
{
    atomic_store(&cache->cancelled, true);
}

void cache_resume(struct cache *cache)
{
    atomic_store(&cache->cancelled, false);
}

/* Hashes a mapped file and gives back the memory of what was read of a large one: a model may be
 * larger than what this worker is meant to take. */
static enum err hash_file(const struct source *source, struct digest *out)
{
    struct span left = source->bytes;
    struct digest_tree tree;
    digest_tree_init(&tree);
    while (left.size > 0) {
        struct span piece = {left.data, MIN(left.size, (size_t)HASHED_AT_ONCE)};
        digest_tree_update(&tree, piece);
        if (source->bytes.size > HASHED_AT_ONCE)
            source_drop(source, piece);
        left = (struct span){left.data + piece.size, left.size - piece.size};
    }
    enum err err = digest_tree_finish(&tree, out);
    digest_tree_fini(&tree);
    return err;
}

/* Whether the mapped file is the artifact; hashes it unless its identity is known. `before` is what
 * the path was before it was mapped: only if it is the same after, the mapping is that file. */
static enum err verify(struct cache *cache, const char *path, const struct stat *before,
                       const struct artifact_ref *ref, const struct source *source)
{
    struct cache_identity identity = cache_known_identity(before);
    const struct digest *known = cache_known_find(&cache->known, &identity);
    struct digest digest;
    struct stat after;
    if (source->bytes.size != ref->size_bytes)
        return ERR_DIGEST;
    if (known != NULL)
        digest = *known;
    else
        TRY(hash_file(source, &digest));
    if (stat(path, &after) != 0)
        return error_from_errno(errno);
    struct cache_identity still = cache_known_identity(&after);
    if (!cache_known_is_same(&identity, &still))
        return ERR_DIGEST;
    if (known == NULL)
        cache_known_add(&cache->known, &identity, digest);
    return digest_equal(digest, ref->digest) ? ERR_OK : ERR_DIGEST;
}

/* Maps `path` into `entry` when it is the artifact. */
static enum err open_file(struct cache *cache, const struct artifact_ref *ref, const char *path,
                          struct entry *entry)
{
    struct stat st; /* asked first: most paths of another machine do not exist here */
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != ref->size_bytes)
        return ERR_NOT_FOUND;
    TRY(source_open(&entry->source, path, NULL));
    enum err err = verify(cache, path, &st, ref, &entry->source);
    if (err == ERR_OK) {
        entry->path = mem_copy_text(text_of(path));
        err = entry->path != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
    }
    if (err != ERR_OK) {
        source_close(&entry->source);
        return err;
    }
    entry->item.bytes = entry->source.bytes;
    entry->item.path = entry->path;
    return ERR_OK;
}

static enum err open_path(struct cache *cache, const struct artifact_ref *ref, struct entry *entry)
{
    char path[PATH_BYTES];
    if (ref->path.size == 0 || ref->path.size >= sizeof path)
        return ERR_NOT_FOUND;
    memcpy(path, ref->path.data, ref->path.size);
    path[ref->path.size] = '\0';
    return open_file(cache, ref, path, entry);
}

static enum err open_in_folder(struct cache *cache, const struct artifact_ref *ref,
                               struct entry *entry)
{
    struct cache_folder_file *file = cache_folder_find(&cache->folder, ref->digest);
    if (file == NULL)
        return ERR_NOT_FOUND;
    char *path = NULL;
    TRY(cache_folder_path(&cache->folder, "files", ref->digest, &path));
    enum err err = open_file(cache, ref, path, entry);
    mem_free(path);
    if (err == ERR_DIGEST || err == ERR_NOT_FOUND) {
        cache_folder_remove(&cache->folder, ref->digest); /* damaged: fetched again */
        return ERR_NOT_FOUND;
    }
    TRY(err);
    file->open++;
    entry->in_folder = true;
    cache_folder_use(&cache->folder, file);
    return ERR_OK;
}

static enum err take_to_memory(void *context, uint64_t index, struct span chunk)
{
    struct entry *entry = context;
    size_t at = (size_t)index * DIGEST_CHUNK_BYTES;
    if (chunk.size != MIN(entry->item.bytes.size - at, (size_t)DIGEST_CHUNK_BYTES))
        return ERR_DIGEST;
    memcpy(entry->memory + at, chunk.data, chunk.size);
    return ERR_OK;
}

/* Round traffic: into memory, gone when it is released. */
static enum err fetch_to_memory(struct cache *cache, const struct artifact_ref *ref,
                                struct entry *entry)
{
    const struct bulk_sink sink = {.take = take_to_memory, .context = entry};
    struct bytes leaves;
    bytes_init(&leaves, SIZE_MAX);
    uint64_t size = 0;
    enum err err = ERR_OK;
    TRY_OUT(bulk_leaves(cache->bulk, ref->digest, &leaves, &size));
    if (size != ref->size_bytes) {
        err = ERR_DIGEST;
        goto out;
    }
    entry->memory = mem_alloc_aligned((size_t)size, 1);
    if (entry->memory == NULL) {
        err = ERR_OUT_OF_MEMORY;
        goto out;
    }
    entry->item.bytes = (struct span){entry->memory, (size_t)size};
    TRY_OUT(bulk_chunks(cache->bulk, ref->digest, bytes_span(&leaves), &sink));
out:
    bytes_fini(&leaves);
    return err;
}

static enum err fetch(struct cache *cache, const struct artifact_ref *ref, struct entry *entry,
                      struct err_text *et)
{
    if (ref->ephemeral) {
        enum err err = fetch_to_memory(cache, ref, entry);
        return err == ERR_NOT_FOUND ? ERR_UNREACHABLE : err;
    }
    TRY(cache_folder_fetch(&cache->folder, cache->bulk, ref->digest, ref->size_bytes, et));
    return open_in_folder(cache, ref, entry);
}

static struct entry *find_entry(const struct cache *cache, struct digest digest)
{
    for (struct entry *e = cache->entries; e != NULL; e = e->next)
        if (digest_equal(e->item.digest, digest))
            return e;
    return NULL;
}

enum err cache_open(struct cache *cache, const struct artifact_ref *ref,
                    const struct cache_item **out, struct err_text *et)
{
    struct entry *entry = find_entry(cache, ref->digest);
    if (entry != NULL) {
        entry->users++;
        *out = &entry->item;
        return ERR_OK;
    }
    entry = mem_alloc(1, sizeof *entry);
    if (entry == NULL)
        return ERR_OUT_OF_MEMORY;
    entry->item.digest = ref->digest;
    enum err err = open_path(cache, ref, entry);
    if (err != ERR_OK)
        err = open_in_folder(cache, ref, entry);
    if (err != ERR_OK)
        err = fetch(cache, ref, entry, et);
    if (err != ERR_OK) {
        char hex[DIGEST_HEX_BYTES];
        digest_hex(ref->digest, hex);
        close_entry(cache, entry);
        return error_prefix(et, err, "%.*s (artifact %.12s, %llu bytes)", TEXT_ARGS(ref->name), hex,
                            (unsigned long long)ref->size_bytes);
    }
    entry->users = 1;
    entry->next = cache->entries;
    cache->entries = entry;
    *out = &entry->item;
    return ERR_OK;
}

void cache_release(struct cache *cache, const struct cache_item **item)
{
    if (*item == NULL)
        return;
    struct entry **link = &cache->entries;
    while (*link != NULL && &(*link)->item != *item)
        link = &(*link)->next;
    ASSERT(*link != NULL);
    struct entry *entry = *link;
    *item = NULL;
    if (--entry->users > 0)
        return;
    *link = entry->next;
    close_entry(cache, entry);
}

enum err cache_put(struct cache *cache, struct text name, struct span content, bool ephemeral,
                   struct artifact_ref *ref, struct err_text *et)
{
    struct digest digest;
    TRY(digest_of_artifact(content, &digest));
    enum err err = bulk_put(cache->bulk, digest, content, ephemeral);
    if (err != ERR_OK)
        return error_prefix(et, err, "giving %.*s (%zu bytes) to the coordinator", TEXT_ARGS(name),
                            content.size);
    *ref = (struct artifact_ref){
        .name = name, .digest = digest, .size_bytes = content.size, .ephemeral = ephemeral};
    return ERR_OK;
}

static enum err link_items(const struct cache_item *const *items, const struct text *names,
                           size_t count, const char *folder, struct err_text *et)
{
    struct arena arena;
    arena_init(&arena, VIEW_BYTES + count * PATH_BYTES);
    enum err err = ERR_OK;
    for (size_t i = 0; i < count; i++) {
        if (!folder_name_is_plain(names[i]) || items[i]->path == NULL) {
            err =
                error_set(et, ERR_DATA, "\"%.*s\" is not the name of a file", TEXT_ARGS(names[i]));
            goto out;
        }
        const char *name = arena_copy_text(&arena, names[i]);
        const char *path = name != NULL ? folder_join(&arena, folder, name) : NULL;
        if (path == NULL) {
            err = ERR_OUT_OF_MEMORY;
            goto out;
        }
        char target[PATH_MAX]; /* absolute: the link lies elsewhere */
        if (realpath(items[i]->path, target) == NULL || symlink(target, path) != 0) {
            err = error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
            goto out;
        }
    }
out:
    arena_fini(&arena);
    return err;
}

void cache_clear(struct cache *cache)
{
    cache_folder_clear(&cache->folder);
}

enum err cache_view(struct cache *cache, const struct cache_item *const *items,
                    const struct text *names, size_t count, char **path, struct err_text *et)
{
    size_t size = strlen(cache->folder.path) + 64;
    char *folder = mem_alloc(size, 1);
    if (folder == NULL)
        return ERR_OUT_OF_MEMORY;
    snprintf(folder, size, "%s/view/%ld-%llu", cache->folder.path, (long)getpid(),
             (unsigned long long)++cache->view_count);
    enum err err = folder_create(folder, et);
    if (err == ERR_OK)
        err = link_items(items, names, count, folder, et);
    if (err != ERR_OK) {
        cache_unview(cache, &folder);
        return err;
    }
    *path = folder;
    return ERR_OK;
}

void cache_unview(struct cache *cache, char **path)
{
    (void)cache;
    if (*path == NULL)
        return;
    struct arena arena;
    struct folder_listing listing;
    arena_init(&arena, VIEW_BYTES * 16);
    if (folder_list(*path, &arena, &listing, NULL) == ERR_OK) {
        for (size_t i = 0; i < listing.count; i++) {
            const char *name = folder_join(&arena, *path, listing.entries[i].name);
            if (name != NULL)
                unlink(name);
        }
    }
    rmdir(*path);
    arena_fini(&arena);
    mem_free(*path);
    *path = NULL;
}
