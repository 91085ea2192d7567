/* dataset_prepare.c - read, tokenize, cut, write. */
#include "common/formats/dataset/dataset_prepare.h"

#include "common/base/check.h"
#include "common/formats/dataset/dataset_reader.h"
#include "common/formats/dataset/dataset_row.h"
#include "common/formats/dataset/dataset_sample.h"
#include "common/formats/dataset/samples.h"

struct preparing {
    const struct dataset_options *options;
    const struct tokenizer *tokenizer;
    struct dataset_chat chat;
    struct dataset_row row;
    struct dataset_sample sample;
    struct tokenizer_scratch *scratch;
    struct samples_builder builder;
    struct dataset_counts counts;
};

static enum err keep(struct preparing *p, const uint32_t *tokens, const uint8_t *loss, size_t count)
{
    p->counts.samples++;
    p->counts.tokens += count;
    p->counts.supervised_tokens += dataset_sample_supervised(loss, count);
    return samples_builder_add(&p->builder, tokens, loss, count, p->sample.split);
}

/* Windows of a long completion overlap by the one token that the next window's first prediction
 * needs, so every token is predicted once. */
static enum err keep_windows(struct preparing *p)
{
    size_t count = p->sample.tokens.count;
    size_t length = p->options->sequence_len;
    for (size_t at = 0; at + 1 < count; at += length - 1) {
        size_t size = MIN(length, count - at);
        uint8_t *loss = p->sample.loss.data + at;
        loss[0] = 0;
        TRY(keep(p, p->sample.tokens.ids + at, loss, size));
    }
    return ERR_OK;
}

static enum err add_row(struct preparing *p, bool closed)
{
    struct dataset_sample *sample = &p->sample;
    size_t length = p->options->sequence_len;
    p->counts.rows++;
    TRY(dataset_sample_make(sample, &p->row, p->options, closed, p->tokenizer, p->scratch));
    if (p->options->type != DATASET_TYPE_COMPLETION) {
        size_t cut = dataset_sample_cut(sample, length);
        p->counts.truncated_rows += cut > 0;
        p->counts.truncated_tokens += cut;
    }
    size_t count = sample->tokens.count;
    if (dataset_sample_is_empty(sample)) {
        p->counts.empty_rows++;
        return ERR_OK;
    }
    if (count > length && !sample->is_pair)
        return keep_windows(p);
    return keep(p, sample->tokens.ids, sample->loss.data, count);
}

static enum err read_rows(struct preparing *p, struct span file, uint64_t begin, uint64_t end,
                          struct err_text *et)
{
    struct dataset_reader reader;
    const char *file_end = (const char *)file.data + file.size;
    uint64_t line = 0;
    const char *counted = NULL;
    dataset_reader_init(&reader, file, p->options->file_name, p->options->format, begin, end);
    for (;;) {
        struct text text;
        bool found;
        TRY(dataset_reader_next(&reader, &text, &found, et));
        if (!found)
            return ERR_OK;
        /* Lines are counted on from the last row; the first count starts at the file's start. */
        if (counted == NULL)
            line = dataset_reader_line(&reader, text.data);
        for (const char *c = counted; c != NULL && c < text.data; c++)
            line += *c == '\n';
        counted = text.data;
        TRY(dataset_row_read(&p->row, text, line, p->options, &p->chat, et));
        enum err err = add_row(p, text.data + text.size == file_end ||
                                      p->options->format != DATASET_FORMAT_TEXT);
        if (err != ERR_OK)
            return error_set(et, err, "%s:%llu: the row cannot be tokenized: %s",
                             p->options->file_name, (unsigned long long)line, error_text(err));
    }
}

enum err dataset_prepare_shard(struct span file, uint64_t begin, uint64_t end,
                               const struct dataset_options *options,
                               const struct tokenizer *tokenizer, struct bytes *out,
                               struct dataset_counts *counts, struct err_text *et)
{
    struct preparing p = {.options = options, .tokenizer = tokenizer};
    enum err err;
    ASSERT(options->format != DATASET_FORMAT_DETECT && options->type != DATASET_TYPE_DETECT);
    ASSERT(options->sequence_len >= 2 && options->sequence_len <= DATASET_SEQUENCE_LEN_MAX);
    dataset_row_init(&p.row);
    dataset_sample_init(&p.sample);
    TRY_OUT(samples_builder_init(&p.builder));
    if (dataset_uses_template(options))
        TRY_OUT(
            chat_template_resolve(tokenizer, options->chat_template, &p.chat.chat_template, et));
    p.chat.options = chat_template_options(tokenizer);
    TRY_OUT(tokenizer_scratch_create(tokenizer, &p.scratch));
    TRY_OUT(read_rows(&p, file, begin, end, et));
    size_t start = out->size;
    err = samples_builder_write(&p.builder, &p.counts, out);
    if (err != ERR_OK)
        out->size = start;
    else
        *counts = p.counts;
out:
    tokenizer_scratch_destroy(&p.scratch);
    samples_builder_fini(&p.builder);
    dataset_sample_fini(&p.sample);
    dataset_row_fini(&p.row);
    return err;
}
