/* test_safetensors.c - what is read, what is refused and with which words, and that what is written
 * is what the reference writer writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"

/* A file made of a header text and `data_bytes` of data. */
static void make_file(struct bytes *out, const char *header, size_t data_bytes)
{
    bytes_clear(out);
    uint64_t size = strlen(header);
    for (size_t i = 0; i < 8; i++)
        bytes_append(out, &(uint8_t){(uint8_t)(size >> (8 * i))}, 1);
    bytes_append(out, header, size);
    for (size_t i = 0; i < data_bytes; i++)
        bytes_append(out, &(uint8_t){(uint8_t)i}, 1);
    assert_int_equal(bytes_status(out), ERR_OK);
}

struct refused_row {
    const char *header;
    size_t data_bytes;
    enum err err;
    const char *message;
};

static const struct refused_row refused[] = {
    {"", 0, ERR_FORMAT, "x: expected a header that starts with '{'"},
    {" {}", 0, ERR_FORMAT, "x: expected a header that starts with '{'"},
    {"{\"a\":}", 0, ERR_FORMAT, "x:1:6: not valid JSON: unexpected token near '}'"},
    {"{\"a\":1}", 0, ERR_FORMAT, "x: a: expected a tensor's object, found 1"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, ERR_FORMAT,
     "x: a.dtype: expected a text, found nothing"},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, ERR_UNSUPPORTED,
     "x: tensor a: element type F4 is not supported"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,4]}}", 4, ERR_FORMAT,
     "x: a.shape: expected an array, found 4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, ERR_FORMAT,
     "x: a.shape[0]: expected an integer from 0 to 9223372036854775807, found -1"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
     ERR_OVERFLOW, "x: tensor a: its shape overflows 64 bits"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
     ERR_OVERFLOW, "x: tensor a: its shape overflows 64 bits"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
     ERR_LIMIT, "x: tensor a: expected at most 8 dimensions, found 9"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, ERR_FORMAT,
     "x: tensor a: data_offsets begin at 4, after their end 0"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, ERR_FORMAT,
     "x: tensor a: expected 8 bytes from type and shape, found 4 in data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, ERR_TRUNCATED,
     "x: tensor a: ends at byte 8 of the data, which has 4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}", 4, ERR_FORMAT,
     "x: a.data_offsets: expected [begin, end], found an array"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
     4, ERR_FORMAT, "x: tensors a and b overlap"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[3,4]}}",
     4, ERR_FORMAT, "x: 2 bytes before tensor b belong to no tensor"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 4, ERR_FORMAT,
     "x: 3 bytes after the last tensor belong to no tensor"},
    {"{}", 4, ERR_FORMAT, "x: 4 bytes after the last tensor belong to no tensor"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
     "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
     0, ERR_FORMAT, "x:1:56: not valid JSON: duplicate object key near '\"a\"'"},
    {"{\"__metadata__\":{\"format\":1}}", 0, ERR_FORMAT,
     "x: __metadata__.format: expected a text, found 1"},
    {"{\"__metadata__\":[]}", 0, ERR_FORMAT,
     "x: __metadata__: expected an object of texts, found an array"},
    {"{\"a\":[[[[[[[[[[[[]]]]]]]]]]]]}", 0, ERR_LIMIT,
     "x: expected JSON nested at most 8 deep, found more"},
};

static void test_safetensors__malformed_headers_are_refused_with_their_place(void **state)
{
    (void)state;
    struct bytes file;
    bytes_init(&file, 1 << 20);
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        make_file(&file, refused[i].header, refused[i].data_bytes);
        struct safetensors st = {.count = 77};
        struct err_text et = {{0}};
        assert_int_equal(safetensors_parse(&st, bytes_span(&file), "x", &et), refused[i].err);
        assert_string_equal(et.text, refused[i].message);
        assert_int_equal(st.count, 77); /* untouched */
    }
    bytes_fini(&file);
}

