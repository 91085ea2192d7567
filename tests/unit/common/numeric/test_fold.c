/* test_fold.c - whoever folds which part, the root has the bits of the recursive definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/fold.h"
#include "common/numeric/random.h"

enum { WIDTH = 5, LEAVES_MAX = 70 };

static void leaf(uint64_t index, float vector[WIDTH], double sums[FOLD_SUMS])
{
    for (uint64_t i = 0; i < WIDTH; i++)
        vector[i] = random_normal_f32(index, i);
    for (uint64_t i = 0; i < FOLD_SUMS; i++)
        sums[i] = random_uniform_f64(index, i);
}

/* The definition. */
static void recursive(uint64_t begin, uint64_t end, float vector[WIDTH], double sums[FOLD_SUMS])
{
    if (end - begin == 1) {
        leaf(begin, vector, sums);
        return;
    }
    uint64_t middle = begin + fold_split(end - begin);
    float right[WIDTH];
    double right_sums[FOLD_SUMS];
    recursive(begin, middle, vector, sums);
    recursive(middle, end, right, right_sums);
    for (size_t i = 0; i < WIDTH; i++)
        vector[i] += right[i];
    for (size_t i = 0; i < FOLD_SUMS; i++)
        sums[i] += right_sums[i];
}

static void assert_root(const struct fold *fold, uint64_t n)
{
    float vector[WIDTH];
    double sums[FOLD_SUMS];
    recursive(0, n, vector, sums);
    const struct fold_entry *root = fold_root(fold);
    assert_non_null(root);
    assert_memory_equal(root->vector, vector, sizeof(vector));
    assert_memory_equal(root->sums, sums, sizeof(sums));
}

static void push_leaves(struct fold *fold, uint64_t begin, uint64_t end)
{
    for (uint64_t i = begin; i < end; i++) {
        float vector[WIDTH];
        double sums[FOLD_SUMS];
        leaf(i, vector, sums);
        assert_int_equal(fold_push(fold, (struct fold_node){i, i + 1}, vector, sums), ERR_OK);
    }
}

static void test_split__is_the_largest_power_of_two_below(void **state)
{
    (void)state;
    assert_int_equal(fold_split(2), 1);
    assert_int_equal(fold_split(3), 2);
    assert_int_equal(fold_split(4), 2);
    assert_int_equal(fold_split(5), 4);
    assert_int_equal(fold_split(64), 32);
    assert_true(fold_split(UINT64_MAX) == (uint64_t)1 << 63);
}

static void test_fold__of_leaves_in_order_is_the_tree(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= LEAVES_MAX; n++) {
        struct fold fold;
        fold_init(&fold, n, WIDTH);
        push_leaves(&fold, 0, n);
        assert_root(&fold, n);
        fold_fini(&fold);
    }
}

static void test_fold__of_other_folders_parts_is_the_same_tree(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= LEAVES_MAX; n++)
        for (uint64_t cut = 0; cut <= n; cut += 1 + n / 7) {
            struct fold whole, part;
            fold_init(&whole, n, WIDTH);
            fold_init(&part, n, WIDTH);
            const uint64_t bounds[] = {0, cut, n};
            for (size_t side = 0; side < 2;
                 side++) { /* each side is folded apart and sent as nodes */
                fold_reset(&part);
                push_leaves(&part, bounds[side], bounds[side + 1]);
                struct fold_node cover[FOLD_COVER_MAX];
                size_t count = fold_cover(n, bounds[side], bounds[side + 1], cover);
                assert_int_equal(part.depth, count);
                for (size_t i = 0; i < count; i++) {
                    const struct fold_entry *entry = fold_at(&part, i);
                    assert_true(fold_is_node(n, entry->node));
                    assert_memory_equal(&entry->node, &cover[i], sizeof(cover[i]));
                    assert_int_equal(fold_push(&whole, entry->node, entry->vector, entry->sums),
                                     ERR_OK);
                }
            }
            assert_root(&whole, n);
            fold_fini(&whole);
            fold_fini(&part);
        }
}

static void test_fold__refuses_gaps_overlaps_and_ranges_that_are_no_nodes(void **state)
{
    (void)state;
    float vector[WIDTH] = {0};
    double sums[FOLD_SUMS] = {0};
    struct fold fold;
    fold_init(&fold, 7, WIDTH);
    assert_int_equal(fold_push(&fold, (struct fold_node){0, 2}, vector, sums), ERR_OK);
    assert_int_equal(fold_push(&fold, (struct fold_node){3, 4}, vector, sums), ERR_STATE);
    assert_int_equal(fold_push(&fold, (struct fold_node){0, 2}, vector, sums), ERR_STATE);
    assert_int_equal(fold_push(&fold, (struct fold_node){2, 5}, vector, sums), ERR_STATE);
    assert_int_equal(fold_push(&fold, (struct fold_node){2, 2}, vector, sums), ERR_STATE);
    assert_int_equal(fold_push(&fold, (struct fold_node){2, 9}, vector, sums), ERR_STATE);
    assert_null(fold_root(&fold));
    assert_int_equal(fold_push(&fold, (struct fold_node){2, 4}, vector, sums), ERR_OK);
    assert_int_equal(fold_push(&fold, (struct fold_node){4, 7}, vector, sums), ERR_OK);
    assert_non_null(fold_root(&fold));
    fold_fini(&fold);
}

static void test_fold__out_of_memory_leaves_it_as_it_was(void **state)
{
    (void)state;
    float vector[WIDTH] = {1, 2, 3, 4, 5};
    double sums[FOLD_SUMS] = {1, 2};
    struct fold fold;
    fold_init(&fold, 4, WIDTH);
    assert_int_equal(fold_push(&fold, (struct fold_node){0, 2}, vector, sums), ERR_OK);
    mem_fault_after(1);
    assert_int_equal(fold_push(&fold, (struct fold_node){2, 3}, vector, sums), ERR_OUT_OF_MEMORY);
    mem_fault_after(0);
    assert_int_equal(fold.depth, 1);
    assert_int_equal(fold_push(&fold, (struct fold_node){2, 4}, vector, sums), ERR_OK);
    assert_true(fold_root(&fold)->vector[4] == 10.0f && fold_root(&fold)->sums[1] == 4.0);
    fold_fini(&fold);
}

static void test_fold_sum__is_the_same_tree_over_numbers(void **state)
{
    (void)state;
    struct fold_sum sum;
    fold_sum_init(&sum);
    assert_true(fold_sum_finish(&sum) == 0.0);
    for (uint64_t n = 1; n <= LEAVES_MAX; n++) {
        float vector[WIDTH];
        double sums[FOLD_SUMS], leaf_sums[FOLD_SUMS];
        leaf(n - 1, vector, leaf_sums);
        fold_sum_push(&sum, leaf_sums[0]);
        recursive(0, n, vector, sums);
        assert_true(fold_sum_finish(&sum) == sums[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split__is_the_largest_power_of_two_below),
        cmocka_unit_test(test_fold__of_leaves_in_order_is_the_tree),
        cmocka_unit_test(test_fold__of_other_folders_parts_is_the_same_tree),
        cmocka_unit_test(test_fold__refuses_gaps_overlaps_and_ranges_that_are_no_nodes),
        cmocka_unit_test(test_fold__out_of_memory_leaves_it_as_it_was),
        cmocka_unit_test(test_fold_sum__is_the_same_tree_over_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
