/* orphan.h - artifacts that a record let go of: what pruning looks at.
 *
 * A digest on this list was reachable and then forgotten; it may be reached in another way.
 * Bounded: when the list is full the oldest are left to the collection, which finds all that nobody
 * reaches, a day later. Not durable by itself: records rebuild it.
 *
 * Owns: the list. Refuses to know: files.
 */
#ifndef COORDINATOR_SCHED_ORPHAN_H
#define COORDINATOR_SCHED_ORPHAN_H

#include <stddef.h>

#include "common/base/error.h"
#include "common/digest/digest.h"

struct orphan_list {
    struct digest *digests; /* owned */
    size_t count, capacity;
};

void orphan_fini(struct orphan_list *list);

/* Room for so many more, or for as many as the list holds. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err orphan_reserve(struct orphan_list *list, size_t more);

/* There is room. A digest of zeros is nothing. */
void orphan_add(struct orphan_list *list, struct digest digest);

#endif