static void test_safetensors__lying_prefixes_are_refused(void **state)
{
    (void)state;
    struct safetensors st;
    struct err_text et;
    const uint8_t short_file[] = {2, 0, 0, 0, 0, 0, 0};
    assert_int_equal(safetensors_parse(&st, (struct span){short_file, 7}, "x", &et), ERR_TRUNCATED);
    const uint8_t long_header[] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    assert_int_equal(safetensors_parse(&st, (struct span){long_header, 10}, "x", &et),
                     ERR_TRUNCATED);
    assert_string_equal(et.text, "x: expected a header of 3 bytes, found a file of 10 bytes");
    const uint8_t huge[] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, '{', '}'};
    assert_int_equal(safetensors_parse(&st, (struct span){huge, 10}, "x", &et), ERR_FORMAT);
    const uint8_t above[] = {0x01, 0xE1, 0xF5, 0x05, 0, 0, 0, 0, '{', '}'}; /* 100,000,001 */
    assert_int_equal(safetensors_parse(&st, (struct span){above, 10}, "x", &et), ERR_FORMAT);
}

static const char two_tensors[] =
    "{\"b\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
    "\"__metadata__\":{\"format\":\"pt\",\"a\":\"\\u0000!\"},"
    "\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[8,9]},"
    "\"none\":{\"dtype\":\"F64\",\"shape\":[3,0],\"data_offsets\":[8,8]}}  ";

static void test_safetensors__tensors_are_found_by_name_with_type_shape_and_data(void **state)
{
    (void)state;
    struct bytes file;
    bytes_init(&file, 1 << 20);
    make_file(&file, two_tensors, 9);
    struct safetensors st;
    assert_int_equal(safetensors_parse(&st, bytes_span(&file), "x", NULL), ERR_OK);
    assert_int_equal(st.count, 3);
    const struct safetensor *b = safetensors_find(&st, TEXT("b"));
    assert_non_null(b);
    assert_int_equal(b->dtype, SAFETENSORS_F32);
    assert_int_equal(b->rank, 2);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 1);
    assert_int_equal(b->data.size, 8);
    assert_int_equal(b->data.data[7], 7);
    const struct safetensor *a = safetensors_find(&st, TEXT("a"));
    assert_int_equal(a->rank, 0);
    assert_int_equal(safetensors_element_count(a), 1);
    assert_int_equal(a->data.data[0], 8);
    assert_int_equal(safetensors_find(&st, TEXT("none"))->data.size, 0);
    assert_null(safetensors_find(&st, TEXT("c")));
    assert_true(text_is(safetensors_note_of(&st, "format"), "pt"));
    assert_true(text_equal(safetensors_note_of(&st, "a"), TEXT("\0!")));
    assert_null(safetensors_note_of(&st, "none").data);
    safetensors_close(&st);
    safetensors_close(&st);
    bytes_fini(&file);
}

static void test_safetensors__every_allocation_may_fail(void **state)
{
    (void)state;
    struct bytes file;
    bytes_init(&file, 1 << 20);
    make_file(&file, two_tensors, 9);
    enum err err = ERR_OUT_OF_MEMORY;
    for (size_t n = 1; err != ERR_OK; n++) {
        struct safetensors st;
        struct err_text et = {{0}};
        (void)mem_fault_after(n);
        err = safetensors_parse(&st, bytes_span(&file), "x", &et);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
        assert_true(n < 1000);
        if (err == ERR_OK)
            safetensors_close(&st);
    }
    bytes_fini(&file);
}

