/* test_malformed.c - files that must fail, each with the words it must fail with.
 *
 * tests/golden/malformed holds pairs: FILE and FILE.expected, the latter being one line
 * "CODE: message" with the file's name in place of its path. The reader follows from the end of the
 * name: .safetensors, .model.gguf (its config), .tokenizer.gguf, .gguf, adapter_config.json,
 * generation_config.json, config.json, tokenizer.json, .tokenizer.model, .json.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/formats/gguf/gguf_config.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/hf/hf_generation.h"
#include "common/formats/json/json_read.h"
#include "common/formats/peft/peft_config.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/tokenizer/tokenizer.h"

#define FOLDER "tests/golden/malformed"

static bool ends_in(const char *name, const char *end)
{
    size_t size = strlen(name);
    return size >= strlen(end) && strcmp(name + size - strlen(end), end) == 0;
}

/* A tokenizer is opened by its path, which messages begin with. */
static enum err open_tokenizer(const char *name, struct err_text *et)
{
    char path[256];
    struct tokenizer *tokenizer = NULL;
    (void)snprintf(path, sizeof path, FOLDER "/%s", name);
    enum err err = tokenizer_open(path, &tokenizer, et);
    tokenizer_close(&tokenizer);
    if (strncmp(et->text, FOLDER "/", strlen(FOLDER "/")) == 0)
        memmove(et->text, et->text + strlen(FOLDER "/"), strlen(et->text) - strlen(FOLDER));
    return err;
}

static enum err read_gguf(const char *name, struct span content, struct err_text *et)
{
    struct gguf gguf;
    struct hf_config config;
    enum err err = gguf_parse(&gguf, content, name, et);
    if (err != ERR_OK)
        return err;
    if (ends_in(name, ".model.gguf"))
        err = gguf_config_read(&gguf, &config, et);
    gguf_close(&gguf);
    return err;
}

static enum err read_file(const char *name, struct span content, struct err_text *et)
{
    union {
        struct safetensors st;
        struct hf_config config;
        struct hf_generation generation;
        struct peft_config adapter;
        struct json_doc *doc;
    } out;
    struct arena arena;
    if (ends_in(name, ".tokenizer.gguf") || ends_in(name, ".tokenizer.model") ||
        ends_in(name, "tokenizer.json"))
        return open_tokenizer(name, et);
    if (ends_in(name, ".gguf"))
        return read_gguf(name, content, et);
    if (ends_in(name, ".safetensors"))
        return safetensors_parse(&out.st, content, name, et);
    if (ends_in(name, "generation_config.json"))
        return hf_generation_parse(&out.generation, content, name, et);
    if (ends_in(name, "adapter_config.json")) {
        arena_init(&arena, 1 << 20);
        enum err err = peft_config_parse(&out.adapter, content, name, &arena, et);
        arena_fini(&arena);
        return err;
    }
    if (ends_in(name, "config.json"))
        return hf_config_parse(&out.config, content, name, et);
    const struct json_read_options options = {.name = name};
    return json_read_parse(content, &options, &out.doc, et);
}

static void check_file(const char *name)
{
    char path[256];
    struct bytes content;
    struct bytes expected;
    struct err_text et = {{0}};
    bytes_init(&content, 1 << 20);
    bytes_init(&expected, 1 << 12);
    (void)snprintf(path, sizeof path, FOLDER "/%s", name);
    assert_int_equal(file_read(path, 1 << 20, &content, NULL), ERR_OK);
    (void)snprintf(path, sizeof path, FOLDER "/%s.expected", name);
    assert_int_equal(file_read(path, 1 << 12, &expected, NULL), ERR_OK);
    enum err err = read_file(name, bytes_span(&content), &et);
    char found[sizeof et.text + 64];
    (void)snprintf(found, sizeof found, "%s: %s\n", error_name(err), et.text);
    bytes_append(&expected, "", 1);
    assert_int_equal(bytes_status(&expected), ERR_OK);
    assert_string_equal(found, (const char *)expected.data);
    bytes_fini(&expected);
    bytes_fini(&content);
}

static void test_malformed__each_file_fails_with_its_words(void **state)
{
    (void)state;
    struct arena arena;
    struct folder_listing listing;
    arena_init(&arena, 1 << 20);
    assert_int_equal(folder_list(FOLDER, &arena, &listing, NULL), ERR_OK);
    size_t count = 0;
    for (size_t i = 0; i < listing.count; i++) {
        if (ends_in(listing.entries[i].name, ".expected"))
            continue;
        check_file(listing.entries[i].name);
        count++;
    }
    print_message("%zu files\n", count);
    assert_true(count >= 50);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed__each_file_fails_with_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
