/* folder.c - listings in the order of bytes, so that what depends on them does not vary. */
#include "common/formats/source/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

static int entry_compare(const void *a, const void *b)
{
    const struct folder_entry *left = a;
    const struct folder_entry *right = b;
    return strcmp(left->name, right->name);
}

static enum err take_entry(int fd, const char *name, struct arena *arena,
                           struct folder_listing *found, size_t *capacity)
{
    struct stat info;
    if (fstatat(fd, name, &info, 0) != 0 || !S_ISREG(info.st_mode))
        return ERR_OK; /* folders, sockets, dangling links: not files */
    if (found->count == FOLDER_ENTRIES_MAX)
        return ERR_LIMIT;
    if (found->count == *capacity) {
        size_t wanted = MAX(*capacity * 2, (size_t)64);
        struct folder_entry *grown = arena_alloc(arena, wanted, sizeof *grown);
        if (grown == NULL)
            return ERR_OUT_OF_MEMORY;
        if (found->count > 0)
            memcpy(grown, found->entries, found->count * sizeof *grown);
        found->entries = grown;
        *capacity = wanted;
    }
    char *copy = arena_copy_text(arena, text_of(name));
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    found->entries[found->count++] = (struct folder_entry){copy, (uint64_t)info.st_size};
    return ERR_OK;
}

enum err folder_list(const char *path, struct arena *arena, struct folder_listing *listing,
                     struct err_text *et)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    struct folder_listing found = {0};
    size_t capacity = 0;
    enum err err = ERR_OK;
    errno = 0;
    for (struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) {
        err = take_entry(dirfd(dir), item->d_name, arena, &found, &capacity);
        if (err != ERR_OK) {
            (void)error_set(et, err, "%s: %s while listing it", path, error_text(err));
            break;
        }
        errno = 0;
    }
    if (err == ERR_OK && errno != 0)
        err = error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    (void)closedir(dir);
    if (err != ERR_OK)
        return err;
    if (found.count > 0)
        qsort(found.entries, found.count, sizeof *found.entries, entry_compare);
    *listing = found;
    return ERR_OK;
}

static enum err create_one(const char *path, struct err_text *et)
{
    if (mkdir(path, 0777) == 0)
        return ERR_OK;
    int reason = errno;
    if (folder_exists(path))
        return ERR_OK;
    return error_set(et, error_from_errno(reason), "%s: cannot be created: %s", path,
                     strerror(reason));
}

enum err folder_create(const char *path, struct err_text *et)
{
    char *prefix = mem_copy_text(text_of(path));
    if (prefix == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", path);
    enum err err = ERR_OK;
    for (size_t i = 1; i < strlen(path); i++) { /* from 1: the root exists */
        if (prefix[i] != '/')
            continue;
        prefix[i] = '\0';
        err = folder_exists(prefix) ? ERR_OK : create_one(prefix, et);
        prefix[i] = '/';
        if (err != ERR_OK)
            break;
    }
    if (err == ERR_OK)
        err = create_one(path, et);
    mem_free(prefix);
    return err;
}

enum err folder_check_writable(const char *path, struct err_text *et)
{
    char part[PATH_MAX];
    struct stat info;
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof part)
        return error_set(et, ERR_LIMIT, "expected a path of 1 to %d bytes, found %zu", PATH_MAX - 1,
                         size);
    memcpy(part, path, size + 1);
    while (stat(part, &info) != 0) {
        bool is_missing = errno == ENOENT || errno == ENOTDIR;
        if (!is_missing || strcmp(part, "/") == 0 || strcmp(part, ".") == 0)
            return error_set(et, error_from_errno(errno), "%s: %s", part, strerror(errno));
        char *slash = strrchr(part, '/');
        if (slash == NULL)
            memcpy(part, ".", 2);
        else
            slash[slash == part] = '\0'; /* "/x" ends in "/" */
    }
    if (!S_ISDIR(info.st_mode))
        return error_set(et, ERR_EXISTS, "%s: expected a folder, found a file", part);
    if (access(part, W_OK | X_OK) != 0)
        return error_set(et, error_from_errno(errno), "%s: cannot be written: %s", part,
                         strerror(errno));
    return ERR_OK;
}

bool folder_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

enum err folder_sync_parent(const char *path, struct err_text *et)
{
    const char *slash = strrchr(path, '/');
    struct text parent = slash == NULL ? text_of(".") : (struct text){path, (size_t)(slash - path)};
    if (parent.size == 0)
        parent = text_of("/");
    char *name = mem_copy_text(parent);
    if (name == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", path);
    enum err err = ERR_OK;
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        err = error_set(et, error_from_errno(errno), "%s: fsync of the folder: %s", name,
                        strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    mem_free(name);
    return err;
}

char *folder_join(struct arena *arena, const char *folder, const char *name)
{
    size_t size = strlen(folder);
    const char *separator = size > 0 && folder[size - 1] == '/' ? "" : "/";
    return arena_print(arena, "%s%s%s", folder, separator, name);
}

bool folder_name_is_plain(struct text name)
{
    if (name.size == 0 || text_is(name, ".") || text_is(name, ".."))
        return false;
    return memchr(name.data, '/', name.size) == NULL && memchr(name.data, '\0', name.size) == NULL;
}

bool folder_path_is_plain(struct text path)
{
    for (;;) {
        const char *slash = path.size > 0 ? memchr(path.data, '/', path.size) : NULL;
        size_t size = slash != NULL ? (size_t)(slash - path.data) : path.size;
        if (!folder_name_is_plain((struct text){path.data, size}))
            return false;
        if (slash == NULL)
            return true;
        path = (struct text){slash + 1, path.size - size - 1};
    }
}
