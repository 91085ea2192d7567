/* test_gguf.c - what is read and with which types, what is refused and with which words, that split
 * files open as one, and that what is written is what was read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/gguf/gguf_write.h"
#include "common/mem/mem.h"

static void put(struct bytes *out, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes_append(out, &(uint8_t){(uint8_t)(value >> (8 * i))}, 1);
}

static void put_name(struct bytes *out, const char *name)
{
    put(out, strlen(name), 8);
    bytes_append_text(out, text_of(name));
}

static void put_start(struct bytes *out, uint32_t version, uint64_t tensors, uint64_t keys)
{
    bytes_clear(out);
    bytes_append_text(out, TEXT("GGUF"));
    put(out, version, 4);
    put(out, tensors, 8);
    put(out, keys, 8);
}

static void put_u32(struct bytes *out, const char *key, uint32_t value)
{
    put_name(out, key);
    put(out, GGUF_U32, 4);
    put(out, value, 4);
}

/* A vector of `count` elements. */
static void put_tensor(struct bytes *out, const char *name, uint64_t count, uint32_t type,
                       uint64_t offset)
{
    put_name(out, name);
    put(out, 1, 4);
    put(out, count, 8);
    put(out, type, 4);
    put(out, offset, 8);
}

static void put_data(struct bytes *out, size_t size)
{
    while (out->size % GGUF_ALIGNMENT != 0)
        put(out, 0, 1);
    for (size_t i = 0; i < size; i++)
        put(out, i, 1);
}

static void expect_refused(const struct bytes *content, enum err expected, const char *message)
{
    struct gguf gguf;
    struct err_text et = {{0}};
    enum err err = gguf_parse(&gguf, bytes_span(content), "x", &et);
    assert_string_equal(et.text, message);
    assert_int_equal(err, expected);
}

static void test_gguf__start_of_file_is_checked(void **state)
{
    (void)state;
    struct bytes b;
    bytes_init(&b, 1 << 20);
    bytes_append_text(&b, TEXT("GGML"));
    expect_refused(&b, ERR_FORMAT, "x: expected a GGUF file, found other bytes at its start");
    put_start(&b, 1, 0, 0);
    expect_refused(&b, ERR_UNSUPPORTED, "x: expected GGUF version 2 or 3, found 1");
    put_start(&b, 0x03000000, 0, 0);
    expect_refused(&b, ERR_UNSUPPORTED,
                   "x: expected a little-endian GGUF file, found a big-endian one");
    put_start(&b, 3, 0, UINT64_MAX);
    expect_refused(&b, ERR_TRUNCATED,
                   "x: expected 18446744073709551615 keys, found 0 bytes for them");
    put_start(&b, 3, 1000, 0);
    expect_refused(&b, ERR_TRUNCATED, "x: expected 1000 tensors, found 0 bytes for them");
    b.size = 15;
    expect_refused(&b, ERR_TRUNCATED,
                   "x: the number of tensors at byte 8: expected 8 bytes, found 7 before the end");
    bytes_fini(&b);
}

static void test_gguf__keys_are_checked(void **state)
{
    (void)state;
    struct bytes b;
    bytes_init(&b, 1 << 20);
    put_start(&b, 3, 0, 2);
    put_u32(&b, "a", 1);
    put_u32(&b, "a", 2);
    expect_refused(&b, ERR_FORMAT, "x: the key a occurs twice");
    put_start(&b, 3, 0, 1);
    put_name(&b, "a");
    put(&b, 13, 4);
    expect_refused(&b, ERR_FORMAT, "x: a: expected a type below 13, found 13");
    put_start(&b, 3, 0, 1);
    put_name(&b, "a");
    put(&b, GGUF_BOOL, 4);
    put(&b, 2, 1);
    expect_refused(&b, ERR_FORMAT, "x: a: expected 0 or 1 for a bool, found 2");
    put_start(&b, 3, 0, 1);
    put_name(&b, "a");
    put(&b, GGUF_ARRAY, 4);
    put(&b, GGUF_ARRAY, 4);
    put(&b, 0, 8);
    expect_refused(&b, ERR_UNSUPPORTED,
                   "x: a: expected an array of plain values, found one of arrays");
    put_start(&b, 3, 0, 1);
    put_name(&b, "a");
    put(&b, GGUF_ARRAY, 4);
    put(&b, GGUF_TEXT, 4);
    put(&b, 1ull << 40, 8);
    expect_refused(&b, ERR_TRUNCATED, "x: a: expected 1099511627776 texts, found 0 bytes for them");
    put_start(&b, 3, 0, 1);
    put_name(&b, "a");
    put(&b, GGUF_ARRAY, 4);
    put(&b, GGUF_U64, 4);
    put(&b, 1ull << 62, 8);
    expect_refused(&b, ERR_OVERFLOW, "x: a value at byte 49: 4611686018427387904 items overflow");
    put_start(&b, 3, 0, 1);
    put_u32(&b, "general.alignment", 24);
    expect_refused(&b, ERR_FORMAT,
                   "x: general.alignment: expected a power of two, found the U32 24");
    bytes_fini(&b);
}

