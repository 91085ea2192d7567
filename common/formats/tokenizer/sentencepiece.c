/* sentencepiece.c - reads tokenizer.model: SentencePiece's protobuf, BPE with byte fallback.
 *
 *   ModelProto      1: SentencePiece*  2: TrainerSpec  3: NormalizerSpec
 *   SentencePiece   1: piece (bytes)   2: score (f32)  3: type
 *   TrainerSpec     3: model_type (1 unigram, 2 BPE)   24: treat_whitespace_as_suffix
 *   NormalizerSpec  1: name  2: precompiled_charsmap  3: add_dummy_prefix
 *                   4: remove_extra_whitespaces  5: escape_whitespaces
 *
 * (sentencepiece_model.proto.) Its BPE merges whatever two neighbours form a piece, best score
 * first; so every way to cut a piece into two pieces is a merge, and the order of scores its rank.
 */
#include "common/formats/tokenizer/sentencepiece.h"

#include <stdlib.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum piece_type {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN = 2,
    PIECE_CONTROL = 3,
    PIECE_USER_DEFINED = 4,
    PIECE_UNUSED = 5,
    PIECE_BYTE = 6,
};

enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };

struct scored {
    struct text text; /* borrowed from the file */
    float score;
    uint32_t type;
    uint32_t id;
};

struct model {
    struct scored *pieces; /* owned */
    uint32_t count;
    uint64_t model_type;
    bool suffix_spaces;
    bool dummy_prefix;
    bool squeeze;
    bool escape;
    struct text normalizer_name;
    struct text charsmap;
};

/* One field of a protobuf message. */
struct field {
    uint32_t number;
    uint32_t wire; /* 0 varint, 1 eight bytes, 2 bytes, 5 four bytes */
    uint64_t value;
    struct text bytes;
};