static const uint8_t some_data[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static const struct safetensor some_tensors[] = {
    {.name = {"u", 1}, .dtype = SAFETENSORS_U8, .rank = 1, .shape = {3}, .data = {some_data, 3}},
    {.name = {"z", 1}, .dtype = SAFETENSORS_F32, .rank = 1, .shape = {1}, .data = {some_data, 4}},
    {.name = {"a", 1},
     .dtype = SAFETENSORS_F32,
     .rank = 2,
     .shape = {1, 2},
     .data = {some_data, 8}},
    {.name = {"h\"", 2}, .dtype = SAFETENSORS_F16, .rank = 0, .data = {some_data, 2}},
};

static void test_safetensors__written_files_have_one_layout(void **state)
{
    (void)state;
    static const char expected[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
        "\"z\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]},"
        "\"h\\\"\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[12,14]},"
        "\"u\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[14,17]}}";
    const struct safetensors_content content = {some_tensors, COUNT_OF(some_tensors),
                                                &safetensors_write_note_pt, 1};
    struct bytes out;
    bytes_init(&out, 1 << 16);
    assert_int_equal(safetensors_write(&content, file_sink_bytes, &out), ERR_OK);
    assert_memory_equal(out.data + 8, expected, sizeof expected - 1);
    size_t size = 0;
    assert_int_equal(safetensors_write_size(&content, &size), ERR_OK);
    assert_int_equal(size, out.size);
    size_t header = out.data[0] | (size_t)out.data[1] << 8;
    assert_int_equal(header % 8, 0);
    assert_int_equal(out.size, 8 + header + 17);
    struct safetensors st;
    assert_int_equal(safetensors_parse(&st, bytes_span(&out), "x", NULL), ERR_OK);
    assert_true(span_equal(safetensors_find(&st, TEXT("a"))->data, some_tensors[2].data));
    assert_true(span_equal(safetensors_find(&st, TEXT("u"))->data, some_tensors[0].data));
    safetensors_close(&st);
    bytes_fini(&out);
}

static void test_safetensors__names_written_must_differ_and_be_text(void **state)
{
    (void)state;
    struct bytes out;
    bytes_init(&out, 1 << 16);
    struct safetensor twice[] = {some_tensors[0], some_tensors[1]};
    twice[1].name = twice[0].name;
    struct safetensors_content content = {.tensors = twice, .count = 2};
    assert_int_equal(safetensors_write(&content, file_sink_bytes, &out), ERR_FORMAT);
    content.count = 1;
    twice[0].name = TEXT("\xff");
    assert_int_equal(safetensors_write(&content, file_sink_bytes, &out), ERR_FORMAT);
    twice[0].name = TEXT("__metadata__");
    assert_int_equal(safetensors_write(&content, file_sink_bytes, &out), ERR_FORMAT);
    assert_int_equal(out.size, 0);
    bytes_fini(&out);
}

static enum err sink_that_fails(void *context, struct span piece)
{
    (void)context;
    return piece.size < 10 ? ERR_DISK_FULL : ERR_OK;
}

static void test_safetensors__a_full_disk_is_passed_on(void **state)
{
    (void)state;
    const struct safetensors_content content = {.tensors = some_tensors, .count = 4};
    assert_int_equal(safetensors_write(&content, sink_that_fails, NULL), ERR_DISK_FULL);
}

/* A folder for the files of one test. */
static void make_folder(char path[32])
{
    memcpy(path, "/tmp/qfleet-test-XXXXXX", sizeof "/tmp/qfleet-test-XXXXXX");
    assert_non_null(mkdtemp(path));
}

static void remove_folder(const char *path)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct folder_listing listing;
    assert_int_equal(folder_list(path, &arena, &listing, NULL), ERR_OK);
    for (size_t i = 0; i < listing.count; i++)
        assert_int_equal(unlink(folder_join(&arena, path, listing.entries[i].name)), 0);
    assert_int_equal(rmdir(path), 0);
    arena_fini(&arena);
}

static void write_in(const char *folder, const char *name, struct span content)
{
    struct arena arena;
    arena_init(&arena, 4096);
    assert_int_equal(file_write_atomic(folder_join(&arena, folder, name), content, NULL), ERR_OK);
    arena_fini(&arena);
}

static void write_shard(const char *folder, const char *name, size_t first, size_t count)
{
    struct bytes out;
    bytes_init(&out, 1 << 16);
    const struct safetensors_content content = {.tensors = some_tensors + first, .count = count};
    assert_int_equal(safetensors_write(&content, file_sink_bytes, &out), ERR_OK);
    write_in(folder, name, bytes_span(&out));
    bytes_fini(&out);
}

static enum err open_indexed(const char *folder, const char *index, struct safetensors *st,
                             struct err_text *et)
{
    write_in(folder, "model.safetensors.index.json", span_of_text(text_of(index)));
    return safetensors_index_open_folder(st, folder, "model", et);
}

static void test_safetensors__shards_open_as_one_set(void **state)
{
    (void)state;
    char folder[32];
    make_folder(folder);
    write_shard(folder, "model-1.safetensors", 0, 2);
    write_shard(folder, "model-2.safetensors", 2, 2);
    struct safetensors st;
    assert_int_equal(open_indexed(folder,
                                  "{\"metadata\":{\"total_size\":17},\"weight_map\":{\"z\":"
                                  "\"model-1.safetensors\",\"u\":\"model-1.safetensors\",\"a\":"
                                  "\"model-2.safetensors\"}}",
                                  &st, NULL),
                     ERR_OK);
    assert_int_equal(st.count, 3);
    assert_true(span_equal(safetensors_find(&st, TEXT("a"))->data, some_tensors[2].data));
    assert_true(span_equal(safetensors_find(&st, TEXT("z"))->data, some_tensors[1].data));
    assert_null(safetensors_find(&st, TEXT("h\"")));
    safetensors_close(&st);
    remove_folder(folder);
}

static void test_safetensors__an_index_that_lies_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *index;
        enum err err;
        const char *message_part;
    } rows[] = {
        {"{}", ERR_FORMAT, "weight_map: expected an object, found nothing"},
        {"{\"weight_map\":{\"a\":\"model-1.safetensors\"}}", ERR_FORMAT,
         "weight_map.a: the file model-1.safetensors has no such tensor"},
        {"{\"weight_map\":{\"u\":\"model-9.safetensors\"}}", ERR_NOT_FOUND,
         "model-9.safetensors: No such file"},
        {"{\"weight_map\":{\"u\":\"../../etc/passwd\"}}", ERR_FORMAT,
         "weight_map.u: expected the name of a file in the same folder, found the text "
         "\"../../etc/passwd\""},
        {"{\"weight_map\":{\"u\":\"..\"}}", ERR_FORMAT, "the name of a file in the same folder"},
        {"{\"weight_map\":{\"u\":\"model-1.safetensors\\u0000\"}}", ERR_FORMAT,
         "the name of a file in the same folder"},
    };
    char folder[32];
    make_folder(folder);
    write_shard(folder, "model-1.safetensors", 0, 2);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct safetensors st = {0};
        struct err_text et = {{0}};
        assert_int_equal(open_indexed(folder, rows[i].index, &st, &et), rows[i].err);
        if (strstr(et.text, rows[i].message_part) == NULL)
            fail_msg("found: %s", et.text);
    }
    remove_folder(folder);
}

