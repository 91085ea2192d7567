/* decoder.c - see decoder.h. */
#include "common/formats/tokenizer/decoder.h"

#include "common/formats/tokenizer/component.h"
#include "common/formats/tokenizer/pretokenizer.h"
#include "common/formats/tokenizer/unicode.h"
#include "common/formats/tokenizer/vocab.h"

enum { STRIP_MAX = 64 };

struct reading {
    struct decoder *decoder;
    struct arena *arena;
};

enum err decoder_add_replace(struct decoder *decoder, struct text from, struct text to,
                             struct arena *arena)
{
    if (decoder->replace_count == DECODER_REPLACES_MAX)
        return ERR_LIMIT;
    char *from_copy = arena_copy_text(arena, from);
    char *to_copy = arena_copy_text(arena, to);
    if (from_copy == NULL || to_copy == NULL)
        return ERR_OUT_OF_MEMORY;
    size_t i = decoder->replace_count++;
    decoder->replaces[i].from = (struct text){from_copy, from.size};
    decoder->replaces[i].to = (struct text){to_copy, to.size};
    return ERR_OK;
}

static enum err read_replace(struct decoder *decoder, struct json_value value, struct arena *arena,
                             struct err_text *et)
{
    struct json_value pattern;
    struct text from, to;
    TRY(json_read_object(value, "pattern", &pattern, et));
    TRY(json_read_text(pattern, "String", &from, et));
    TRY(json_read_text(value, "content", &to, et));
    if (from.size == 0)
        return json_read_wrong(pattern, "a pattern that is not empty", et);
    return decoder_add_replace(decoder, from, to, arena);
}

static enum err read_strip(struct decoder *decoder, struct json_value value, struct err_text *et)
{
    struct text content;
    int64_t start, stop;
    TRY(json_read_text(value, "content", &content, et));
    TRY(json_read_i64(value, "start", 0, STRIP_MAX, &start, et));
    TRY(json_read_i64(value, "stop", 0, STRIP_MAX, &stop, et));
    if (!text_is(content, " ") || stop != 0)
        return error_set(et, ERR_UNSUPPORTED,
                         "decoder 'Strip' is supported for spaces at the start only");
    decoder->strip_left = (size_t)start;
    return ERR_OK;
}

static enum err read_metaspace(struct decoder *decoder, struct json_value value,
                               struct arena *arena, struct err_text *et)
{
    struct text replacement = TEXT("\xE2\x96\x81");
    struct text scheme = TEXT("always");
    bool prefix = true;
    TRY(json_read_opt_text(value, "replacement", &replacement, NULL, et));
    TRY(json_read_opt_text(value, "prepend_scheme", &scheme, NULL, et));
    TRY(json_read_opt_bool(value, "add_prefix_space", &prefix, NULL, et));
    if (replacement.size == 0)
        return json_read_wrong(json_read_find(value, "replacement"), "a character", et);
    TRY(decoder_add_replace(decoder, replacement, TEXT(" "), arena));
    if (prefix && !text_is(scheme, "never"))
        decoder->drop = decoder->replaces[decoder->replace_count - 1].from;
    return ERR_OK;
}

static enum err read_step(void *context, struct text type, struct json_value value,
                          struct err_text *et)
{
    const struct reading *reading = context;
    struct decoder *decoder = reading->decoder;
    if (text_is(type, "Replace"))
        return read_replace(decoder, value, reading->arena, et);
    if (text_is(type, "Strip"))
        return read_strip(decoder, value, et);
    if (text_is(type, "Metaspace"))
        return read_metaspace(decoder, value, reading->arena, et);
    if (text_is(type, "Fuse"))
        return ERR_OK;
    if (text_is(type, "ByteFallback")) {
        decoder->byte_fallback = true;
        return ERR_OK;
    }
    if (text_is(type, "ByteLevel")) {
        decoder->byte_level = true;
        return ERR_OK;
    }
    return error_set(et, ERR_UNSUPPORTED,
                     "decoder '%.*s' is not supported (known: ByteLevel, Metaspace, Replace, "
                     "ByteFallback, Fuse, Strip, Sequence)",
                     TEXT_ARGS(type));
}

enum err decoder_read(struct decoder *decoder, struct json_value value, struct arena *arena,
                      struct err_text *et)
{
    struct reading reading = {decoder, arena};
    *decoder = (struct decoder){0};
    if (json_read_type(value) == JSON_READ_NULL || json_read_is_absent(value)) {
        decoder->spaced = true;
        decoder->strip_left = 1;
        return ERR_OK;
    }
    return component_read(value, "decoders", read_step, &reading, et);
}

static void append_replaced(struct text text, struct text from, struct text to, struct bytes *out)
{
    for (size_t at = 0; at < text.size;) {
        bool hit = text.size - at >= from.size && memcmp(text.data + at, from.data, from.size) == 0;
        if (hit)
            bytes_append_text(out, to);
        else
            bytes_append(out, text.data + at, 1);
        at += hit ? from.size : 1;
    }
}

/* Bytes of a byte-level spelling; the spelling itself when a character is not of that table (an
 * added token). */
static void append_byte_level(struct text token, struct bytes *out)
{
    size_t start = out->size;
    for (size_t at = 0; at < token.size; at += unicode_size((uint8_t)token.data[at])) {
        int byte = pretokenizer_char_byte(unicode_at(token.data + at));
        if (byte < 0) {
            if (out->err == ERR_OK)
                out->size = start;
            bytes_append_text(out, token);
            return;
        }
        bytes_append(out, &(uint8_t){(uint8_t)byte}, 1);
    }
}

enum err decoder_apply(const struct decoder *decoder, struct text token, struct bytes spare[2],
                       struct bytes *out)
{
    int byte = decoder->byte_fallback ? vocab_byte_of(token) : -1;
    if (decoder->spaced)
        bytes_append(out, " ", 1);
    if (byte >= 0) {
        bytes_append(out, &(uint8_t){(uint8_t)byte}, 1);
        return bytes_status(out);
    }
    for (size_t i = 0; i < decoder->replace_count; i++) {
        struct bytes *to = &spare[i % 2];
        bytes_clear(to);
        append_replaced(token, decoder->replaces[i].from, decoder->replaces[i].to, to);
        TRY(bytes_status(to));
        token = (struct text){to->size == 0 ? "" : (const char *)to->data, to->size};
    }
    if (decoder->byte_level)
        append_byte_level(token, out);
    else
        bytes_append_text(out, token);
    return bytes_status(out);
}
