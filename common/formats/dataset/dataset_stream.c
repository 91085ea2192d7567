/* dataset_stream.c - rows read as for training, but joined and never cut. */
#include "common/formats/dataset/dataset_stream.h"

#include "common/base/check.h"
#include "common/digest/digest.h"
#include "common/formats/dataset/dataset_reader.h"
#include "common/formats/dataset/dataset_row.h"
#include "common/formats/dataset/dataset_sample.h"
#include "common/formats/dataset/text_stream.h"

enum { VOCABULARY_BYTES_MAX = 1 << 30 };

struct streaming {
    const struct dataset_options *options;
    const struct tokenizer *tokenizer;
    enum perplexity_protocol protocol;
    struct dataset_chat chat;
    struct dataset_row row;
    struct dataset_sample sample; /* of rows that are rendered */
    struct token_list ids;        /* of texts */
    struct bytes joined;          /* texts that become one */
    struct tokenizer_scratch *scratch;
    struct text_stream_builder builder;
    struct dataset_counts counts;
};

static bool is_joined(const struct streaming *s)
{
    return s->options->type == DATASET_TYPE_COMPLETION && s->protocol != PERPLEXITY_WORDS &&
           s->options->format != DATASET_FORMAT_TEXT;
}

static enum err add_ids(struct streaming *s, const uint32_t *ids, size_t count)
{
    s->counts.samples += count > 0;
    s->counts.tokens += count;
    text_stream_builder_add(&s->builder, ids, count);
    return ERR_OK;
}

static enum err add_text(struct streaming *s, struct text text)
{
    unsigned flags = 0;
    if (s->protocol == PERPLEXITY_LLAMA_CPP) {
        flags = TOKENIZER_SPECIAL_AS_TEXT;
        if (s->options->format == DATASET_FORMAT_TEXT && text.size > 0 &&
            text.data[text.size - 1] == '\n')
            text.size--;
    }
    s->ids.count = 0;
    TRY(tokenizer_encode(s->tokenizer, s->scratch, text, flags, &s->ids));
    s->builder.words += text_stream_words(text);
    return add_ids(s, s->ids.ids, s->ids.count);
}

/* A row of another type: as training has it, but for the BOS that every window brings itself. */
static enum err add_rendered(struct streaming *s)
{
    struct dataset_sample *sample = &s->sample;
    struct tokenizer_affix prefix = tokenizer_prefix(s->tokenizer);
    if (s->row.split > 0)
        s->row.part_count = s->row.split; /* of two answers the chosen one is text to read */
    s->row.split = 0;
    TRY(dataset_sample_make(sample, &s->row, s->options, true, s->tokenizer, s->scratch));
    size_t skip = 0;
    while (skip < prefix.count && skip < sample->tokens.count &&
           sample->tokens.ids[skip] == prefix.ids[skip])
        skip++;
    bytes_clear(&s->joined);
    for (size_t i = 0; i < s->row.part_count; i++)
        bytes_append_text(&s->joined, s->row.parts[i].text);
    TRY(bytes_status(&s->joined));
    s->builder.words +=
        text_stream_words((struct text){(const char *)s->joined.data, s->joined.size});
    return add_ids(s, sample->tokens.ids + skip, sample->tokens.count - skip);
}

static enum err add_row(struct streaming *s)
{
    s->counts.rows++;
    if (s->options->type != DATASET_TYPE_COMPLETION)
        return add_rendered(s);
    ASSERT(s->row.part_count == 1);
    if (!is_joined(s))
        return add_text(s, s->row.parts[0].text);
    if (s->counts.rows > 1)
        bytes_append_text(&s->joined, TEXT("\n\n"));
    bytes_append_text(&s->joined, s->row.parts[0].text);
    return bytes_status(&s->joined);
}

