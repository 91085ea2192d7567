/* map.c - chained buckets over a multiplicative hash (Knuth, TAOCP 3, 6.4). */
#include "common/ds/map.h"

#include <stdbool.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum { BUCKETS_MIN = 16 };

void map_init(struct map *map)
{
    *map = (struct map){0};
}

void map_fini(struct map *map)
{
    mem_free(map->buckets);
    *map = (struct map){0};
}

static size_t bucket_of(size_t bucket_count, uint64_t key)
{
    uint64_t hash = (key ^ (key >> 32)) * 0x9e3779b97f4a7c15u;
    return (size_t)(hash >> 32) & (bucket_count - 1);
}

enum err map_reserve(struct map *map, size_t count)
{
    if (count <= map->bucket_count)
        return ERR_OK;
    size_t bucket_count = MAX(map->bucket_count, (size_t)BUCKETS_MIN);
    while (bucket_count < count)
        bucket_count *= 2;
    struct map_node **buckets = mem_alloc(bucket_count, sizeof *buckets);
    if (buckets == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < map->bucket_count; i++) {
        struct map_node *node = map->buckets[i];
        while (node != NULL) {
            struct map_node *next = node->next;
            size_t bucket = bucket_of(bucket_count, node->key);
            node->next = buckets[bucket];
            buckets[bucket] = node;
            node = next;
        }
    }
    mem_free(map->buckets);
    map->buckets = buckets;
    map->bucket_count = bucket_count;
    return ERR_OK;
}

void map_add(struct map *map, struct map_node *node, uint64_t key)
{
    ASSERT(map->count < map->bucket_count);
    size_t bucket = bucket_of(map->bucket_count, key);
    node->key = key;
    node->next = map->buckets[bucket];
    map->buckets[bucket] = node;
    map->count++;
}

void map_remove(struct map *map, struct map_node *node)
{
    struct map_node **link = &map->buckets[bucket_of(map->bucket_count, node->key)];
    while (*link != node) {
        ASSERT(*link != NULL);
        link = &(*link)->next;
    }
    *link = node->next;
    node->next = NULL;
    map->count--;
}

struct map_node *map_find(const struct map *map, uint64_t key)
{
    if (map->bucket_count == 0)
        return NULL;
    struct map_node *node = map->buckets[bucket_of(map->bucket_count, key)];
    while (node != NULL && node->key != key)
        node = node->next;
    return node;
}

struct map_node *map_find_next(const struct map_node *node)
{
    struct map_node *next = node->next;
    while (next != NULL && next->key != node->key)
        next = next->next;
    return next;
}
