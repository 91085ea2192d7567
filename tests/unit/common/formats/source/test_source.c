/* test_source.c - files appear whole or not at all, and errors name the path and the reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/mem/mem.h"

struct fixture {
    char folder[32];
    struct arena arena;
};

static int setup(void **state)
{
    struct fixture *f = mem_alloc(1, sizeof *f);
    assert_non_null(f);
    arena_init(&f->arena, 1 << 20);
    memcpy(f->folder, "/tmp/qfleet-test-XXXXXX", sizeof "/tmp/qfleet-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    *state = f;
    return 0;
}

static const char *in(struct fixture *f, const char *name)
{
    return folder_join(&f->arena, f->folder, name);
}

static size_t files_in(struct fixture *f)
{
    struct folder_listing listing;
    assert_int_equal(folder_list(f->folder, &f->arena, &listing, NULL), ERR_OK);
    return listing.count;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct folder_listing listing;
    assert_int_equal(folder_list(f->folder, &f->arena, &listing, NULL), ERR_OK);
    for (size_t i = 0; i < listing.count; i++)
        assert_int_equal(unlink(in(f, listing.entries[i].name)), 0);
    (void)rmdir(in(f, "a/b"));
    (void)rmdir(in(f, "a"));
    assert_int_equal(rmdir(f->folder), 0);
    arena_fini(&f->arena);
    mem_free(f);
    return 0;
}

static void test_source__dropped_pages_read_as_before(void **state)
{
    enum { SIZE = 100000 };
    static uint8_t content[SIZE];
    struct fixture *f = *state;
    struct source source = {0};
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (uint8_t)(i * 7919 >> 8);
    assert_int_equal(file_write_atomic(in(f, "a"), (struct span){content, SIZE}, NULL), ERR_OK);
    assert_int_equal(source_open(&source, in(f, "a"), NULL), ERR_OK);
    source_drop(&source, source.bytes);
    assert_memory_equal(source.bytes.data, content, SIZE);
    source_drop(&source, (struct span){source.bytes.data + 5000, SIZE - 5000});
    source_drop(&source, (struct span){content, SIZE}); /* is not the source's: stays */
    assert_memory_equal(source.bytes.data, content, SIZE);
    source_close(&source);
}

static void test_source__a_file_is_mapped_whole(void **state)
{
    struct fixture *f = *state;
    struct source source;
    assert_int_equal(file_write_atomic(in(f, "x"), span_of_text(TEXT("hello")), NULL), ERR_OK);
    assert_int_equal(source_open(&source, in(f, "x"), NULL), ERR_OK);
    assert_true(span_equal(source.bytes, span_of_text(TEXT("hello"))));
    source_will_stream(&source);
    source_close(&source);
    source_close(&source);
    assert_int_equal(file_write_atomic(in(f, "x"), (struct span){0}, NULL), ERR_OK);
    assert_int_equal(source_open(&source, in(f, "x"), NULL), ERR_OK);
    assert_int_equal(source.bytes.size, 0);
    assert_non_null(source.bytes.data);
    source_close(&source);
}

static void test_source__what_cannot_be_opened_is_named_with_its_reason(void **state)
{
    struct fixture *f = *state;
    struct source source = {.bytes = {NULL, 77}};
    struct err_text et;
    assert_int_equal(source_open(&source, in(f, "none"), &et), ERR_NOT_FOUND);
    assert_non_null(strstr(et.text, "/none: No such file or directory"));
    assert_int_equal(source_open(&source, f->folder, &et), ERR_FORMAT);
    assert_non_null(strstr(et.text, "expected a file, found a folder"));
    assert_int_equal(mkfifo(in(f, "pipe"), 0600), 0);
    assert_int_equal(source_open(&source, in(f, "pipe"), &et), ERR_FORMAT); /* does not wait */
    assert_int_equal(source.bytes.size, 77);
    assert_int_equal(unlink(in(f, "pipe")), 0);
}

