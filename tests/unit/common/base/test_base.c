/* test_base.c - errors and their texts, checked arithmetic, spans. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/base/error.h"
#include "common/base/ids.h"
#include "common/base/span.h"
#include "common/base/utf8.h"

static void test_error__every_code_has_a_name_a_sentence_and_an_exit_code(void **state)
{
    (void)state;
    for (int i = 0; i < ERR_COUNT; i++) {
        enum err code = (enum err)i;
        assert_true(error_name(code)[0] != '\0');
        assert_true(error_text(code)[0] != '\0');
        assert_true(error_text(code)[strlen(error_text(code)) - 1] != '.');
        assert_int_equal(error_from_name(error_name(code)), code);
        assert_true((error_exit_code(code) == 0) == (code == ERR_OK));
        assert_true(error_exit_code(code) <= 8);
    }
    assert_int_equal(error_from_name("NO_SUCH_CODE"), ERR_COUNT);
}

static void test_error__a_code_from_outside_reads_as_internal(void **state)
{
    (void)state;
    assert_string_equal(error_name((enum err)12345), "INTERNAL");
    assert_string_equal(error_name((enum err) - 1), "INTERNAL");
    assert_int_equal(error_retry((enum err)12345), ERR_BUG);
}

static void test_error__texts_are_prefixed_and_cut_to_fit(void **state)
{
    (void)state;
    struct err_text et = {{0}};
    assert_int_equal(error_set(&et, ERR_DATA, "row %d", 7), ERR_DATA);
    assert_int_equal(error_prefix(&et, ERR_DATA, "file %s", "x"), ERR_DATA);
    assert_string_equal(et.text, "file x: row 7");
    et.text[0] = '\0';
    (void)error_prefix(&et, ERR_DISK_FULL, "checkpoint");
    assert_string_equal(et.text, "checkpoint: the disk is full");
    char long_text[3000];
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    (void)error_set(&et, ERR_DATA, "%s", long_text);
    assert_int_equal(strlen(et.text), sizeof et.text - 1);
    (void)error_prefix(&et, ERR_DATA, "p");
    assert_memory_equal(et.text, "p: aaa", 6);
    assert_int_equal(strlen(et.text), sizeof et.text - 1);
    assert_int_equal(error_set(NULL, ERR_DATA, "nobody reads this"), ERR_DATA);
    assert_int_equal(error_prefix(NULL, ERR_DATA, "nor this"), ERR_DATA);
}

static void test_error__system_errors_have_codes(void **state)
{
    (void)state;
    assert_int_equal(error_from_errno(0), ERR_OK);
    assert_int_equal(error_from_errno(ENOENT), ERR_NOT_FOUND);
    assert_int_equal(error_from_errno(ENOSPC), ERR_DISK_FULL);
    assert_int_equal(error_from_errno(EACCES), ERR_DENIED);
    assert_int_equal(error_from_errno(ENOMEM), ERR_OUT_OF_MEMORY);
    assert_int_equal(error_from_errno(EIO), ERR_IO);
}

static enum err fails_when(bool fails)
{
    return fails ? ERR_TIMEOUT : ERR_OK;
}

static enum err tries(bool fails, int *reached)
{
    TRY(fails_when(fails));
    *reached += 1;
    return ERR_OK;
}

static enum err tries_out(bool fails, int *reached)
{
    enum err err;
    TRY_OUT(fails_when(fails));
    *reached += 1;
out:
    *reached += 10;
    return err;
}

static void test_error__try_leaves_at_the_first_failure(void **state)
{
    (void)state;
    int reached = 0;
    assert_int_equal(tries(true, &reached), ERR_TIMEOUT);
    assert_int_equal(tries(false, &reached), ERR_OK);
    assert_int_equal(reached, 1);
    assert_int_equal(tries_out(true, &reached), ERR_TIMEOUT);
    assert_int_equal(tries_out(false, &reached), ERR_OK);
    assert_int_equal(reached, 22);
}

static void test_check__overflow_leaves_the_result_alone(void **state)
{
    (void)state;
    size_t out = 77;
    assert_false(check_add(SIZE_MAX, 1, &out));
    assert_false(check_mul(SIZE_MAX / 2 + 1, 2, &out));
    assert_int_equal(out, 77);
    assert_true(check_add(SIZE_MAX - 1, 1, &out));
    assert_true(out == SIZE_MAX);
    assert_true(check_mul(0, SIZE_MAX, &out));
    assert_int_equal(out, 0);
}

static void test_span__equality_is_of_bytes_and_empty_needs_no_data(void **state)
{
    (void)state;
    assert_true(text_equal(TEXT("a\0b"), TEXT("a\0b")));
    assert_false(text_equal(TEXT("a\0b"), TEXT("a\0c")));
    assert_false(text_is(TEXT("ab"), "a"));
    assert_true(text_equal((struct text){0}, TEXT("")));
    assert_true(span_equal((struct span){0}, span_of_text(TEXT(""))));
}

static void test_span__texts_are_ordered_by_bytes_a_prefix_first(void **state)
{
    (void)state;
    static const char *const sorted[] = {"", "A", "a", "a.b", "ab", "\xc3\xa9"};
    for (size_t i = 0; i < COUNT_OF(sorted); i++) {
        for (size_t k = 0; k < COUNT_OF(sorted); k++) {
            int order = text_compare(text_of(sorted[i]), text_of(sorted[k]));
            assert_true(i < k ? order < 0 : i > k ? order > 0 : order == 0);
        }
    }
    assert_int_equal(text_compare((struct text){0}, TEXT("")), 0);
}

static void test_utf8__a_line_has_characters_and_no_control(void **state)
{
    (void)state;
    const struct {
        const char *text;
        bool is_line;
    } cases[] = {
        {"", true},          {"node07 \xC3\xA4\xF0\x9F\x98\x80", true},
        {"a\nb", false},     {"a\x7F", false},
        {"\xC2\x9B", false}, {"\xC2\xA0", true},
        {"\xFF", false},     {"\xE2\x82", false},
        {"\xC1\xBF", false}, {"\xED\xA0\x80", false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(utf8_is_line(text_of(cases[i].text)), cases[i].is_line);
    assert_int_equal(utf8_size((const uint8_t *)"\xE2\x82\xAC", 3), 3);
    assert_int_equal(utf8_size((const uint8_t *)"\xE2\x82\xAC", 2), 0);
}

static void test_ids__a_deadline_beyond_the_end_of_time_is_the_end_of_time(void **state)
{
    (void)state;
    struct instant late = instant_after((struct instant){UINT64_MAX - 5}, duration_ms(1));
    assert_true(late.ns == UINT64_MAX);
    assert_true(instant_after((struct instant){7}, duration_ms(2)).ns == 2000007);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8__a_line_has_characters_and_no_control),
        cmocka_unit_test(test_error__every_code_has_a_name_a_sentence_and_an_exit_code),
        cmocka_unit_test(test_error__a_code_from_outside_reads_as_internal),
        cmocka_unit_test(test_error__texts_are_prefixed_and_cut_to_fit),
        cmocka_unit_test(test_error__system_errors_have_codes),
        cmocka_unit_test(test_error__try_leaves_at_the_first_failure),
        cmocka_unit_test(test_check__overflow_leaves_the_result_alone),
        cmocka_unit_test(test_span__equality_is_of_bytes_and_empty_needs_no_data),
        cmocka_unit_test(test_span__texts_are_ordered_by_bytes_a_prefix_first),
        cmocka_unit_test(test_ids__a_deadline_beyond_the_end_of_time_is_the_end_of_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
