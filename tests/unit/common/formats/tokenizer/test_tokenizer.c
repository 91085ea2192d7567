/* test_tokenizer.c - small tokenizers written here: components, errors, streams, lack of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/formats/tokenizer/chat_template.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/mem.h"

enum { PATH_BYTES = 256, JSON_BYTES = 1 << 16 };

/* Vocabulary of all cases: letters, blanks in three spellings, two merged tokens. */
#define VOCABULARY                                                                                 \
    "\"vocab\": {\"<unk>\": 0, \"<s>\": 1, \"</s>\": 2, \"a\": 3, \"b\": 4, \"c\": 5, \"ab\": 6, " \
    "\"\\u2581\": 7, \"\\u2581ab\": 8, \" \": 9, \"<0xC3>\": 10, \"<0xA9>\": 11, \"\\u0120\": "    \
    "12, \"1\": 13, \".\": 14}, \"merges\": [\"a b\", [\"\\u2581\", \"ab\"]]"
#define ADDED                                                                                      \
    "\"added_tokens\": [{\"id\": 1, \"content\": \"<s>\", \"special\": true}, {\"id\": 2, "        \
    "\"content\": \"</s>\", \"special\": true, \"lstrip\": true, \"rstrip\": true}], "

struct folder {
    char path[PATH_BYTES];
};

static void put_file(const struct folder *folder, const char *name, const char *content)
{
    char path[PATH_BYTES + 64];
    (void)snprintf(path, sizeof(path), "%s/%s", folder->path, name);
    assert_int_equal(file_write_atomic(path, span_of_text(text_of(content)), NULL), ERR_OK);
}

static void remove_file(const struct folder *folder, const char *name)
{
    char path[PATH_BYTES + 64];
    (void)snprintf(path, sizeof(path), "%s/%s", folder->path, name);
    assert_int_equal(unlink(path), 0);
}

static struct folder folder_make(void)
{
    struct folder folder;
    (void)snprintf(folder.path, sizeof(folder.path), "/tmp/test_tokenizer_XXXXXX");
    assert_non_null(mkdtemp(folder.path));
    return folder;
}

static void folder_remove(const struct folder *folder)
{
    char path[PATH_BYTES + 64];
    for (size_t i = 0; tokenizer_file_name(i) != NULL; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder->path, tokenizer_file_name(i));
        (void)unlink(path);
    }
    assert_int_equal(rmdir(folder->path), 0);
}

/* A tokenizer of the vocabulary with the given further keys of the model and of the file. */
static enum err open_made(const struct folder *folder, const char *model, const char *rest,
                          struct tokenizer **out, struct err_text *et)
{
    char json[JSON_BYTES];
    (void)snprintf(json, sizeof(json),
                   "{" ADDED "\"model\": {\"type\": \"BPE\", %s" VOCABULARY "}%s%s}", model,
                   rest[0] == '\0' ? "" : ", ", rest);
    put_file(folder, "tokenizer.json", json);
    return tokenizer_open(folder->path, out, et);
}

static void check_ids(const struct tokenizer *tokenizer, const char *text, unsigned flags,
                      const uint32_t *want, size_t count)
{
    struct token_list got;
    token_list_init(&got);
    assert_int_equal(tokenizer_encode(tokenizer, NULL, text_of(text), flags, &got), ERR_OK);
    if (got.count != count)
        fail_msg("'%s': %zu tokens, expected %zu", text, got.count, count);
    for (size_t i = 0; i < count; i++)
        if (got.ids[i] != want[i])
            fail_msg("'%s': token %zu is %u, expected %u", text, i, got.ids[i], want[i]);
    token_list_fini(&got);
}

#define IDS(...) (const uint32_t[]){__VA_ARGS__}, COUNT_OF(((const uint32_t[]){__VA_ARGS__}))

