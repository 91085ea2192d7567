/* tokenizer.c - encoding and decoding; opening is in tokenizer_open.c. */
#include "common/formats/tokenizer/tokenizer.h"

#include "common/base/check.h"
#include "common/formats/tokenizer/tokenizer_model.h"
#include "common/mem/mem.h"

#define BUFFER_BYTES_MAX ((size_t)TOKENIZER_TEXT_BYTES_MAX * 4)

struct tokenizer_scratch {
    struct bpe_scratch *bpe;
    struct unigram_scratch *unigram;
    struct regex_scratch *regex;
    struct pieces pieces;
    struct bytes normal[2];
    struct bytes repaired;
};

enum err tokenizer_scratch_create(const struct tokenizer *tokenizer UNUSED,
                                  struct tokenizer_scratch **out)
{
    struct tokenizer_scratch *scratch = mem_alloc(1, sizeof(*scratch));
    if (scratch == NULL)
        return ERR_OUT_OF_MEMORY;
    pretokenizer_pieces_init(&scratch->pieces, BUFFER_BYTES_MAX);
    bytes_init(&scratch->normal[0], BUFFER_BYTES_MAX);
    bytes_init(&scratch->normal[1], BUFFER_BYTES_MAX);
    bytes_init(&scratch->repaired, BUFFER_BYTES_MAX);
    enum err err = bpe_scratch_create(&scratch->bpe);
    if (err == ERR_OK)
        err = unigram_scratch_create(&scratch->unigram);
    if (err == ERR_OK)
        err = regex_scratch_create(&scratch->regex);
    if (err != ERR_OK) {
        tokenizer_scratch_destroy(&scratch);
        return err;
    }
    *out = scratch;
    return ERR_OK;
}

void tokenizer_scratch_destroy(struct tokenizer_scratch **scratch)
{
    struct tokenizer_scratch *s = *scratch;
    if (s == NULL)
        return;
    bpe_scratch_destroy(&s->bpe);
    unigram_scratch_destroy(&s->unigram);
    regex_scratch_destroy(&s->regex);
    pretokenizer_pieces_fini(&s->pieces);
    bytes_fini(&s->normal[0]);
    bytes_fini(&s->normal[1]);
    bytes_fini(&s->repaired);
    mem_free(s);
    *scratch = NULL;
}

/* Normalized text without added tokens. */
static enum err encode_plain(const struct tokenizer *t, struct tokenizer_scratch *s,
                             struct text text, bool first, struct token_list *out)
{
    TRY(pretokenizer_apply(&t->pretokenizer, s->regex, text, first, &s->pieces));
    for (size_t i = 0; i < s->pieces.count; i++) {
        struct piece piece = s->pieces.items[i];
        struct text part = {s->pieces.text.data + piece.begin, piece.end - piece.begin};
        if (t->model == TOKENIZER_UNIGRAM)
            TRY(unigram_encode(&t->unigram, s->unigram, part, out));
        else
            TRY(bpe_encode(&t->bpe, s->bpe, part, out));
    }
    return ERR_OK;
}

/* Raw text without raw added tokens. */
static enum err encode_section(const struct tokenizer *t, struct tokenizer_scratch *s,
                               struct text text, bool first, bool special, struct token_list *out)
{
    struct added_token_match match;
    size_t from = 0;
    if (text.size == 0)
        return ERR_OK;
    TRY(normalizer_apply(&t->normalizer, s->regex, text, first, s->normal, &text));
    while (added_token_next(&t->normalized, text, from, special, &match)) {
        struct text part = {text.data + from, match.begin - from};
        TRY(encode_plain(t, s, part, first && from == 0, out));
        TRY(token_list_append(out, &match.id, 1));
        from = match.end;
    }
    struct text part = {text.data + from, text.size - from};
    return encode_plain(t, s, part, first && from == 0, out);
}

static enum err encode_text(const struct tokenizer *t, struct tokenizer_scratch *s,
                            struct text text, unsigned flags, struct token_list *out)
{
    bool special = (flags & TOKENIZER_SPECIAL_AS_TEXT) == 0;
    struct added_token_match match;
    size_t from = 0;
    if (flags & TOKENIZER_ADD_SPECIAL)
        TRY(token_list_append(out, t->post_processor.prefix, t->post_processor.prefix_count));
    if (unicode_valid_prefix(text) != text.size) {
        bytes_clear(&s->repaired);
        unicode_repair(text, t->bad_bytes_alone, &s->repaired);
        TRY(bytes_status(&s->repaired));
        text = (struct text){(const char *)s->repaired.data, s->repaired.size};
    }
    while (added_token_next(&t->raw, text, from, special, &match)) {
        struct text part = {text.data + from, match.begin - from};
        TRY(encode_section(t, s, part, from == 0, special, out));
        TRY(token_list_append(out, &match.id, 1));
        from = match.end;
    }
    struct text part = {text.data + from, text.size - from};
    TRY(encode_section(t, s, part, from == 0, special, out));
    if (flags & TOKENIZER_ADD_SPECIAL)
        TRY(token_list_append(out, t->post_processor.suffix, t->post_processor.suffix_count));
    return ERR_OK;
}

enum err tokenizer_encode(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                          struct text text, unsigned flags, struct token_list *out)
{
    struct tokenizer_scratch *own = NULL;
    size_t count = out->count;
    if (text.size > TOKENIZER_TEXT_BYTES_MAX)
        return ERR_LIMIT;
    if (scratch == NULL) {
        TRY(tokenizer_scratch_create(tokenizer, &own));
        scratch = own;
    }
    enum err err = encode_text(tokenizer, scratch, text, flags, out);
    if (err != ERR_OK)
        out->count = count;
    tokenizer_scratch_destroy(&own);
    return err;
}