static void test_gguf__tensors_are_checked(void **state)
{
    (void)state;
    struct bytes b;
    bytes_init(&b, 1 << 20);
    put_start(&b, 3, 1, 0);
    put_tensor(&b, "a", 8, 4, 0);
    expect_refused(&b, ERR_UNSUPPORTED,
                   "x: tensor a: its type is 4, Q4_2, which was removed from GGUF");
    put_start(&b, 3, 1, 0);
    put_tensor(&b, "a", 8, 77, 0);
    expect_refused(&b, ERR_FORMAT, "x: tensor a: its type is 77, which no tensor type has");
    put_start(&b, 3, 1, 0);
    put_tensor(&b, "a", 48, 2, 0);
    expect_refused(&b, ERR_FORMAT,
                   "x: tensor a: expected rows of whole Q4_0 blocks of 32 elements, found rows of "
                   "48");
    put_start(&b, 3, 1, 0);
    put_tensor(&b, "a", 1ull << 62, 0, 0);
    expect_refused(&b, ERR_OVERFLOW, "x: tensor a: its shape overflows 64 bits");
    put_start(&b, 3, 1, 0);
    put_tensor(&b, "a", 8, 0, 16);
    put_data(&b, 48);
    expect_refused(&b, ERR_FORMAT, "x: tensor a: expected an offset that 32 divides, found 16");
    put_start(&b, 3, 1, 0);
    put_tensor(&b, "a", 9, 0, 0);
    put_data(&b, 32);
    expect_refused(&b, ERR_TRUNCATED,
                   "x: tensor a: expected 36 bytes at byte 0 of the data, which has 32");
    put_start(&b, 3, 2, 0);
    put_tensor(&b, "a", 9, 0, 0);
    put_tensor(&b, "b", 8, 0, 32);
    put_data(&b, 64);
    expect_refused(&b, ERR_FORMAT, "x: tensors a and b overlap");
    put_start(&b, 3, 2, 0);
    put_tensor(&b, "a", 8, 0, 0);
    put_tensor(&b, "a", 8, 0, 32);
    put_data(&b, 64);
    expect_refused(&b, ERR_FORMAT, "x: tensor a occurs twice");
    put_start(&b, 3, 1, 0);
    put_name(&b, "a");
    put(&b, 5, 4);
    put_data(&b, 64);
    expect_refused(&b, ERR_FORMAT, "x: tensor a: expected at most 4 dimensions, found 5");
    bytes_fini(&b);
}

static void write_sample(struct gguf_write *w)
{
    gguf_write_init(w);
    gguf_write_text(w, "general.architecture", TEXT("llama"));
    gguf_write_u32(w, "count", 7);
    gguf_write_f32(w, "eps", 0.5f);
    gguf_write_bool(w, "flag", true);
    gguf_write_array(w, "texts", GGUF_TEXT, 2);
    gguf_write_item_text(w, TEXT("one"));
    gguf_write_item_text(w, TEXT(""));
    gguf_write_array(w, "types", GGUF_I32, 2);
    gguf_write_item_i32(w, -1);
    gguf_write_item_i32(w, 6);
    gguf_write_tensor(w, TEXT("vector"), BLOCK_FORMAT_F32, 1, (const uint64_t[]){3});
    gguf_write_tensor(w, TEXT("empty"), BLOCK_FORMAT_F32, 2, (const uint64_t[]){0, 4});
    gguf_write_tensor(w, TEXT("matrix"), BLOCK_FORMAT_Q8_0, 2, (const uint64_t[]){2, 32});
}

static void finish_sample(struct gguf_write *w, struct bytes *out)
{
    static const uint8_t data[68] = {1, 2, 3};
    assert_int_equal(gguf_write_header(w, file_sink_bytes, out), ERR_OK);
    assert_int_equal(gguf_write_data(w, (struct span){data, 8}), ERR_OK);
    assert_int_equal(gguf_write_data(w, (struct span){data, 8}), ERR_SHAPE);
    assert_int_equal(gguf_write_finish(w), ERR_SHAPE);
    assert_int_equal(gguf_write_data(w, (struct span){data, 4}), ERR_OK);
    assert_int_equal(gguf_write_data(w, (struct span){data, 68}), ERR_OK);
    assert_int_equal(gguf_write_finish(w), ERR_OK);
    assert_int_equal(out->size, gguf_write_size_bytes(w));
}

