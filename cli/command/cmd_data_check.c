/* cmd_data_check.c - `qctl data check`: reads data sets to their end before a worker is taken. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/command/cmd.h"
#include "cli/command/data_set.h"
#include "cli/command/submission.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/formats/dataset/dataset_check.h"
#include "common/formats/source/source.h"
#include "common/view/json_view.h"

/* One file and what it is checked with. */
struct subject {
    const char *path;
    struct dataset_options options;
};

static void print_problems(FILE *out, const struct dataset_report *report)
{
    for (size_t i = 0; i < report->problem_count; i++) {
        char text[sizeof report->problems[i].text]; /* with keys of the file */
        (void)snprintf(text, sizeof text, "%s", report->problems[i].text);
        (void)fprintf(out, "  %s\n", style_clean(text));
    }
    if (report->bad_rows > report->problem_count)
        (void)fprintf(out, "  and %" PRIu64 " more\n", report->bad_rows - report->problem_count);
}

static void print_report(FILE *out, const struct subject *subject,
                         const struct dataset_report *report)
{
    char a[HUMAN_BYTES], b[HUMAN_BYTES], c[HUMAN_BYTES];
    (void)fprintf(out, "%s: %s, %s, %s rows", subject->path, dataset_format_name(report->format),
                  dataset_type_name(report->type), human_count(report->counts.rows, a));
    if (report->bad_rows > 0)
        (void)fprintf(out, ", %s bad", human_count(report->bad_rows, a));
    if (report->counts.tokens > 0) {
        (void)fprintf(out, ", %s tokens, %s supervised\n", human_count(report->counts.tokens, a),
                      human_count(report->counts.supervised_tokens, b));
        (void)fprintf(out, "  samples %s, cut rows %s, rows without a token that counts %s\n",
                      human_count(report->counts.samples, a),
                      human_count(report->counts.truncated_rows, b),
                      human_count(report->counts.empty_rows, c));
        (void)fprintf(out, "  tokens a row: ");
    } else {
        (void)fprintf(out, "\n  bytes a row: ");
    }
    (void)fprintf(
        out, "%" PRIu64 " least, %" PRIu64 " median, %" PRIu64 " at 99%%, %" PRIu64 " most\n",
        report->length_min, report->length_median, report->length_p99, report->length_max);
    print_problems(out, report);
}

static void write_report(struct json_write *w, const struct subject *subject,
                         const struct dataset_report *report)
{
    json_write_object_begin(w, NULL);
    json_write_text(w, "path", text_of(subject->path));
    json_write_text(w, "format", text_of(dataset_format_name(report->format)));
    json_write_text(w, "type", text_of(dataset_type_name(report->type)));
    json_write_u64(w, "rows", report->counts.rows);
    json_write_u64(w, "bad_rows", report->bad_rows);
    json_write_u64(w, "samples", report->counts.samples);
    json_write_u64(w, "tokens", report->counts.tokens);
    json_write_u64(w, "supervised_tokens", report->counts.supervised_tokens);
    json_write_u64(w, "truncated_rows", report->counts.truncated_rows);
    json_write_u64(w, "empty_rows", report->counts.empty_rows);
    json_write_u64(w, "length_min", report->length_min);
    json_write_u64(w, "length_median", report->length_median);
    json_write_u64(w, "length_p99", report->length_p99);
    json_write_u64(w, "length_max", report->length_max);
    json_write_array_begin(w, "problems");
    for (size_t i = 0; i < report->problem_count; i++) {
        json_write_object_begin(w, NULL);
        json_write_u64(w, "line", report->problems[i].line);
        json_write_text(w, "text", text_of(report->problems[i].text));
        json_write_object_end(w);
    }
    json_write_array_end(w);
    json_write_object_end(w);
}

