/* test_windows.c - which ids share a row, and which of them are scored, under each protocol. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/dataset/rows.h"
#include "common/formats/dataset/text_stream.h"
#include "common/formats/dataset/windows.h"
#include "common/mem/mem.h"

enum { BLOB_BYTES = 1 << 22, BOS = 99 };

/* A stream of documents with ids 0, 1, 2, ... `lengths` ends with 0. */
static struct bytes stream_of(const unsigned *lengths, uint32_t bos, uint64_t words)
{
    struct text_stream_builder builder;
    struct bytes blob;
    uint32_t ids[64], next = 0;
    bytes_init(&blob, BLOB_BYTES);
    text_stream_builder_init(&builder);
    for (; *lengths > 0; lengths++) {
        for (unsigned i = 0; i < *lengths; i++)
            ids[i] = next++;
        text_stream_builder_add(&builder, ids, *lengths);
    }
    builder.words = words;
    assert_int_equal(text_stream_builder_write(&builder, bos, "00c0ffee", &blob), ERR_OK);
    text_stream_builder_fini(&builder);
    return blob;
}

/* Rows as "B 0 1* 2*|B 3 ...": a star where the token's prediction counts. */
static void spell(struct span blob, struct bytes *out)
{
    struct rows rows;
    struct err_text et = {""};
    if (rows_open(blob, &rows, &et) != ERR_OK)
        fail_msg("%s", et.text);
    for (uint64_t r = 0; r < rows.row_count; r++) {
        struct row row = rows_at(&rows, r);
        for (size_t i = 0; i < row.count; i++) {
            bytes_print(out, "%s", i > 0 ? " " : r > 0 ? "|" : "");
            if (row.tokens[i] == BOS)
                bytes_print(out, "B");
            else
                bytes_print(out, "%u", row.tokens[i]);
            bytes_print(out, "%s", row.loss[i] ? "*" : "");
        }
    }
    bytes_append(out, "", 1);
}

static struct windows_options options_of(enum perplexity_protocol protocol, uint32_t length)
{
    return (struct windows_options){.protocol = protocol,
                                    .length = length,
                                    .what = "calibration text",
                                    .advice = "lower quantize.samples or give more text"};
}

static void check_cut(const struct bytes *streams, size_t count,
                      const struct windows_options *options, const char *want,
                      struct windows_stats *stats)
{
    struct span spans[4];
    struct bytes rows, found;
    struct windows_stats ignored;
    struct err_text et = {""};
    bytes_init(&rows, BLOB_BYTES);
    bytes_init(&found, BLOB_BYTES);
    for (size_t i = 0; i < count; i++)
        spans[i] = bytes_span(&streams[i]);
    if (windows_cut(spans, count, options, &rows, stats != NULL ? stats : &ignored, &et) != ERR_OK)
        fail_msg("%s", et.text);
    spell(bytes_span(&rows), &found);
    assert_string_equal((const char *)found.data, want);
    bytes_fini(&rows);
    bytes_fini(&found);
}

static void test_windows__each_row_is_a_bos_and_the_next_ids(void **state)
{
    (void)state;
    struct windows_options options = options_of(PERPLEXITY_WINDOWS, 4);
    struct windows_stats stats;
    const unsigned lengths[] = {11, 0};
    struct bytes stream = stream_of(lengths, BOS, 5);
    check_cut(&stream, 1, &options, "B 0* 1* 2*|B 3* 4* 5*|B 6* 7* 8*", &stats);
    assert_int_equal(stats.rows, 3);
    assert_int_equal(stats.tokens, 12);
    assert_int_equal(stats.scored, 9);
    assert_int_equal(stats.left_tokens, 2);
    bytes_fini(&stream);
    stream = stream_of(lengths, TEXT_STREAM_NO_BOS, 5);
    check_cut(&stream, 1, &options, "0 1* 2* 3*|4 5* 6* 7*", NULL);
    bytes_fini(&stream);
}

