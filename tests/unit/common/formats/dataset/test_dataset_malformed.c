/* test_dataset_malformed.c - data sets that must fail, each with the words it must fail with.
 *
 * tests/golden/dataset holds pairs: TYPE.NAME.EXT and the same with .expected, which has what
 * dataset_check says of the file under its name: one line "CODE: message", or one line for each bad
 * row. TYPE is a recipe's word for the type of row.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/formats/dataset/dataset_check.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/mem/bytes.h"

#define FOLDER "tests/golden/dataset"

static bool ends_in(const char *name, const char *end)
{
    size_t size = strlen(name);
    return size >= strlen(end) && strcmp(name + size - strlen(end), end) == 0;
}

static struct bytes content_of(const char *name, const char *end)
{
    char path[256];
    struct bytes content;
    bytes_init(&content, 1 << 20);
    (void)snprintf(path, sizeof(path), FOLDER "/%s%s", name, end);
    if (file_read(path, 1 << 20, &content, NULL) != ERR_OK)
        fail_msg("%s cannot be read", path);
    return content;
}

static void check_file(const char *name)
{
    struct dataset_options options = {.file_name = name, .sequence_len = 64};
    struct dataset_report report;
    struct err_text et = {0};
    struct bytes content = content_of(name, "");
    struct bytes expected = content_of(name, ".expected");
    struct bytes found;
    bytes_init(&found, 1 << 16);
    struct text word = {name, strcspn(name, ".")};
    assert_int_equal(dataset_type_parse(word, &options.type, NULL), ERR_OK);
    enum err err = dataset_check(bytes_span(&content), &options, NULL, &report, &et);
    if (err != ERR_OK)
        bytes_print(&found, "%s: %s\n", error_name(err), et.text);
    for (size_t i = 0; err == ERR_OK && i < report.problem_count; i++)
        bytes_print(&found, "%s\n", report.problems[i].text);
    bytes_append(&found, "", 1);
    bytes_append(&expected, "", 1);
    assert_string_equal((char *)found.data, (char *)expected.data);
    assert_true(found.size > 1);
    bytes_fini(&found);
    bytes_fini(&expected);
    bytes_fini(&content);
}

static void test_dataset__each_bad_file_fails_with_its_words(void **state)
{
    (void)state;
    struct arena arena;
    struct folder_listing listing;
    size_t count = 0;
    arena_init(&arena, 1 << 20);
    assert_int_equal(folder_list(FOLDER, &arena, &listing, NULL), ERR_OK);
    for (size_t i = 0; i < listing.count; i++) {
        if (ends_in(listing.entries[i].name, ".expected"))
            continue;
        check_file(listing.entries[i].name);
        count++;
    }
    print_message("%zu files\n", count);
    assert_true(count >= 40);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dataset__each_bad_file_fails_with_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
