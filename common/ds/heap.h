/* heap.h - an intrusive binary heap: the node with the smallest (key, tie) first.
 *
 * heap_reserve is the only call that can fail; done beforehand, everything else cannot. Nodes know
 * their place, so any of them is moved or removed in O(log n).
 */
#ifndef COMMON_DS_HEAP_H
#define COMMON_DS_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/ds/container.h"

struct heap_node {
    uint64_t key; /* set by heap_put alone */
    uint64_t tie; /* decides between equal keys */
    size_t place; /* index + 1, 0 when in no heap */
};

struct heap {
    struct heap_node **items; /* owned array of borrowed nodes */
    size_t count;
    size_t capacity;
};

void heap_init(struct heap *heap);
void heap_fini(struct heap *heap);

/* Room for `count` nodes in all. ERR_OUT_OF_MEMORY leaves the heap as it was. */
MUST_CHECK enum err heap_reserve(struct heap *heap, size_t count);

/* Adds the node, or moves it when it is in the heap already. Room must have been reserved. */
void heap_put(struct heap *heap, struct heap_node *node, uint64_t key, uint64_t tie);

/* Nothing happens when the node is in no heap. */
void heap_remove(struct heap *heap, struct heap_node *node);

/* NULL when empty. Borrowed. */
static inline struct heap_node *heap_first(const struct heap *heap)
{
    return heap->count > 0 ? heap->items[0] : NULL;
}

static inline bool heap_holds(const struct heap_node *node)
{
    return node->place != 0;
}

#endif
