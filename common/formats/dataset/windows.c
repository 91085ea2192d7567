/* windows.c - one walk over the ids for text as a whole, one a document for words. */
#include "common/formats/dataset/windows.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/dataset/dataset.h"
#include "common/formats/dataset/rows_builder.h"
#include "common/formats/dataset/text_stream.h"
#include "common/mem/mem.h"

struct cutting {
    const struct windows_options *options;
    struct text_stream *streams; /* owned */
    size_t stream_count;
    size_t stream;  /* of the cursor */
    uint64_t place; /* in that stream */
    uint64_t left;  /* ids from the cursor to the end */
    uint64_t words;
    uint32_t bos;
    uint32_t *tokens; /* owned: (length) the row in the making */
    uint8_t *loss;    /* owned: (length) */
    struct rows_builder builder;
};

/* ---- text as one stream ---- */

static void take(struct cutting *c, uint32_t *to, size_t count)
{
    c->left -= count;
    while (count > 0) {
        const struct text_stream *s = &c->streams[c->stream];
        uint64_t some = MIN(s->token_count - c->place, (uint64_t)count);
        if (some > 0 && to != NULL) {
            memcpy(to, s->tokens + c->place, some * sizeof(*to));
            to += some;
        }
        c->place += some;
        count -= some;
        if (c->place == s->token_count && c->stream + 1 < c->stream_count) {
            c->stream++;
            c->place = 0;
        }
    }
}

static bool wants_more(const struct cutting *c)
{
    return c->options->row_count_max == 0 || c->builder.row_count < c->options->row_count_max;
}

/* A row of which the tokens from `first` on are scored. */
static void put_row(struct cutting *c, const uint32_t *tokens, size_t count, size_t first)
{
    memset(c->loss, 0, MIN(first, count));
    if (first < count)
        memset(c->loss + first, 1, count - first);
    rows_builder_add(&c->builder, tokens, c->loss, count);
    rows_builder_end_row(&c->builder);
}

static void cut_windows(struct cutting *c)
{
    size_t length = c->options->length, before = c->bos != TEXT_STREAM_NO_BOS;
    while (c->left >= length - before && wants_more(c)) {
        c->tokens[0] = c->bos;
        take(c, c->tokens + before, length - before);
        put_row(c, c->tokens, length, 1);
    }
}

static void cut_llama_cpp(struct cutting *c)
{
    size_t length = c->options->length;
    bool has_bos = c->bos != TEXT_STREAM_NO_BOS;
    for (bool first = true; wants_more(c); first = false) {
        size_t before = has_bos && first; /* the text's own BOS */
        if (c->left < length - before)
            return;
        take(c, c->tokens + before, length - before);
        if (has_bos)
            c->tokens[0] = c->bos;
        put_row(c, c->tokens, length, length / 2 + 1);
    }
}

/* ---- documents apart ---- */

static void cut_document(struct cutting *c, const uint32_t *ids, uint64_t count)
{
    size_t length = c->options->length, before = c->bos != TEXT_STREAM_NO_BOS;
    uint64_t done = MIN((uint64_t)(length - before), count);
    c->tokens[0] = c->bos;
    memcpy(c->tokens + before, ids, done * sizeof(*ids));
    if (before + done > 1) /* else nothing is predicted */
        put_row(c, c->tokens, before + done, 1);
    while (done < count) { /* the first row was full, so there is always one to look back on */
        uint64_t more = MIN(count - done, (uint64_t)length - 1);
        done += more;
        put_row(c, ids + done - length, length, length - more);
    }
    c->left -= done;
}

static void cut_words(struct cutting *c)
{
    for (size_t s = 0; s < c->stream_count; s++) {
        const struct text_stream *stream = &c->streams[s];
        for (uint64_t d = 0; d < stream->document_count; d++)
            cut_document(c, stream->tokens + stream->offsets[d],
                         stream->offsets[d + 1] - stream->offsets[d]);
    }
}

