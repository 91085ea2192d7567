/* map.h - an intrusive hash map from 64-bit keys to nodes. Equal keys may stand beside each other;
 * map_find gives the one added last.
 *
 * map_reserve is the only call that can fail. Order of iteration is never needed and not offered,
 * so nothing that is decided can depend on it.
 */
#ifndef COMMON_DS_MAP_H
#define COMMON_DS_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/ds/container.h"

struct map_node {
    uint64_t key;
    struct map_node *next; /* of the same bucket */
};

struct map {
    struct map_node **buckets; /* owned array, a power of two */
    size_t bucket_count;
    size_t count;
};

void map_init(struct map *map);
void map_fini(struct map *map);

/* Room for `count` nodes in all. ERR_OUT_OF_MEMORY leaves the map as it was. */
MUST_CHECK enum err map_reserve(struct map *map, size_t count);

/* `node` is in no map; room must have been reserved. */
void map_add(struct map *map, struct map_node *node, uint64_t key);

/* `node` must be in `map`. */
void map_remove(struct map *map, struct map_node *node);

/* NULL when there is none. */
struct map_node *map_find(const struct map *map, uint64_t key);

/* The node of the same key that was added before `node`, NULL when there is none. */
struct map_node *map_find_next(const struct map_node *node);

#endif
