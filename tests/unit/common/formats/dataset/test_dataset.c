/* test_dataset.c - small data through every step: masks, windows, shards, packing, order.
 *
 * The tokenizer here has one token a character, so expected ids can be read off the text: 'a' is
 * 10, 'b' 11, ..., BOS 1, EOS 2.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/dataset/dataset_check.h"
#include "common/formats/dataset/dataset_pack.h"
#include "common/formats/dataset/dataset_prepare.h"
#include "common/formats/dataset/rows.h"
#include "common/formats/dataset/samples.h"
#include "common/mem/mem.h"
#include "tests/unit/common/formats/dataset/character_tokenizer.h"

enum { BLOB_BYTES = 1 << 24 };

static struct bytes prepared(const struct tokenizer *tokenizer, struct text file, uint64_t begin,
                             uint64_t end, struct dataset_options options,
                             struct dataset_counts *counts)
{
    struct bytes blob;
    struct err_text et = {0};
    bytes_init(&blob, BLOB_BYTES);
    if (options.file_name == NULL)
        options.file_name = "rows.jsonl";
    if (dataset_detect(span_of_text(file), &options, &et) != ERR_OK ||
        dataset_prepare_shard(span_of_text(file), begin, end, &options, tokenizer, &blob, counts,
                              &et) != ERR_OK)
        fail_msg("%s", et.text);
    return blob;
}

/* Prepares a file whole and spells its samples, one a line. */
static void check_samples(const struct tokenizer *tokenizer, const char *file,
                          struct dataset_options options, const char *want,
                          struct dataset_counts *counts)
{
    struct text text = text_of(file);
    struct samples samples;
    struct dataset_counts ignored;
    char found[4096] = "";
    struct bytes blob =
        prepared(tokenizer, text, 0, text.size, options, counts == NULL ? &ignored : counts);
    assert_int_equal(samples_open(bytes_span(&blob), &samples, NULL), ERR_OK);
    for (uint64_t i = 0; i < samples.count; i++) {
        char *line = found + strlen(found);
        uint64_t first = samples.offsets[i];
        character_tokenizer_spell(samples.tokens + first, samples.loss + first,
                                  samples.offsets[i + 1] - first, line);
        strncat(found, "|", 2);
    }
    assert_string_equal(found, want);
    bytes_fini(&blob);
}

static void test_dataset__prompts_are_masked_and_answers_count(void **state)
{
    check_samples(*state, "{\"prompt\": \"ab\", \"completion\": \"cd\"}\n",
                  (struct dataset_options){.sequence_len = 16}, "<abCD>!|", NULL);
    check_samples(*state, "{\"prompt\": \"ab\", \"answer\": \"cd\"}\n",
                  (struct dataset_options){.sequence_len = 16, .train_on_inputs = true}, "<ABCD>!|",
                  NULL);
    check_samples(*state, "{\"text\": \"ab\"}\n", (struct dataset_options){.sequence_len = 16},
                  "<AB>!|", NULL);
    check_samples(*state,
                  "{\"segments\": [{\"label\": false, \"text\": \"ab\"}, {\"label\": true, "
                  "\"text\": \"cd</s>\"}]}\n",
                  (struct dataset_options){.sequence_len = 16}, "abCD>!|", NULL);
}