static void test_windows__rows_go_on_over_documents_and_streams(void **state)
{
    (void)state;
    struct windows_options options = options_of(PERPLEXITY_WINDOWS, 4);
    const unsigned lengths[] = {2, 3, 0};
    struct bytes streams[] = {stream_of(lengths, BOS, 1), stream_of(lengths, BOS, 1)};
    check_cut(streams, 2, &options, "B 0* 1* 2*|B 3* 4* 0*|B 1* 2* 3*", NULL);
    options.row_count_max = 2;
    check_cut(streams, 2, &options, "B 0* 1* 2*|B 3* 4* 0*", NULL);
    bytes_fini(&streams[0]);
    bytes_fini(&streams[1]);
}

/* llama-perplexity: the text has its own BOS, each window's first token is replaced by one, and of
 * n positions those from n / 2 on predict: the first scored token is at n / 2 + 1. */
static void test_windows__llama_cpp_scores_the_second_half(void **state)
{
    (void)state;
    struct windows_options options = options_of(PERPLEXITY_LLAMA_CPP, 6);
    struct windows_stats stats;
    const unsigned lengths[] = {17, 0};
    struct bytes stream = stream_of(lengths, BOS, 1);
    check_cut(&stream, 1, &options, "B 0 1 2 3* 4*|B 6 7 8 9* 10*|B 12 13 14 15* 16*", &stats);
    assert_int_equal(stats.scored, 6);
    options.length = 5;
    check_cut(&stream, 1, &options, "B 0 1 2* 3*|B 5 6 7* 8*|B 10 11 12* 13*", NULL);
    bytes_fini(&stream);
    stream = stream_of(lengths, TEXT_STREAM_NO_BOS, 1);
    options.length = 6;
    check_cut(&stream, 1, &options, "0 1 2 3 4* 5*|6 7 8 9 10* 11*", NULL);
    bytes_fini(&stream);
}

/* The rolling windows of lm-evaluation-harness with max_seq_len 3 and context 1: ([p, 0, 1], [0, 1,
 * 2]), ([2, 3, 4], [3, 4, 5]), ([4, 5], [6]) before its contexts are cut; ours keep them whole. */
static void test_windows__words_score_every_id_of_a_document_once(void **state)
{
    (void)state;
    struct windows_options options = options_of(PERPLEXITY_WORDS, 4);
    struct windows_stats stats;
    const unsigned lengths[] = {7, 2, 0};
    struct bytes stream = stream_of(lengths, BOS, 6);
    check_cut(&stream, 1, &options, "B 0* 1* 2*|2 3* 4* 5*|3 4 5 6*|B 7* 8*", &stats);
    assert_int_equal(stats.scored, 9);
    assert_int_equal(stats.perplexity.words, 6);
    assert_int_equal(stats.left_tokens, 0);
    double value = perplexity_value(&stats.perplexity, 12, (double)stats.scored);
    assert_true(fabs(value - exp(2)) < 1e-12);
    bytes_fini(&stream);
    const unsigned single[] = {5, 1, 0};
    stream = stream_of(single, TEXT_STREAM_NO_BOS, 2);
    check_cut(&stream, 1, &options, "0 1* 2* 3*|1 2 3 4*", NULL);
    bytes_fini(&stream);
}

static void test_windows__too_little_text_says_what_to_do(void **state)
{
    (void)state;
    struct windows_options options = options_of(PERPLEXITY_WINDOWS, 4);
    const unsigned lengths[] = {11, 0};
    struct bytes stream = stream_of(lengths, BOS, 5), rows;
    struct span span = bytes_span(&stream);
    struct windows_stats stats;
    struct err_text et;
    bytes_init(&rows, BLOB_BYTES);
    options.row_count_min = options.row_count_max = 4;
    assert_int_equal(windows_cut(&span, 1, &options, &rows, &stats, &et), ERR_DATA);
    assert_string_equal(et.text, "calibration text too short: expected 4 windows of 4 tokens, "
                                 "found 3 (11 tokens); lower quantize.samples or give more text");
    options = options_of(PERPLEXITY_LLAMA_CPP, 64);
    assert_int_equal(windows_cut(&span, 1, &options, &rows, &stats, &et), ERR_DATA);
    assert_int_equal(windows_cut(NULL, 0, &options, &rows, &stats, &et), ERR_DATA);
    assert_int_equal(rows.size, 0);
    bytes_fini(&stream);
}

