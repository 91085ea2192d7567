/* dataset_check.c - every row is read as preparing would read it, and failures are collected. */
#include "common/formats/dataset/dataset_check.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/dataset/dataset_reader.h"
#include "common/formats/dataset/dataset_row.h"
#include "common/formats/dataset/dataset_sample.h"
#include "common/mem/mem.h"

struct checking {
    struct dataset_options options;
    const struct tokenizer *tokenizer;
    struct dataset_chat chat;
    struct dataset_row row;
    struct dataset_sample sample;
    struct tokenizer_scratch *scratch;
    struct dataset_report *report;
    uint64_t *lengths; /* owned */
    size_t length_count;
    size_t length_capacity;
};

static void add_problem(struct dataset_report *report, uint64_t line, const struct err_text *et)
{
    report->bad_rows++;
    if (report->problem_count == DATASET_CHECK_PROBLEMS_MAX)
        return;
    struct dataset_problem *problem = &report->problems[report->problem_count++];
    problem->line = line;
    size_t size = MIN(strlen(et->text), sizeof(problem->text) - 1);
    memcpy(problem->text, et->text, size);
    problem->text[size] = '\0';
}

static enum err add_length(struct checking *c, uint64_t length)
{
    if (c->length_count == c->length_capacity) {
        size_t capacity = MAX(c->length_capacity * 2, (size_t)1024);
        uint64_t *lengths = mem_resize(c->lengths, capacity, sizeof(*lengths));
        if (lengths == NULL)
            return ERR_OUT_OF_MEMORY;
        c->lengths = lengths;
        c->length_capacity = capacity;
    }
    c->lengths[c->length_count++] = length;
    return ERR_OK;
}

static enum err measure(struct checking *c)
{
    struct dataset_counts *counts = &c->report->counts;
    counts->rows++;
    if (c->tokenizer == NULL) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < c->row.part_count; i++)
            bytes += c->row.parts[i].text.size;
        return add_length(c, bytes);
    }
    TRY(dataset_sample_make(&c->sample, &c->row, &c->options, true, c->tokenizer, c->scratch));
    uint64_t length = c->options.sequence_len;
    uint64_t cut = 0;
    if (c->options.type != DATASET_TYPE_COMPLETION)
        cut = dataset_sample_cut(&c->sample, length);
    uint64_t kept = c->sample.tokens.count;
    counts->truncated_rows += cut > 0;
    counts->truncated_tokens += cut;
    if (dataset_sample_is_empty(&c->sample)) {
        counts->empty_rows++;
    } else {
        bool is_one = kept <= length || c->sample.is_pair;
        counts->tokens += kept;
        counts->supervised_tokens += dataset_sample_supervised(c->sample.loss.data, kept);
        counts->samples += is_one ? 1 : (kept - 2) / (length - 1) + 1;
    }
    return add_length(c, kept + cut);
}

static enum err read_rows(struct checking *c, struct span file)
{
    struct dataset_reader reader;
    dataset_reader_init(&reader, file, c->options.file_name, c->options.format, 0, file.size);
    const char *counted = (const char *)file.data;
    uint64_t line = 1;
    for (;;) {
        struct err_text et = {0};
        struct text text;
        bool found;
        enum err err = dataset_reader_next(&reader, &text, &found, &et);
        if (err == ERR_OK && !found)
            return ERR_OK;
        if (err == ERR_OK) {
            for (; counted < text.data; counted++)
                line += *counted == '\n';
            err = dataset_row_read(&c->row, text, line, &c->options, &c->chat, &et);
        } else {
            /* An array that is broken between rows cannot be read on. */
            add_problem(c->report, line, &et);
            return err == ERR_DATA ? ERR_OK : err;
        }
        if (err == ERR_OUT_OF_MEMORY)
            return err;
        if (err != ERR_OK)
            add_problem(c->report, line, &et);
        else
            TRY(measure(c));
    }
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void summarise(struct checking *c)
{
    size_t n = c->length_count;
    if (n == 0)
        return;
    qsort(c->lengths, n, sizeof(*c->lengths), by_value);
    c->report->length_min = c->lengths[0];
    c->report->length_median = c->lengths[(n - 1) / 2];
    c->report->length_p99 = c->lengths[(n * 99 + 99) / 100 - 1];
    c->report->length_max = c->lengths[n - 1];
}

enum err dataset_check(struct span file, const struct dataset_options *options,
                       const struct tokenizer *tokenizer, struct dataset_report *report,
                       struct err_text *et)
{
    struct checking c = {.options = *options, .tokenizer = tokenizer};
    struct dataset_report made = {0};
    enum err err;
    c.report = &made;
    dataset_row_init(&c.row);
    dataset_sample_init(&c.sample);
    TRY_OUT(dataset_detect(file, &c.options, et));
    made.format = c.options.format;
    made.type = c.options.type;
    if (tokenizer != NULL) {
        ASSERT(options->sequence_len >= 2);
        TRY_OUT(tokenizer_scratch_create(tokenizer, &c.scratch));
        c.chat.options = chat_template_options(tokenizer);
    }
    made.uses_template = dataset_uses_template(&c.options);
    if (made.uses_template) {
        /* Without a model any template does for finding bad rows. */
        const char *name = options->chat_template;
        if (tokenizer == NULL && (name == NULL || strcmp(name, "tokenizer_default") == 0))
            name = "chatml";
        TRY_OUT(chat_template_resolve(tokenizer, name, &c.chat.chat_template, et));
    }
    TRY_OUT(read_rows(&c, file));
    if (made.counts.rows == 0 && made.bad_rows == 0) {
        err = error_set(et, ERR_DATA, "%s: no rows", options->file_name);
        goto out;
    }
    summarise(&c);
    *report = made;
out:
    mem_free(c.lengths);
    tokenizer_scratch_destroy(&c.scratch);
    dataset_sample_fini(&c.sample);
    dataset_row_fini(&c.row);
    return err;
}