static void test_file__content_is_replaced_at_once(void **state)
{
    struct fixture *f = *state;
    struct bytes out;
    bytes_init(&out, 100);
    assert_int_equal(file_write_atomic(in(f, "x"), span_of_text(TEXT("old")), NULL), ERR_OK);
    struct file_writer writer;
    assert_int_equal(file_writer_open(&writer, in(f, "x"), NULL), ERR_OK);
    assert_int_equal(file_sink_writer(&writer, span_of_text(TEXT("ne"))), ERR_OK);
    assert_int_equal(file_read(in(f, "x"), 100, &out, NULL), ERR_OK);
    assert_true(span_equal(bytes_span(&out), span_of_text(TEXT("old"))));
    assert_int_equal(file_sink_writer(&writer, span_of_text(TEXT("w"))), ERR_OK);
    assert_int_equal(writer.size_bytes, 3);
    assert_int_equal(file_writer_commit(&writer, NULL), ERR_OK);
    bytes_clear(&out);
    assert_int_equal(file_read(in(f, "x"), 100, &out, NULL), ERR_OK);
    assert_true(span_equal(bytes_span(&out), span_of_text(TEXT("new"))));
    assert_int_equal(files_in(f), 1);
    bytes_fini(&out);
}

static void test_file__an_abandoned_write_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct file_writer writer;
    assert_int_equal(file_writer_open(&writer, in(f, "x"), NULL), ERR_OK);
    assert_int_equal(files_in(f), 1);
    file_writer_abandon(&writer);
    file_writer_abandon(&writer);
    assert_int_equal(files_in(f), 0);
    struct err_text et;
    struct err_text said = {""};
    assert_int_equal(file_writer_open(&writer, in(f, "x"), NULL), ERR_OK);
    assert_int_equal(file_writer_fail(&writer, ERR_DISK_FULL, &said), ERR_DISK_FULL);
    assert_non_null(strstr(said.text, "/x: cannot be written: the disk is full"));
    assert_int_equal(files_in(f), 0);
    assert_int_equal(file_write_atomic(in(f, "none/x"), (struct span){0}, &et), ERR_NOT_FOUND);
    assert_non_null(strstr(et.text, "none/x.tmp: cannot be written: No such file"));
}

static void test_file__many_get_their_names_together_or_none_does(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 2; round++) {
        struct file_writer writers[2];
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(file_writer_open(&writers[i], in(f, i == 0 ? "x" : "y"), NULL),
                             ERR_OK);
            assert_int_equal(file_sink_writer(&writers[i], span_of_text(TEXT("one"))), ERR_OK);
            assert_int_equal(file_writer_settle(&writers[i], NULL), ERR_OK);
            assert_int_equal(writers[i].fd, -1);
        }
        assert_false(file_exists(in(f, "x")));
        assert_int_equal(files_in(f), 2);
        for (size_t i = 0; i < 2 && round == 0; i++)
            file_writer_abandon(&writers[i]);
        for (size_t i = 0; i < 2 && round == 1; i++)
            assert_int_equal(file_writer_commit(&writers[i], NULL), ERR_OK);
        assert_int_equal(files_in(f), round == 0 ? 0 : 2);
    }
    assert_true(file_exists(in(f, "x")) && file_exists(in(f, "y")));
}

static void test_file__a_link_in_place_of_the_temporary_file_is_not_followed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(symlink(in(f, "victim"), in(f, "x.tmp")), 0);
    assert_int_not_equal(file_write_atomic(in(f, "x"), span_of_text(TEXT("y")), NULL), ERR_OK);
    assert_false(file_exists(in(f, "victim")));
    assert_int_equal(unlink(in(f, "x.tmp")), 0);
}

