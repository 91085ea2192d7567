/* test_mem.c - sizes that overflow, ceilings, sticky errors, and the fault counter itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"
#include "common/mem/mem.h"

static bool all_zero(const void *pointer, size_t size)
{
    const uint8_t *bytes = pointer;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

static void test_mem__products_that_overflow_are_refused(void **state)
{
    (void)state;
    assert_null(mem_alloc(SIZE_MAX, 2));
    assert_null(mem_alloc(SIZE_MAX / 2 + 1, 1));
    assert_null(mem_alloc_aligned(SIZE_MAX - 3, 1));
    uint8_t *keep = mem_alloc(4, 1);
    assert_non_null(keep);
    keep[3] = 9;
    assert_null(mem_resize(keep, SIZE_MAX, 2));
    assert_int_equal(keep[3], 9); /* the old block stays valid */
    mem_free(keep);
    mem_free(NULL);
}

static void test_mem__blocks_are_zeroed_and_aligned(void **state)
{
    (void)state;
    void *none = mem_alloc(0, 8);
    assert_non_null(none);
    mem_free(none);
    uint8_t *block = mem_alloc_aligned(100, 3);
    assert_int_equal((uintptr_t)block % 64, 0);
    assert_true(all_zero(block, 300));
    mem_free(block);
    char *copy = mem_copy_text(TEXT("ab"));
    assert_string_equal(copy, "ab");
    mem_free(copy);
}

static void test_mem__the_fault_counter_fails_from_the_nth_on_and_counts(void **state)
{
    (void)state;
    (void)mem_fault_after(2);
    void *first = mem_alloc(1, 1);
    assert_non_null(first);
    assert_null(mem_alloc(1, 1));
    assert_null(mem_resize(first, 2, 1));
    assert_null(mem_alloc_aligned(1, 1));
    assert_int_equal(mem_fault_after(0), 4);
    mem_free(first);
    first = mem_alloc(1, 1);
    assert_non_null(first);
    mem_free(first);
}

static void test_arena__pointers_stay_valid_as_it_grows(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    uint32_t *blocks[200];
    for (uint32_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = arena_alloc(&arena, i + 1, sizeof **blocks);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        assert_true(all_zero(blocks[i], (i + 1) * sizeof **blocks));
        for (uint32_t k = 0; k <= i; k++)
            blocks[i][k] = i;
    }
    for (uint32_t i = 0; i < COUNT_OF(blocks); i++)
        assert_true(blocks[i][0] == i && blocks[i][i] == i);
    arena_fini(&arena);
    arena_fini(&arena);
}

static void test_arena__a_ceiling_bounds_what_hostile_input_can_ask(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 64);
    assert_null(arena_alloc(&arena, SIZE_MAX, 2));
    assert_null(arena_alloc(&arena, SIZE_MAX, 1));
    assert_null(arena_alloc(&arena, 65, 1));
    assert_non_null(arena_alloc(&arena, 40, 1)); /* counted as 48 */
    assert_null(arena_alloc(&arena, 17, 1));
    assert_non_null(arena_alloc(&arena, 16, 1));
    assert_null(arena_alloc(&arena, 0, 1));
    arena_fini(&arena);
}

static void test_arena__a_reset_forgets_contents_and_hands_out_zeroes_again(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    for (int round = 0; round < 3; round++) {
        uint8_t *block = arena_alloc(&arena, 6000, 1);
        assert_true(all_zero(block, 6000));
        memset(block, 0xAA, 6000);
        block = arena_alloc(&arena, 100, 1);
        assert_true(all_zero(block, 100));
        arena_reset(&arena);
        assert_int_equal(arena.used_bytes, 0);
    }
    assert_string_equal(arena_print(&arena, "%d-%s", 7, "x"), "7-x");
    assert_string_equal(arena_copy_text(&arena, TEXT("y")), "y");
    arena_fini(&arena);
    arena_reset(&arena);
}