static void test_safetensors__a_folder_without_weights_says_what_is_missing(void **state)
{
    (void)state;
    char folder[32];
    make_folder(folder);
    struct safetensors st;
    struct err_text et;
    assert_int_equal(safetensors_index_open_folder(&st, folder, "model", &et), ERR_NOT_FOUND);
    assert_non_null(strstr(et.text, "expected model.safetensors or model.safetensors.index.json"));
    remove_folder(folder);
    assert_int_equal(safetensors_index_open_folder(&st, folder, "model", &et), ERR_NOT_FOUND);
    assert_non_null(strstr(et.text, "no such folder"));
}

static const char *data_folder(void)
{
    const char *folder = getenv("QFLEET_DATA");
    return folder != NULL ? folder : "../shared/data";
}

static void
test_safetensors__a_file_of_the_reference_writer_is_rewritten_byte_for_byte(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    char *path = folder_join(&arena, data_folder(), "models/TinyStories-656K/model.safetensors");
    struct safetensors st;
    if (!file_exists(path)) {
        print_message("skipped: %s is not there\n", path);
        arena_fini(&arena);
        skip();
    }
    assert_int_equal(safetensors_open(&st, path, NULL), ERR_OK);
    const struct safetensors_content content = {st.tensors, st.count, st.notes, st.note_count};
    struct bytes out;
    bytes_init(&out, 1 << 24);
    assert_int_equal(safetensors_write(&content, file_sink_bytes, &out), ERR_OK);
    assert_true(span_equal(bytes_span(&out), st.source.bytes));
    bytes_fini(&out);
    safetensors_close(&st);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors__malformed_headers_are_refused_with_their_place),
        cmocka_unit_test(test_safetensors__lying_prefixes_are_refused),
        cmocka_unit_test(test_safetensors__tensors_are_found_by_name_with_type_shape_and_data),
        cmocka_unit_test(test_safetensors__every_allocation_may_fail),
        cmocka_unit_test(test_safetensors__written_files_have_one_layout),
        cmocka_unit_test(test_safetensors__names_written_must_differ_and_be_text),
        cmocka_unit_test(test_safetensors__a_full_disk_is_passed_on),
        cmocka_unit_test(test_safetensors__shards_open_as_one_set),
        cmocka_unit_test(test_safetensors__an_index_that_lies_is_refused),
        cmocka_unit_test(test_safetensors__a_folder_without_weights_says_what_is_missing),
        cmocka_unit_test(
            test_safetensors__a_file_of_the_reference_writer_is_rewritten_byte_for_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