static enum err check(struct invocation *invocation, const struct subject *subject,
                      const struct tokenizer *tokenizer, struct json_write *w, uint64_t *bad_rows,
                      struct err_text *et)
{
    struct source source;
    struct dataset_report report;
    TRY(source_open(&source, subject->path, et));
    source_will_stream(&source);
    enum err err = dataset_check(source.bytes, &subject->options, tokenizer, &report, et);
    source_close(&source);
    TRY(err);
    *bad_rows += report.bad_rows;
    if (invocation->json)
        write_report(w, subject, &report);
    else
        print_report(invocation->out, subject, &report);
    return ERR_OK;
}

static enum err check_list(struct invocation *invocation, struct submission *submission,
                           const struct recipe_dataset *rows, size_t count,
                           const struct tokenizer *tokenizer, struct json_write *w,
                           uint64_t *bad_rows, struct err_text *et)
{
    for (size_t i = 0; i < count; i++) {
        struct subject subject;
        TRY(data_set_options(&submission->recipe, &rows[i], &submission->arena, &subject.path,
                             &subject.options, et));
        TRY(check(invocation, &subject, tokenizer, w, bad_rows, et));
    }
    return ERR_OK;
}

static enum err check_recipe(struct invocation *invocation, struct json_write *w,
                             uint64_t *bad_rows, struct err_text *et)
{
    struct submission submission;
    struct tokenizer *tokenizer = NULL;
    TRY(submission_read(&submission, invocation, et));
    const struct recipe *recipe = &submission.recipe;
    const char *model = recipe_path(recipe, recipe->base_model, &submission.arena);
    enum err err;
    TRY_OUT(model != NULL ? tokenizer_open(model, &tokenizer, et) : ERR_OUT_OF_MEMORY);
    TRY_OUT(check_list(invocation, &submission, recipe->datasets, recipe->datasets_count, tokenizer,
                       w, bad_rows, et));
    err = check_list(invocation, &submission, recipe->test_datasets, recipe->test_datasets_count,
                     tokenizer, w, bad_rows, et);
out:
    tokenizer_close(&tokenizer);
    submission_fini(&submission);
    return err;
}

static enum err check_file(struct invocation *invocation, struct json_write *w, uint64_t *bad_rows,
                           struct err_text *et)
{
    const char *model = command_text(invocation, "tokenizer");
    const char *type = command_text(invocation, "type");
    struct tokenizer *tokenizer = NULL;
    uint64_t length = 512;
    struct subject subject = {.path = invocation->arguments[0]};
    TRY(command_u64(invocation, "sequence-len", 2, DATASET_SEQUENCE_LEN_MAX, &length, et));
    subject.options.file_name = subject.path;
    subject.options.sequence_len = (uint32_t)length;
    if (type != NULL)
        TRY(dataset_type_parse(text_of(type), &subject.options.type, et));
    if (model != NULL)
        TRY(tokenizer_open(model, &tokenizer, et));
    enum err err = check(invocation, &subject, tokenizer, w, bad_rows, et);
    tokenizer_close(&tokenizer);
    return err;
}

static bool is_recipe(const char *path)
{
    size_t size = strlen(path);
    return (size > 4 && strcmp(path + size - 4, ".yml") == 0) ||
           (size > 5 && strcmp(path + size - 5, ".yaml") == 0);
}

enum err cmd_data_check(struct invocation *invocation, struct err_text *et)
{
    struct json_write w;
    uint64_t bad_rows = 0;
    json_write_init(&w, JSON_WRITE_PRETTY, 16 << 20);
    json_write_array_begin(&w, NULL);
    enum err err = is_recipe(invocation->arguments[0]) ? check_recipe(invocation, &w, &bad_rows, et)
                                                       : check_file(invocation, &w, &bad_rows, et);
    json_write_array_end(&w);
    if (err == ERR_OK && invocation->json)
        err = command_print_json(invocation, &w);
    else
        json_write_fini(&w);
    if (err == ERR_OK)
        invocation->json = false; /* the one value was printed; the rest is words */
    if (err == ERR_OK && bad_rows > 0)
        return error_set(et, ERR_DATA, "%" PRIu64 " bad rows", bad_rows);
    return err;
}
