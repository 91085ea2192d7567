/* folder.h - folders: make, list, sync, and names inside them. */
#ifndef COMMON_FORMATS_SOURCE_FOLDER_H
#define COMMON_FORMATS_SOURCE_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/arena.h"

enum { FOLDER_ENTRIES_MAX = 100000 };

/* A regular file (or a link to one) in a folder. */
struct folder_entry {
    const char *name; /* without the folder; in the arena of the listing */
    uint64_t size_bytes;
};

struct folder_listing {
    struct folder_entry *entries; /* sorted by bytes of the name; in the arena */
    size_t count;
};

/* Lists the regular files directly in `path`. ERR_NOT_FOUND, ERR_DENIED, ERR_LIMIT beyond
 * FOLDER_ENTRIES_MAX, ERR_OUT_OF_MEMORY when the arena is full. */
MUST_CHECK enum err folder_list(const char *path, struct arena *arena,
                                struct folder_listing *listing, struct err_text *et);

/* Makes `path` and what is missing above it. A folder that exists is fine. */
MUST_CHECK enum err folder_create(const char *path, struct err_text *et);

/* Whether folder_create would do and files could be made in `path`, as far as can be told without
 * making anything: what exists of it is a folder and can be written. ERR_EXISTS: a file is in the
 * way; ERR_DENIED. */
MUST_CHECK enum err folder_check_writable(const char *path, struct err_text *et);

/* True when `path` is a folder that exists. */
bool folder_exists(const char *path);

/* Makes the entry of `path` in its folder durable. */
MUST_CHECK enum err folder_sync_parent(const char *path, struct err_text *et);

/* "folder/name" in the arena, NULL when it is full. */
char *folder_join(struct arena *arena, const char *folder, const char *name);

/* True for a name that stays in its folder: not empty, no '/', no NUL, neither "." nor "..". What
 * an index file of somebody else names must pass this before it is opened. */
bool folder_name_is_plain(struct text name);

/* True for such names between slashes. */
bool folder_path_is_plain(struct text path);

#endif