static void test_dataset__chats_count_what_the_assistant_says(void **state)
{
    static const char openai[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"ab\"}, {\"role\": \"assistant\", "
        "\"content\": [{\"type\": \"text\", \"text\": \"cd\"}]}, {\"role\": \"user\", \"content\": "
        "\"e\"}, {\"role\": \"assistant\", \"content\": \"f\"}]}\n";
    static const char sharegpt[] =
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"ab\"}, {\"from\": \"gpt\", "
        "\"value\": \"cd\"}, {\"from\": \"human\", \"value\": \"e\"}, {\"from\": \"gpt\", "
        "\"value\": \"f\"}]}\n";
    static const char want[] = "{user\nab}\n{assistant\nCD}!\n{user\ne}\n{assistant\nF}!\n|";
    const struct dataset_options options = {.sequence_len = 64, .chat_template = "chatml"};
    check_samples(*state, openai, options, want, NULL);
    check_samples(*state, sharegpt, options, want, NULL);
}

static void test_dataset__alpaca_counts_the_output_and_eos(void **state)
{
    struct dataset_counts counts;
    struct text file = TEXT("{\"instruction\": \"do\", \"input\": \"xy\", \"output\": \"ok\"}\n");
    struct samples samples;
    char found[1024];
    struct bytes blob = prepared(*state, file, 0, file.size,
                                 (struct dataset_options){.sequence_len = 400}, &counts);
    assert_int_equal(samples_open(bytes_span(&blob), &samples, NULL), ERR_OK);
    character_tokenizer_spell(samples.tokens, samples.loss, samples.offsets[1], found);
    static const char end[] = "### Instruction:\ndo\n\n### Input:\nxy\n\n### Response:\nOK>!";
    assert_string_equal(found + strlen(found) - strlen(end), end);
    assert_int_equal(counts.supervised_tokens, 3);
    bytes_fini(&blob);
}

static void test_dataset__long_completions_become_windows_that_predict_each_token_once(void **state)
{
    struct dataset_counts counts;
    check_samples(*state, "{\"text\": \"abcdefgh\"}\n", (struct dataset_options){.sequence_len = 4},
                  "<ABC|cDEF|fGH>!|", &counts);
    assert_int_equal(counts.samples, 3);
    assert_int_equal(counts.supervised_tokens, 9);
    assert_int_equal(counts.truncated_rows, 0);
}

static void test_dataset__long_answers_are_cut_and_counted(void **state)
{
    struct dataset_counts counts;
    check_samples(*state,
                  "{\"prompt\": \"ab\", \"completion\": \"cdefg\"}\n"
                  "{\"prompt\": \"abcdef\", \"completion\": \"g\"}\n"
                  "{\"prompt\": \"a\", \"completion\": \"\"}\n",
                  (struct dataset_options){.sequence_len = 5}, "<abCD|<a>!|", &counts);
    assert_int_equal(counts.rows, 3);
    assert_int_equal(counts.samples, 2);
    assert_int_equal(counts.truncated_rows, 2);
    assert_int_equal(counts.truncated_tokens, 4 + 4);
    assert_int_equal(counts.empty_rows, 1);
}

static void test_dataset__marks_and_line_ends_of_windows_are_no_part_of_rows(void **state)
{
    check_samples(*state, "\xEF\xBB\xBF{\"text\": \"a\"}\r\n\r\n  {\"text\": \"b\"}  \r\n",
                  (struct dataset_options){.sequence_len = 8}, "<A>!|<B>!|", NULL);
    check_samples(*state, " [ {\"text\": \"a}\\\"]\"} ,\n {\"text\": \"b\"}\n]\n ",
                  (struct dataset_options){.sequence_len = 8, .file_name = "rows.json"},
                  "<A~!~!~!>!|<B>!|", NULL);
}

/* Every cut of the file into two shards yields the samples of the whole, in order. */
static void test_dataset__each_row_belongs_to_the_shard_it_starts_in(void **state)
{
    struct text file = TEXT("{\"text\": \"a\"}\n\n{\"text\": \"bc\"}\r\n{\"text\": \"d\"}");
    const struct dataset_options options = {.sequence_len = 8};
    struct dataset_counts counts;
    struct bytes whole = prepared(*state, file, 0, file.size, options, &counts);
    struct samples all;
    assert_int_equal(samples_open(bytes_span(&whole), &all, NULL), ERR_OK);
    assert_int_equal(all.count, 3);
    for (uint64_t cut = 0; cut <= file.size; cut++) {
        struct samples a, b;
        struct bytes first = prepared(*state, file, 0, cut, options, &counts);
        struct bytes second = prepared(*state, file, cut, file.size, options, &counts);
        assert_int_equal(samples_open(bytes_span(&first), &a, NULL), ERR_OK);
        assert_int_equal(samples_open(bytes_span(&second), &b, NULL), ERR_OK);
        uint64_t a_tokens = a.offsets[a.count];
        assert_int_equal(a.count + b.count, all.count);
        assert_int_equal(a_tokens + b.offsets[b.count], all.offsets[all.count]);
        assert_memory_equal(a.tokens, all.tokens, a_tokens * sizeof(*a.tokens));
        assert_memory_equal(b.tokens, all.tokens + a_tokens,
                            b.offsets[b.count] * sizeof(*b.tokens));
        bytes_fini(&first);
        bytes_fini(&second);
    }
    bytes_fini(&whole);
}

static void test_dataset__plain_text_goes_on_across_shards(void **state)
{
    struct text file = TEXT("ab\ncd\nef");
    const struct dataset_options options = {.sequence_len = 32, .file_name = "rows.txt"};
    static const struct {
        uint64_t begin, end;
        const char *want;
    } rows[] = {{0, 8, "<AB\n!CD\n!EF>!"}, {0, 3, "<AB\n!"}, {0, 4, "<AB\n!CD\n!"},
                {4, 8, "<EF>!"},           {3, 4, "<CD\n!"}, {7, 8, ""}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct dataset_counts counts;
        struct samples samples;
        char found[64] = "";
        struct bytes blob = prepared(*state, file, rows[i].begin, rows[i].end, options, &counts);
        assert_int_equal(samples_open(bytes_span(&blob), &samples, NULL), ERR_OK);
        if (samples.count > 0)
            character_tokenizer_spell(samples.tokens, samples.loss, samples.offsets[1], found);
        assert_string_equal(found, rows[i].want);
        bytes_fini(&blob);
    }
}

static void test_dataset__shards_cover_the_file_once(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 7, 1000003, UINT64_MAX};
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (uint32_t count = 1; count < 20; count++) {
            uint64_t at = 0;
            for (uint32_t s = 0; s < count; s++) {
                uint64_t begin, end;
                dataset_shard_range(sizes[i], count, s, &begin, &end);
                assert_true(begin == at && end >= begin);
                at = end;
            }
            assert_true(at == sizes[i]);
        }
    assert_int_equal(dataset_shard_count(DATASET_FORMAT_JSONL, 0, 100), 1);
    assert_int_equal(dataset_shard_count(DATASET_FORMAT_JSONL, 101, 100), 2);
    assert_int_equal(dataset_shard_count(DATASET_FORMAT_JSON, 1 << 30, 100), 1);
}