/* ---- both ---- */

static enum err open_streams(struct cutting *c, const struct span *streams, struct err_text *et)
{
    for (size_t i = 0; i < c->stream_count; i++) {
        struct text_stream *s = &c->streams[i];
        TRY(text_stream_open(streams[i], s, et));
        if (s->bos != c->streams[0].bos || strcmp(s->tokenizer, c->streams[0].tokenizer) != 0)
            return error_set(et, ERR_FORMAT, "stream %zu: made with another tokenizer than 0", i);
        c->left += s->token_count;
        c->words += s->words;
    }
    c->bos = c->stream_count > 0 ? c->streams[0].bos : TEXT_STREAM_NO_BOS;
    return ERR_OK;
}

static enum err check_count(const struct cutting *c, uint64_t id_count, struct err_text *et)
{
    const struct windows_options *options = c->options;
    uint64_t expected = MAX(options->row_count_min, (uint64_t)1);
    if (c->builder.row_count >= expected)
        return ERR_OK;
    return error_set(et, ERR_DATA,
                     "%s too short: expected %llu windows of %u tokens, found %llu (%llu tokens); "
                     "%s",
                     options->what, (unsigned long long)expected, options->length,
                     (unsigned long long)c->builder.row_count, (unsigned long long)id_count,
                     options->advice);
}

static enum err finish(const struct cutting *c, struct bytes *out, struct windows_stats *stats)
{
    struct windows_stats made = {
        .rows = c->builder.row_count,
        .tokens = c->builder.loss.size,
        .scored = c->builder.supervised_count,
        .left_tokens = c->left,
        .perplexity = {.protocol = c->options->protocol,
                       .length = c->options->length,
                       .has_bos = c->bos != TEXT_STREAM_NO_BOS,
                       .words = c->words},
    };
    memcpy(made.perplexity.tokenizer, c->streams[0].tokenizer, sizeof made.perplexity.tokenizer);
    struct perplexity_notes notes;
    size_t count = perplexity_notes(&made.perplexity, &notes);
    TRY(rows_builder_write(&c->builder, notes.notes, count, out));
    *stats = made;
    return ERR_OK;
}

enum err windows_cut(const struct span *streams, size_t stream_count,
                     const struct windows_options *options, struct bytes *out,
                     struct windows_stats *stats, struct err_text *et)
{
    struct cutting c = {.options = options, .stream_count = stream_count};
    enum err err;
    ASSERT(options->protocol != PERPLEXITY_ROWS && options->length >= 2 &&
           options->length <= DATASET_SEQUENCE_LEN_MAX);
    ASSERT(options->protocol != PERPLEXITY_WORDS || options->row_count_max == 0);
    if (options->protocol == PERPLEXITY_LLAMA_CPP && options->length < 3)
        return error_set(et, ERR_RECIPE, "windows of %u tokens have no second half",
                         options->length);
    rows_builder_init(&c.builder);
    c.streams = mem_alloc(stream_count + 1, sizeof(*c.streams));
    c.tokens = mem_alloc(options->length, sizeof(*c.tokens));
    c.loss = mem_alloc(options->length, 1);
    if (c.streams == NULL || c.tokens == NULL || c.loss == NULL) {
        err = ERR_OUT_OF_MEMORY;
        goto out;
    }
    TRY_OUT(open_streams(&c, streams, et));
    uint64_t id_count = c.left;
    if (options->protocol == PERPLEXITY_WINDOWS)
        cut_windows(&c);
    else if (options->protocol == PERPLEXITY_LLAMA_CPP)
        cut_llama_cpp(&c);
    else
        cut_words(&c);
    TRY_OUT(check_count(&c, id_count, et));
    err = finish(&c, out, stats);
out:
    rows_builder_fini(&c.builder);
    mem_free(c.streams);
    mem_free(c.tokens);
    mem_free(c.loss);
    return err;
}
