/* test_batch.c - rows become flat lists; bad rows change nothing. */
#include "worker/engine/nn/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

static const struct batch_limits limits = {.vocabulary = 10, .positions = 4};
static const uint32_t tokens[] = {1, 2, 3, 4, 5, 6};
static const uint8_t loss[] = {1, 0, 1, 1, 1, 1};

static struct batch_input input_of(const uint32_t *starts, size_t segments)
{
    return (struct batch_input){.index = 9,
                                .tokens = tokens,
                                .loss = loss,
                                .token_count = COUNT_OF(tokens),
                                .segment_starts = starts,
                                .segment_count = segments};
}

static void test_batch__targets_stay_inside_their_segment(void **state)
{
    (void)state;
    static const uint32_t starts[] = {0, 3};
    struct batch_input input = input_of(starts, 2);
    struct batch batch;
    assert_int_equal(batch_init(&batch, 16, 2), ERR_OK);
    assert_int_equal(batch_add(&batch, &input, &limits, NULL), ERR_OK);
    static const uint32_t targets[] = {1, 3, 4}, labels[] = {3, 5, 6};
    static const uint32_t positions[] = {0, 1, 2, 0, 1, 2};
    assert_int_equal(batch.target_count, 3);
    assert_memory_equal(batch.targets, targets, sizeof targets);
    assert_memory_equal(batch.labels, labels, sizeof labels);
    assert_memory_equal(batch.positions, positions, sizeof positions);
    assert_true(batch.places[4] == ((uint64_t)9 << 32 | 4));
    assert_int_equal(batch.segments[1].query_row, 3);
    assert_int_equal(batch.segments[1].count, 3);
    assert_ptr_equal(batch_row_of_token(&batch, 5), &batch.rows[0]);
    batch_fini(&batch);
}

static void test_batch__second_row_starts_after_the_first(void **state)
{
    (void)state;
    static const uint32_t starts[] = {0, 3};
    struct batch_input input = input_of(starts, 2);
    struct batch batch;
    assert_int_equal(batch_init(&batch, 16, 2), ERR_OK);
    assert_int_equal(batch_add(&batch, &input, &limits, NULL), ERR_OK);
    input.index = 11;
    assert_int_equal(batch_add(&batch, &input, &limits, NULL), ERR_OK);
    assert_int_equal(batch.rows[1].start, 6);
    assert_int_equal(batch.rows[1].target_start, 3);
    assert_int_equal(batch.targets[3], 7);
    assert_int_equal(batch_row_of_token(&batch, 6)->index, 11);
    batch_fini(&batch);
}

static void test_batch__prompts_come_before_every_segment(void **state)
{
    (void)state;
    static const uint32_t starts[] = {0, 3};
    struct batch_input input = input_of(starts, 2);
    struct batch_limits with = {.vocabulary = 10, .positions = 5, .prompt_count = 2};
    struct batch batch;
    assert_int_equal(batch_init(&batch, 10, 1), ERR_OK);
    assert_int_equal(batch_add(&batch, &input, &with, NULL), ERR_OK);
    static const uint32_t there[] = {0, 0, 1, 2, 3, 0, 0, 4, 5, 6};
    static const uint32_t positions[] = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4};
    static const uint32_t targets[] = {3, 7, 8}, labels[] = {3, 5, 6};
    assert_int_equal(batch.token_count, COUNT_OF(there));
    assert_int_equal(batch.rows[0].count, COUNT_OF(there));
    assert_memory_equal(batch.tokens, there, sizeof there);
    assert_memory_equal(batch.positions, positions, sizeof positions);
    assert_int_equal(batch.target_count, COUNT_OF(targets));
    assert_memory_equal(batch.targets, targets, sizeof targets);
    assert_memory_equal(batch.labels, labels, sizeof labels);
    assert_int_equal(batch.segments[1].query_row, 5);
    assert_int_equal(batch.segments[1].count, 5);
    batch_clear(&batch);
    with.positions = 4;
    assert_int_equal(batch_add(&batch, &input, &with, NULL), ERR_LIMIT);
    with = (struct batch_limits){.vocabulary = 10, .positions = 9, .prompt_count = 3};
    assert_int_equal(batch_add(&batch, &input, &with, NULL), ERR_LIMIT);
    batch_fini(&batch);
}

