/* test_dataset_real.c - real data through the whole path, against counts of the reference. */
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
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/formats/tokenizer/chat_template.h"
#include "common/formats/tokenizer/chat_template_row.h"
#include "common/mem/bytes.h"

enum { PATH_BYTES = 4096 };

#define BLOB_BYTES ((size_t)1 << 30)

static const char *data_folder(void)
{
    const char *folder = getenv("QFLEET_DATA");
    return folder != NULL ? folder : "../shared/data";
}

/* Path of real data; false, with a word, when it is not there. */
static bool real(char out[PATH_BYTES], const char *name)
{
    (void)snprintf(out, PATH_BYTES, "%s/%s", data_folder(), name);
    if (folder_exists(data_folder()))
        return true;
    print_message("skipped: no real data at %s (QFLEET_DATA)\n", data_folder());
    return false;
}

static struct tokenizer *opened(const char *name)
{
    char path[PATH_BYTES];
    struct tokenizer *tokenizer = NULL;
    struct err_text et = {0};
    (void)real(path, name);
    if (tokenizer_open(path, &tokenizer, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return tokenizer;
}

static struct source mapped(const char *name)
{
    char path[PATH_BYTES];
    struct source source = {0};
    struct err_text et = {0};
    (void)real(path, name);
    if (source_open(&source, path, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return source;
}

static void put_json_text(struct bytes *out, const char *begin, const char *end)
{
    while (begin < end && *begin == ' ')
        begin++;
    while (end > begin && (end[-1] == ' ' || end[-1] == '\r'))
        end--;
    for (; begin < end; begin++) {
        if (*begin == '"' || *begin == '\\')
            bytes_append(out, "\\", 1);
        bytes_append(out, begin, 1);
    }
}

/* The first `lines` of "meaning||text" as prompt and completion, both stripped. */
static struct bytes e2e_rows(const char *name, size_t lines)
{
    struct source source = mapped(name);
    const char *at = (const char *)source.bytes.data;
    const char *end = at + source.bytes.size;
    struct bytes out;
    bytes_init(&out, BLOB_BYTES);
    while (at < end && lines-- > 0) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        line_end = line_end == NULL ? end : line_end;
        const char *bar = memchr(at, '|', (size_t)(line_end - at));
        while (bar != NULL && bar[1] != '|')
            bar = memchr(bar + 1, '|', (size_t)(line_end - bar - 1));
        assert_non_null(bar);
        bytes_append_text(&out, TEXT("{\"prompt\": \""));
        put_json_text(&out, at, bar);
        bytes_append_text(&out, TEXT("\", \"completion\": \""));
        put_json_text(&out, bar + 2, line_end);
        bytes_append_text(&out, TEXT("\"}\n"));
        at = line_end + 1;
    }
    source_close(&source);
    assert_int_equal(bytes_status(&out), ERR_OK);
    return out;
}

/* Prepares all of `file` in `shards` shards and packs it. */
static void make_rows(struct span file, struct dataset_options *options, uint32_t shards,
                      const struct dataset_pack_options *pack, const struct tokenizer *tokenizer,
                      struct bytes *train, struct bytes *test, struct dataset_pack_stats *stats)
{
    struct bytes blobs[64];
    struct span spans[64];
    struct err_text et = {0};
    if (dataset_detect(file, options, &et) != ERR_OK)
        fail_msg("%s", et.text);
    for (uint32_t i = 0; i < shards; i++) {
        uint64_t begin, end;
        struct dataset_counts counts;
        bytes_init(&blobs[i], BLOB_BYTES);
        dataset_shard_range(file.size, shards, i, &begin, &end);
        if (dataset_prepare_shard(file, begin, end, options, tokenizer, &blobs[i], &counts, &et) !=
            ERR_OK)
            fail_msg("%s", et.text);
        spans[i] = bytes_span(&blobs[i]);
    }
    bytes_init(train, BLOB_BYTES);
    bytes_init(test, BLOB_BYTES);
    if (dataset_pack(spans, shards, pack, train, test, stats, &et) != ERR_OK)
        fail_msg("%s", et.text);
    for (uint32_t i = 0; i < shards; i++)
        bytes_fini(&blobs[i]);
}

static void test_dataset__e2e_has_the_supervised_tokens_of_the_reference(void **state)
{
    (void)state;
    char path[PATH_BYTES];
    if (!real(path, ""))
        return;
    struct tokenizer *tokenizer = opened("models/TinyStories-656K");
    struct bytes file = e2e_rows("instruct/e2e_test.txt", 500);
    struct dataset_options options = {.file_name = "e2e.jsonl", .sequence_len = 512};
    const struct dataset_pack_options pack = {.sequence_len = 512};
    struct dataset_pack_stats stats;
    struct bytes train, test;
    make_rows(bytes_span(&file), &options, 3, &pack, tokenizer, &train, &test, &stats);
    assert_int_equal(options.type, DATASET_TYPE_PROMPT_COMPLETION);
    assert_int_equal(stats.train_rows, 500);
    assert_int_equal(stats.counts.truncated_rows, 0);
    assert_int_equal(stats.train_supervised_tokens, 24531);
    struct rows rows;
    struct err_text et = {0};
    if (rows_open(bytes_span(&train), &rows, &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(rows.row_count, 500);
    assert_int_equal(rows.supervised_count, 24531);
    struct row row = rows_at(&rows, 0);
    assert_int_equal(row.tokens[0], 1);
    assert_int_equal(row.tokens[row.count - 1], 2);
    assert_int_equal(row.loss[row.count - 1], 1);
    bytes_fini(&train);
    bytes_fini(&test);
    bytes_fini(&file);
    tokenizer_close(&tokenizer);
}

static void test_dataset__number_of_shards_never_changes_the_rows(void **state)
{
    (void)state;
    char path[PATH_BYTES];
    if (!real(path, ""))
        return;
    struct tokenizer *tokenizer = opened("models/TinyStories-656K");
    struct bytes file = e2e_rows("instruct/e2e_valid.txt", 5000);
    const struct dataset_pack_options pack = {
        .sequence_len = 256, .sample_packing = true, .seed = 7, .val_set_size = 0.1};
    struct bytes first_train = {0};
    struct bytes first_test = {0};
    static const uint32_t shard_counts[] = {1, 2, 13, 64};
    for (size_t i = 0; i < 4; i++) {
        struct dataset_options options = {.file_name = "e2e.jsonl", .sequence_len = 256};
        struct dataset_pack_stats stats;
        struct bytes train, test;
        make_rows(bytes_span(&file), &options, shard_counts[i], &pack, tokenizer, &train, &test,
                  &stats);
        assert_int_equal(stats.samples, 4672);
        assert_int_equal(stats.test_samples, 468);
        assert_int_equal(stats.test_rows, 468);
        /* Packing leaves at most a few percent of the room unused. */
        assert_true(stats.train_rows * 256 < stats.train_tokens * 103 / 100 + 256);
        if (i == 0) {
            first_train = train;
            first_test = test;
            continue;
        }
        assert_true(span_equal(bytes_span(&train), bytes_span(&first_train)));
        assert_true(span_equal(bytes_span(&test), bytes_span(&first_test)));
        bytes_fini(&train);
        bytes_fini(&test);
    }
    bytes_fini(&first_train);
    bytes_fini(&first_test);
    bytes_fini(&file);
    tokenizer_close(&tokenizer);
}

static void test_dataset__real_files_are_detected_and_have_no_bad_rows(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum dataset_type type;
        enum dataset_format format;
        uint64_t rows;
    } files[] = {
        {"instruct/dolly_151.jsonl", DATASET_TYPE_PROMPT_COMPLETION, DATASET_FORMAT_JSONL, 151},
        {"instruct/llms_from_scratch_instruction.json", DATASET_TYPE_ALPACA, DATASET_FORMAT_JSON,
         1100},
        {"instruct/oasst1_en_100_message.jsonl", DATASET_TYPE_COMPLETION, DATASET_FORMAT_JSONL,
         100},
        {"text/tinyshakespeare.txt", DATASET_TYPE_COMPLETION, DATASET_FORMAT_TEXT, 1},
    };
    char path[PATH_BYTES];
    if (!real(path, ""))
        return;
    struct tokenizer *tokenizer = opened("models/lm-6m");
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct source source = mapped(files[i].name);
        const struct dataset_options options = {.file_name = files[i].name, .sequence_len = 512};
        struct dataset_report report;
        struct err_text et = {0};
        if (dataset_check(source.bytes, &options, tokenizer, &report, &et) != ERR_OK)
            fail_msg("%s", et.text);
        assert_int_equal(report.type, files[i].type);
        assert_int_equal(report.format, files[i].format);
        assert_int_equal(report.bad_rows, 0);
        assert_int_equal(report.counts.rows, files[i].rows);
        assert_true(report.length_min <= report.length_median &&
                    report.length_median <= report.length_p99 &&
                    report.length_p99 <= report.length_max);
        source_close(&source);
    }
    tokenizer_close(&tokenizer);
}

/* What counts, decoded, is what the assistant said: by the tokens' own spelling and, where special
 * tokens swallow blanks (Phi-3), by comparing prefixes. */
static void test_dataset__masks_of_chats_decode_to_the_answers(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        const char *chat_template; /* NULL: the model's own */
        const char *want;
    } cases[] = {
        {"tokenizers/hf/phi-3-mini", NULL, "The capital is Paris.<|end|> Yes<|end|>"},
        {"models/lm-6m", "zephyr", "The capital is Paris.</s>Yes</s>"},
        {"models/lm-6m", "llama-2", "The capital is Paris. </s> Yes </s>"},
        /* Its "\nT" is one token, which the answer's first letter makes count. */
        {"models/TinyStories-656K", "chatml", "\nThe capital is Paris.<|im_end|>Yes<|im_end|>"},
    };
    static const char row[] =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", "
        "\"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": \"The capital is Paris.\"}, "
        "{\"role\": \"user\", \"content\": \"Sure?\"}, {\"role\": \"assistant\", \"content\": "
        "\"Yes\"}]}\n";
    char path[PATH_BYTES];
    if (!real(path, ""))
        return;
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct tokenizer *tokenizer = opened(cases[c].model);
        struct dataset_options options = {.file_name = "chat.jsonl",
                                          .sequence_len = 512,
                                          .chat_template = cases[c].chat_template};
        const struct dataset_pack_options pack = {.sequence_len = 512};
        struct dataset_pack_stats stats;
        struct bytes train, test, text;
        struct rows rows;
        struct token_list counted;
        struct span file = {(const uint8_t *)row, sizeof(row) - 1};
        make_rows(file, &options, 1, &pack, tokenizer, &train, &test, &stats);
        assert_int_equal(rows_open(bytes_span(&train), &rows, NULL), ERR_OK);
        token_list_init(&counted);
        for (uint64_t i = 0; i < rows.token_count; i++)
            if (rows.loss[i])
                assert_int_equal(token_list_append(&counted, &rows.tokens[i], 1), ERR_OK);
        bytes_init(&text, 1 << 16);
        assert_int_equal(tokenizer_decode(tokenizer, counted.ids, counted.count, 0, &text), ERR_OK);
        bytes_append(&text, "", 1);
        assert_string_equal((char *)text.data, cases[c].want);
        bytes_fini(&text);
        bytes_fini(&train);
        bytes_fini(&test);
        token_list_fini(&counted);
        tokenizer_close(&tokenizer);
    }
}

/* What counts in the one row of `file`, by the tokens' own spelling, without blanks. */
static struct bytes counted_text(struct span file, const struct dataset_options *as,
                                 const struct tokenizer *tokenizer)
{
    struct dataset_options options = *as;
    const struct dataset_pack_options pack = {.sequence_len = options.sequence_len};
    struct dataset_pack_stats stats;
    struct bytes train, test, out;
    struct rows rows;
    make_rows(file, &options, 1, &pack, tokenizer, &train, &test, &stats);
    assert_int_equal(rows_open(bytes_span(&train), &rows, NULL), ERR_OK);
    bytes_init(&out, 1 << 16);
    for (uint64_t i = 0; i < rows.token_count; i++) {
        struct text spelled = tokenizer_bytes(tokenizer, rows.tokens[i]);
        for (size_t k = 0; rows.loss[i] && k < spelled.size; k++)
            if (spelled.data[k] != ' ')
                bytes_append(&out, spelled.data + k, 1);
    }
    assert_int_equal(bytes_status(&out), ERR_OK);
    bytes_fini(&train);
    bytes_fini(&test);
    return out;
}

static void test_dataset__labels_of_every_template_are_the_answers_and_their_ends(void **state)
{
    (void)state;
    static const struct chat_message talk[] = {{CHAT_USER, TEXT("Hi, \xC3\xBC!")},
                                               {CHAT_ASSISTANT, TEXT("It is Paris.")},
                                               {CHAT_USER, TEXT("Sure?")},
                                               {CHAT_ASSISTANT, TEXT("Yes, \xE2\x82\xAC 5.")}};
    static const char row[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi, \xC3\xBC!\"}, {\"role\": "
        "\"assistant\", \"content\": \"It is Paris.\"}, {\"role\": \"user\", \"content\": "
        "\"Sure?\"}, {\"role\": \"assistant\", \"content\": \"Yes, \xE2\x82\xAC 5.\"}]}\n";
    char path[PATH_BYTES];
    if (!real(path, ""))
        return;
    struct tokenizer *tokenizer = opened("models/lm-6m");
    const struct chat_render_options options = chat_template_options(tokenizer);
    const struct chat_template *template;
    for (size_t i = 0; (template = chat_template_row_at(i)) != NULL; i++) {
        const char *name = chat_template_name(template);
        struct chat_span spans[COUNT_OF(talk)];
        struct bytes text, want;
        size_t count = 0;
        bytes_init(&text, 1 << 16);
        bytes_init(&want, 1 << 16);
        assert_int_equal(chat_template_render(template, talk, COUNT_OF(talk), &options, &text,
                                              spans, &count, NULL),
                         ERR_OK);
        assert_int_equal(count, 2);
        for (size_t s = 0; s < count; s++)
            for (size_t k = spans[s].begin; k < spans[s].end; k++)
                if (text.data[k] != ' ')
                    bytes_append(&want, text.data + k, 1);
        const struct dataset_options as = {
            .file_name = "chat.jsonl", .sequence_len = 512, .chat_template = name};
        struct bytes found =
            counted_text((struct span){(const uint8_t *)row, sizeof(row) - 1}, &as, tokenizer);
        if (!span_equal(bytes_span(&found), bytes_span(&want)))
            fail_msg("%s: expected %.*s, found %.*s", name, (int)want.size, (char *)want.data,
                     (int)found.size, (char *)found.data);
        bytes_fini(&found);
        bytes_fini(&want);
        bytes_fini(&text);
    }
    tokenizer_close(&tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dataset__e2e_has_the_supervised_tokens_of_the_reference),
        cmocka_unit_test(test_dataset__number_of_shards_never_changes_the_rows),
        cmocka_unit_test(test_dataset__masks_of_chats_decode_to_the_answers),
        cmocka_unit_test(test_dataset__labels_of_every_template_are_the_answers_and_their_ends),
        cmocka_unit_test(test_dataset__real_files_are_detected_and_have_no_bad_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
