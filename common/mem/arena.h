/* arena.h - memory of one message, one parse, one step: many allocations, one release.
 *
 * Blocks grow geometrically and never move, so pointers stay valid until reset or fini. An arena
 * has a ceiling, so that hostile input cannot ask for more than its caller allows.
 */
#ifndef COMMON_MEM_ARENA_H
#define COMMON_MEM_ARENA_H

#include <stddef.h>

#include "common/base/error.h"
#include "common/base/span.h"

struct arena_block;

struct arena {
    struct arena_block *head; /* owned */
    size_t used_bytes;        /* handed out */
    size_t limit_bytes;       /* ceiling of used_bytes */
};

void arena_init(struct arena *arena, size_t limit_bytes);

/* Releases everything; the arena may be used again after another init. */
void arena_fini(struct arena *arena);

/* Forgets all allocations, keeps the largest block. */
void arena_reset(struct arena *arena);

/* `count * size` zeroed bytes aligned to 16, NULL on overflow, at the ceiling or out of memory.
 * Borrowed until reset or fini. */
void *arena_alloc(struct arena *arena, size_t count, size_t size);

/* A terminated copy of `text`, or NULL. */
char *arena_copy_text(struct arena *arena, struct text text);

/* A printed, terminated text, or NULL. */
char *arena_print(struct arena *arena, const char *format, ...) PRINTF(2, 3);

#endif