/* Samples of one to `longest` tokens: sample i has i % longest + 2 tokens, the last is i. */
static struct bytes many_samples(uint32_t count, uint32_t longest)
{
    struct samples_builder builder;
    struct dataset_counts counts = {.rows = count, .samples = count};
    struct bytes blob;
    bytes_init(&blob, BLOB_BYTES);
    assert_int_equal(samples_builder_init(&builder), ERR_OK);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t tokens[64] = {1};
        uint8_t loss[64] = {0, 1, 1, 1};
        uint32_t size = i % longest + 2;
        tokens[size - 1] = i;
        assert_int_equal(samples_builder_add(&builder, tokens, loss, size, 0), ERR_OK);
    }
    assert_int_equal(samples_builder_write(&builder, &counts, &blob), ERR_OK);
    samples_builder_fini(&builder);
    return blob;
}

static enum err pack(struct span blob, struct dataset_pack_options options, struct bytes *train,
                     struct bytes *test, struct dataset_pack_stats *stats, struct err_text *et)
{
    bytes_init(train, BLOB_BYTES);
    bytes_init(test, BLOB_BYTES);
    return dataset_pack(&blob, 1, &options, train, test, stats, et);
}

/* Counts how often each sample occurs in a rows blob; rows and segments keep their limits. */
static void count_samples(struct span blob, uint32_t sequence_len, uint8_t *seen)
{
    struct rows rows;
    struct err_text et = {0};
    if (rows_open(blob, &rows, &et) != ERR_OK)
        fail_msg("%s", et.text);
    for (uint64_t i = 0; i < rows.row_count; i++) {
        struct row row = rows_at(&rows, i);
        assert_true(row.count <= sequence_len && row.segment_starts[0] == 0);
        for (size_t s = 0; s < row.segment_count; s++) {
            size_t end = s + 1 < row.segment_count ? row.segment_starts[s + 1] : row.count;
            assert_int_equal(row.tokens[row.segment_starts[s]], 1);
            seen[row.tokens[end - 1]]++;
        }
    }
}

static void test_dataset_pack__every_sample_is_in_one_row_or_held_out(void **state)
{
    (void)state;
    static const struct dataset_pack_options cases[] = {
        {.sequence_len = 40, .sample_packing = true, .seed = 1},
        {.sequence_len = 40, .sample_packing = true, .seed = 1, .val_set_size = 0.25},
        {.sequence_len = 40, .seed = 1, .val_set_size = 33},
        {.sequence_len = 32, .sample_packing = true, .seed = 2, .val_set_size = 8999},
    };
    struct bytes blob = many_samples(9000, 30);
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        struct bytes train, test;
        struct dataset_pack_stats stats;
        uint8_t seen[9000] = {0};
        assert_int_equal(pack(bytes_span(&blob), cases[c], &train, &test, &stats, NULL), ERR_OK);
        count_samples(bytes_span(&train), cases[c].sequence_len, seen);
        count_samples(bytes_span(&test), cases[c].sequence_len, seen);
        for (size_t i = 0; i < sizeof(seen); i++)
            assert_int_equal(seen[i], 1);
        assert_int_equal(stats.train_samples + stats.test_samples, 9000);
        bytes_fini(&train);
        bytes_fini(&test);
    }
    bytes_fini(&blob);
}

