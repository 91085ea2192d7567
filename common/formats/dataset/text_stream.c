/* text_stream.c - see text_stream.h. */
#include "common/formats/dataset/text_stream.h"

#include <stdio.h>

#include "common/base/check.h"
#include "common/formats/dataset/samples.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/formats/safetensors/safetensors_write.h"

enum { DIGITS_MAX = 24 };

void text_stream_builder_init(struct text_stream_builder *builder)
{
    uint64_t zero = 0;
    bytes_init(&builder->tokens, SAMPLES_BLOB_BYTES_MAX);
    bytes_init(&builder->offsets, SAMPLES_BLOB_BYTES_MAX);
    bytes_append(&builder->offsets, &zero, sizeof(zero));
    builder->words = 0;
}

void text_stream_builder_fini(struct text_stream_builder *builder)
{
    bytes_fini(&builder->tokens);
    bytes_fini(&builder->offsets);
}

void text_stream_builder_add(struct text_stream_builder *builder, const uint32_t *tokens,
                             size_t count)
{
    if (count == 0)
        return;
    bytes_append(&builder->tokens, tokens, count * sizeof(*tokens));
    uint64_t end = builder->tokens.size / sizeof(*tokens);
    bytes_append(&builder->offsets, &end, sizeof(end));
}

enum err text_stream_builder_write(const struct text_stream_builder *builder, uint32_t bos,
                                   const char *tokenizer, struct bytes *out)
{
    const struct safetensor tensors[] = {
        {TEXT("offsets"),
         SAFETENSORS_U64,
         1,
         {builder->offsets.size / sizeof(uint64_t)},
         bytes_span(&builder->offsets)},
        {TEXT("tokens"),
         SAFETENSORS_U32,
         1,
         {builder->tokens.size / sizeof(uint32_t)},
         bytes_span(&builder->tokens)},
    };
    char words[DIGITS_MAX], id[DIGITS_MAX] = "none";
    (void)snprintf(words, sizeof words, "%llu", (unsigned long long)builder->words);
    if (bos != TEXT_STREAM_NO_BOS)
        (void)snprintf(id, sizeof id, "%u", bos);
    const struct safetensors_note notes[] = {
        {TEXT("kind"), TEXT("stream")},
        {TEXT("bos"), text_of(id)},
        {TEXT("words"), text_of(words)},
        {TEXT("tokenizer"), text_of(tokenizer)},
    };
    const struct safetensors_content content = {tensors, COUNT_OF(tensors), notes, COUNT_OF(notes)};
    size_t start = out->size;
    TRY(bytes_status(&builder->tokens));
    TRY(bytes_status(&builder->offsets));
    enum err err = safetensors_write(&content, file_sink_bytes, out);
    if (err != ERR_OK)
        out->size = start;
    return err;
}

static bool read_number(struct text digits, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < digits.size; i++) {
        uint8_t digit = (uint8_t)(digits.data[i] - '0');
        if (digit > 9 || i > 17)
            return false;
        *out = *out * 10 + digit;
    }
    return digits.size > 0;
}

static bool read_notes(const struct safetensors *st, struct text_stream *out)
{
    struct text bos = safetensors_note_of(st, "bos");
    uint64_t id = TEXT_STREAM_NO_BOS;
    if (!text_is(safetensors_note_of(st, "kind"), "stream") ||
        !read_number(safetensors_note_of(st, "words"), &out->words) ||
        !perplexity_tokenizer_read(safetensors_note_of(st, "tokenizer"), out->tokenizer))
        return false;
    if (!text_is(bos, "none") && (!read_number(bos, &id) || id >= TEXT_STREAM_NO_BOS))
        return false;
    out->bos = (uint32_t)id;
    return true;
}

enum err text_stream_open(struct span blob, struct text_stream *out, struct err_text *et)
{
    struct safetensors st = {0};
    struct text_stream stream = {0};
    TRY(safetensors_parse(&st, blob, "stream", et));
    const struct safetensor *offsets = safetensors_find(&st, TEXT("offsets"));
    const struct safetensor *tokens = safetensors_find(&st, TEXT("tokens"));
    bool good = offsets != NULL && offsets->dtype == SAFETENSORS_U64 && offsets->rank == 1 &&
                offsets->shape[0] > 0 && tokens != NULL && tokens->dtype == SAFETENSORS_U32 &&
                tokens->rank == 1 && (uintptr_t)offsets->data.data % sizeof(uint64_t) == 0 &&
                (uintptr_t)tokens->data.data % sizeof(uint32_t) == 0 && read_notes(&st, &stream);
    if (good) {
        stream.offsets = (const uint64_t *)(const void *)offsets->data.data;
        stream.tokens = (const uint32_t *)(const void *)tokens->data.data;
        stream.document_count = offsets->shape[0] - 1;
        stream.token_count = tokens->shape[0];
        good = stream.offsets[0] == 0 && stream.offsets[stream.document_count] == tokens->shape[0];
    }
    for (uint64_t i = 0; good && i < stream.document_count; i++)
        good = stream.offsets[i] < stream.offsets[i + 1];
    safetensors_close(&st);
    if (!good)
        return error_set(et, ERR_FORMAT,
                         "stream: expected offsets U64, tokens U32 and their notes in order");
    *out = stream;
    return ERR_OK;
}

/* Bytes of the white space character at the start of s[0..size), 0 when there is none: those that
 * Python's str.isspace accepts. */
static size_t space_bytes(const uint8_t *s, size_t size)
{
    if ((s[0] >= 0x09 && s[0] <= 0x0D) || (s[0] >= 0x1C && s[0] <= 0x20))
        return 1;
    if (size >= 2 && s[0] == 0xC2 && (s[1] == 0x85 || s[1] == 0xA0))
        return 2;
    if (size < 3)
        return 0;
    bool wide = (s[0] == 0xE1 && s[1] == 0x9A && s[2] == 0x80) ||
                (s[0] == 0xE3 && s[1] == 0x80 && s[2] == 0x80) ||
                (s[0] == 0xE2 && s[1] == 0x81 && s[2] == 0x9F) ||
                (s[0] == 0xE2 && s[1] == 0x80 &&
                 (s[2] <= 0x8A || s[2] == 0xA8 || s[2] == 0xA9 || s[2] == 0xAF));
    return wide ? 3 : 0;
}

uint64_t text_stream_words(struct text text)
{
    const uint8_t *s = (const uint8_t *)text.data;
    uint64_t words = 1;
    bool in_space = false;
    for (size_t i = 0; i < text.size;) {
        size_t space = space_bytes(s + i, text.size - i);
        words += space > 0 && !in_space;
        in_space = space > 0;
        i += space > 0 ? space : 1;
    }
    return words;
}
