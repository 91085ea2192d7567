/* test_dataset_stream.c - files of every type as streams of ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/dataset/dataset_stream.h"
#include "common/formats/dataset/text_stream.h"
#include "common/formats/dataset/windows.h"
#include "common/mem/mem.h"
#include "tests/unit/common/formats/dataset/character_tokenizer.h"

enum { BLOB_BYTES = 1 << 22 };

static enum err prepare(const struct tokenizer *tokenizer, const char *file, const char *name,
                        enum perplexity_protocol protocol, struct bytes *blob,
                        struct dataset_counts *counts, struct err_text *et)
{
    struct dataset_options options = {.file_name = name, .sequence_len = 8};
    struct span span = span_of_text(text_of(file));
    TRY(dataset_detect(span, &options, et));
    return dataset_stream_prepare(span, &options, protocol, tokenizer, blob, counts, et);
}

/* Documents, one after the other, each ended by '|'; '<' BOS, '>' EOS, '{' and '}' chat marks, '/'
 * a line feed. */
static void check_stream(void *tokenizer, const char *file, const char *name,
                         enum perplexity_protocol protocol, const char *want, uint64_t words)
{
    struct bytes blob;
    struct text_stream stream;
    struct dataset_counts counts;
    struct err_text et = {""};
    char found[1024] = "", *at = found;
    bytes_init(&blob, BLOB_BYTES);
    if (prepare(tokenizer, file, name, protocol, &blob, &counts, &et) != ERR_OK ||
        text_stream_open(bytes_span(&blob), &stream, &et) != ERR_OK)
        fail_msg("%s", et.text);
    for (uint64_t d = 0; d < stream.document_count; d++) {
        for (uint64_t i = stream.offsets[d]; i < stream.offsets[d + 1]; i++) {
            uint32_t id = stream.tokens[i];
            char c = id < 5 ? "~<>{}"[id] : CHARACTER_TOKENIZER_SIGNS[id - 10];
            *at++ = c == '\n' ? '/' : c;
        }
        *at++ = '|';
    }
    *at = '\0';
    assert_string_equal(found, want);
    assert_int_equal(stream.bos, 1);
    assert_int_equal(stream.words, words);
    assert_int_equal(counts.tokens, stream.token_count);
    assert_int_equal(strlen(stream.tokenizer), 16);
    bytes_fini(&blob);
}

static void test_dataset_stream__plain_text_is_one_document_without_ends(void **state)
{
    const char *file = "one two\nthree four five\n";
    check_stream(*state, file, "a.txt", PERPLEXITY_WINDOWS, "one two/three four five/|", 6);
    check_stream(*state, file, "a.txt", PERPLEXITY_LLAMA_CPP, "one two/three four five|", 5);
    check_stream(*state, file, "a.txt", PERPLEXITY_WORDS, "one two/three four five/|", 6);
}

static void test_dataset_stream__a_special_tokens_spelling_is_text_for_llama_cpp_alone(void **state)
{
    check_stream(*state, "a</s>b", "a.txt", PERPLEXITY_WINDOWS, "a>b|", 1);
    check_stream(*state, "a</s>b", "a.txt", PERPLEXITY_LLAMA_CPP, "a~~s~b|", 1);
}

static void test_dataset_stream__completions_are_joined_but_for_words(void **state)
{
    const char *file = "{\"text\": \"one two\"}\n{\"text\": \"three\"}\n";
    check_stream(*state, file, "a.jsonl", PERPLEXITY_WINDOWS, "one two//three|", 3);
    check_stream(*state, file, "a.jsonl", PERPLEXITY_LLAMA_CPP, "one two//three|", 3);
    check_stream(*state, file, "a.jsonl", PERPLEXITY_WORDS, "one two|three|", 3);
}

static void test_dataset_stream__other_rows_are_samples_without_their_bos(void **state)
{
    const char *file = "{\"prompt\": \"ab\", \"completion\": \"cdefghijkl\"}\n"
                       "{\"prompt\": \"x\", \"completion\": \"y\"}\n";
    check_stream(*state, file, "a.jsonl", PERPLEXITY_WINDOWS, "abcdefghijkl>|xy>|", 2);
}

static void test_dataset_stream__a_file_without_text_is_refused(void **state)
{
    struct bytes blob;
    struct dataset_counts counts;
    struct err_text et = {""};
    bytes_init(&blob, BLOB_BYTES);
    assert_int_equal(
        prepare(*state, "{\"text\": \"\"}\n", "a.jsonl", PERPLEXITY_WORDS, &blob, &counts, &et),
        ERR_DATA);
    assert_non_null(strstr(et.text, "a.jsonl"));
    assert_int_equal(prepare(*state, "{\"text\": \"a\"}\n{\"text\": 1}\n", "a.jsonl",
                             PERPLEXITY_WINDOWS, &blob, &counts, &et),
                     ERR_DATA);
    assert_non_null(strstr(et.text, "a.jsonl:2"));
    assert_int_equal(blob.size, 0);
    bytes_fini(&blob);
}

static void test_dataset_stream__lack_of_memory_is_an_error(void **state)
{
    struct text file = TEXT("{\"text\": \"one two\"}\n{\"text\": \"three\"}\n");
    struct dataset_options options = {.file_name = "x.jsonl", .sequence_len = 64};
    struct dataset_counts counts;
    assert_int_equal(dataset_detect(span_of_text(file), &options, NULL), ERR_OK);
    size_t n = 1;
    for (;; n++) {
        struct bytes blob;
        bytes_init(&blob, BLOB_BYTES);
        (void)mem_fault_after(n);
        enum err err = dataset_stream_prepare(span_of_text(file), &options, PERPLEXITY_WINDOWS,
                                              *state, &blob, &counts, NULL);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || blob.size == 0);
        bytes_fini(&blob);
        if (err == ERR_OK)
            break;
        assert_int_equal(err, ERR_OUT_OF_MEMORY);
    }
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dataset_stream__plain_text_is_one_document_without_ends),
        cmocka_unit_test(
            test_dataset_stream__a_special_tokens_spelling_is_text_for_llama_cpp_alone),
        cmocka_unit_test(test_dataset_stream__completions_are_joined_but_for_words),
        cmocka_unit_test(test_dataset_stream__other_rows_are_samples_without_their_bos),
        cmocka_unit_test(test_dataset_stream__a_file_without_text_is_refused),
        cmocka_unit_test(test_dataset_stream__lack_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, character_tokenizer_make, character_tokenizer_drop);
}
