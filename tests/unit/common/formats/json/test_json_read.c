/* test_json_read.c - what is refused and with which words; that values come back as they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/formats/source/file.h"
#include "common/mem/bytes.h"
#include "common/mem/mem.h"

static enum err parse(const char *text, struct json_doc **doc, struct err_text *et)
{
    const struct json_read_options options = {.name = "x.json"};
    return json_read_parse(span_of_text(text_of(text)), &options, doc, et);
}

static void test_json_read__bad_texts_are_refused_with_line_and_column(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *message;
    } rows[] = {
        {"", "x.json: expected JSON, found an empty text"},
        {"{\"a\":1,\n \"a\":2}", "x.json:2:4: not valid JSON: duplicate object key near '\"a\"'"},
        {"{\"a\":\n\n  b}", "x.json:3:3: not valid JSON: invalid token near 'b'"},
        {"[1,2", "x.json:1:4: not valid JSON: ']' expected near end of file"},
        {"[1] [2]", "x.json:1:5: not valid JSON: end of file expected near '['"},
        {"[NaN]", "x.json:1:4: not valid JSON: invalid token near 'NaN'"},
        {"[1e999]", "x.json:1:6: not valid JSON: real number overflow near '1e999'"},
        {"[01]", "x.json:1:2: not valid JSON: invalid token near '0'"},
        {"[\"\xff\"]", "x.json:1:2: not valid JSON: unable to decode byte 0xff near '\"'"},
        {"[\"\\ud800\"]",
         "x.json:1:9: not valid JSON: invalid Unicode '\\uD800' near '\"\\ud800\"'"},
        {"[\"a\nb\"]", "x.json:1:3: not valid JSON: unexpected newline near '\"a'"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct json_doc *doc = NULL;
        struct err_text et = {{0}};
        assert_int_equal(parse(rows[i].text, &doc, &et), ERR_FORMAT);
        assert_null(doc);
        assert_string_equal(et.text, rows[i].message);
    }
}

static void test_json_read__rows_of_a_file_count_lines_from_where_they_stand(void **state)
{
    (void)state;
    const struct json_read_options options = {.name = "rows.jsonl", .first_line = 41};
    struct json_doc *doc = NULL;
    struct err_text et;
    assert_int_equal(json_read_parse(span_of_text(TEXT("{\"prompt\": }")), &options, &doc, &et),
                     ERR_FORMAT);
    assert_string_equal(et.text, "rows.jsonl:41:12: not valid JSON: unexpected token near '}'");
}

static void test_json_read__size_and_depth_have_ceilings(void **state)
{
    (void)state;
    struct json_doc *doc = NULL;
    struct err_text et;
    struct json_read_options options = {.name = "x", .size_bytes_max = 4};
    assert_int_equal(json_read_parse(span_of_text(TEXT("[1,2]")), &options, &doc, &et), ERR_LIMIT);
    assert_string_equal(et.text, "x: expected at most 4 bytes of JSON, found 5");
    options = (struct json_read_options){.name = "x", .depth_max = 3};
    assert_int_equal(json_read_parse(span_of_text(TEXT("[[[[]]]]")), &options, &doc, &et),
                     ERR_LIMIT);
    assert_int_equal(json_read_parse(span_of_text(TEXT("[[[\"[[\\\"[\"]]]")), &options, &doc, &et),
                     ERR_OK);
    json_read_close(&doc);
    char deep[4096];
    memset(deep, '[', sizeof deep);
    options.depth_max = 0;
    assert_int_equal(
        json_read_parse((struct span){(uint8_t *)deep, sizeof deep}, &options, &doc, &et),
        ERR_LIMIT);
}

static const char sample[] =
    "{\"model\":{\"vocab\":{\"<unk>\":0,\"a.b\":1},\"merges\":[[\"a\",\"b\"],"
    "[\"c\",4]]},\"n\":7,\"neg\":-3,\"x\":0.5,\"whole\":4.0,\"yes\":true,"
    "\"none\":null,\"t\":\"z\\u0000\\u00e9\",\"big\":9007199254740993}";

static void test_json_read__values_come_back_as_they_were(void **state)
{
    (void)state;
    struct json_doc *doc = NULL;
    assert_int_equal(parse(sample, &doc, NULL), ERR_OK);
    struct json_value root = json_read_root(doc);
    int64_t n = 0;
    double x = 0.0;
    bool yes = false;
    struct text t;
    assert_int_equal(json_read_i64(root, "n", 0, 9, &n, NULL), ERR_OK);
    assert_int_equal(n, 7);
    assert_int_equal(json_read_i64(root, "big", 0, INT64_MAX, &n, NULL), ERR_OK);
    assert_true(n == 9007199254740993);
    assert_int_equal(json_read_i64(root, "whole", 0, 9, &n, NULL), ERR_OK);
    assert_int_equal(n, 4);
    assert_int_equal(json_read_f64(root, "x", &x, NULL), ERR_OK);
    assert_true(x == 0.5);
    assert_int_equal(json_read_f64(root, "n", &x, NULL), ERR_OK);
    assert_true(x == 7.0);
    assert_int_equal(json_read_bool(root, "yes", &yes, NULL), ERR_OK);
    assert_true(yes);
    assert_int_equal(json_read_text(root, "t", &t, NULL), ERR_OK);
    assert_true(text_equal(t, TEXT("z\0\xc3\xa9")));
    assert_int_equal(json_read_type(json_read_find(root, "none")), JSON_READ_NULL);
    assert_true(json_read_is_absent(json_read_find(root, "nothing")));
    assert_int_equal(json_read_count(root), 9);
    json_read_close(&doc);
    assert_null(doc);
    json_read_close(&doc);
}

static void test_json_read__members_and_elements_are_walked_in_order(void **state)
{
    (void)state;
    struct json_doc *doc = NULL;
    assert_int_equal(parse("{\"b\":[5,6],\"a\":1,\"c\":{}}", &doc, NULL), ERR_OK);
    const char *keys = "bac";
    struct json_cursor c = {0};
    while (json_read_next(json_read_root(doc), &c))
        assert_memory_equal(c.value.key.data, &keys[c.count - 1], 1);
    assert_int_equal(c.count, 3);
    struct json_cursor e = {0};
    int64_t sum = 0;
    while (json_read_next(json_read_find(json_read_root(doc), "b"), &e)) {
        int64_t n;
        assert_int_equal(json_read_as_i64(e.value, 0, 9, &n, NULL), ERR_OK);
        sum = sum * 10 + n;
    }
    assert_int_equal(sum, 56);
    struct json_cursor none = {0};
    assert_false(json_read_next(json_read_find(json_read_root(doc), "a"), &none));
    assert_false(json_read_next(json_read_find(json_read_root(doc), "c"), &none));
    json_read_close(&doc);
}

static void test_json_read__wrong_types_name_path_expected_and_found(void **state)
{
    (void)state;
    struct json_doc *doc = NULL;
    struct err_text et;
    assert_int_equal(parse(sample, &doc, NULL), ERR_OK);
    struct json_value root = json_read_root(doc);
    struct json_value model;
    struct json_value merges;
    struct json_value v;
    struct text t;
    int64_t n;
    bool yes;
    assert_int_equal(json_read_object(root, "model", &model, &et), ERR_OK);
    assert_int_equal(json_read_array(model, "merges", &merges, &et), ERR_OK);
    v = json_read_item(json_read_item(merges, 1), 1);
    assert_int_equal(json_read_as_text(v, &t, &et), ERR_FORMAT);
    assert_string_equal(et.text, "x.json: model.merges[1][1]: expected a text, found 4");
    v = json_read_find(json_read_find(model, "vocab"), "<unk>");
    assert_int_equal(json_read_as_i64(v, 1, 2, &n, &et), ERR_FORMAT);
    assert_string_equal(et.text,
                        "x.json: model.vocab.<unk>: expected an integer from 1 to 2, found 0");
    assert_int_equal(json_read_text(model, "type", &t, &et), ERR_FORMAT);
    assert_string_equal(et.text, "x.json: model.type: expected a text, found nothing");
    assert_int_equal(json_read_i64(root, "x", INT64_MIN, INT64_MAX, &n, &et), ERR_FORMAT);
    assert_string_equal(et.text, "x.json: x: expected an integer, found 0.5");
    assert_int_equal(json_read_bool(root, "none", &yes, &et), ERR_FORMAT);
    assert_string_equal(et.text, "x.json: none: expected true or false, found null");
    assert_int_equal(json_read_i64(root, "yes", 0, 1, &n, &et), ERR_FORMAT);
    assert_string_equal(et.text, "x.json: yes: expected an integer from 0 to 1, found true");
    assert_int_equal(json_read_object(root, "t", &v, &et), ERR_FORMAT);
    json_read_close(&doc);
}

static void test_json_read__optional_members_may_be_absent_or_null_but_not_wrong(void **state)
{
    (void)state;
    struct json_doc *doc = NULL;
    assert_int_equal(parse(sample, &doc, NULL), ERR_OK);
    struct json_value root = json_read_root(doc);
    int64_t n = 55;
    bool found = true;
    assert_int_equal(json_read_opt_i64(root, "nothing", 0, 9, &n, &found, NULL), ERR_OK);
    assert_false(found);
    assert_int_equal(json_read_opt_i64(root, "none", 0, 9, &n, NULL, NULL), ERR_OK);
    assert_int_equal(n, 55);
    assert_int_equal(json_read_opt_i64(root, "n", 0, 9, &n, &found, NULL), ERR_OK);
    assert_true(found);
    assert_int_equal(n, 7);
    assert_int_equal(json_read_opt_i64(root, "t", 0, 9, &n, NULL, NULL), ERR_FORMAT);
    assert_int_equal(n, 7);
    json_read_close(&doc);
}

static void test_json_read__integers_beyond_64_bits_are_read_as_doubles(void **state)
{
    (void)state;
    struct json_doc *doc = NULL;
    assert_int_equal(
        parse("{\"model_max_length\":1000000000000000019884624838656,\"n\":3}", &doc, NULL),
        ERR_OK);
    double length = 0.0;
    int64_t n = 0;
    struct json_value root = json_read_root(doc);
    assert_int_equal(json_read_f64(root, "model_max_length", &length, NULL), ERR_OK);
    assert_true(length == 1e30);
    assert_int_equal(json_read_i64(root, "model_max_length", 0, INT64_MAX, &n, NULL), ERR_FORMAT);
    assert_int_equal(json_read_i64(root, "n", 0, 9, &n, NULL), ERR_OK);
    assert_int_equal(n, 3);
    json_read_close(&doc);
}

static void test_json_read__every_allocation_may_fail(void **state)
{
    (void)state;
    enum err err = ERR_OUT_OF_MEMORY;
    for (size_t n = 1; err != ERR_OK; n++) {
        struct json_doc *doc = NULL;
        struct err_text et = {{0}};
        (void)mem_fault_after(n);
        err = parse(sample, &doc, &et);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
        assert_true((doc != NULL) == (err == ERR_OK));
        assert_true(n < 1000);
        json_read_close(&doc);
    }
}

/* A tokenizer's vocabulary of 128k pieces with as many merges; real ones must not be felt. */
static void test_json_read__a_large_vocabulary_is_read_in_well_under_a_second(void **state)
{
    (void)state;
    struct bytes text;
    bytes_init(&text, 64 << 20);
    bytes_append_text(&text, TEXT("{\"vocab\":{"));
    for (unsigned i = 0; i < 128000; i++)
        bytes_print(&text, "%s\"piece%u\":%u", i > 0 ? "," : "", i * 2654435761u, i);
    bytes_append_text(&text, TEXT("},\"merges\":["));
    for (unsigned i = 0; i < 128000; i++)
        bytes_print(&text, "%s\"left%u right%u\"", i > 0 ? "," : "", i, i);
    bytes_append_text(&text, TEXT("]}"));
    assert_int_equal(bytes_status(&text), ERR_OK);
    const struct json_read_options options = {.name = "tokenizer.json"};
    struct json_doc *doc = NULL;
    struct err_text et = {{0}};
    clock_t start = clock();
    assert_int_equal(json_read_parse(bytes_span(&text), &options, &doc, &et), ERR_OK);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    print_message("%zu bytes in %.3f s\n", text.size, seconds);
    assert_int_equal(json_read_count(json_read_find(json_read_root(doc), "vocab")), 128000);
    assert_true(seconds < 2.0); /* sanitizers included */
    json_read_close(&doc);
    bytes_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_read__bad_texts_are_refused_with_line_and_column),
        cmocka_unit_test(test_json_read__rows_of_a_file_count_lines_from_where_they_stand),
        cmocka_unit_test(test_json_read__size_and_depth_have_ceilings),
        cmocka_unit_test(test_json_read__values_come_back_as_they_were),
        cmocka_unit_test(test_json_read__members_and_elements_are_walked_in_order),
        cmocka_unit_test(test_json_read__wrong_types_name_path_expected_and_found),
        cmocka_unit_test(test_json_read__optional_members_may_be_absent_or_null_but_not_wrong),
        cmocka_unit_test(test_json_read__integers_beyond_64_bits_are_read_as_doubles),
        cmocka_unit_test(test_json_read__every_allocation_may_fail),
        cmocka_unit_test(test_json_read__a_large_vocabulary_is_read_in_well_under_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