static const struct {
    const char *rest;
    const char *text;
    size_t count;
    uint32_t ids[8];
} COMPONENTS[] = {
    {"", "abc", 2, {6, 5}},
    {"\"normalizer\": null, \"pre_tokenizer\": null", "abab", 2, {6, 6}},
    {"\"normalizer\": {\"type\": \"Lowercase\"}", "ABc", 2, {6, 5}},
    {"\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", "
     "\"prepend\": \"\\u2581\"}, {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, "
     "\"content\": \"\\u2581\"}]}",
     "ab ab",
     2,
     {8, 8}},
    {"\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"x+\"}, \"content\": "
     "\"a\"}",
     "xxxb",
     1,
     {6}},
    {"\"normalizer\": {\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": false}",
     "  a ",
     2,
     {3, 9}},
    {"\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFD\"}, "
     "{\"type\": \"StripAccents\"}]}",
     "\xC3\xA1",
     1,
     {3}},
    {"\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"\\u2581\", "
     "\"prepend_scheme\": \"first\"}",
     "ab ab",
     2,
     {8, 8}},
    {"\"pre_tokenizer\": {\"type\": \"Metaspace\", \"prepend_scheme\": \"never\", \"split\": "
     "false}",
     "ab ab",
     2,
     {6, 8}},
    {"\"pre_tokenizer\": {\"type\": \"WhitespaceSplit\"}", " ab  a", 2, {6, 3}},
    {"\"pre_tokenizer\": {\"type\": \"Whitespace\"}", "ab.a b", 4, {6, 14, 3, 4}},
    {"\"pre_tokenizer\": {\"type\": \"Digits\", \"individual_digits\": true}",
     "ab11",
     3,
     {6, 13, 13}},
    {"\"pre_tokenizer\": {\"type\": \"Punctuation\"}", "ab.", 2, {6, 14}},
    {"\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \"b\"}, "
     "\"behavior\": \"Isolated\"}",
     "abc",
     3,
     {3, 4, 5}},
    {"\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"[ab]\"}, "
     "\"behavior\": \"Removed\", \"invert\": true}",
     "acb",
     2,
     {3, 4}},
    {"\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
     "\"ByteLevel\", \"add_prefix_space\": true, \"use_regex\": true}]}",
     "ab",
     2,
     {12, 6}},
    {"\"normalizer\": {\"type\": \"NFC\"}", "a</s>b", 3, {3, 2, 4}},
    {"", "a  </s>  b", 3, {3, 2, 4}}, /* takes the blanks on both sides along */
};

static void test_tokenizer__components_do_what_the_file_says(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    for (size_t i = 0; i < COUNT_OF(COMPONENTS); i++) {
        struct tokenizer *tokenizer = NULL;
        struct err_text et = {0};
        if (open_made(&folder, "\"unk_token\": \"<unk>\", ", COMPONENTS[i].rest, &tokenizer, &et) !=
            ERR_OK)
            fail_msg("%s: %s", COMPONENTS[i].rest, et.text);
        check_ids(tokenizer, COMPONENTS[i].text, 0, COMPONENTS[i].ids, COMPONENTS[i].count);
        tokenizer_close(&tokenizer);
        assert_null(tokenizer);
    }
    folder_remove(&folder);
}

static void test_tokenizer__unknown_components_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        const char *rest;
        enum err err;
        const char *want;
    } rows[] = {
        {"", "\"normalizer\": {\"type\": \"BertNormalizer\"}", ERR_UNSUPPORTED,
         "normalizer 'BertNormalizer' is not supported"},
        {"", "\"pre_tokenizer\": {\"type\": \"UnicodeScripts\"}", ERR_UNSUPPORTED,
         "pre-tokenizer 'UnicodeScripts' is not supported"},
        {"", "\"decoder\": {\"type\": \"WordPiece\"}", ERR_UNSUPPORTED,
         "decoder 'WordPiece' is not supported"},
        {"", "\"post_processor\": {\"type\": \"Magic\"}", ERR_UNSUPPORTED,
         "post-processor 'Magic' is not supported"},
        {"\"end_of_word_suffix\": \"</w>\", ", "", ERR_UNSUPPORTED,
         "model.end_of_word_suffix is not supported"},
        {"\"unk_token\": \"[UNK]\", ", "", ERR_FORMAT,
         "model.unk_token: expected a token of the vocabulary, found the text \"[UNK]\""},
        {"\"dropout\": 0.1, ", "", ERR_UNSUPPORTED, "model.dropout is not supported"},
        {"", "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}}",
         ERR_UNSUPPORTED, "pattern '(': "},
        {"",
         "\"post_processor\": {\"type\": \"BertProcessing\", \"cls\": [\"x\", 99], \"sep\": "
         "[\"x\", 1]}",
         ERR_FORMAT, "post_processor.cls[1]: expected the id of a token"},
    };
    struct folder folder = folder_make();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct tokenizer *tokenizer = NULL;
        struct err_text et = {0};
        assert_int_equal(open_made(&folder, rows[i].model, rows[i].rest, &tokenizer, &et),
                         rows[i].err);
        assert_null(tokenizer);
        if (strstr(et.text, rows[i].want) == NULL || strstr(et.text, "tokenizer.json") == NULL)
            fail_msg("got: %s\nexpected: %s", et.text, rows[i].want);
    }
    folder_remove(&folder);
}

