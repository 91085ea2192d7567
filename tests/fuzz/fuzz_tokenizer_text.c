/* fuzz_tokenizer_text.c - texts through small tokenizers of every kind.
 *
 * The first byte of an input says which tokenizer and which flags, the rest is the text. Whatever
 * the text: ids lie in the vocabulary, a scratch that has seen other texts changes nothing, a
 * stream gives whole characters and in the end what decoding at once gives; and where no step loses
 * anything, the text comes back.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/tokenizer/piece_list.h"
#include "common/formats/tokenizer/tokenizer_json.h"
#include "common/mem/mem.h"
#include "tests/fuzz/fuzz.h"

enum { TEXT_BYTES_MAX = 1 << 22, KINDS = 5, FRESH_EVERY = 31 };

/* What a round trip may lose, beside bytes that are not UTF-8. */
enum loss { LOSS_NONE, LOSS_BLANKS, LOSS_TEXT }; /* U+2581 comes back as a blank */

struct subject {
    struct tokenizer *tokenizer;
    struct tokenizer_scratch *scratch;
    enum loss loss;
};

static const char *const TOKENS[] = {
    "\xE2\x96\x81",
    "a",
    "b",
    "c",
    "ab",
    "\xE2\x96\x81\x61\x62",
    "bc",
    "abc",
    "1",
    "12",
    "\xC3\xA9",
    "\xE2\x96\x81\xE2\x96\x81",
    "\xF0\x9F\x98\x80",
    "e",
    "\xCC\x81",
    "cab",
};

static struct tokenizer *start(void)
{
    struct tokenizer *t = mem_alloc(1, sizeof(*t));
    ASSERT(t != NULL);
    tokenizer_model_init(t, 64 << 20);
    return t;
}

/* A SentencePiece vocabulary: control and user-defined pieces, bytes, and TOKENS. */
static struct tokenizer *from_pieces(bool unigram, bool squeeze, bool byte_fallback)
{
    static const struct scored_piece first[] = {
        {TEXT("<unk>"), 0, TOKENIZER_UNKNOWN, 0},
        {TEXT("<s>"), 0, TOKENIZER_CONTROL, 1},
        {TEXT("\n"), 0, TOKENIZER_USER_DEFINED, 2},
        {TEXT("bca"), 0, TOKENIZER_USER_DEFINED, 3},
    };
    char bytes[256][8];
    struct tokenizer *t = start();
    struct piece_list list;
    struct err_text et = {{0}};
    uint32_t count = COUNT_OF(first);
    ASSERT(piece_list_init(&list, COUNT_OF(first) + 256 + COUNT_OF(TOKENS)) == ERR_OK);
    memcpy(list.items, first, sizeof(first));
    for (uint32_t b = 0; b < 256 && byte_fallback; b++) {
        (void)snprintf(bytes[b], sizeof(bytes[b]), "<0x%02X>", b);
        list.items[count] = (struct scored_piece){text_of(bytes[b]), 0, TOKENIZER_BYTE, count};
        count++;
    }
    for (uint32_t i = 0; i < COUNT_OF(TOKENS); i++) {
        float score = -1 - (float)(i * 7 % 5);
        list.items[count] =
            (struct scored_piece){text_of(TOKENS[i]), score, TOKENIZER_NORMAL, count};
        count++;
    }
    list.count = count;
    list.unigram = unigram;
    list.squeeze = squeeze;
    list.byte_fallback = byte_fallback;
    list.dummy_prefix = true;
    ASSERT(piece_list_build(&list, t, &et) == ERR_OK);
    ASSERT(tokenizer_model_finish(t, &et) == ERR_OK);
    piece_list_fini(&list);
    return t;
}

/* Byte-level BPE as GPT-2 has it, with a few merges. */
static struct tokenizer *from_json(void)
{
    const struct json_read_options options = {.name = "made"};
    struct tokenizer *t = start();
    struct bytes json;
    struct json_doc *doc = NULL;
    struct err_text et = {{0}};
    bytes_init(&json, 1 << 16);
    bytes_print(&json, "{\"model\": {\"type\": \"BPE\", \"vocab\": {");
    for (uint32_t b = 0; b < 256; b++)
        bytes_print(&json, "\"\\u%04x\": %u, ", pretokenizer_byte_char((uint8_t)b), b);
    bytes_print(&json, "\"ab\": 256, \"\\u0120ab\": 257, \"\\u00c3\\u00a9\": 258, \"abab\": 259, "
                       "\"<s>\": 260}, \"merges\": [\"a b\", \"\\u0120 ab\", \"\\u00c3 \\u00a9\", "
                       "\"ab ab\"]}, \"added_tokens\": [{\"id\": 260, \"content\": \"<s>\", "
                       "\"special\": true}], \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
                       "\"add_prefix_space\": false}, \"decoder\": {\"type\": \"ByteLevel\"}}");
    ASSERT(bytes_status(&json) == ERR_OK);
    if (json_read_parse(bytes_span(&json), &options, &doc, &et) != ERR_OK ||
        tokenizer_json_read(t, json_read_root(doc), &et) != ERR_OK ||
        tokenizer_model_finish(t, &et) != ERR_OK)
        (void)fprintf(stderr, "%s\n", et.text);
    json_read_close(&doc);
    bytes_fini(&json);
    return t;
}

