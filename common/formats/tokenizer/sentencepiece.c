/* sentencepiece.c - reads tokenizer.model, SentencePiece's protobuf.
 *
 *   ModelProto      1: SentencePiece*  2: TrainerSpec  3: NormalizerSpec  5: denormalizer, the same
 *   SentencePiece   1: piece (bytes)   2: score (f32)  3: type
 *   TrainerSpec     3: model_type (1 unigram, 2 BPE)   24: treat_whitespace_as_suffix
 *                   35: byte_fallback  46: bos_piece  47: eos_piece  48: pad_piece
 *   NormalizerSpec  2: precompiled_charsmap  3: add_dummy_prefix
 *                   4: remove_extra_whitespaces  5: escape_whitespaces
 *
 * (sentencepiece_model.proto.)
 */
#include "common/formats/tokenizer/sentencepiece.h"

#include "common/base/check.h"
#include "common/formats/tokenizer/piece_list.h"

enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };

struct model {
    struct piece_list pieces;
    uint64_t model_type;
    bool has_trainer; /* what says it, and follows the pieces */
    bool suffix_spaces;
    bool escape;
    bool denormalizes;
    struct text bos; /* spellings, borrowed from the file as the rest */
    struct text eos;
    struct text pad;
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

static bool read_piece(struct text message, struct scored_piece *out)
{
    struct field field;
    out->type = TOKENIZER_NORMAL;
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
        else if (field.number == 35 && field.wire == 0)
            model->pieces.byte_fallback = field.value != 0;
        else if (field.number == 46 && field.wire == 2)
            model->bos = field.bytes;
        else if (field.number == 47 && field.wire == 2)
            model->eos = field.bytes;
        else if (field.number == 48 && field.wire == 2)
            model->pad = field.bytes;
    }
    return message.size == 0;
}

static bool read_normalizer(struct text message, struct model *model)
{
    struct field field;
    while (take_field(&message, &field)) {
        if (field.number == 2 && field.wire == 2)
            model->pieces.charsmap = span_of_text(field.bytes);
        else if (field.number == 3 && field.wire == 0)
            model->pieces.dummy_prefix = field.value != 0;
        else if (field.number == 4 && field.wire == 0)
            model->pieces.squeeze = field.value != 0;
        else if (field.number == 5 && field.wire == 0)
            model->escape = field.value != 0;
    }
    return message.size == 0;
}

/* Only whether it would change anything: a denormalizer has the fields of a normalizer. */
static bool read_denormalizer(struct text message, struct model *model)
{
    struct model other = {0};
    bool good = read_normalizer(message, &other);
    model->denormalizes = other.pieces.charsmap.size > 0;
    return good;
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
    struct piece_list *list = &model->pieces;
    TRY(piece_list_init(list, count));
    list->dummy_prefix = true;
    list->squeeze = true;
    count = 0;
    for (left = message; take_field(&left, &field);) {
        bool good = true;
        if (field.wire != 2)
            continue;
        if (field.number == 1) {
            struct scored_piece *piece = &list->items[count];
            good = read_piece(field.bytes, piece);
            piece->id = count++;
        } else if (field.number == 2) {
            good = read_trainer(field.bytes, model);
            model->has_trainer = true;
        } else if (field.number == 3) {
            good = read_normalizer(field.bytes, model);
        } else if (field.number == 5) {
            good = read_denormalizer(field.bytes, model);
        }
        if (!good)
            return error_set(et, ERR_FORMAT, "malformed SentencePiece message %u at byte %zu",
                             field.number, (size_t)(field.bytes.data - message.data));
    }
    return ERR_OK;
}

static enum err check_supported(struct model *model, struct err_text *et)
{
    if (!model->has_trainer)
        return error_set(et, ERR_TRUNCATED,
                         "expected a SentencePiece model's trainer_spec behind its pieces, found "
                         "the end after %u pieces; is the file cut short?",
                         model->pieces.count);
    model->pieces.unigram = model->model_type == MODEL_UNIGRAM;
    if (model->model_type != MODEL_BPE && model->model_type != MODEL_UNIGRAM)
        return error_set(et, ERR_UNSUPPORTED,
                         "SentencePiece model type %llu is not supported (known: 1 Unigram, 2 BPE)",
                         (unsigned long long)model->model_type);
    if (model->suffix_spaces || !model->escape || model->denormalizes)
        return error_set(et, ERR_UNSUPPORTED,
                         "SentencePiece's treat_whitespace_as_suffix, unescaped spaces and "
                         "denormalizers are not supported");
    for (uint32_t i = 0; i < model->pieces.count; i++) {
        const struct scored_piece *piece = &model->pieces.items[i];
        if (piece->text.size == 0)
            return error_set(et, ERR_FORMAT, "piece %u is empty", i);
        /* Such a piece may be merged and taken apart again, which no known model makes use of. */
        if (piece->type == TOKENIZER_UNUSED && !model->pieces.unigram)
            return error_set(et, ERR_UNSUPPORTED, "piece %u of a BPE model is unused", i);
    }
    return ERR_OK;
}

static void find_roles(struct tokenizer *t, const struct model *model)
{
    t->roles.bos = vocab_find(&t->vocab, model->bos);
    t->roles.eos = vocab_find(&t->vocab, model->eos);
    t->roles.pad = vocab_find(&t->vocab, model->pad);
    if (t->roles.bos != UINT32_MAX) {
        t->post_processor.prefix[0] = t->roles.bos;
        t->post_processor.prefix_count = 1;
    }
}

enum err sentencepiece_read(struct tokenizer *t, struct span content, struct err_text *et)
{
    struct model model = {.model_type = MODEL_UNIGRAM,
                          .escape = true,
                          .bos = TEXT("<s>"),
                          .eos = TEXT("</s>"),
                          .pad = TEXT("<pad>")};
    enum err err;
    TRY_OUT(read_message((struct text){(const char *)content.data, content.size}, &model, et));
    TRY_OUT(check_supported(&model, et));
    TRY_OUT(piece_list_build(&model.pieces, t, et));
    find_roles(t, &model);
out:
    piece_list_fini(&model.pieces);
    return err;
}
