/* test_json_write.c - one text for one value, and numbers that read back. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/json/json_float.h"
#include "common/formats/json/json_write.h"
#include "common/mem/mem.h"

static void test_json_float__numbers_print_as_repr_prints_them(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3.0, "0.3333333333333333"},
        {1e-4, "0.0001"},
        {1e-5, "1e-05"},
        {2.5e-5, "2.5e-05"},
        {1e15, "1000000000000000.0"},
        {9007199254740993.0, "9007199254740992.0"},
        {1e16, "1e+16"},
        {1e22, "1e+22"},
        {1e23, "1e+23"},
        {123456789.0, "123456789.0"},
        {123456.789, "123456.789"},
        {5e-324, "5e-324"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[JSON_FLOAT_BYTES];
        size_t size = json_float_print_f64(rows[i].value, text);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(size, strlen(text));
    }
    char text[JSON_FLOAT_BYTES];
    (void)json_float_print_f32(0.1f, text);
    assert_string_equal(text, "0.1");
    (void)json_float_print_f32(3.4028235e38f, text);
    assert_string_equal(text, "3.4028235e+38");
    (void)json_float_print_f32(1e-45f, text);
    assert_string_equal(text, "1e-45");
    (void)json_float_print_f32(16777216.0f, text);
    assert_string_equal(text, "16777216.0");
}

static void test_json_float__every_number_reads_back(void **state)
{
    (void)state;
    uint64_t bits = 88172645463325252u; /* xorshift64 (Marsaglia 2003) */
    for (size_t i = 0; i < 20000; i++) {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        double value;
        memcpy(&value, &bits, sizeof value);
        float narrow;
        memcpy(&narrow, &bits, sizeof narrow);
        char text[JSON_FLOAT_BYTES];
        if (isfinite(value)) {
            assert_true(json_float_print_f64(value, text) < JSON_FLOAT_BYTES);
            assert_true(strtod(text, NULL) == value);
        }
        if (isfinite(narrow)) {
            (void)json_float_print_f32(narrow, text);
            assert_true(strtof(text, NULL) == narrow);
        }
    }
}

static void write_sample(struct json_write *w)
{
    json_write_object_begin(w, NULL);
    json_write_i64(w, "b", -1);
    json_write_object_begin(w, "a");
    json_write_u64(w, "z", 18446744073709551615u);
    json_write_array_begin(w, "list");
    json_write_f64(w, NULL, 1.0);
    json_write_object_begin(w, NULL);
    json_write_bool(w, "t", true);
    json_write_bool(w, "f", false);
    json_write_object_end(w);
    json_write_array_begin(w, NULL);
    json_write_array_end(w);
    json_write_array_end(w);
    json_write_object_begin(w, "");
    json_write_object_end(w);
    json_write_object_end(w);
    json_write_null(w, "ab");
    json_write_f32(w, "\xc3\xa9\"", 0.1f);
    json_write_object_end(w);
}

static void test_json_write__members_are_sorted_in_each_style(void **state)
{
    (void)state;
    static const char *const expected[] = {
        [JSON_WRITE_COMPACT] = "{\"a\":{\"\":{},\"list\":[1.0,{\"f\":false,\"t\":true},[]],\"z\":"
                               "18446744073709551615},\"ab\":null,\"b\":-1,\"\xc3\xa9\\\"\":0.1}",
        [JSON_WRITE_LINE] =
            "{\"a\": {\"\": {}, \"list\": [1.0, {\"f\": false, \"t\": true}, []], \"z\": "
            "18446744073709551615}, \"ab\": null, \"b\": -1, \"\xc3\xa9\\\"\": 0.1}",
        [JSON_WRITE_PRETTY] = "{\n"
                              "  \"a\": {\n"
                              "    \"\": {},\n"
                              "    \"list\": [\n"
                              "      1.0,\n"
                              "      {\n"
                              "        \"f\": false,\n"
                              "        \"t\": true\n"
                              "      },\n"
                              "      []\n"
                              "    ],\n"
                              "    \"z\": 18446744073709551615\n"
                              "  },\n"
                              "  \"ab\": null,\n"
                              "  \"b\": -1,\n"
                              "  \"\xc3\xa9\\\"\": 0.1\n"
                              "}\n",
    };
    for (size_t style = 0; style < COUNT_OF(expected); style++) {
        struct json_write w;
        struct span out;
        json_write_init(&w, (enum json_write_style)style, 1 << 16);
        write_sample(&w);
        assert_int_equal(json_write_finish(&w, &out), ERR_OK);
        assert_int_equal(out.size, strlen(expected[style]));
        assert_memory_equal(out.data, expected[style], out.size);
        json_write_fini(&w);
    }
}