static void test_dataset_pack__seed_decides_and_nothing_else(void **state)
{
    (void)state;
    struct bytes blob = many_samples(300, 30);
    struct dataset_pack_options options = {
        .sequence_len = 64, .sample_packing = true, .seed = 5, .val_set_size = 0.1};
    struct bytes a, b, c, test_a, test_b, test_c;
    struct dataset_pack_stats stats;
    assert_int_equal(pack(bytes_span(&blob), options, &a, &test_a, &stats, NULL), ERR_OK);
    assert_int_equal(stats.test_samples, 30);
    assert_int_equal(pack(bytes_span(&blob), options, &b, &test_b, &stats, NULL), ERR_OK);
    options.seed = 6;
    assert_int_equal(pack(bytes_span(&blob), options, &c, &test_c, &stats, NULL), ERR_OK);
    assert_true(span_equal(bytes_span(&a), bytes_span(&b)));
    assert_true(span_equal(bytes_span(&test_a), bytes_span(&test_b)));
    assert_false(span_equal(bytes_span(&a), bytes_span(&c)));
    assert_false(span_equal(bytes_span(&test_a), bytes_span(&test_c)));
    bytes_fini(&a);
    bytes_fini(&b);
    bytes_fini(&c);
    bytes_fini(&test_a);
    bytes_fini(&test_b);
    bytes_fini(&test_c);
    bytes_fini(&blob);
}

static void test_dataset_pack__holding_out_everything_is_refused(void **state)
{
    (void)state;
    static const double sizes[] = {10, 11, 1e300, 0.999999, -1};
    struct bytes blob = many_samples(10, 3);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct dataset_pack_options options = {.sequence_len = 8, .val_set_size = sizes[i]};
        struct bytes train, test;
        struct dataset_pack_stats stats;
        struct err_text et = {0};
        assert_int_equal(pack(bytes_span(&blob), options, &train, &test, &stats, &et), ERR_DATA);
        assert_non_null(strstr(et.text, "none"));
        assert_int_equal(train.size + test.size, 0);
        bytes_fini(&train);
        bytes_fini(&test);
    }
    struct dataset_pack_options options = {.sequence_len = 4};
    struct bytes train, test;
    struct dataset_pack_stats stats;
    struct err_text et = {0};
    struct bytes none = many_samples(0, 3);
    assert_int_equal(pack(bytes_span(&none), options, &train, &test, &stats, &et), ERR_DATA);
    assert_string_equal(et.text, "no samples: 0 rows were read, 0 had nothing to learn");
    bytes_fini(&train);
    bytes_fini(&test);
    bytes_fini(&none);
    bytes_fini(&blob);
}

static void test_rows__order_is_a_new_permutation_every_epoch(void **state)
{
    (void)state;
    enum { ROWS = 101 };
    uint64_t same = 0;
    for (uint64_t epoch = 0; epoch < 5; epoch++) {
        uint8_t seen[ROWS] = {0};
        for (uint64_t p = 0; p < ROWS; p++) {
            uint64_t row = rows_order(9, ROWS, epoch * ROWS + p);
            assert_true(row < ROWS && seen[row] == 0);
            seen[row] = 1;
            same += row == rows_order(9, ROWS, (epoch + 1) * ROWS + p);
        }
    }
    assert_true(same < ROWS);
}

/* Damaged blobs are refused or read within their bounds; the sanitizers watch. */
static void test_rows__damaged_blobs_never_lead_outside(void **state)
{
    (void)state;
    struct bytes blob = many_samples(20, 6);
    struct dataset_pack_options options = {.sequence_len = 16, .sample_packing = true};
    struct dataset_pack_stats stats;
    struct bytes train, test;
    uint64_t refused = 0;
    uint64_t random = 1;
    assert_int_equal(pack(bytes_span(&blob), options, &train, &test, &stats, NULL), ERR_OK);
    for (int round = 0; round < 4000; round++) {
        struct rows rows;
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        size_t at = (size_t)(random >> 33) % train.size;
        uint8_t old = train.data[at];
        train.data[at] ^= (uint8_t)(1u << (random >> 61));
        if (rows_open(bytes_span(&train), &rows, NULL) != ERR_OK) {
            refused++;
        } else {
            for (uint64_t i = 0; i < rows.row_count; i++) {
                struct row row = rows_at(&rows, i);
                assert_true(row.tokens[row.count - 1] <= rows.token_id_max);
            }
        }
        train.data[at] = old;
    }
    assert_true(refused > 1000);
    struct rows rows;
    assert_int_equal(rows_open(bytes_span(&train), &rows, NULL), ERR_OK);
    bytes_fini(&train);
    bytes_fini(&test);
    bytes_fini(&blob);
}

