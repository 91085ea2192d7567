/* text_stream.h - what a file became on the way to windows: the ids of its text, uncut.
 *
 * A safetensors file:
 *
 *   offsets  U64 [N+1]  document i is tokens[offsets[i] .. offsets[i+1])
 *   tokens   U32 [T]    without BOS before, without EOS behind
 *
 * with notes: kind, bos (an id, or "none"), tokenizer, and words, rows, tokens as decimal numbers.
 */
#ifndef COMMON_FORMATS_DATASET_TEXT_STREAM_H
#define COMMON_FORMATS_DATASET_TEXT_STREAM_H

#include "common/formats/dataset/perplexity.h"
#include "common/mem/bytes.h"

#define TEXT_STREAM_NO_BOS UINT32_MAX

struct text_stream_builder {
    struct bytes tokens;  /* u32 each */
    struct bytes offsets; /* u64 each */
    uint64_t words;       /* the caller's to add to */
};

void text_stream_builder_init(struct text_stream_builder *builder);
void text_stream_builder_fini(struct text_stream_builder *builder);

/* Adds a document; one without tokens is left out. The first failure is told by _write. */
void text_stream_builder_add(struct text_stream_builder *builder, const uint32_t *tokens,
                             size_t count);

/* Appends the blob to *out. On an error *out is as it was. */
MUST_CHECK enum err text_stream_builder_write(const struct text_stream_builder *builder,
                                              uint32_t bos, const char *tokenizer,
                                              struct bytes *out);

struct text_stream {
    const uint64_t *offsets; /* borrowed from the blob, as tokens */
    const uint32_t *tokens;
    uint64_t document_count;
    uint64_t token_count;
    uint64_t words;
    uint32_t bos; /* TEXT_STREAM_NO_BOS: the tokenizer has none */
    char tokenizer[PERPLEXITY_TOKENIZER_BYTES];
};

/* Checks all that the fields promise. `blob` is aligned to 8 and outlives *out. */
MUST_CHECK enum err text_stream_open(struct span blob, struct text_stream *out,
                                     struct err_text *et);

/* Words as Python's re.split(r"\s+", text) counts them, empty ones at the ends included: runs of
 * white space plus one. */
uint64_t text_stream_words(struct text text);

#endif
