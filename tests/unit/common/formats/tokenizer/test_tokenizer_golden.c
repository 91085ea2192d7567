/* test_tokenizer_golden.c - small tokenizers against what their own libraries make of texts.
 *
 * tests/golden/tokenizer/make.py wrote them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/mem.h"

enum { PATH_BYTES = 256, FILE_BYTES = 1 << 22 };

#define FOLDER "tests/golden/tokenizer/"

static struct json_doc *opened_json(const char *name)
{
    struct json_doc *doc = NULL;
    struct err_text et = {{0}};
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), FOLDER "%s", name);
    if (json_read_open(path, FILE_BYTES, &doc, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return doc;
}

static void check_ids(struct json_value want, const struct token_list *got, const char *name,
                      size_t number)
{
    for (size_t i = 0; i < json_read_count(want) && i < got->count; i++) {
        int64_t id;
        assert_int_equal(json_read_as_i64(json_read_item(want, i), 0, UINT32_MAX, &id, NULL),
                         ERR_OK);
        if (id != got->ids[i])
            fail_msg("%s, text %zu: token %zu is %u, expected %lld", name, number, i, got->ids[i],
                     (long long)id);
    }
    if (json_read_count(want) != got->count)
        fail_msg("%s, text %zu: %zu tokens, expected %zu", name, number, got->count,
                 json_read_count(want));
}

/* `flags` of encoding: SentencePiece takes "<s>" in a text for three characters, Hugging Face for
 * the token. */
static void check_golden(const char *file, const char *expected, unsigned flags)
{
    struct tokenizer *tokenizer = NULL;
    struct err_text et = {{0}};
    struct json_value texts, ids, decoded;
    struct json_doc *inputs = opened_json("texts.json");
    struct json_doc *outputs = opened_json(expected);
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), FOLDER "%s", file);
    if (tokenizer_open(path, &tokenizer, &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(json_read_array(json_read_root(inputs), "texts", &texts, &et), ERR_OK);
    assert_int_equal(json_read_array(json_read_root(outputs), "ids", &ids, &et), ERR_OK);
    assert_int_equal(json_read_array(json_read_root(outputs), "texts", &decoded, &et), ERR_OK);
    assert_true(json_read_count(texts) > 100 && json_read_count(texts) == json_read_count(ids));
    for (size_t i = 0; i < json_read_count(texts); i++) {
        struct text text, want;
        struct token_list got;
        struct bytes again;
        token_list_init(&got);
        bytes_init(&again, FILE_BYTES);
        assert_int_equal(json_read_as_text(json_read_item(texts, i), &text, &et), ERR_OK);
        assert_int_equal(json_read_as_text(json_read_item(decoded, i), &want, &et), ERR_OK);
        assert_int_equal(tokenizer_encode(tokenizer, NULL, text, flags, &got), ERR_OK);
        check_ids(json_read_item(ids, i), &got, file, i);
        assert_int_equal(tokenizer_decode(tokenizer, got.ids, got.count, 0, &again), ERR_OK);
        if (!text_equal(want, (struct text){(const char *)again.data, again.size}))
            fail_msg("%s, text %zu decodes to '%.*s', expected '%.*s'", file, i, (int)again.size,
                     (const char *)again.data, TEXT_ARGS(want));
        bytes_fini(&again);
        token_list_fini(&got);
    }
    json_read_close(&inputs);
    json_read_close(&outputs);
    tokenizer_close(&tokenizer);
}

static void test_tokenizer_golden__sentencepiece_gives_its_own_ids(void **state)
{
    (void)state;
    static const char *const names[] = {"unigram-mapped", "unigram-bytes", "bpe-mapped",
                                        "bpe-no-prefix"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char file[PATH_BYTES], expected[PATH_BYTES];
        (void)snprintf(file, sizeof(file), "%s.model", names[i]);
        (void)snprintf(expected, sizeof(expected), "%s.expected.json", names[i]);
        check_golden(file, expected, TOKENIZER_SPECIAL_AS_TEXT);
    }
}

static void test_tokenizer_golden__unigram_json_gives_the_ids_of_its_library(void **state)
{
    (void)state;
    static const char *const names[] = {"hf-unigram-plain", "hf-unigram-mapped", "hf-unigram-bytes",
                                        "hf-unigram-lower"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char file[PATH_BYTES], expected[PATH_BYTES];
        (void)snprintf(file, sizeof(file), "%s.json", names[i]);
        (void)snprintf(expected, sizeof(expected), "%s.expected.json", names[i]);
        check_golden(file, expected, 0);
    }
}

static void test_tokenizer_golden__roles_are_those_of_the_model(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = NULL;
    assert_int_equal(tokenizer_open(FOLDER "unigram-bytes.model", &tokenizer, NULL), ERR_OK);
    struct tokenizer_roles roles = tokenizer_roles(tokenizer);
    assert_int_equal(roles.pad, 0);
    assert_int_equal(roles.eos, 1);
    assert_int_equal(roles.bos, 2);
    assert_int_equal(roles.unk, 3);
    assert_true(text_is(tokenizer_token(tokenizer, roles.bos), "<bos>"));
    tokenizer_close(&tokenizer);
}

/* The n-th allocation fails, for all n: an error, nothing leaked, nothing changed. */
static void test_tokenizer_golden__lack_of_memory_is_an_error(void **state)
{
    (void)state;
    static const char *const names[] = {
        FOLDER "unigram-bytes.model",
        FOLDER "bpe-mapped.model",
        FOLDER "hf-unigram-mapped.json",
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct tokenizer *tokenizer = NULL;
        struct token_list ids;
        size_t n = 1;
        for (enum err err = ERR_INTERNAL; err != ERR_OK; n++) {
            (void)mem_fault_after(n);
            err = tokenizer_open(names[i], &tokenizer, NULL);
            (void)mem_fault_after(0);
            assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
            assert_int_equal(tokenizer != NULL, err == ERR_OK);
        }
        assert_true(n > 4);
        token_list_init(&ids);
        n = 1;
        for (enum err err = ERR_INTERNAL; err != ERR_OK; n++) {
            (void)mem_fault_after(n);
            err =
                tokenizer_encode(tokenizer, NULL, TEXT("ab <user>  work \xEF\xAC\x81ne"), 0, &ids);
            (void)mem_fault_after(0);
            assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
            assert_int_equal(ids.count != 0, err == ERR_OK);
        }
        assert_true(n > 4);
        token_list_fini(&ids);
        tokenizer_close(&tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_golden__sentencepiece_gives_its_own_ids),
        cmocka_unit_test(test_tokenizer_golden__unigram_json_gives_the_ids_of_its_library),
        cmocka_unit_test(test_tokenizer_golden__roles_are_those_of_the_model),
        cmocka_unit_test(test_tokenizer_golden__lack_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
