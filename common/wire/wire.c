/* wire.c - one walk over a descriptor's rows for encoding, one for decoding. The only includer of
 * msgpack. Recursion goes along the schema, never along the input.
 */
#include "common/wire/wire.h"

#include <msgpack.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"

enum { F64_BYTES = 8 };

static int append(void *out, const char *data, size_t size)
{
    bytes_append(out, data, size);
    return bytes_status(out) == ERR_OK ? 0 : -1;
}

static void pack_bin(msgpack_packer *p, const void *data, size_t size)
{
    msgpack_pack_bin(p, size);
    if (size > 0)
        msgpack_pack_bin_body(p, data, size);
}

static void pack_f64(msgpack_packer *p, double value)
{
    uint64_t bits;
    uint8_t out[F64_BYTES];
    memcpy(&bits, &value, sizeof bits);
    for (size_t i = 0; i < F64_BYTES; i++)
        out[i] = (uint8_t)(bits >> (8 * i));
    pack_bin(p, out, sizeof out);
}

static enum err pack_text(msgpack_packer *p, struct text text, size_t max)
{
    if (text.size > max)
        return ERR_LIMIT;
    if (text.size > 0 && memchr(text.data, 0, text.size) != NULL)
        return ERR_FORMAT;
    msgpack_pack_str(p, text.size);
    if (text.size > 0)
        msgpack_pack_str_body(p, text.data, text.size);
    return ERR_OK;
}

static enum err pack_blob(msgpack_packer *p, struct span blob, size_t max)
{
    if (blob.size > max)
        return ERR_LIMIT;
    pack_bin(p, blob.data, blob.size);
    return ERR_OK;
}

static enum err pack_fields(msgpack_packer *p, const struct message_type *type, const void *value);

static enum err pack_list(msgpack_packer *p, const struct message_field *field, const uint8_t *base)
{
    const uint8_t *elements;
    uint32_t count;
    memcpy(&elements, base + field->offset, sizeof elements);
    memcpy(&count, base + field->count_offset, sizeof count);
    if (count > field->max)
        return ERR_LIMIT;
    msgpack_pack_array(p, count);
    for (uint32_t i = 0; i < count; i++)
        TRY(pack_fields(p, field->type, elements + i * field->type->size_bytes));
    return ERR_OK;
}

static enum err pack_field(msgpack_packer *p, const struct message_field *field,
                           const uint8_t *base)
{
    const void *member = base + field->offset;
    switch (field->kind) {
    case MESSAGE_BOOL:
        *(const bool *)member ? msgpack_pack_true(p) : msgpack_pack_false(p);
        return ERR_OK;
    case MESSAGE_U32:
        msgpack_pack_uint32(p, *(const uint32_t *)member);
        return ERR_OK;
    case MESSAGE_U64:
        msgpack_pack_uint64(p, *(const uint64_t *)member);
        return ERR_OK;
    case MESSAGE_I64:
        msgpack_pack_int64(p, *(const int64_t *)member);
        return ERR_OK;
    case MESSAGE_F64:
        pack_f64(p, *(const double *)member);
        return ERR_OK;
    case MESSAGE_TEXT:
        return pack_text(p, *(const struct text *)member, field->max);
    case MESSAGE_BLOB:
        return pack_blob(p, *(const struct span *)member, field->max);
    case MESSAGE_DIGEST:
        pack_bin(p, ((const struct digest *)member)->v, DIGEST_BYTES);
        return ERR_OK;
    case MESSAGE_OBJECT:
        return pack_fields(p, field->type, member);
    case MESSAGE_LIST:
        return pack_list(p, field, base);
    }
    return ERR_INTERNAL;
}

static enum err pack_fields(msgpack_packer *p, const struct message_type *type, const void *value)
{
    msgpack_pack_array(p, type->field_count);
    for (size_t i = 0; i < type->field_count; i++)
        TRY(pack_field(p, &type->fields[i], value));
    return ERR_OK;
}

