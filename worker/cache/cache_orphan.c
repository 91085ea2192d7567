/* cache_orphan.c - the lock of a cache (cache_folder.c) says whether its worker lives. */
#define _XOPEN_SOURCE 700 /* O_NOFOLLOW */
#include "worker/cache/cache_orphan.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/cache/cache_tree.h"

static bool is_ours(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == geteuid();
}

/* Removed under its lock, so that of two that sweep one does it. Its folders are made once it is
 * locked (cache_folder_init): without them its worker may be on the way to the lock. */
static bool remove_orphan(const char *path)
{
    char lock[PATH_MAX], files[PATH_MAX];
    if (snprintf(lock, sizeof lock, "%s/lock", path) >= (int)sizeof lock ||
        snprintf(files, sizeof files, "%s/files", path) >= (int)sizeof files || !is_ours(path) ||
        !is_ours(files))
        return false;
    int fd = open(lock, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool is_dead = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (is_dead)
        cache_tree_remove(path);
    (void)close(fd);
    return is_dead;
}

size_t cache_orphan_sweep(const char *parent, const char *prefix)
{
    size_t count = 0;
    char path[PATH_MAX];
    DIR *folder = opendir(parent);
    if (folder == NULL)
        return 0;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
            snprintf(path, sizeof path, "%s/%s", parent, entry->d_name) < (int)sizeof path)
            count += remove_orphan(path);
    (void)closedir(folder);
    return count;
}
