/* arena.c - a chain of blocks, newest first. */
#include "common/mem/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

struct arena_block {
    struct arena_block *next; /* owned */
    size_t size;
    size_t used;
    _Alignas(16) uint8_t data[];
};

enum { BLOCK_BYTES_MIN = 4096 };

void arena_init(struct arena *arena, size_t limit_bytes)
{
    *arena = (struct arena){.limit_bytes = limit_bytes};
}

void arena_fini(struct arena *arena)
{
    while (arena->head != NULL) {
        struct arena_block *next = arena->head->next;
        mem_free(arena->head);
        arena->head = next;
    }
    arena->used_bytes = 0;
}

void arena_reset(struct arena *arena)
{
    struct arena_block *keep = arena->head; /* the newest block is the largest */
    if (keep == NULL)
        return;
    arena->head = keep->next;
    arena_fini(arena);
    keep->next = NULL;
    keep->used = 0;
    arena->head = keep;
}

static struct arena_block *block_add(struct arena *arena, size_t bytes)
{
    size_t size = arena->head != NULL ? arena->head->size * 2 : BLOCK_BYTES_MIN;
    size = MAX(size, bytes);
    struct arena_block *block = mem_alloc(1, sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->size = size;
    block->next = arena->head;
    arena->head = block;
    return block;
}

void *arena_alloc(struct arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (!check_mul(count, size, &bytes) || bytes > PTRDIFF_MAX - 64)
        return NULL;
    bytes = (MAX(bytes, 1u) + 15) & ~(size_t)15;
    if (bytes > arena->limit_bytes - MIN(arena->used_bytes, arena->limit_bytes))
        return NULL;
    struct arena_block *block = arena->head;
    if (block == NULL || block->size - block->used < bytes) {
        block = block_add(arena, bytes);
        if (block == NULL)
            return NULL;
    }
    void *pointer = block->data + block->used;
    block->used += bytes;
    arena->used_bytes += bytes;
    memset(pointer, 0, bytes);
    return pointer;
}

char *arena_copy_text(struct arena *arena, struct text text)
{
    size_t bytes;
    if (!check_add(text.size, 1, &bytes))
        return NULL;
    char *copy = arena_alloc(arena, bytes, 1);
    if (copy != NULL && text.size > 0)
        memcpy(copy, text.data, text.size);
    return copy;
}

char *arena_print(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *out = size < 0 ? NULL : arena_alloc(arena, (size_t)size + 1, 1);
    if (out != NULL)
        (void)vsnprintf(out, (size_t)size + 1, format, again);
    va_end(again);
    return out;
}