static enum err encode(const struct message_type *type, const void *value, bool numbered,
                       size_t size_max, struct bytes *out)
{
    TRY(bytes_status(out));
    size_t start = out->size;
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, append);
    enum err err = ERR_OK;
    if (numbered) {
        msgpack_pack_array(&packer, type->field_count + 1);
        msgpack_pack_uint32(&packer, type->number);
        for (size_t i = 0; i < type->field_count && err == ERR_OK; i++)
            err = pack_field(&packer, &type->fields[i], value);
    } else {
        err = pack_fields(&packer, type, value);
    }
    if (err == ERR_OK)
        err = bytes_status(out);
    if (err == ERR_OK && out->size - start > size_max)
        err = ERR_LIMIT;
    if (err != ERR_OK)
        out->size = start;
    return err;
}

enum err wire_encode(const struct message_type *type, const void *value, struct bytes *out)
{
    ASSERT(type->number != 0);
    return encode(type, value, true, LIMIT_FRAME_BYTES, out);
}

enum err wire_encode_fields(const struct message_type *type, const void *value, struct bytes *out)
{
    return encode(type, value, false, SIZE_MAX, out);
}

static enum err unpack_u64(const msgpack_object *o, uint64_t max, uint64_t *out)
{
    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > max)
        return ERR_PROTOCOL;
    *out = o->via.u64;
    return ERR_OK;
}

static enum err unpack_i64(const msgpack_object *o, int64_t *out)
{
    if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
        *out = o->via.i64;
        return ERR_OK;
    }
    uint64_t value;
    TRY(unpack_u64(o, INT64_MAX, &value));
    *out = (int64_t)value;
    return ERR_OK;
}

static enum err unpack_bin(const msgpack_object *o, void *out, size_t size)
{
    if (o->type != MSGPACK_OBJECT_BIN || o->via.bin.size != size)
        return ERR_PROTOCOL;
    memcpy(out, o->via.bin.ptr, size);
    return ERR_OK;
}

static enum err unpack_f64(const msgpack_object *o, double *out)
{
    uint8_t in[F64_BYTES];
    TRY(unpack_bin(o, in, sizeof in));
    uint64_t bits = 0;
    for (size_t i = 0; i < F64_BYTES; i++)
        bits |= (uint64_t)in[i] << (8 * i);
    memcpy(out, &bits, sizeof bits);
    return ERR_OK;
}

static enum err unpack_text(const msgpack_object *o, size_t max, struct text *out)
{
    if (o->type != MSGPACK_OBJECT_STR)
        return ERR_PROTOCOL;
    if (o->via.str.size > max)
        return ERR_LIMIT;
    if (o->via.str.size > 0 && memchr(o->via.str.ptr, 0, o->via.str.size) != NULL)
        return ERR_PROTOCOL;
    *out = (struct text){o->via.str.ptr, o->via.str.size};
    return ERR_OK;
}

static enum err unpack_blob(const msgpack_object *o, size_t max, struct span *out)
{
    if (o->type != MSGPACK_OBJECT_BIN)
        return ERR_PROTOCOL;
    if (o->via.bin.size > max)
        return ERR_LIMIT;
    *out = (struct span){(const uint8_t *)o->via.bin.ptr, o->via.bin.size};
    return ERR_OK;
}

static enum err unpack_structure(const msgpack_object *o, const struct message_type *type,
                                 struct arena *arena, void *value);

static enum err unpack_list(const msgpack_object *o, const struct message_field *field,
                            struct arena *arena, uint8_t *base)
{
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return ERR_PROTOCOL;
    uint32_t count = o->via.array.size;
    if (count > field->max)
        return ERR_LIMIT;
    uint8_t *elements = NULL;
    if (count > 0) {
        elements = arena_alloc(arena, count, field->type->size_bytes);
        if (elements == NULL)
            return ERR_OUT_OF_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++)
        TRY(unpack_structure(&o->via.array.ptr[i], field->type, arena,
                             elements + i * field->type->size_bytes));
    memcpy(base + field->offset, &elements, sizeof elements);
    memcpy(base + field->count_offset, &count, sizeof count);
    return ERR_OK;
}

