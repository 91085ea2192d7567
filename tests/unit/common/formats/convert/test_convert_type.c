/* test_convert_type.c - types of tensors and exceptions as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/formats/convert/convert_type.h"

static const struct convert_type_place place = {"--tensor-type", ERR_USAGE};

static void test_convert_type__a_name_counts_in_any_case(void **state)
{
    (void)state;
    enum block_format format = BLOCK_FORMAT_COUNT;
    assert_int_equal(convert_type_read(&place, "q8_0", &format, NULL), ERR_OK);
    assert_int_equal(format, BLOCK_FORMAT_Q8_0);
}

static void test_convert_type__the_last_equals_sign_splits(void **state)
{
    (void)state;
    struct arena arena;
    struct convert_exception e;
    arena_init(&arena, SIZE_MAX);
    assert_int_equal(convert_type_read_exception(&place, "a=b=F16", &arena, &e, NULL), ERR_OK);
    assert_string_equal(e.pattern, "a=b");
    assert_int_equal(e.format, BLOCK_FORMAT_F16);
    arena_fini(&arena);
}

static void test_convert_type__errors_name_the_place(void **state)
{
    (void)state;
    static const char *const wrong[] = {"attn", "=Q8_0", "attn=Q99", "attn="};
    struct arena arena;
    struct convert_exception e = {.pattern = "kept"};
    arena_init(&arena, SIZE_MAX);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct err_text et = {""};
        assert_int_equal(convert_type_read_exception(&place, wrong[i], &arena, &e, &et), ERR_USAGE);
        assert_non_null(strstr(et.text, "--tensor-type: expected"));
        assert_string_equal(e.pattern, "kept");
    }
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convert_type__a_name_counts_in_any_case),
        cmocka_unit_test(test_convert_type__the_last_equals_sign_splits),
        cmocka_unit_test(test_convert_type__errors_name_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
