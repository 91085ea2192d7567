/* artifact_path.c - files of somebody else that jobs were frozen with, known by their hash. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "coordinator/artifact/artifact_entry.h"

/* Hashes the file; *identity is what it was before and after the reading. */
static enum err hash_file(const char *path, uint64_t size_bytes, struct digest_tree *tree,
                          struct artifact_identity *identity, struct digest *root,
                          struct err_text *et)
{
    struct stat before;
    struct stat after;
    struct source source = {0};
    if (stat(path, &before) != 0)
        return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    if (!S_ISREG(before.st_mode) || (uint64_t)before.st_size != size_bytes)
        return error_set(et, ERR_DIGEST, "%s: not a file of %" PRIu64 " bytes", path, size_bytes);
    TRY(source_open(&source, path, et));
    source_will_stream(&source);
    if (source.bytes.size == size_bytes)
        digest_tree_update(tree, source.bytes);
    enum err err = digest_tree_finish(tree, root);
    source_close(&source);
    if (err != ERR_OK)
        return err;
    if (stat(path, &after) != 0 || after.st_ino != before.st_ino ||
        after.st_size != before.st_size || after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
        after.st_mtim.tv_nsec != before.st_mtim.tv_nsec)
        return error_set(et, ERR_DIGEST, "%s: changed while it was read", path);
    *identity = artifact_entry_identity(&after);
    return ERR_OK;
}

static enum err register_file(struct artifact_store *store, const char *path, struct digest digest,
                              uint64_t size_bytes, struct err_text *et)
{
    struct digest_tree tree;
    struct digest root;
    struct artifact_identity identity;
    digest_tree_init(&tree);
    struct artifact_entry *entry = NULL;
    enum err err;
    TRY_OUT(hash_file(path, size_bytes, &tree, &identity, &root, et));
    if (!digest_equal(root, digest)) {
        err =
            error_set(et, ERR_DIGEST, "%s: the content is not what the job was frozen with", path);
        goto out;
    }
    entry = mem_alloc(1, sizeof *entry);
    char *copy = mem_copy_text(text_of(path));
    if (entry == NULL || copy == NULL) {
        mem_free(entry);
        mem_free(copy);
        err = ERR_OUT_OF_MEMORY;
        goto out;
    }
    *entry = (struct artifact_entry){.digest = digest,
                                     .size_bytes = size_bytes,
                                     .home = ARTIFACT_PATH,
                                     .path = copy,
                                     .identity = identity,
                                     .leaves = tree.leaves,
                                     .leaf_count = tree.leaf_count};
    tree.leaves = NULL;
    ASSERT(pthread_mutex_lock(&store->lock) == 0);
    artifact_entry_publish(store, entry);
    ASSERT(pthread_mutex_unlock(&store->lock) == 0);
out:
    digest_tree_fini(&tree);
    return err;
}

enum err artifact_register_path(struct artifact_store *store, const char *path,
                                struct digest digest, uint64_t size_bytes, struct err_text *et)
{
    if (artifact_is_present(store, digest, size_bytes, false))
        return ERR_OK;
    return register_file(store, path, digest, size_bytes, et);
}