void tokenizer_stream_init(struct tokenizer_stream *stream, const struct tokenizer *tokenizer,
                           unsigned flags)
{
    *stream = (struct tokenizer_stream){
        .tokenizer = tokenizer, .flags = flags, .strip_left = tokenizer->decoder.strip_left};
}

/* Appends what is whole of `text` and keeps the start of a character in stream->held. */
static void emit_whole(struct tokenizer_stream *stream, struct text text, struct bytes *out)
{
    while (text.size > 0) {
        size_t good = unicode_valid_prefix(text);
        bytes_append(out, text.data, good);
        text = (struct text){text.data + good, text.size - good};
        if (text.size == 0)
            return;
        bool could_continue;
        size_t bad = unicode_bad_size(text, &could_continue);
        if (could_continue) {
            ASSERT(text.size < sizeof(stream->held));
            memcpy(stream->held, text.data, text.size);
            stream->held_count = text.size;
            return;
        }
        bytes_append(out, "\xEF\xBF\xBD", 3);
        text = (struct text){text.data + bad, text.size - bad};
    }
}

/* The spelling of a first token without what its decoder drops there, in `kept`. */
static struct text drop_from(struct text token, struct text drop, char kept[VOCAB_TOKEN_BYTES_MAX])
{
    size_t size = 0;
    for (size_t at = 0; at < token.size;) {
        if (token.size - at >= drop.size && memcmp(token.data + at, drop.data, drop.size) == 0)
            at += drop.size;
        else
            kept[size++] = token.data[at++];
    }
    return (struct text){kept, size};
}

/* What token `id` adds to the text. */
static struct text bytes_of(struct tokenizer_stream *stream, uint32_t id,
                            char kept[VOCAB_TOKEN_BYTES_MAX])
{
    const struct tokenizer *t = stream->tokenizer;
    struct text token = t->vocab.tokens[id];
    struct text bytes = t->decoded[id];
    if (!stream->begun && t->decoder.drop.size > 0) {
        struct text rest = drop_from(token, t->decoder.drop, kept);
        bytes = rest.size < token.size ? rest : bytes;
    }
    stream->begun = true;
    for (; stream->strip_left > 0 && bytes.size > 0; stream->strip_left--) {
        if (bytes.data[0] != ' ') {
            stream->strip_left = 0;
            break;
        }
        bytes = (struct text){bytes.data + 1, bytes.size - 1};
    }
    return bytes;
}

enum err tokenizer_stream_push(struct tokenizer_stream *stream, uint32_t id, struct bytes *out)
{
    const struct tokenizer *t = stream->tokenizer;
    char kept[VOCAB_TOKEN_BYTES_MAX];
    if (id >= t->vocab.size || t->vocab.tokens[id].data == NULL)
        return ERR_DATA;
    if ((stream->flags & TOKENIZER_SKIP_SPECIAL) && t->special[id])
        return ERR_OK;
    struct text bytes = bytes_of(stream, id, kept);
    if (stream->held_count == 0) {
        emit_whole(stream, bytes, out);
        return bytes_status(out);
    }
    /* A character that began in an earlier token: complete it by itself, then go on. */
    while (stream->held_count > 0 && bytes.size > 0) {
        char start[sizeof(stream->held)];
        size_t count = stream->held_count;
        memcpy(start, stream->held, count);
        stream->held_count = 0;
        start[count] = bytes.data[0];
        bytes = (struct text){bytes.data + 1, bytes.size - 1};
        emit_whole(stream, (struct text){start, count + 1}, out);
    }
    emit_whole(stream, bytes, out);
    return bytes_status(out);
}

enum err tokenizer_stream_end(struct tokenizer_stream *stream, struct bytes *out)
{
    if (stream->held_count > 0)
        bytes_append(out, "\xEF\xBF\xBD", 3);
    stream->held_count = 0;
    return bytes_status(out);
}

enum err tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                          unsigned flags, struct bytes *out)
{
    struct tokenizer_stream stream;
    size_t start = out->size;
    enum err err = ERR_OK;
    tokenizer_stream_init(&stream, tokenizer, flags);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = tokenizer_stream_push(&stream, ids[i], out);
    if (err == ERR_OK)
        err = tokenizer_stream_end(&stream, out);
    if (err != ERR_OK)
        out->size = start;
    return err;
}

uint32_t tokenizer_vocabulary_size(const struct tokenizer *tokenizer)
{
    return tokenizer->vocab.size;
}

struct text tokenizer_token(const struct tokenizer *tokenizer, uint32_t id)
{
    bool known = id < tokenizer->vocab.size && tokenizer->vocab.tokens[id].data != NULL;
    return known ? tokenizer->vocab.tokens[id] : TEXT("");
}

struct text tokenizer_bytes(const struct tokenizer *tokenizer, uint32_t id)
{
    bool known = id < tokenizer->vocab.size && tokenizer->vocab.tokens[id].data != NULL;
    return known ? tokenizer->decoded[id] : TEXT("");
}

struct tokenizer_roles tokenizer_roles(const struct tokenizer *tokenizer)
{
    return tokenizer->roles;
}

struct tokenizer_affix tokenizer_prefix(const struct tokenizer *tokenizer)
{
    return (struct tokenizer_affix){tokenizer->post_processor.prefix,
                                    tokenizer->post_processor.prefix_count};
}

struct text tokenizer_chat_template(const struct tokenizer *tokenizer)
{
    return tokenizer->chat_template;
}