static struct subject make(size_t kind)
{
    struct subject s = {.loss = LOSS_BLANKS};
    switch (kind) {
    case 0:
        s.tokenizer = from_json();
        s.loss = LOSS_NONE;
        break;
    case 1:
        s.tokenizer = from_pieces(false, false, true);
        break;
    case 2:
        s.tokenizer = from_pieces(true, false, true);
        break;
    case 3:
        s.tokenizer = from_pieces(true, true, false);
        s.loss = LOSS_TEXT;
        break;
    default:
        s.tokenizer = from_pieces(false, true, false);
        s.loss = LOSS_TEXT;
    }
    ASSERT(tokenizer_scratch_create(s.tokenizer, &s.scratch) == ERR_OK);
    return s;
}

static void check_decoding(const struct tokenizer *t, const struct token_list *ids,
                           struct bytes *whole)
{
    struct tokenizer_stream stream;
    struct bytes streamed;
    size_t done = 0;
    bytes_init(&streamed, TEXT_BYTES_MAX);
    tokenizer_stream_init(&stream, t, 0);
    for (size_t i = 0; i < ids->count; i++) {
        ASSERT(tokenizer_stream_push(&stream, ids->ids[i], &streamed) == ERR_OK);
        if (streamed.size == done)
            continue;
        struct text piece = {(const char *)streamed.data + done, streamed.size - done};
        ASSERT(unicode_valid_prefix(piece) == piece.size);
        done = streamed.size;
    }
    ASSERT(tokenizer_stream_end(&stream, &streamed) == ERR_OK);
    ASSERT(tokenizer_decode(t, ids->ids, ids->count, 0, whole) == ERR_OK);
    ASSERT(span_equal(bytes_span(whole), bytes_span(&streamed)));
    bytes_fini(&streamed);
}

/* `whole` against the text that went in. */
static void check_round_trip(const struct subject *s, struct text text, const struct bytes *whole)
{
    struct bytes want;
    bytes_init(&want, TEXT_BYTES_MAX);
    unicode_repair(text, s->tokenizer->bad_bytes_alone, &want);
    size_t at = 0;
    for (size_t i = 0; i < want.size; i++) {
        bool blank = s->loss == LOSS_BLANKS && want.size - i >= 3 &&
                     memcmp(want.data + i, "\xE2\x96\x81", 3) == 0;
        ASSERT(at < whole->size && whole->data[at++] == (blank ? ' ' : want.data[i]));
        i += blank ? 2 : 0;
    }
    ASSERT(at == whole->size);
    bytes_fini(&want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct subject subjects[KINDS]; /* made once: making takes longer than a run */
    struct token_list kept, fresh;
    struct bytes whole;
    if (size == 0)
        return 0;
    struct subject *s = &subjects[data[0] % KINDS];
    if (s->tokenizer == NULL)
        *s = make(data[0] % KINDS);
    unsigned flags = (data[0] & 0x80) != 0 ? 0 : TOKENIZER_SPECIAL_AS_TEXT;
    struct text text = {(const char *)data + 1, size - 1};
    token_list_init(&kept);
    token_list_init(&fresh);
    bytes_init(&whole, TEXT_BYTES_MAX);
    ASSERT(tokenizer_encode(s->tokenizer, s->scratch, text, flags, &kept) == ERR_OK);
    for (size_t i = 0; i < kept.count; i++)
        ASSERT(kept.ids[i] < tokenizer_vocabulary_size(s->tokenizer));
    if (size % FRESH_EVERY == 0) { /* a new scratch costs more than all the rest */
        ASSERT(tokenizer_encode(s->tokenizer, NULL, text, flags, &fresh) == ERR_OK);
        ASSERT(kept.count == fresh.count);
        ASSERT(kept.count == 0 || memcmp(kept.ids, fresh.ids, kept.count * sizeof(*kept.ids)) == 0);
    }
    check_decoding(s->tokenizer, &kept, &whole);
    if (s->loss != LOSS_TEXT && flags != 0)
        check_round_trip(s, text, &whole);
    bytes_fini(&whole);
    token_list_fini(&kept);
    token_list_fini(&fresh);
    return 0;
}