static void test_gguf__what_is_written_is_read(void **state)
{
    (void)state;
    struct bytes b;
    struct gguf_write w;
    struct gguf g;
    struct err_text et = {{0}};
    bytes_init(&b, 1 << 20);
    write_sample(&w);
    finish_sample(&w, &b);
    assert_int_equal(gguf_parse(&g, bytes_span(&b), "x", &et), ERR_OK);
    assert_int_equal(g.value_count, 6);
    assert_int_equal(g.tensor_count, 3);
    struct text text;
    int64_t number = 0;
    double real = 0;
    bool flag = false;
    const struct gguf_value *array;
    assert_int_equal(gguf_text(&g, "general.architecture", &text, &et), ERR_OK);
    assert_true(text_is(text, "llama"));
    assert_int_equal(gguf_i64(&g, "count", 0, 10, &number, &et), ERR_OK);
    assert_int_equal(number, 7);
    assert_int_equal(gguf_f64(&g, "eps", &real, &et), ERR_OK);
    assert_true(real == 0.5);
    assert_int_equal(gguf_opt_bool(&g, "flag", &flag, NULL, &et), ERR_OK);
    assert_true(flag);
    assert_int_equal(gguf_opt_array(&g, "texts", GGUF_TEXT, &array, &et), ERR_OK);
    assert_true(text_is(array->texts[0], "one") && array->texts[1].size == 0);
    assert_int_equal(gguf_opt_array(&g, "types", GGUF_I64, &array, &et), ERR_OK);
    assert_int_equal(gguf_item_i64(array, 0), -1);
    const struct gguf_tensor *t = gguf_find_tensor(&g, TEXT("matrix"));
    assert_non_null(t);
    assert_int_equal(t->format, BLOCK_FORMAT_Q8_0);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 32);
    assert_int_equal(t->data.size, 68);
    assert_int_equal(t->data.data[2], 3);
    gguf_close(&g);
    gguf_write_fini(&w);
    bytes_fini(&b);
}

static void test_gguf__wrong_types_are_named(void **state)
{
    (void)state;
    struct bytes b;
    struct gguf_write w;
    struct gguf g;
    struct err_text et = {{0}};
    struct text text;
    int64_t number = 0;
    const struct gguf_value *array;
    bytes_init(&b, 1 << 20);
    write_sample(&w);
    finish_sample(&w, &b);
    assert_int_equal(gguf_parse(&g, bytes_span(&b), "x", &et), ERR_OK);
    assert_int_equal(gguf_text(&g, "count", &text, &et), ERR_FORMAT);
    assert_string_equal(et.text, "x: count: expected a text, found the U32 7");
    assert_int_equal(gguf_text(&g, "absent", &text, &et), ERR_FORMAT);
    assert_string_equal(et.text, "x: absent: expected a text, found nothing");
    assert_int_equal(gguf_i64(&g, "count", 8, 9, &number, &et), ERR_FORMAT);
    assert_string_equal(et.text, "x: count: expected a whole number from 8 to 9, found the U32 7");
    assert_int_equal(gguf_i64(&g, "eps", 8, 9, &number, &et), ERR_FORMAT);
    assert_string_equal(et.text, "x: eps: expected a whole number from 8 to 9, found the F32 0.5");
    assert_int_equal(gguf_opt_array(&g, "texts", GGUF_I64, &array, &et), ERR_FORMAT);
    assert_string_equal(et.text,
                        "x: texts: expected an array of whole numbers, found an array of 2 TEXT");
    gguf_close(&g);
    gguf_write_fini(&w);
    bytes_fini(&b);
}

static void write_part(const char *path, int number, int count, const char *tensor)
{
    struct gguf_write w;
    struct file_writer file;
    gguf_write_init(&w);
    gguf_write_u32(&w, "split.no", (uint32_t)number);
    gguf_write_u32(&w, "split.count", (uint32_t)count);
    gguf_write_u32(&w, "split.tensors.count", 2);
    gguf_write_tensor(&w, text_of(tensor), BLOCK_FORMAT_F32, 1, (const uint64_t[]){1});
    assert_int_equal(file_writer_open(&file, path, NULL), ERR_OK);
    assert_int_equal(gguf_write_header(&w, file_sink_writer, &file), ERR_OK);
    assert_int_equal(gguf_write_data(&w, (struct span){(const uint8_t *)"abcd", 4}), ERR_OK);
    assert_int_equal(gguf_write_finish(&w), ERR_OK);
    assert_int_equal(file_writer_commit(&file, NULL), ERR_OK);
    gguf_write_fini(&w);
}