static void test_dataset_check__report_has_lengths_and_places_of_bad_rows(void **state)
{
    struct text file = TEXT("{\"prompt\": \"ab\", \"completion\": \"c\"}\n"
                            "{\"prompt\": \"ab\"}\n"
                            "{\"prompt\": \"abcdef\", \"completion\": \"gh\"}\n"
                            "nonsense\n"
                            "{\"prompt\": \"\", \"completion\": \"c\"}\n");
    const struct dataset_options options = {.file_name = "x.jsonl", .sequence_len = 6};
    struct dataset_report report;
    assert_int_equal(dataset_check(span_of_text(file), &options, *state, &report, NULL), ERR_OK);
    assert_int_equal(report.type, DATASET_TYPE_PROMPT_COMPLETION);
    assert_int_equal(report.counts.rows, 3);
    assert_int_equal(report.bad_rows, 2);
    assert_int_equal(report.problems[0].line, 2);
    assert_int_equal(report.problems[1].line, 4);
    assert_int_equal(report.length_min, 3);
    assert_int_equal(report.length_median, 5);
    assert_int_equal(report.length_max, 10);
    assert_int_equal(report.counts.truncated_rows, 1);
    assert_int_equal(report.counts.empty_rows, 1);
}

/* The n-th allocation fails, for all n: an error and an output that is as it was. */
static void test_dataset__lack_of_memory_is_an_error(void **state)
{
    struct text file =
        TEXT("{\"messages\": [{\"role\": \"user\", \"content\": \"ab\"}, {\"role\": "
             "\"assistant\", \"content\": [{\"type\": \"text\", \"text\": \"c\"}]}]}");
    struct dataset_options options = {
        .file_name = "x.jsonl", .sequence_len = 64, .chat_template = "chatml"};
    struct dataset_counts counts;
    size_t n = 1;
    assert_int_equal(dataset_detect(span_of_text(file), &options, NULL), ERR_OK);
    struct bytes blob;
    for (;; n++) {
        bytes_init(&blob, BLOB_BYTES);
        (void)mem_fault_after(n);
        enum err err = dataset_prepare_shard(span_of_text(file), 0, file.size, &options, *state,
                                             &blob, &counts, NULL);
        (void)mem_fault_after(0);
        if (err == ERR_OK)
            break;
        assert_int_equal(err, ERR_OUT_OF_MEMORY);
        assert_int_equal(blob.size, 0);
        bytes_fini(&blob);
    }
    assert_true(n > 10);
    const struct dataset_pack_options pack_options = {.sequence_len = 64, .sample_packing = true};
    for (n = 1;; n++) {
        struct bytes train, test;
        struct dataset_pack_stats stats;
        (void)mem_fault_after(n);
        enum err err = pack(bytes_span(&blob), pack_options, &train, &test, &stats, NULL);
        (void)mem_fault_after(0);
        assert_int_equal(err == ERR_OK ? 0 : train.size + test.size, 0);
        bytes_fini(&train);
        bytes_fini(&test);
        if (err == ERR_OK)
            break;
        assert_int_equal(err, ERR_OUT_OF_MEMORY);
    }
    assert_true(n > 5);
    bytes_fini(&blob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dataset__prompts_are_masked_and_answers_count),
        cmocka_unit_test(test_dataset__chats_count_what_the_assistant_says),
        cmocka_unit_test(test_dataset__alpaca_counts_the_output_and_eos),
        cmocka_unit_test(
            test_dataset__long_completions_become_windows_that_predict_each_token_once),
        cmocka_unit_test(test_dataset__long_answers_are_cut_and_counted),
        cmocka_unit_test(test_dataset__marks_and_line_ends_of_windows_are_no_part_of_rows),
        cmocka_unit_test(test_dataset__each_row_belongs_to_the_shard_it_starts_in),
        cmocka_unit_test(test_dataset__plain_text_goes_on_across_shards),
        cmocka_unit_test(test_dataset__shards_cover_the_file_once),
        cmocka_unit_test(test_dataset_pack__every_sample_is_in_one_row_or_held_out),
        cmocka_unit_test(test_dataset_pack__seed_decides_and_nothing_else),
        cmocka_unit_test(test_dataset_pack__holding_out_everything_is_refused),
        cmocka_unit_test(test_rows__order_is_a_new_permutation_every_epoch),
        cmocka_unit_test(test_rows__damaged_blobs_never_lead_outside),
        cmocka_unit_test(test_dataset_check__report_has_lengths_and_places_of_bad_rows),
        cmocka_unit_test(test_dataset__lack_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, character_tokenizer_make, character_tokenizer_drop);
}