static enum err read_rows(struct streaming *s, struct span file, struct err_text *et)
{
    const char *name = s->options->file_name;
    struct dataset_reader reader;
    uint64_t line = 1;
    const char *counted = (const char *)file.data;
    dataset_reader_init(&reader, file, name, s->options->format, 0, file.size);
    for (;;) {
        struct text text;
        bool found;
        TRY(dataset_reader_next(&reader, &text, &found, et));
        if (!found)
            break;
        for (; counted < text.data; counted++)
            line += *counted == '\n';
        TRY(dataset_row_read(&s->row, text, line, s->options, &s->chat, et));
        enum err err = add_row(s);
        if (err != ERR_OK)
            return error_set(et, err, "%s:%llu: the row cannot be tokenized: %s", name,
                             (unsigned long long)line, error_text(err));
    }
    if (is_joined(s) && s->joined.size > 0) {
        enum err err = add_text(s, (struct text){(const char *)s->joined.data, s->joined.size});
        if (err != ERR_OK)
            return error_set(et, err, "%s: the text cannot be tokenized: %s", name,
                             error_text(err));
    }
    if (s->counts.tokens == 0)
        return error_set(et, ERR_DATA, "%s: no token of text in %llu rows", name,
                         (unsigned long long)s->counts.rows);
    return ERR_OK;
}

/* The start of the digest of all tokens' spellings, in order: equal for a model's own files and for
 * the GGUF file made of it. */
static enum err name_tokenizer(const struct tokenizer *tokenizer,
                               char out[PERPLEXITY_TOKENIZER_BYTES])
{
    struct bytes spelling;
    char hex[DIGEST_HEX_BYTES];
    bytes_init(&spelling, VOCABULARY_BYTES_MAX);
    uint32_t count = tokenizer_vocabulary_size(tokenizer);
    for (uint32_t id = 0; id < count; id++) {
        struct text token = tokenizer_token(tokenizer, id);
        bytes_append_text(&spelling, token);
        bytes_append(&spelling, "", 1);
    }
    enum err err = bytes_status(&spelling);
    if (err == ERR_OK) {
        digest_hex(digest_of(bytes_span(&spelling)), hex);
        memcpy(out, hex, PERPLEXITY_TOKENIZER_BYTES - 1);
        out[PERPLEXITY_TOKENIZER_BYTES - 1] = '\0';
    }
    bytes_fini(&spelling);
    return err;
}

/* What stands before a window: what the tokenizer puts before a text; before a document that is
 * rolled over, any start it has, if need be EOS (as lm-evaluation-harness). */
static uint32_t find_bos(const struct tokenizer *tokenizer, enum perplexity_protocol protocol)
{
    struct tokenizer_affix prefix = tokenizer_prefix(tokenizer);
    struct tokenizer_roles roles = tokenizer_roles(tokenizer);
    if (protocol != PERPLEXITY_WORDS)
        return prefix.count > 0 ? prefix.ids[0] : TEXT_STREAM_NO_BOS;
    return roles.bos != TOKENIZER_NONE ? roles.bos : roles.eos;
}

static enum err write_stream(struct streaming *s, struct bytes *out)
{
    char name[PERPLEXITY_TOKENIZER_BYTES];
    TRY(name_tokenizer(s->tokenizer, name));
    return text_stream_builder_write(&s->builder, find_bos(s->tokenizer, s->protocol), name, out);
}

enum err dataset_stream_prepare(struct span file, const struct dataset_options *options,
                                enum perplexity_protocol protocol,
                                const struct tokenizer *tokenizer, struct bytes *out,
                                struct dataset_counts *counts, struct err_text *et)
{
    struct streaming s = {.options = options, .tokenizer = tokenizer, .protocol = protocol};
    enum err err;
    ASSERT(options->format != DATASET_FORMAT_DETECT && options->type != DATASET_TYPE_DETECT);
    dataset_row_init(&s.row);
    dataset_sample_init(&s.sample);
    token_list_init(&s.ids);
    bytes_init(&s.joined, TOKENIZER_TEXT_BYTES_MAX);
    text_stream_builder_init(&s.builder);
    if (dataset_uses_template(options))
        TRY_OUT(
            chat_template_resolve(tokenizer, options->chat_template, &s.chat.chat_template, et));
    s.chat.options = chat_template_options(tokenizer);
    TRY_OUT(tokenizer_scratch_create(tokenizer, &s.scratch));
    TRY_OUT(read_rows(&s, file, et));
    TRY_OUT(write_stream(&s, out));
    s.counts.supervised_tokens = s.counts.tokens;
    *counts = s.counts;
out:
    tokenizer_scratch_destroy(&s.scratch);
    text_stream_builder_fini(&s.builder);
    bytes_fini(&s.joined);
    token_list_fini(&s.ids);
    dataset_sample_fini(&s.sample);
    dataset_row_fini(&s.row);
    return err;
}