static void test_gguf__parts_of_a_split_model_open_as_one(void **state)
{
    (void)state;
    char folder[] = "/tmp/qfleet-gguf-XXXXXX";
    char first[64], second[64];
    struct gguf g;
    struct err_text et = {{0}};
    assert_non_null(mkdtemp(folder));
    (void)snprintf(first, sizeof first, "%s/m-00001-of-00002.gguf", folder);
    (void)snprintf(second, sizeof second, "%s/m-00002-of-00002.gguf", folder);
    write_part(first, 0, 2, "a");
    assert_int_equal(gguf_open(&g, first, &et), ERR_NOT_FOUND);
    write_part(second, 1, 2, "b");
    assert_int_equal(gguf_open(&g, first, &et), ERR_OK);
    assert_int_equal(g.tensor_count, 2);
    assert_int_equal(gguf_find_tensor(&g, TEXT("b"))->data.size, 4);
    gguf_close(&g);
    assert_int_equal(gguf_open(&g, second, &et), ERR_FORMAT);
    assert_non_null(strstr(et.text, "it is part 2 of 2; open the first part"));
    write_part(second, 1, 2, "a");
    assert_int_equal(gguf_open(&g, first, &et), ERR_FORMAT);
    assert_non_null(strstr(et.text, "tensor a occurs in two of its files"));
    write_part(second, 0, 2, "b");
    assert_int_equal(gguf_open(&g, first, &et), ERR_FORMAT);
    assert_non_null(strstr(et.text, "expected part 2 of 2, found part 1 of 2"));
    assert_int_equal(unlink(first) + unlink(second) + rmdir(folder), 0);
}

/* Keys, table and data of a real file, written again: the same bytes. */
static void check_rewritten(const char *path)
{
    struct gguf g;
    struct err_text et = {{0}};
    struct gguf_write w;
    struct bytes out;
    if (gguf_open(&g, path, &et) != ERR_OK)
        fail_msg("%s", et.text);
    gguf_write_init(&w);
    for (size_t i = 0; i < g.value_count; i++)
        gguf_write_value(&w, &g.values[i]);
    for (size_t i = 0; i < g.tensor_count; i++)
        gguf_write_tensor(&w, g.tensors[i].name, g.tensors[i].format, g.tensors[i].rank,
                          g.tensors[i].shape);
    bytes_init(&out, 64 << 20);
    assert_int_equal(gguf_write_header(&w, file_sink_bytes, &out), ERR_OK);
    for (size_t i = 0; i < g.tensor_count; i++)
        assert_int_equal(gguf_write_data(&w, g.tensors[i].data), ERR_OK);
    assert_int_equal(gguf_write_finish(&w), ERR_OK);
    if (g.tensor_count > 0) /* vocabularies alone end without padding */
        assert_int_equal(out.size, g.source.bytes.size);
    assert_true(out.size >= g.source.bytes.size);
    assert_memory_equal(out.data, g.source.bytes.data, g.source.bytes.size);
    bytes_fini(&out);
    gguf_write_fini(&w);
    gguf_close(&g);
}

static void test_gguf__real_files_are_written_again_byte_for_byte(void **state)
{
    (void)state;
    static const char *const names[] = {
        "models/TinyStories-656K/TinyStories-656K-Q8_0.gguf",
        "models/lm-6m/lm-6m-Q2_K.gguf",
        "models/lm-6m/lm-6m-Q4_K_M-im.gguf",
        "models/llama-2-tiny-random.gguf",
        "tokenizers/gguf/ggml-vocab-falcon.gguf",
        "tokenizers/gguf/ggml-vocab-llama-spm.gguf",
    };
    const char *data = getenv("QFLEET_DATA");
    char path[256];
    size_t done = 0;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", data != NULL ? data : "../shared/data",
                       names[i]);
        if (access(path, R_OK) != 0)
            continue;
        check_rewritten(path);
        done++;
    }
    print_message("%zu real files\n", done);
    if (done == 0)
        skip();
}

static void test_gguf__failing_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    struct bytes b;
    struct gguf_write w;
    struct gguf g;
    bytes_init(&b, 1 << 20);
    write_sample(&w);
    finish_sample(&w, &b);
    enum err err = ERR_OUT_OF_MEMORY;
    for (size_t n = 1; err != ERR_OK; n++) {
        assert_true(n < 50);
        (void)mem_fault_after(n);
        err = gguf_parse(&g, bytes_span(&b), "x", NULL);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
    }
    gguf_close(&g);
    gguf_write_fini(&w);
    bytes_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf__start_of_file_is_checked),
        cmocka_unit_test(test_gguf__keys_are_checked),
        cmocka_unit_test(test_gguf__tensors_are_checked),
        cmocka_unit_test(test_gguf__what_is_written_is_read),
        cmocka_unit_test(test_gguf__wrong_types_are_named),
        cmocka_unit_test(test_gguf__parts_of_a_split_model_open_as_one),
        cmocka_unit_test(test_gguf__real_files_are_written_again_byte_for_byte),
        cmocka_unit_test(test_gguf__failing_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
