/* test_dataset_pair.c - preference rows: where a prompt ends, what counts, what is cut, and that a
 * pair is one row of two segments.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/dataset/dataset_check.h"
#include "common/formats/dataset/dataset_pack.h"
#include "common/formats/dataset/dataset_prepare.h"
#include "common/formats/dataset/rows.h"
#include "common/formats/dataset/samples.h"
#include "tests/unit/common/formats/dataset/character_tokenizer.h"

enum { BLOB_BYTES = 1 << 20, SPELLED_BYTES = 4096 };

static enum err prepare(const struct tokenizer *tokenizer, const char *file,
                        struct dataset_options options, struct bytes *blob,
                        struct dataset_counts *counts, struct err_text *et)
{
    struct span span = span_of_text(text_of(file));
    options.file_name = "pairs.jsonl";
    bytes_init(blob, BLOB_BYTES);
    enum err err = dataset_detect(span, &options, et);
    if (err == ERR_OK)
        err = dataset_prepare_shard(span, 0, span.size, &options, tokenizer, blob, counts, et);
    return err;
}

/* Both sequences of every pair, a '/' between them and a '|' behind. */
static void check_pairs(const struct tokenizer *tokenizer, const char *file,
                        struct dataset_options options, const char *want,
                        struct dataset_counts *counts)
{
    struct dataset_counts ignored;
    struct err_text et = {0};
    struct samples samples;
    struct bytes blob;
    char found[SPELLED_BYTES] = "";
    if (prepare(tokenizer, file, options, &blob, counts == NULL ? &ignored : counts, &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(samples_open(bytes_span(&blob), &samples, NULL), ERR_OK);
    for (uint64_t i = 0; i < samples.count; i++) {
        uint64_t first = samples.offsets[i], split = samples.splits[i];
        uint64_t rest = samples.offsets[i + 1] - first - split;
        character_tokenizer_spell(samples.tokens + first, samples.loss + first, split,
                                  found + strlen(found));
        strncat(found, "/", 2);
        character_tokenizer_spell(samples.tokens + first + split, samples.loss + first + split,
                                  rest, found + strlen(found));
        strncat(found, "|", 2);
    }
    assert_string_equal(found, want);
    bytes_fini(&blob);
}

static void test_dataset_pair__both_answers_follow_the_prompt_and_count(void **state)
{
    const struct dataset_options options = {.sequence_len = 16};
    check_pairs(*state, "{\"prompt\": \"ab\", \"chosen\": \"cd\", \"rejected\": \"e\"}\n", options,
                "<abCD>!/<abE>!|", NULL);
}

static void test_dataset_pair__without_a_prompt_it_is_what_both_begin_with(void **state)
{
    const struct dataset_options options = {.sequence_len = 32};
    check_pairs(*state, "{\"chosen\": \"ab cd\", \"rejected\": \"ab ef\"}\n", options,
                "<ab !CD>!/<ab !EF>!|", NULL);
    check_pairs(*state, "{\"chosen\": \"abc\", \"rejected\": \"abcd\"}\n", options,
                "<abC>!/<abCD>!|", NULL);
    check_pairs(*state, "{\"chosen\": \"a\", \"rejected\": \"b\"}\n", options, "<A>!/<B>!|", NULL);
}

static void test_dataset_pair__messages_take_the_template(void **state)
{
    static const char explicit_prompt[] =
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"ab\"}],"
        " \"chosen\": [{\"role\": \"assistant\", \"content\": \"cd\"}],"
        " \"rejected\": [{\"role\": \"assistant\", \"content\": \"e\"}]}\n";
    static const char whole[] = "{\"prompt\": \"left aside\","
                                " \"chosen\": [{\"role\": \"user\", \"content\": \"ab\"},"
                                " {\"role\": \"assistant\", \"content\": \"cd\"}],"
                                " \"rejected\": [{\"role\": \"user\", \"content\": \"ab\"},"
                                " {\"role\": \"assistant\", \"content\": \"e\"}]}\n";
    static const char want[] = "{user\nab}\n{assistant\nCD}!\n/{user\nab}\n{assistant\nE}!\n|";
    const struct dataset_options options = {.sequence_len = 64, .chat_template = "chatml"};
    check_pairs(*state, explicit_prompt, options, want, NULL);
    check_pairs(*state, whole, options, want, NULL);
}

/* What the assistant said before is part of the prompt. */
static void test_dataset_pair__only_the_last_answer_of_a_conversation_counts(void **state)
{
    static const char rows[] =
        "{\"chosen\": [{\"role\": \"user\", \"content\": \"a\"},"
        " {\"role\": \"assistant\", \"content\": \"b\"}, {\"role\": \"user\", \"content\": \"c\"},"
        " {\"role\": \"assistant\", \"content\": \"d\"}],"
        " \"rejected\": [{\"role\": \"user\", \"content\": \"a\"},"
        " {\"role\": \"assistant\", \"content\": \"b\"}, {\"role\": \"user\", \"content\": \"c\"},"
        " {\"role\": \"assistant\", \"content\": \"e\"}]}\n";
    static const char prompt[] = "{user\na}\n{assistant\nb}\n{user\nc}\n{assistant\n";
    const struct dataset_options options = {.sequence_len = 96, .chat_template = "chatml"};
    char want[512] = "";
    strncat(want, prompt, 200);
    strncat(want, "D}!\n/", 8);
    strncat(want, prompt, 200);
    strncat(want, "E}!\n|", 8);
    check_pairs(*state, rows, options, want, NULL);
}

static void test_dataset_pair__an_instruction_is_a_prompt(void **state)
{
    struct dataset_counts counts;
    const struct dataset_options options = {.sequence_len = 400, .type = DATASET_TYPE_PREFERENCE};
    struct bytes blob;
    struct samples samples;
    char found[SPELLED_BYTES];
    static const char file[] = "{\"instruction\": \"do\", \"input\": \"\", \"output\": \"ok\","
                               " \"rejected\": \"no\", \"chosen\": \"ok\"}\n";
    assert_int_equal(prepare(*state, file, options, &blob, &counts, NULL), ERR_OK);
    assert_int_equal(samples_open(bytes_span(&blob), &samples, NULL), ERR_OK);
    character_tokenizer_spell(samples.tokens, samples.loss, samples.splits[0], found);
    assert_non_null(strstr(found, "### Instruction:\ndo\n\n### Response:\nOK>!"));
    assert_int_equal(counts.supervised_tokens, 6);
    bytes_fini(&blob);
}

static void test_dataset_pair__each_sequence_is_cut_at_its_end(void **state)
{
    struct dataset_counts counts;
    static const char rows[] =
        "{\"prompt\": \"ab\", \"chosen\": \"cdefgh\", \"rejected\": \"i\"}\n"
        "{\"prompt\": \"abcdefgh\", \"chosen\": \"i\", \"rejected\": \"j\"}\n";
    check_pairs(*state, rows, (struct dataset_options){.sequence_len = 5}, "<abCD/<abI>!|",
                &counts);
    assert_int_equal(counts.truncated_rows, 2);
    assert_int_equal(counts.truncated_tokens, 5 + 6 + 6);
    assert_int_equal(counts.empty_rows, 1); /* of the second row no answer is left */
    assert_int_equal(counts.samples, 1);
}

static void test_dataset_pair__a_row_without_rejected_is_named(void **state)
{
    static const char rows[] = "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n"
                               "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejectd\": \"c\"}\n";
    struct dataset_options options = {.sequence_len = 8, .type = DATASET_TYPE_PREFERENCE};
    struct dataset_counts counts;
    struct dataset_report report;
    struct err_text et = {0};
    struct bytes blob;
    assert_int_equal(prepare(*state, rows, options, &blob, &counts, &et), ERR_DATA);
    assert_non_null(strstr(et.text, "pairs.jsonl:2: a preference row needs \"chosen\" and "
                                    "\"rejected\""));
    assert_non_null(strstr(et.text, "rejectd"));
    bytes_fini(&blob);
    options.file_name = "pairs.jsonl";
    assert_int_equal(dataset_check(span_of_text(text_of(rows)), &options, *state, &report, &et),
                     ERR_OK);
    assert_int_equal(report.bad_rows, 1);
    assert_int_equal(report.problems[0].line, 2);
    assert_int_equal(report.counts.samples, 1);
}

static void test_dataset_pair__rows_hold_two_segments(void **state)
{
    static const char file[] = "{\"prompt\": \"ab\", \"chosen\": \"cd\", \"rejected\": \"e\"}\n"
                               "{\"prompt\": \"f\", \"chosen\": \"g\", \"rejected\": \"hi\"}\n";
    struct dataset_pack_options options = {.sequence_len = 8, .pairs = true};
    struct dataset_counts counts;
    struct dataset_pack_stats stats;
    struct err_text et = {0};
    struct bytes blob, train;
    struct rows rows;
    bytes_init(&train, BLOB_BYTES);
    assert_int_equal(
        prepare(*state, file, (struct dataset_options){.sequence_len = 8}, &blob, &counts, NULL),
        ERR_OK);
    struct span shard = bytes_span(&blob);
    assert_int_equal(dataset_pack(&shard, 1, &options, &train, NULL, &stats, &et), ERR_OK);
    assert_int_equal(rows_open(bytes_span(&train), &rows, NULL), ERR_OK);
    assert_int_equal(rows.row_count, 2);
    for (uint64_t i = 0; i < rows.row_count; i++) {
        struct row row = rows_at(&rows, i);
        assert_int_equal(row.segment_count, 2);
        assert_int_equal(row.segment_starts[1], i == 0 ? 6 : 4);
        assert_int_equal(row.loss[row.segment_starts[1]], 0);
    }
    options.pairs = false;
    assert_int_equal(dataset_pack(&shard, 1, &options, &train, NULL, &stats, &et), ERR_DATA);
    assert_non_null(strstr(et.text, "rl: dpo"));
    bytes_fini(&blob);
    bytes_fini(&train);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dataset_pair__both_answers_follow_the_prompt_and_count),
        cmocka_unit_test(test_dataset_pair__without_a_prompt_it_is_what_both_begin_with),
        cmocka_unit_test(test_dataset_pair__messages_take_the_template),
        cmocka_unit_test(test_dataset_pair__only_the_last_answer_of_a_conversation_counts),
        cmocka_unit_test(test_dataset_pair__an_instruction_is_a_prompt),
        cmocka_unit_test(test_dataset_pair__each_sequence_is_cut_at_its_end),
        cmocka_unit_test(test_dataset_pair__a_row_without_rejected_is_named),
        cmocka_unit_test(test_dataset_pair__rows_hold_two_segments),
    };
    return cmocka_run_group_tests(tests, character_tokenizer_make, character_tokenizer_drop);
}