static void test_tokenizer__special_tokens_come_from_the_files_beside_it(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct tokenizer *tokenizer = NULL;
    struct err_text et = {0};
    put_file(
        &folder, "tokenizer_config.json",
        "{\"tokenizer_class\": \"LlamaTokenizer\", \"add_bos_token\": true, \"add_eos_token\": "
        "true, \"bos_token\": {\"content\": \"<s>\"}, \"chat_template\": \"from config\"}");
    put_file(&folder, "special_tokens_map.json", "{\"eos_token\": \"</s>\", \"bos_token\": \"a\"}");
    put_file(&folder, "config.json", "{\"eos_token_id\": [3, 4], \"pad_token_id\": 5}");
    put_file(&folder, "chat_template.jinja", "from file");
    assert_int_equal(open_made(&folder, "", "", &tokenizer, &et), ERR_OK);
    struct tokenizer_roles roles = tokenizer_roles(tokenizer);
    assert_int_equal(roles.bos, 1);
    assert_int_equal(roles.eos, 2);
    assert_int_equal(roles.pad, 5);
    assert_int_equal(roles.unk, TOKENIZER_NONE);
    assert_true(text_is(tokenizer_chat_template(tokenizer), "from file"));
    check_ids(tokenizer, "ab", TOKENIZER_ADD_SPECIAL, IDS(1, 6, 2));
    check_ids(tokenizer, "a<s>b", 0, IDS(3, 1, 4));
    assert_int_equal(tokenizer_vocabulary_size(tokenizer), 15);
    assert_true(text_is(tokenizer_token(tokenizer, 6), "ab"));
    assert_int_equal(tokenizer_token(tokenizer, 99).size, 0);
    tokenizer_close(&tokenizer);
    put_file(&folder, "tokenizer_config.json", "{}");
    put_file(&folder, "chat_template.json", "{\"chat_template\": \"of a processor\"}");
    put_file(&folder, "chat_template.jinja", "");
    assert_int_equal(tokenizer_open(folder.path, &tokenizer, &et), ERR_OK);
    assert_true(text_is(tokenizer_chat_template(tokenizer), ""));
    tokenizer_close(&tokenizer);
    remove_file(&folder, "chat_template.jinja");
    assert_int_equal(tokenizer_open(folder.path, &tokenizer, &et), ERR_OK);
    assert_true(text_is(tokenizer_chat_template(tokenizer), "of a processor"));
    tokenizer_close(&tokenizer);
    put_file(&folder, "special_tokens_map.json", "{\"eos_token\": \"<gone>\"}");
    assert_int_equal(tokenizer_open(folder.path, &tokenizer, &et), ERR_FORMAT);
    assert_non_null(strstr(et.text, "special_tokens_map.json: eos_token: expected a token of the "
                                    "vocabulary, found the text \"<gone>\""));
    folder_remove(&folder);
}