static void test_windows__streams_of_two_tokenizers_are_refused(void **state)
{
    (void)state;
    struct windows_options options = options_of(PERPLEXITY_WINDOWS, 4);
    const unsigned lengths[] = {11, 0};
    struct bytes streams[] = {stream_of(lengths, BOS, 5), stream_of(lengths, BOS - 1, 5)}, rows;
    struct span spans[] = {bytes_span(&streams[0]), bytes_span(&streams[1])};
    struct windows_stats stats;
    bytes_init(&rows, BLOB_BYTES);
    assert_int_equal(windows_cut(spans, 2, &options, &rows, &stats, NULL), ERR_FORMAT);
    spans[1].size--;
    assert_int_not_equal(windows_cut(spans, 2, &options, &rows, &stats, NULL), ERR_OK);
    bytes_fini(&streams[0]);
    bytes_fini(&streams[1]);
}

static void test_windows__the_rows_say_under_which_rules_they_were_made(void **state)
{
    (void)state;
    static const struct {
        enum perplexity_protocol protocol;
        const char *line;
    } cases[] = {
        {PERPLEXITY_WINDOWS, "perplexity 7.3891 (windows of 4 tokens, BOS each, all scored, per "
                             "token, tokenizer 00c0ffee)"},
        {PERPLEXITY_LLAMA_CPP, "perplexity 7.3891 (llama.cpp: windows of 4 tokens, BOS each, "
                               "second half scored, per token, tokenizer 00c0ffee)"},
        {PERPLEXITY_WORDS, "perplexity 54.5982 (words: documents apart, BOS first, windows of 4 "
                           "tokens with context 1, all scored, per word, tokenizer 00c0ffee)"},
    };
    const unsigned lengths[] = {11, 0};
    struct bytes stream = stream_of(lengths, BOS, 5), rows, line;
    struct span span = bytes_span(&stream);
    bytes_init(&rows, BLOB_BYTES);
    bytes_init(&line, BLOB_BYTES);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct windows_options options = options_of(cases[i].protocol, 4);
        struct windows_stats stats;
        struct perplexity read;
        bytes_clear(&rows);
        bytes_clear(&line);
        assert_int_equal(windows_cut(&span, 1, &options, &rows, &stats, NULL), ERR_OK);
        assert_int_equal(perplexity_of_rows(bytes_span(&rows), &read, NULL), ERR_OK);
        assert_true(perplexity_equal(&read, &stats.perplexity));
        perplexity_print(&read, 20, 10, &line);
        bytes_append(&line, "", 1);
        assert_string_equal((const char *)line.data, cases[i].line);
    }
    bytes_fini(&stream);
    bytes_fini(&rows);
    bytes_fini(&line);
}

static void test_windows__words_are_counted_as_python_splits(void **state)
{
    (void)state;
    assert_int_equal(text_stream_words(TEXT("")), 1);
    assert_int_equal(text_stream_words(TEXT("one")), 1);
    assert_int_equal(text_stream_words(TEXT("one two\t\n three")), 3);
    assert_int_equal(text_stream_words(TEXT(" one ")), 3);
    assert_int_equal(text_stream_words(TEXT("a\xC2\xA0"
                                            "b\xE2\x80\x83\xE3\x80\x80"
                                            "c\xE2\x80\x8B"
                                            "d")),
                     3); /* a zero-width space is none */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows__each_row_is_a_bos_and_the_next_ids),
        cmocka_unit_test(test_windows__rows_go_on_over_documents_and_streams),
        cmocka_unit_test(test_windows__llama_cpp_scores_the_second_half),
        cmocka_unit_test(test_windows__words_score_every_id_of_a_document_once),
        cmocka_unit_test(test_windows__too_little_text_says_what_to_do),
        cmocka_unit_test(test_windows__streams_of_two_tokenizers_are_refused),
        cmocka_unit_test(test_windows__the_rows_say_under_which_rules_they_were_made),
        cmocka_unit_test(test_windows__words_are_counted_as_python_splits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
