/* convert_piece_model.c - fields of protocol buffers, written plainly. */
#include "common/formats/convert/convert_piece_model.h"

#include <string.h>

#include "common/base/check.h"

enum wire { WIRE_VARINT = 0, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* ModelProto */
enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
/* SentencePiece */
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
/* TrainerSpec */
enum {
    TRAINER_MODEL_TYPE = 3,
    TRAINER_VOCAB_SIZE = 4,
    TRAINER_BYTE_FALLBACK = 35,
    TRAINER_UNK_ID = 40,
    TRAINER_BOS_ID = 41,
    TRAINER_EOS_ID = 42,
    TRAINER_PAD_ID = 43,
    TRAINER_UNK_PIECE = 45,
    TRAINER_BOS_PIECE = 46,
    TRAINER_EOS_PIECE = 47,
    TRAINER_PAD_PIECE = 48
};
enum { TYPE_UNIGRAM = 1, TYPE_BPE = 2 };
/* NormalizerSpec */
enum {
    NORMALIZER_NAME = 1,
    NORMALIZER_CHARSMAP = 2,
    NORMALIZER_DUMMY_PREFIX = 3,
    NORMALIZER_SQUEEZE = 4,
    NORMALIZER_ESCAPE = 5
};

enum { MESSAGE_BYTES_MAX = 256 << 20 };

static void put_varint(struct bytes *out, uint64_t value)
{
    uint8_t group;
    do {
        group = (uint8_t)(value & 0x7f);
        value >>= 7;
        group = (uint8_t)(group | (value > 0 ? 0x80u : 0u));
        bytes_append(out, &group, 1);
    } while (value > 0);
}

static void put_key(struct bytes *out, uint32_t number, enum wire wire)
{
    put_varint(out, (uint64_t)number << 3 | (uint64_t)wire);
}

static void put_number(struct bytes *out, uint32_t number, uint64_t value)
{
    put_key(out, number, WIRE_VARINT);
    put_varint(out, value);
}

static void put_bytes(struct bytes *out, uint32_t number, struct span value)
{
    put_key(out, number, WIRE_BYTES);
    put_varint(out, value.size);
    bytes_append(out, value.data, value.size);
}

static void put_float(struct bytes *out, uint32_t number, float value)
{
    uint32_t bits;
    uint8_t bytes[4];
    memcpy(&bits, &value, sizeof bits);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(bits >> (8 * i));
    put_key(out, number, WIRE_FIXED32);
    bytes_append(out, bytes, sizeof bytes);
}

static void put_pieces(const struct tokenizer_export *e, struct bytes *message, struct bytes *out)
{
    for (uint32_t i = 0; i < e->count; i++) {
        bytes_clear(message);
        put_bytes(message, PIECE_TEXT, span_of_text(e->tokens[i]));
        put_float(message, PIECE_SCORE, e->scores[i]);
        if (e->types[i] != TOKENIZER_NORMAL)
            put_number(message, PIECE_TYPE, e->types[i]);
        put_bytes(out, MODEL_PIECES, bytes_span(message));
    }
}

static void put_role(struct bytes *out, const struct tokenizer_export *e, uint32_t id_field,
                     uint32_t piece_field, uint32_t id)
{
    if (id == TOKENIZER_NONE || id >= e->count) {
        put_number(out, id_field, UINT64_MAX); /* -1: there is none */
        return;
    }
    put_number(out, id_field, id);
    put_bytes(out, piece_field, span_of_text(e->tokens[id]));
}

static void put_trainer(const struct tokenizer_export *e, const struct tokenizer_roles *roles,
                        struct bytes *out)
{
    bool has_bytes = memchr(e->types, TOKENIZER_BYTE, e->count) != NULL;
    put_number(out, TRAINER_MODEL_TYPE, strcmp(e->model, "t5") == 0 ? TYPE_UNIGRAM : TYPE_BPE);
    put_number(out, TRAINER_VOCAB_SIZE, e->count);
    put_number(out, TRAINER_BYTE_FALLBACK, has_bytes);
    put_role(out, e, TRAINER_UNK_ID, TRAINER_UNK_PIECE, roles->unk);
    put_role(out, e, TRAINER_BOS_ID, TRAINER_BOS_PIECE, roles->bos);
    put_role(out, e, TRAINER_EOS_ID, TRAINER_EOS_PIECE, roles->eos);
    put_role(out, e, TRAINER_PAD_ID, TRAINER_PAD_PIECE, roles->pad);
}

static void put_normalizer(const struct tokenizer_export *e, struct bytes *out)
{
    put_bytes(out, NORMALIZER_NAME,
              span_of_text(e->charsmap.size > 0 ? TEXT("user_defined") : TEXT("identity")));
    put_bytes(out, NORMALIZER_CHARSMAP, e->charsmap);
    put_number(out, NORMALIZER_DUMMY_PREFIX, e->add_space_prefix);
    put_number(out, NORMALIZER_SQUEEZE, e->remove_extra_whitespaces);
    put_number(out, NORMALIZER_ESCAPE, true);
}

enum err convert_piece_model_print(const struct tokenizer_export *e,
                                   const struct tokenizer_roles *roles, struct bytes *out)
{
    struct bytes message;
    ASSERT(e->scores != NULL);
    bytes_init(&message, MESSAGE_BYTES_MAX);
    put_pieces(e, &message, out);
    bytes_clear(&message);
    put_trainer(e, roles, &message);
    put_bytes(out, MODEL_TRAINER, bytes_span(&message));
    bytes_clear(&message);
    put_normalizer(e, &message);
    put_bytes(out, MODEL_NORMALIZER, bytes_span(&message));
    enum err err = bytes_status(&message);
    bytes_fini(&message);
    return err != ERR_OK ? err : bytes_status(out);
}