static bool take_varint(struct text *left, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && left->size > 0; shift += 7) {
        uint8_t byte = (uint8_t)left->data[0];
        *left = (struct text){left->data + 1, left->size - 1};
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* False at the end and when malformed; then *left tells which. */
static bool take_field(struct text *left, struct field *out)
{
    uint64_t key;
    struct text at = *left;
    if (at.size == 0 || !take_varint(&at, &key))
        return false;
    *out = (struct field){.number = (uint32_t)(key >> 3), .wire = (uint32_t)(key & 7)};
    uint64_t size = out->wire == 1 ? 8 : 4;
    if (out->wire == 0 || out->wire == 2) {
        if (!take_varint(&at, &out->value))
            return false;
        size = out->wire == 2 ? out->value : 0;
    } else if (out->wire != 1 && out->wire != 5) {
        return false;
    }
    if (size > at.size)
        return false;
    out->bytes = (struct text){at.data, (size_t)size};
    *left = (struct text){at.data + size, at.size - (size_t)size};
    return true;
}

static bool read_piece(struct text message, struct scored *out)
{
    struct field field;
    out->type = PIECE_NORMAL;
    while (take_field(&message, &field)) {
        if (field.number == 1 && field.wire == 2)
            out->text = field.bytes;
        else if (field.number == 2 && field.wire == 5)
            memcpy(&out->score, field.bytes.data, sizeof(out->score));
        else if (field.number == 3 && field.wire == 0)
            out->type = (uint32_t)field.value;
    }
    return message.size == 0;
}

static bool read_trainer(struct text message, struct model *model)
{
    struct field field;
    while (take_field(&message, &field)) {
        if (field.number == 3 && field.wire == 0)
            model->model_type = field.value;
        else if (field.number == 24 && field.wire == 0)
            model->suffix_spaces = field.value != 0;
    }
    return message.size == 0;
}

static bool read_normalizer(struct text message, struct model *model)
{
    struct field field;
    while (take_field(&message, &field)) {
        if (field.number == 1 && field.wire == 2)
            model->normalizer_name = field.bytes;
        else if (field.number == 2 && field.wire == 2)
            model->charsmap = field.bytes;
        else if (field.number == 3 && field.wire == 0)
            model->dummy_prefix = field.value != 0;
        else if (field.number == 4 && field.wire == 0)
            model->squeeze = field.value != 0;
        else if (field.number == 5 && field.wire == 0)
            model->escape = field.value != 0;
    }
    return message.size == 0;
}

static enum err read_message(struct text message, struct model *model, struct err_text *et)
{
    struct text left = message;
    struct field field;
    uint32_t count = 0;
    while (take_field(&left, &field))
        count += field.number == 1 && field.wire == 2;
    if (left.size != 0 || message.size == 0)
        return error_set(et, ERR_FORMAT, "not a SentencePiece model: malformed field at byte %zu",
                         message.size - left.size);
    if (count == 0 || count > VOCAB_ID_MAX)
        return error_set(et, ERR_FORMAT, "not a SentencePiece model: %u pieces", count);
    model->pieces = mem_alloc(count, sizeof(*model->pieces));
    if (model->pieces == NULL)
        return ERR_OUT_OF_MEMORY;
    for (left = message; take_field(&left, &field);) {
        bool good = true;
        if (field.wire != 2)
            continue;
        if (field.number == 1) {
            struct scored *piece = &model->pieces[model->count];
            good = read_piece(field.bytes, piece);
            piece->id = model->count++;
        } else if (field.number == 2) {
            good = read_trainer(field.bytes, model);
        } else if (field.number == 3) {
            good = read_normalizer(field.bytes, model);
        }
        if (!good)
            return error_set(et, ERR_FORMAT, "malformed SentencePiece message %u at byte %zu",
                             field.number, (size_t)(field.bytes.data - message.data));
    }
    return ERR_OK;
}

static enum err check_supported(const struct model *model, struct err_text *et)
{
    if (model->model_type != MODEL_BPE)
        return error_set(et, ERR_UNSUPPORTED,
                         "SentencePiece model type %s is not supported "
                         "(known: BPE)",
                         model->model_type == MODEL_UNIGRAM ? "Unigram" : "of words or characters");
    if (model->suffix_spaces || !model->escape)
        return error_set(et, ERR_UNSUPPORTED,
                         "SentencePiece's treat_whitespace_as_suffix and "
                         "unescaped spaces are not supported");
    if (model->charsmap.size > 0)
        return error_set(et, ERR_UNSUPPORTED,
                         "SentencePiece's normalizer '%.*s' is not supported (known: identity)",
                         TEXT_ARGS(model->normalizer_name));
    for (uint32_t i = 0; i < model->count; i++) {
        const struct scored *piece = &model->pieces[i];
        if (piece->type < PIECE_NORMAL || piece->type > PIECE_BYTE || piece->type == PIECE_UNUSED)
            return error_set(et, ERR_UNSUPPORTED, "piece %u has type %u, which is not supported", i,
                             piece->type);
        if (piece->text.size == 0 || unicode_valid_prefix(piece->text) != piece->text.size)
            return error_set(et, ERR_FORMAT, "piece %u is empty or not UTF-8", i);
        if (!(piece->score >= -3.4e38f && piece->score <= 3.4e38f))
            return error_set(et, ERR_FORMAT, "piece %u has a score that is not finite", i);
    }
    return ERR_OK;
}

static enum err add_pieces(struct tokenizer *t, const struct model *model, struct err_text *et)
{
    for (uint32_t i = 0; i < model->count; i++) {
        const struct scored *piece = &model->pieces[i];
        enum err err = vocab_add(&t->vocab, &t->arena, i, piece->text);
        if (err != ERR_OK)
            return error_set(et, err, "piece %u is too long", i);
        if (piece->type == PIECE_UNKNOWN)
            t->roles.unk = t->bpe.unk = i;
        if (piece->type == PIECE_BYTE && vocab_byte_of(piece->text) < 0)
            return error_set(et, ERR_FORMAT, "piece %u: '%.*s' is not a byte piece", i,
                             TEXT_ARGS(piece->text));
        if (piece->type == PIECE_BYTE)
            t->bpe.byte_fallback = true;
        if (piece->type == PIECE_NORMAL || piece->type == PIECE_BYTE)
            continue;
        /* User-defined pieces are found in the normalized text and merge with nothing. */
        bool user = piece->type == PIECE_USER_DEFINED;
        TRY(tokenizer_model_add(
            t, (struct added_token){piece->text, i, .special = !user, .normalized = user}, et));
    }
    return ERR_OK;
}

/* Best score first; equal scores keep the order of the file. */
static int by_score(const void *a, const void *b)
{
    const struct scored *x = a;
    const struct scored *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Calls for every cut of every normal piece into two normal pieces; counts only when `t` is NULL.
 */
static uint64_t each_merge(const struct model *model, const struct vocab *vocab,
                           const uint8_t *types, struct bpe *bpe)
{
    uint64_t merges = 0;
    uint32_t rank = 0;
    for (uint32_t i = 0; i < model->count; i++) {
        const struct scored *piece = &model->pieces[i];
        if (i > 0 && piece->score != model->pieces[i - 1].score)
            rank = i;
        if (piece->type != PIECE_NORMAL)
            continue;
        for (size_t at = 1; at < piece->text.size; at++) {
            if (((uint8_t)piece->text.data[at] & 0xC0) == 0x80)
                continue;
            uint32_t left = vocab_find(vocab, (struct text){piece->text.data, at});
            uint32_t right =
                vocab_find(vocab, (struct text){piece->text.data + at, piece->text.size - at});
            if (left == UINT32_MAX || right == UINT32_MAX || types[left] != PIECE_NORMAL ||
                types[right] != PIECE_NORMAL)
                continue;
            merges++;
            if (bpe != NULL)
                bpe_add_merge(bpe, left, right, rank, piece->id);
        }
    }
    return merges;
}

static enum err add_merges(struct tokenizer *t, struct model *model)
{
    uint8_t *types = mem_alloc(model->count, 1);
    if (types == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < model->count; i++)
        types[i] = (uint8_t)model->pieces[i].type;
    qsort(model->pieces, model->count, sizeof(*model->pieces), by_score);
    uint64_t merges = each_merge(model, &t->vocab, types, NULL);
    struct bpe kept = t->bpe;
    enum err err = bpe_init(&t->bpe, &t->arena, &t->vocab, merges);
    if (err == ERR_OK) {
        t->bpe.unk = kept.unk;
        t->bpe.byte_fallback = kept.byte_fallback;
        t->bpe.fuse_unk = true; /* SentencePiece gives one id to a run of unknown characters */
        (void)each_merge(model, &t->vocab, types, &t->bpe);
    }
    mem_free(types);
    return err;
}

static enum err add_steps(struct tokenizer *t, const struct model *model)
{
    static const struct text blank = {"\xE2\x96\x81", 3};
    struct normalizer *n = &t->normalizer;
    if (model->squeeze)
        TRY(normalizer_add(n, (struct normalizer_step){.kind = NORMALIZER_SQUEEZE_SPACES}));
    if (model->dummy_prefix)
        TRY(normalizer_add(
            n, (struct normalizer_step){.kind = NORMALIZER_PREPEND_FIRST, .to = TEXT(" ")}));
    TRY(normalizer_add(
        n, (struct normalizer_step){.kind = NORMALIZER_REPLACE, .from = TEXT(" "), .to = blank}));
    t->decoder.byte_fallback = true;
    t->decoder.strip_left = model->dummy_prefix ? 1 : 0;
    return decoder_add_replace(&t->decoder, blank, TEXT(" "), &t->arena);
}

/* BOS and EOS by their usual names; the files beside the model may say otherwise. */
static void find_roles(struct tokenizer *t)
{
    t->roles.bos = vocab_find(&t->vocab, TEXT("<s>"));
    t->roles.eos = vocab_find(&t->vocab, TEXT("</s>"));
    if (t->roles.bos != UINT32_MAX) {
        t->post_processor.prefix[0] = t->roles.bos;
        t->post_processor.prefix_count = 1;
    }
}

enum err sentencepiece_read(struct tokenizer *t, struct span content, struct err_text *et)
{
    struct model model = {.model_type = MODEL_UNIGRAM,
                          .dummy_prefix = true,
                          .squeeze = true,
                          .escape = true,
                          .normalizer_name = TEXT("")};
    enum err err;
    t->bpe.unk = UINT32_MAX;
    TRY_OUT(read_message((struct text){(const char *)content.data, content.size}, &model, et));
    TRY_OUT(check_supported(&model, et));
    /* Room for tokens that tokenizer_config.json adds. */
    uint32_t capacity = MIN(model.count + ADDED_TOKENS_MAX, (uint32_t)VOCAB_ID_MAX + 1);
    TRY_OUT(vocab_init(&t->vocab, &t->arena, capacity));
    TRY_OUT(add_pieces(t, &model, et));
    TRY_OUT(add_merges(t, &model));
    TRY_OUT(add_steps(t, &model));
    find_roles(t);
out:
    mem_free(model.pieces);
    return err;
}
