/* mem.c - checked allocation with a per-thread fault counter for tests. */
#include "common/mem/mem.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

static _Thread_local size_t asked;
static _Thread_local size_t fault_at;

static bool fails_now(void)
{
    asked++;
    return fault_at != 0 && asked >= fault_at;
}

size_t mem_fault_after(size_t n)
{
    size_t before = asked;
    asked = 0;
    fault_at = n;
    return before;
}

void mem_return_large_blocks(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 256 * 1024);
}

void *mem_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (fails_now() || !check_mul(count, size, &bytes) || bytes > PTRDIFF_MAX)
        return NULL;
    return calloc(1, MAX(bytes, 1u));
}

void *mem_resize(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (fails_now() || !check_mul(count, size, &bytes) || bytes > PTRDIFF_MAX)
        return NULL;
    return realloc(old, MAX(bytes, 1u));
}

void *mem_alloc_aligned(size_t count, size_t size)
{
    size_t bytes;
    if (fails_now() || !check_mul(count, size, &bytes) || bytes > PTRDIFF_MAX - 64)
        return NULL;
    bytes = (MAX(bytes, 1u) + 63) & ~(size_t)63;
    void *pointer = aligned_alloc(64, bytes);
    if (pointer != NULL)
        memset(pointer, 0, bytes);
    return pointer;
}

char *mem_copy_text(struct text text)
{
    size_t bytes;
    if (!check_add(text.size, 1, &bytes))
        return NULL;
    char *copy = mem_alloc(bytes, 1);
    if (copy != NULL && text.size > 0)
        memcpy(copy, text.data, text.size);
    return copy;
}

void mem_free(void *pointer)
{
    free(pointer);
}
