/* orphan.c - an array that grows up to a bound. */
#include "coordinator/sched/orphan.h"

#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum { ORPHANS_FIRST = 64, ORPHANS_MAX = 1 << 20 };

void orphan_fini(struct orphan_list *list)
{
    mem_free(list->digests);
    *list = (struct orphan_list){.digests = NULL};
}

enum err orphan_reserve(struct orphan_list *list, size_t more)
{
    size_t count = MIN(list->count + more, (size_t)ORPHANS_MAX);
    if (count <= list->capacity)
        return ERR_OK;
    size_t capacity = MAX(MAX(count, list->capacity * 2), (size_t)ORPHANS_FIRST);
    struct digest *digests = mem_resize(list->digests, capacity, sizeof *digests);
    if (digests == NULL)
        return ERR_OUT_OF_MEMORY;
    list->digests = digests;
    list->capacity = capacity;
    return ERR_OK;
}

void orphan_add(struct orphan_list *list, struct digest digest)
{
    if (digest_is_zero(digest))
        return;
    if (list->count == ORPHANS_MAX) { /* the older half */
        size_t kept = ORPHANS_MAX / 2;
        memmove(list->digests, list->digests + (ORPHANS_MAX - kept), kept * sizeof digest);
        list->count = kept;
    }
    ASSERT(list->count < list->capacity);
    list->digests[list->count++] = digest;
}