static void test_chat_template__resolves_by_name_model_or_says_why_not(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct tokenizer *tokenizer = NULL;
    const struct chat_template *found = NULL;
    struct err_text et = {0};
    assert_int_equal(open_made(&folder, "", "", &tokenizer, &et), ERR_OK);
    assert_int_equal(chat_template_resolve(tokenizer, NULL, &found, &et), ERR_NOT_FOUND);
    assert_int_equal(chat_template_resolve(tokenizer, "chatml", &found, &et), ERR_OK);
    assert_string_equal(chat_template_name(found), "chatml");
    assert_int_equal(chat_template_resolve(tokenizer, "zephyr", &found, &et), ERR_UNSUPPORTED);
    assert_non_null(strstr(et.text, "the tokenizer names no eos_token"));
    assert_int_equal(chat_template_resolve(tokenizer, "chatlm", &found, &et), ERR_RECIPE);
    assert_non_null(strstr(et.text, "expected one of chatml, "));
    tokenizer_close(&tokenizer);
    put_file(&folder, "chat_template.jinja", "{{ something.new }}");
    assert_int_equal(tokenizer_open(folder.path, &tokenizer, &et), ERR_OK);
    assert_int_equal(chat_template_resolve(tokenizer, "tokenizer_default", &found, &et),
                     ERR_UNSUPPORTED);
    assert_string_equal(chat_template_name(found), "chatml"); /* errors change nothing */
    tokenizer_close(&tokenizer);
    folder_remove(&folder);
}

static void test_tokenizer__special_spellings_can_be_taken_as_text(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct tokenizer *tokenizer = NULL;
    assert_int_equal(
        open_made(&folder, "\"unk_token\": \"<unk>\", \"fuse_unk\": true, ", "", &tokenizer, NULL),
        ERR_OK);
    check_ids(tokenizer, "a<s>b", TOKENIZER_SPECIAL_AS_TEXT, IDS(3, 0, 4));
    tokenizer_close(&tokenizer);
    folder_remove(&folder);
}

static const char SENTENCE_DECODER[] =
    "\"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": "
    "{\"String\": \"\\u2581\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, {\"type\": "
    "\"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}]}";

static void test_tokenizer__stream_gives_whole_characters_and_the_same_text(void **state)
{
    (void)state;
    /* One character in two byte pieces; a byte that is never completed; a start left over. */
    static const uint32_t ids[] = {8, 10, 11, 7, 3, 10, 4, 2, 11, 10};
    static const char *const steps[] = {
        "ab", "", "\xC3\xA9", " ", "a", "", "\xEF\xBF\xBD\x62", "", "\xEF\xBF\xBD", ""};
    struct folder folder = folder_make();
    struct tokenizer *tokenizer = NULL;
    struct tokenizer_stream stream;
    struct bytes streamed, whole;
    assert_int_equal(
        open_made(&folder, "\"byte_fallback\": true, ", SENTENCE_DECODER, &tokenizer, NULL),
        ERR_OK);
    bytes_init(&streamed, JSON_BYTES);
    bytes_init(&whole, JSON_BYTES);
    tokenizer_stream_init(&stream, tokenizer, TOKENIZER_SKIP_SPECIAL);
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        size_t before = streamed.size;
        assert_int_equal(tokenizer_stream_push(&stream, ids[i], &streamed), ERR_OK);
        assert_int_equal(streamed.size - before, strlen(steps[i]));
        if (streamed.size > before)
            assert_memory_equal(streamed.data + before, steps[i], strlen(steps[i]));
    }
    assert_int_equal(tokenizer_stream_end(&stream, &streamed), ERR_OK);
    assert_int_equal(
        tokenizer_decode(tokenizer, ids, COUNT_OF(ids), TOKENIZER_SKIP_SPECIAL, &whole), ERR_OK);
    assert_true(span_equal(bytes_span(&streamed), bytes_span(&whole)));
    assert_int_equal(tokenizer_decode(tokenizer, (uint32_t[]){3, 500}, 2, 0, &whole), ERR_DATA);
    assert_int_equal(whole.size, streamed.size);
    bytes_fini(&streamed);
    bytes_fini(&whole);
    tokenizer_close(&tokenizer);
    folder_remove(&folder);
}