static void test_batch__bad_rows_are_named_and_change_nothing(void **state)
{
    (void)state;
    static const uint32_t first_not_zero[] = {1}, descending[] = {0, 4, 3}, twice[] = {0, 3, 3};
    static const uint32_t beyond[] = {0, 3, 6}, too_long[] = {0}, good[] = {0, 3};
    static const struct {
        const uint32_t *starts;
        size_t segments;
        enum err err;
        const char *says;
    } cases[] = {
        {first_not_zero, 1, ERR_DATA, "row 9: expected a first segment at token 0"},
        {descending, 3, ERR_DATA, "segment 1"},
        {twice, 3, ERR_DATA, "segment 1"},
        {beyond, 3, ERR_DATA, "segment 2"},
        {good, 0, ERR_DATA, "first segment"},
        {too_long, 1, ERR_LIMIT, "6 tokens, but the model has 4 positions"},
    };
    struct batch batch;
    assert_int_equal(batch_init(&batch, 16, 2), ERR_OK);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct err_text et = {0};
        struct batch_input input = input_of(cases[i].starts, cases[i].segments);
        assert_int_equal(batch_add(&batch, &input, &limits, &et), cases[i].err);
        assert_non_null(strstr(et.text, cases[i].says));
        assert_true(batch.row_count == 0 && batch.token_count == 0 && batch.segment_count == 0);
    }
    batch_fini(&batch);
}

static void test_batch__token_outside_the_vocabulary_is_refused(void **state)
{
    (void)state;
    static const uint32_t starts[] = {0, 3};
    static const struct batch_limits small = {.vocabulary = 5, .positions = 4};
    struct batch_input input = input_of(starts, 2);
    struct err_text et = {0};
    struct batch batch;
    assert_int_equal(batch_init(&batch, 16, 2), ERR_OK);
    assert_int_equal(batch_add(&batch, &input, &small, &et), ERR_DATA);
    assert_non_null(strstr(et.text, "row 9, token 4: id 5"));
    batch_fini(&batch);
}

static void test_batch__full_batch_refuses(void **state)
{
    (void)state;
    static const uint32_t starts[] = {0, 3};
    struct batch_input input = input_of(starts, 2);
    struct batch batch;
    assert_int_equal(batch_init(&batch, 7, 2), ERR_OK);
    assert_int_equal(batch_add(&batch, &input, &limits, NULL), ERR_OK);
    assert_int_equal(batch_add(&batch, &input, &limits, NULL), ERR_LIMIT);
    assert_int_equal(batch.row_count, 1);
    batch_fini(&batch);
}

static void test_batch__init_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct batch batch;
    for (size_t n = 1; n <= 7; n++) {
        (void)mem_fault_after(n);
        enum err err = batch_init(&batch, 8, 2);
        (void)mem_fault_after(0);
        assert_int_equal(err, ERR_OUT_OF_MEMORY);
    }
    assert_int_equal(batch_init(&batch, 8, 2), ERR_OK);
    batch_fini(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch__targets_stay_inside_their_segment),
        cmocka_unit_test(test_batch__second_row_starts_after_the_first),
        cmocka_unit_test(test_batch__prompts_come_before_every_segment),
        cmocka_unit_test(test_batch__bad_rows_are_named_and_change_nothing),
        cmocka_unit_test(test_batch__token_outside_the_vocabulary_is_refused),
        cmocka_unit_test(test_batch__full_batch_refuses),
        cmocka_unit_test(test_batch__init_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