static void test_file__reading_has_a_ceiling(void **state)
{
    struct fixture *f = *state;
    struct bytes out;
    struct err_text et;
    bytes_init(&out, 4);
    assert_int_equal(file_write_atomic(in(f, "x"), span_of_text(TEXT("hello")), NULL), ERR_OK);
    assert_int_equal(file_read(in(f, "x"), 4, &out, &et), ERR_LIMIT);
    assert_non_null(strstr(et.text, "expected at most 4 bytes, found 5"));
    assert_int_equal(file_read(in(f, "x"), 100, &out, &et), ERR_LIMIT);
    assert_int_equal(out.size, 0);
    bytes_fini(&out);
}

static void test_folder__files_are_listed_in_the_order_of_bytes(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"b", "B", "a10", "a2", "\xc3\xa9"};
    static const char *const sorted[] = {"B", "a10", "a2", "b", "\xc3\xa9"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        assert_int_equal(file_write_atomic(in(f, names[i]), span_of_text(TEXT("x")), NULL), ERR_OK);
    assert_int_equal(folder_create(in(f, "a/b"), NULL), ERR_OK);
    struct folder_listing listing;
    assert_int_equal(folder_list(f->folder, &f->arena, &listing, NULL), ERR_OK);
    assert_int_equal(listing.count, COUNT_OF(sorted)); /* the folder "a" is not a file */
    for (size_t i = 0; i < COUNT_OF(sorted); i++)
        assert_string_equal(listing.entries[i].name, sorted[i]);
    struct err_text et;
    assert_int_equal(folder_list(in(f, "none"), &f->arena, &listing, &et), ERR_NOT_FOUND);
}

static void test_folder__what_is_missing_above_is_made(void **state)
{
    struct fixture *f = *state;
    struct err_text et;
    assert_int_equal(folder_create(in(f, "a/b"), &et), ERR_OK);
    assert_int_equal(folder_create(in(f, "a/b"), &et), ERR_OK);
    assert_true(folder_exists(in(f, "a/b")));
    assert_int_equal(file_write_atomic(in(f, "x"), (struct span){0}, NULL), ERR_OK);
    assert_int_equal(folder_create(in(f, "x/y"), &et), ERR_EXISTS);
    assert_non_null(strstr(et.text, "x: cannot be created: File exists"));
}

static void test_folder__names_that_leave_the_folder_are_not_plain(void **state)
{
    (void)state;
    assert_true(folder_name_is_plain(TEXT("model-00001-of-00002.safetensors")));
    assert_true(folder_name_is_plain(TEXT("..a")));
    assert_false(folder_name_is_plain(TEXT("")));
    assert_false(folder_name_is_plain(TEXT(".")));
    assert_false(folder_name_is_plain(TEXT("..")));
    assert_false(folder_name_is_plain(TEXT("a/b")));
    assert_true(folder_path_is_plain(TEXT("runs/events/a")));
    assert_true(folder_path_is_plain(TEXT("a")));
    assert_false(folder_path_is_plain(TEXT("")));
    assert_false(folder_path_is_plain(TEXT("../a")));
    assert_false(folder_path_is_plain(TEXT("a/../b")));
    assert_false(folder_path_is_plain(TEXT("/a")));
    assert_false(folder_path_is_plain(TEXT("a/")));
    assert_false(folder_name_is_plain(TEXT("/etc/passwd")));
    assert_false(folder_name_is_plain(TEXT("a\0b")));
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_source__dropped_pages_read_as_before),
        WITH_FOLDER(test_source__a_file_is_mapped_whole),
        WITH_FOLDER(test_source__what_cannot_be_opened_is_named_with_its_reason),
        WITH_FOLDER(test_file__content_is_replaced_at_once),
        WITH_FOLDER(test_file__an_abandoned_write_leaves_nothing),
        WITH_FOLDER(test_file__many_get_their_names_together_or_none_does),
        WITH_FOLDER(test_file__a_link_in_place_of_the_temporary_file_is_not_followed),
        WITH_FOLDER(test_file__reading_has_a_ceiling),
        WITH_FOLDER(test_folder__files_are_listed_in_the_order_of_bytes),
        WITH_FOLDER(test_folder__what_is_missing_above_is_made),
        cmocka_unit_test(test_folder__names_that_leave_the_folder_are_not_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
