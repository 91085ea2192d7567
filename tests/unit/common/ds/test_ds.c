/* test_ds.c - the containers against plain arrays that do the same slowly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/ds/bitset.h"
#include "common/ds/heap.h"
#include "common/ds/list.h"
#include "common/ds/map.h"
#include "common/mem/mem.h"

enum { COUNT = 500, ROUNDS = 20000 };

static uint64_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

struct item {
    uint64_t value;
    struct heap_node heap;
    struct map_node map;
    struct list_node list;
    bool is_in;
};

static void test_heap__first_is_always_the_smallest(void **state)
{
    static struct item items[COUNT];
    struct heap heap;
    uint64_t random = 1;
    (void)state;
    memset(items, 0, sizeof items);
    heap_init(&heap);
    assert_null(heap_first(&heap));
    assert_int_equal(heap_reserve(&heap, COUNT), ERR_OK);
    for (int round = 0; round < ROUNDS; round++) {
        struct item *item = &items[next(&random) % COUNT];
        if (next(&random) % 3 == 0) {
            heap_remove(&heap, &item->heap);
            item->is_in = false;
        } else {
            item->value = next(&random) % 50;
            heap_put(&heap, &item->heap, item->value, (uint64_t)(item - items));
            item->is_in = true;
        }
        const struct item *best = NULL;
        for (size_t i = 0; round % 16 == 0 && i < COUNT; i++) {
            assert_int_equal(items[i].is_in, heap_holds(&items[i].heap));
            if (items[i].is_in && (best == NULL || items[i].value < best->value))
                best = &items[i];
        }
        if (best != NULL)
            assert_ptr_equal(CONTAINER_OF(heap_first(&heap), struct item, heap), best);
    }
    heap_fini(&heap);
}

static void test_map__equal_keys_are_found_newest_first(void **state)
{
    (void)state;
    enum { EQUAL = 40 };
    struct item items[EQUAL] = {{0}};
    struct map map;
    map_init(&map);
    assert_int_equal(map_reserve(&map, EQUAL), ERR_OK);
    for (size_t i = 0; i < EQUAL; i++) /* every fourth under the same key */
        map_add(&map, &items[i].map, i % 4 == 0 ? 7 : 1000 + i);
    size_t left = EQUAL;
    for (struct map_node *n = map_find(&map, 7); n != NULL; n = map_find_next(n)) {
        assert_ptr_equal(n, &items[left - 4].map);
        left -= 4;
    }
    assert_int_equal(left, 0);
    assert_null(map_find_next(map_find(&map, 1001)));
    map_fini(&map);
}

static void test_map__finds_what_was_added_and_nothing_else(void **state)
{
    static struct item items[COUNT];
    struct map map;
    uint64_t random = 2;
    (void)state;
    memset(items, 0, sizeof items);
    map_init(&map);
    assert_null(map_find(&map, 3));
    for (int round = 0; round < ROUNDS; round++) {
        struct item *item = &items[next(&random) % COUNT];
        uint64_t key = (uint64_t)(item - items) << 40;
        if (item->is_in) {
            assert_ptr_equal(CONTAINER_OF(map_find(&map, key), struct item, map), item);
            map_remove(&map, &item->map);
        } else {
            assert_null(map_find(&map, key));
            assert_int_equal(map_reserve(&map, map.count + 1), ERR_OK);
            map_add(&map, &item->map, key);
        }
        item->is_in = !item->is_in;
    }
    map_fini(&map);
}

static void test_list__keeps_order_and_forgets_removed(void **state)
{
    struct item items[4];
    struct list list;
    (void)state;
    list_init(&list);
    assert_null(list_first(&list));
    for (size_t i = 0; i < 4; i++) {
        list_node_init(&items[i].list);
        list_append(&list, &items[i].list);
    }
    list_remove(&items[1].list);
    list_remove(&items[1].list); /* again is no harm */
    assert_false(list_holds(&items[1].list));
    static const size_t expected[] = {0, 2, 3};
    size_t place = 0;
    for (struct list_node *node = list_first(&list); node != NULL; node = list_next(&list, node))
        assert_ptr_equal(node, &items[expected[place++]].list);
    assert_int_equal(place, 3);
}

static void test_bitset__first_is_the_smallest_member(void **state)
{
    static const size_t sizes[] = {1, 63, 64, 65, 4096, 5000, 300000};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct bitset set;
        uint64_t random = s;
        size_t size = sizes[s];
        assert_int_equal(bitset_init(&set, size), ERR_OK);
        bool *plain = mem_alloc(size, sizeof *plain);
        for (int round = 0; round < 3000; round++) {
            size_t index = next(&random) % size;
            if (next(&random) % 2 == 0) {
                bitset_add(&set, index);
                plain[index] = true;
            } else {
                size_t first = set.count > 0 ? bitset_first(&set) : index;
                bitset_remove(&set, first);
                plain[first] = false;
            }
            size_t at = 0;
            while (round % 64 == 0 && at < size && !plain[at])
                at++;
            if (round % 64 == 0 && at < size)
                assert_int_equal(bitset_first(&set), at);
            assert_int_equal(plain[index], bitset_has(&set, index));
        }
        mem_free(plain);
        bitset_fini(&set);
    }
    struct bitset huge;
    assert_int_equal(bitset_init(&huge, (size_t)BITSET_SIZE_MAX + 1), ERR_LIMIT);
}

static void test_ds__reserve_without_memory_changes_nothing(void **state)
{
    struct heap heap;
    struct map map;
    struct bitset set;
    struct item item = {.value = 3};
    (void)state;
    heap_init(&heap);
    map_init(&map);
    assert_int_equal(map_reserve(&map, 1), ERR_OK);
    map_add(&map, &item.map, 3);
    (void)mem_fault_after(1);
    assert_int_equal(heap_reserve(&heap, 10), ERR_OUT_OF_MEMORY);
    assert_int_equal(map_reserve(&map, 1000), ERR_OUT_OF_MEMORY);
    assert_int_equal(bitset_init(&set, 10), ERR_OUT_OF_MEMORY);
    (void)mem_fault_after(0);
    assert_ptr_equal(map_find(&map, 3), &item.map);
    assert_int_equal(heap.capacity, 0);
    heap_fini(&heap);
    map_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heap__first_is_always_the_smallest),
        cmocka_unit_test(test_map__finds_what_was_added_and_nothing_else),
        cmocka_unit_test(test_map__equal_keys_are_found_newest_first),
        cmocka_unit_test(test_list__keeps_order_and_forgets_removed),
        cmocka_unit_test(test_bitset__first_is_the_smallest_member),
        cmocka_unit_test(test_ds__reserve_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
