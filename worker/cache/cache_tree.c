/* cache_tree.c - a walk from the leaves up. */
#define _XOPEN_SOURCE 700 /* nftw */
#include "worker/cache/cache_tree.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DESCRIPTORS = 16 };

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    return kind == FTW_DP ? rmdir(path) : unlink(path);
}

void cache_tree_remove(const char *path)
{
    (void)nftw(path, remove_entry, DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
}
