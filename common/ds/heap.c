/* heap.c - sift up, sift down. */
#include "common/ds/heap.h"

#include "common/base/check.h"
#include "common/mem/mem.h"

void heap_init(struct heap *heap)
{
    *heap = (struct heap){0};
}

void heap_fini(struct heap *heap)
{
    mem_free(heap->items);
    *heap = (struct heap){0};
}

enum err heap_reserve(struct heap *heap, size_t count)
{
    if (count <= heap->capacity)
        return ERR_OK;
    size_t capacity = MAX(count, MAX(heap->capacity * 2, 16u));
    struct heap_node **items = mem_resize(heap->items, capacity, sizeof *items);
    if (items == NULL)
        return ERR_OUT_OF_MEMORY;
    heap->items = items;
    heap->capacity = capacity;
    return ERR_OK;
}

static bool before(const struct heap_node *a, const struct heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->tie < b->tie;
}

static void place(struct heap *heap, size_t index, struct heap_node *node)
{
    heap->items[index] = node;
    node->place = index + 1;
}

static void sift_up(struct heap *heap, size_t index)
{
    struct heap_node *node = heap->items[index];
    while (index > 0 && before(node, heap->items[(index - 1) / 2])) {
        place(heap, index, heap->items[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    place(heap, index, node);
}

static void sift_down(struct heap *heap, size_t index)
{
    struct heap_node *node = heap->items[index];
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && before(heap->items[child + 1], heap->items[child]))
            child++;
        if (!before(heap->items[child], node))
            break;
        place(heap, index, heap->items[child]);
        index = child;
    }
    place(heap, index, node);
}

void heap_put(struct heap *heap, struct heap_node *node, uint64_t key, uint64_t tie)
{
    node->key = key;
    node->tie = tie;
    if (node->place == 0) {
        ASSERT(heap->count < heap->capacity);
        place(heap, heap->count++, node);
    }
    ASSERT(heap->items[node->place - 1] == node);
    sift_up(heap, node->place - 1);
    sift_down(heap, node->place - 1);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    if (node->place == 0)
        return;
    size_t index = node->place - 1;
    ASSERT(heap->items[index] == node);
    struct heap_node *last = heap->items[--heap->count];
    node->place = 0;
    if (last == node)
        return;
    place(heap, index, last);
    sift_up(heap, index);
    sift_down(heap, last->place - 1);
}