static void test_bytes__the_first_failure_sticks_until_cleared(void **state)
{
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, 8);
    bytes_append_text(&bytes, TEXT("12345"));
    assert_int_equal(bytes_status(&bytes), ERR_OK);
    bytes_append_text(&bytes, TEXT("6789"));
    assert_int_equal(bytes_status(&bytes), ERR_LIMIT);
    bytes_append_text(&bytes, TEXT("6")); /* would fit; nothing is appended after a failure */
    assert_int_equal(bytes.size, 5);
    assert_null(bytes_extend(&bytes, 1));
    bytes_clear(&bytes);
    bytes_append_text(&bytes, TEXT("12345678"));
    assert_int_equal(bytes_status(&bytes), ERR_OK);
    assert_true(span_equal(bytes_span(&bytes), span_of_text(TEXT("12345678"))));
    bytes_append(&bytes, NULL, 0);
    assert_int_equal(bytes_status(&bytes), ERR_OK);
    bytes_fini(&bytes);
    bytes_init(&bytes, SIZE_MAX);
    bytes_append_text(&bytes, TEXT("x"));
    assert_null(bytes_extend(&bytes, SIZE_MAX));
    assert_int_equal(bytes_status(&bytes), ERR_LIMIT);
    bytes_fini(&bytes);
}

static void test_bytes__what_is_taken_is_all_there_and_the_buffer_empty(void **state)
{
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, SIZE_MAX);
    assert_null(bytes_take(&bytes));
    bytes_append_text(&bytes, TEXT("12345678"));
    uint8_t *taken = bytes_take(&bytes);
    assert_memory_equal(taken, "12345678", 8);
    assert_null(bytes.data);
    assert_int_equal(bytes.size, 0);
    bytes_append_text(&bytes, TEXT("9"));
    assert_memory_equal(taken, "12345678", 8);
    (void)mem_fault_after(1); /* what cannot shrink is given as it is */
    uint8_t *large = bytes_take(&bytes);
    (void)mem_fault_after(0);
    assert_int_equal(*large, '9');
    mem_free(large);
    mem_free(taken);
    bytes_fini(&bytes);
}

static void test_bytes__printing_appends_without_a_terminator(void **state)
{
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, 1 << 12);
    for (int i = 0; i < 300; i++)
        bytes_print(&bytes, "%03d", i);
    assert_int_equal(bytes_status(&bytes), ERR_OK);
    assert_int_equal(bytes.size, 900);
    assert_memory_equal(bytes.data, "000001002", 9);
    assert_memory_equal(bytes.data + 891, "297298299", 9);
    bytes_fini(&bytes);
}

static void test_bytes__out_of_memory_is_told_and_loses_nothing(void **state)
{
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, 1 << 20);
    bytes_append_text(&bytes, TEXT("kept"));
    (void)mem_fault_after(1);
    uint8_t *more = bytes_extend(&bytes, 1 << 16);
    (void)mem_fault_after(0);
    assert_null(more);
    assert_int_equal(bytes_status(&bytes), ERR_OUT_OF_MEMORY);
    assert_true(span_equal(bytes_span(&bytes), span_of_text(TEXT("kept"))));
    bytes_fini(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mem__products_that_overflow_are_refused),
        cmocka_unit_test(test_mem__blocks_are_zeroed_and_aligned),
        cmocka_unit_test(test_mem__the_fault_counter_fails_from_the_nth_on_and_counts),
        cmocka_unit_test(test_arena__pointers_stay_valid_as_it_grows),
        cmocka_unit_test(test_arena__a_ceiling_bounds_what_hostile_input_can_ask),
        cmocka_unit_test(test_arena__a_reset_forgets_contents_and_hands_out_zeroes_again),
        cmocka_unit_test(test_bytes__the_first_failure_sticks_until_cleared),
        cmocka_unit_test(test_bytes__what_is_taken_is_all_there_and_the_buffer_empty),
        cmocka_unit_test(test_bytes__printing_appends_without_a_terminator),
        cmocka_unit_test(test_bytes__out_of_memory_is_told_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