static enum err unpack_field(const msgpack_object *o, const struct message_field *field,
                             struct arena *arena, uint8_t *base)
{
    void *member = base + field->offset;
    uint64_t number;
    switch (field->kind) {
    case MESSAGE_BOOL:
        if (o->type != MSGPACK_OBJECT_BOOLEAN)
            return ERR_PROTOCOL;
        *(bool *)member = o->via.boolean;
        return ERR_OK;
    case MESSAGE_U32:
        TRY(unpack_u64(o, UINT32_MAX, &number));
        *(uint32_t *)member = (uint32_t)number;
        return ERR_OK;
    case MESSAGE_U64:
        return unpack_u64(o, UINT64_MAX, member);
    case MESSAGE_I64:
        return unpack_i64(o, member);
    case MESSAGE_F64:
        return unpack_f64(o, member);
    case MESSAGE_TEXT:
        return unpack_text(o, field->max, member);
    case MESSAGE_BLOB:
        return unpack_blob(o, field->max, member);
    case MESSAGE_DIGEST:
        return unpack_bin(o, ((struct digest *)member)->v, DIGEST_BYTES);
    case MESSAGE_OBJECT:
        return unpack_structure(o, field->type, arena, member);
    case MESSAGE_LIST:
        return unpack_list(o, field, arena, base);
    }
    return ERR_INTERNAL;
}

/* `objects` are the fields in order; the structure was zeroed by the caller. */
static enum err unpack_fields(const msgpack_object *objects, size_t count,
                              const struct message_type *type, struct arena *arena, void *value)
{
    if (count > type->field_count)
        return ERR_VERSION;
    for (size_t i = 0; i < type->field_count; i++) {
        const struct message_field *field = &type->fields[i];
        if (i < count)
            TRY(unpack_field(&objects[i], field, arena, value));
        else if (field->since <= 1)
            return ERR_PROTOCOL;
    }
    return ERR_OK;
}

static enum err unpack_structure(const msgpack_object *o, const struct message_type *type,
                                 struct arena *arena, void *value)
{
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return ERR_PROTOCOL;
    return unpack_fields(o->via.array.ptr, o->via.array.size, type, arena, value);
}

/* msgpack-c's tree of a frame that wire_check has passed. */
static enum err parse(struct span frame, msgpack_unpacked *tree)
{
    size_t used = 0;
    msgpack_unpacked_init(tree);
    msgpack_unpack_return rc =
        msgpack_unpack_next(tree, (const char *)frame.data, frame.size, &used);
    if (rc == MSGPACK_UNPACK_NOMEM_ERROR)
        return ERR_OUT_OF_MEMORY;
    return rc == MSGPACK_UNPACK_SUCCESS && used == frame.size ? ERR_OK : ERR_PROTOCOL;
}

static enum err decode_message(const msgpack_object *o, struct arena *arena,
                               const struct message_type **type, union message_any *out)
{
    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size == 0)
        return ERR_PROTOCOL;
    uint64_t number;
    TRY(unpack_u64(&o->via.array.ptr[0], UINT32_MAX, &number));
    const struct message_type *found = message_type_of((uint32_t)number);
    if (found == NULL) /* 0 is nobody's */
        return number == 0 ? ERR_PROTOCOL : ERR_VERSION;
    TRY(unpack_fields(o->via.array.ptr + 1, o->via.array.size - 1, found, arena, out));
    *type = found;
    return ERR_OK;
}

enum err wire_decode(struct span frame, struct arena *arena, const struct message_type **type,
                     union message_any *out)
{
    if (frame.size > LIMIT_FRAME_BYTES)
        return ERR_LIMIT;
    TRY(wire_check(frame, LIMIT_FRAME_DEPTH, LIMIT_FRAME_OBJECTS));
    memset(out, 0, sizeof *out);
    msgpack_unpacked tree;
    enum err err = parse(frame, &tree);
    if (err == ERR_OK)
        err = decode_message(&tree.data, arena, type, out);
    msgpack_unpacked_destroy(&tree);
    return err;
}

enum err wire_decode_fields(const struct message_type *type, struct span frame, struct arena *arena,
                            void *value)
{
    TRY(wire_check(frame, LIMIT_FRAME_DEPTH, LIMIT_RECORD_OBJECTS));
    memset(value, 0, type->size_bytes);
    msgpack_unpacked tree;
    enum err err = parse(frame, &tree);
    if (err == ERR_OK)
        err = unpack_structure(&tree.data, type, arena, value);
    msgpack_unpacked_destroy(&tree);
    return err;
}