static void test_json_write__what_json_cannot_say_is_refused(void **state)
{
    (void)state;
    struct json_write w;
    struct span out;
    for (int i = 0; i < 6; i++) {
        json_write_init(&w, JSON_WRITE_COMPACT, i == 5 ? 8 : 1 << 16);
        json_write_object_begin(&w, NULL);
        json_write_i64(&w, "a", 1);
        if (i == 0)
            json_write_f64(&w, "b", (double)NAN);
        else if (i == 1)
            json_write_f32(&w, "b", -INFINITY);
        else if (i == 2)
            json_write_text(&w, "b", TEXT("\xed\xa0\x80"));
        else if (i == 3)
            json_write_i64(&w, "a", 2);
        else if (i == 4)
            json_write_i64(&w, "\xc0\x80", 2);
        else
            json_write_i64(&w, "b", 2);
        json_write_object_end(&w);
        static const enum err expected[] = {ERR_NOT_FINITE, ERR_NOT_FINITE, ERR_FORMAT,
                                            ERR_FORMAT,     ERR_FORMAT,     ERR_LIMIT};
        assert_int_equal(json_write_finish(&w, &out), expected[i]);
        json_write_fini(&w);
    }
}

static void test_json_write__depth_has_a_ceiling(void **state)
{
    (void)state;
    struct json_write w;
    struct span out;
    json_write_init(&w, JSON_WRITE_COMPACT, 1 << 16);
    for (size_t i = 0; i <= JSON_WRITE_DEPTH_MAX; i++)
        json_write_array_begin(&w, NULL);
    for (size_t i = 0; i <= JSON_WRITE_DEPTH_MAX; i++)
        json_write_array_end(&w);
    assert_int_equal(json_write_finish(&w, &out), ERR_LIMIT);
    json_write_fini(&w);
}

static void test_json_write__texts_are_escaped_only_where_they_must(void **state)
{
    (void)state;
    struct bytes out;
    bytes_init(&out, 1 << 16);
    assert_int_equal(json_write_quoted(&out, TEXT("a\"\\/\n\r\t\b\f\x01\x7f\0 \xf0\x9f\x98\x80")),
                     ERR_OK);
    const char expected[] = "\"a\\\"\\\\/\\n\\r\\t\\b\\f\\u0001\x7f\\u0000 \xf0\x9f\x98\x80\"";
    assert_int_equal(out.size, sizeof expected - 1);
    assert_memory_equal(out.data, expected, out.size);
    bytes_clear(&out);
    static const char *const bad[] = {
        "\x80",     "\xc1\xbf", "\xe0\x9f\xbf",     "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "\xe2\x82", "\xc3",     "\xf5\x80\x80\x80", "a\xe2\x28\xa1"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(json_write_quoted(&out, text_of(bad[i])), ERR_FORMAT);
    assert_int_equal(out.size, 0);
    bytes_fini(&out);
}

static void test_json_write__every_allocation_may_fail(void **state)
{
    (void)state;
    enum err err = ERR_OUT_OF_MEMORY;
    for (size_t n = 1; err != ERR_OK; n++) {
        struct json_write w;
        struct bytes out;
        bytes_init(&out, 1 << 16);
        json_write_init(&w, JSON_WRITE_PRETTY, 1 << 16);
        (void)mem_fault_after(n);
        write_sample(&w);
        err = json_write_close(&w, &out);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
        assert_true(n < 100);
        bytes_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_float__numbers_print_as_repr_prints_them),
        cmocka_unit_test(test_json_float__every_number_reads_back),
        cmocka_unit_test(test_json_write__members_are_sorted_in_each_style),
        cmocka_unit_test(test_json_write__what_json_cannot_say_is_refused),
        cmocka_unit_test(test_json_write__depth_has_a_ceiling),
        cmocka_unit_test(test_json_write__texts_are_escaped_only_where_they_must),
        cmocka_unit_test(test_json_write__every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
