/* list.h - an intrusive doubly linked ring. A node is in at most one list; a node that is in none
 * points to itself, so removal needs no list and may be repeated. */
#ifndef COMMON_DS_LIST_H
#define COMMON_DS_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "common/ds/container.h"

struct list_node {
    struct list_node *previous, *next;
};

/* The ring's own node stands before the first and after the last element. */
struct list {
    struct list_node ring;
};

static inline void list_node_init(struct list_node *node)
{
    node->previous = node->next = node;
}

static inline void list_init(struct list *list)
{
    list_node_init(&list->ring);
}

static inline bool list_is_empty(const struct list *list)
{
    return list->ring.next == &list->ring;
}

static inline bool list_holds(const struct list_node *node)
{
    return node->next != node;
}

static inline void list_remove(struct list_node *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    list_node_init(node);
}

/* Puts `node`, which is in no list, at the end. */
static inline void list_append(struct list *list, struct list_node *node)
{
    node->previous = list->ring.previous;
    node->next = &list->ring;
    list->ring.previous->next = node;
    list->ring.previous = node;
}

/* NULL when empty. */
static inline struct list_node *list_first(const struct list *list)
{
    return list_is_empty(list) ? NULL : list->ring.next;
}

/* The node after `node`, NULL after the last. */
static inline struct list_node *list_next(const struct list *list, const struct list_node *node)
{
    return node->next == &list->ring ? NULL : node->next;
}

#endif