static void test_tokenizer__scratch_never_changes_a_result(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct tokenizer *tokenizer = NULL;
    struct tokenizer_scratch *scratch = NULL;
    uint64_t random = 5;
    assert_int_equal(open_made(&folder, "\"unk_token\": \"<unk>\", ", "", &tokenizer, NULL),
                     ERR_OK);
    assert_int_equal(tokenizer_scratch_create(tokenizer, &scratch), ERR_OK);
    for (int round = 0; round < 500; round++) {
        char text[40];
        struct token_list kept, fresh;
        size_t size = 0;
        for (; size < sizeof(text); size++) {
            random = random * 6364136223846793005ull + 1442695040888963407ull;
            text[size] = "abcab ab1."[(random >> 33) % 10];
        }
        token_list_init(&kept);
        token_list_init(&fresh);
        struct text t = {text, size};
        assert_int_equal(tokenizer_encode(tokenizer, scratch, t, 0, &kept), ERR_OK);
        assert_int_equal(tokenizer_encode(tokenizer, NULL, t, 0, &fresh), ERR_OK);
        assert_int_equal(kept.count, fresh.count);
        assert_memory_equal(kept.ids, fresh.ids, kept.count * sizeof(*kept.ids));
        token_list_fini(&kept);
        token_list_fini(&fresh);
    }
    tokenizer_scratch_destroy(&scratch);
    tokenizer_close(&tokenizer);
    folder_remove(&folder);
}

static void test_tokenizer__missing_files_are_said(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct tokenizer *tokenizer = NULL;
    struct err_text et = {0};
    assert_int_equal(tokenizer_open(folder.path, &tokenizer, &et), ERR_NOT_FOUND);
    assert_non_null(strstr(et.text, "no tokenizer (looked for tokenizer.json"));
    assert_int_equal(tokenizer_open("/nonexistent/x.json", &tokenizer, &et), ERR_NOT_FOUND);
    folder_remove(&folder);
}

/* The n-th allocation fails, for all n: an error, nothing leaked, nothing changed. */
static void test_tokenizer__lack_of_memory_is_an_error(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct tokenizer *tokenizer = NULL;
    const char *rest = "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true}, "
                       "\"normalizer\": {\"type\": \"NFKC\"}";
    assert_int_equal(open_made(&folder, "", rest, &tokenizer, NULL), ERR_OK);
    tokenizer_close(&tokenizer);
    size_t n = 1;
    for (;; n++) {
        (void)mem_fault_after(n);
        enum err err = tokenizer_open(folder.path, &tokenizer, NULL);
        (void)mem_fault_after(0);
        if (err == ERR_OK)
            break;
        assert_int_equal(err, ERR_OUT_OF_MEMORY);
        assert_null(tokenizer);
    }
    assert_true(n > 5);
    for (n = 1;; n++) {
        struct token_list list;
        token_list_init(&list);
        (void)mem_fault_after(n);
        enum err err = tokenizer_encode(tokenizer, NULL, TEXT("ab <s> abc"), 0, &list);
        (void)mem_fault_after(0);
        assert_int_equal(err == ERR_OK ? 0 : list.count, 0);
        token_list_fini(&list);
        if (err == ERR_OK)
            break;
        assert_int_equal(err, ERR_OUT_OF_MEMORY);
    }
    assert_true(n > 5);
    tokenizer_close(&tokenizer);
    folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer__components_do_what_the_file_says),
        cmocka_unit_test(test_tokenizer__unknown_components_are_named),
        cmocka_unit_test(test_tokenizer__special_tokens_come_from_the_files_beside_it),
        cmocka_unit_test(test_chat_template__resolves_by_name_model_or_says_why_not),
        cmocka_unit_test(test_tokenizer__special_spellings_can_be_taken_as_text),
        cmocka_unit_test(test_tokenizer__stream_gives_whole_characters_and_the_same_text),
        cmocka_unit_test(test_tokenizer__scratch_never_changes_a_result),
        cmocka_unit_test(test_tokenizer__missing_files_are_said),
        cmocka_unit_test(test_tokenizer__lack_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
