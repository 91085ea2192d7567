/* gguf_write.c - tables grow in memory, data passes through. */
#include "common/formats/gguf/gguf_write.h"

#include <string.h>

#include "common/base/check.h"

enum { VERSION = 3, TABLES_BYTES_MAX = 1 << 30, NUMBER_BYTES = 8 };

static const uint8_t zeros[GGUF_ALIGNMENT];

static void put_number(struct bytes *out, uint64_t value, size_t size)
{
    uint8_t bytes[NUMBER_BYTES];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    bytes_append(out, bytes, size);
}

static void put_f32(struct bytes *out, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_number(out, bits, sizeof bits);
}

static void put_text(struct bytes *out, struct text value)
{
    put_number(out, value.size, NUMBER_BYTES);
    bytes_append_text(out, value);
}

static void put_key(struct gguf_write *w, struct text key, enum gguf_type type)
{
    put_text(&w->keys, key);
    put_number(&w->keys, (uint64_t)type, 4);
    w->key_count++;
}

static uint64_t padding_after(uint64_t size)
{
    return (GGUF_ALIGNMENT - size % GGUF_ALIGNMENT) % GGUF_ALIGNMENT;
}

void gguf_write_init(struct gguf_write *w)
{
    *w = (struct gguf_write){0};
    bytes_init(&w->keys, TABLES_BYTES_MAX);
    bytes_init(&w->tensors, TABLES_BYTES_MAX);
    bytes_init(&w->sizes, TABLES_BYTES_MAX);
}

void gguf_write_fini(struct gguf_write *w)
{
    bytes_fini(&w->keys);
    bytes_fini(&w->tensors);
    bytes_fini(&w->sizes);
}

void gguf_write_u32(struct gguf_write *w, const char *key, uint32_t value)
{
    put_key(w, text_of(key), GGUF_U32);
    put_number(&w->keys, value, sizeof value);
}

void gguf_write_f32(struct gguf_write *w, const char *key, float value)
{
    put_key(w, text_of(key), GGUF_F32);
    put_f32(&w->keys, value);
}

void gguf_write_bool(struct gguf_write *w, const char *key, bool value)
{
    put_key(w, text_of(key), GGUF_BOOL);
    put_number(&w->keys, value, 1);
}

void gguf_write_text(struct gguf_write *w, const char *key, struct text value)
{
    put_key(w, text_of(key), GGUF_TEXT);
    put_text(&w->keys, value);
}

void gguf_write_array(struct gguf_write *w, const char *key, enum gguf_type type, uint64_t count)
{
    put_key(w, text_of(key), GGUF_ARRAY);
    put_number(&w->keys, (uint64_t)type, 4);
    put_number(&w->keys, count, NUMBER_BYTES);
}

void gguf_write_item_text(struct gguf_write *w, struct text value)
{
    put_text(&w->keys, value);
}

void gguf_write_item_f32(struct gguf_write *w, float value)
{
    put_f32(&w->keys, value);
}

void gguf_write_item_i32(struct gguf_write *w, int32_t value)
{
    put_number(&w->keys, (uint32_t)value, sizeof value);
}

void gguf_write_item_u8(struct gguf_write *w, uint8_t value)
{
    put_number(&w->keys, value, 1);
}

void gguf_write_value(struct gguf_write *w, const struct gguf_value *value)
{
    put_key(w, value->key, value->is_array ? GGUF_ARRAY : value->type);
    if (value->is_array) {
        put_number(&w->keys, (uint64_t)value->type, 4);
        put_number(&w->keys, value->count, NUMBER_BYTES);
    }
    if (value->type != GGUF_TEXT) {
        bytes_append(&w->keys, value->data.data, value->data.size);
        return;
    }
    for (uint64_t i = 0; i < value->count; i++)
        put_text(&w->keys, value->texts[i]);
}

static enum err add_tensor(struct gguf_write *w, struct text name, enum block_format format,
                           uint32_t rank, const uint64_t *shape)
{
    size_t size = 1;
    size_t end;
    if (name.size >= GGUF_NAME_BYTES_MAX || rank > GGUF_RANK_MAX)
        return ERR_LIMIT;
    size_t bound = 1; /* as the reader has it */
    for (uint32_t i = 0; i < rank; i++) {
        if (!check_mul(bound, MAX(shape[i], 1u), &bound))
            return ERR_OVERFLOW;
        size *= shape[i];
    }
    if ((rank > 0 ? shape[rank - 1] : 1) % block_format_elements(format) != 0)
        return ERR_SHAPE;
    if (!block_format_size_bytes(format, size, &size) || !check_add(w->data_bytes, size, &end) ||
        end > UINT64_MAX - GGUF_ALIGNMENT)
        return ERR_OVERFLOW;
    put_text(&w->tensors, name);
    put_number(&w->tensors, rank, 4);
    for (uint32_t i = rank; i-- > 0;)
        put_number(&w->tensors, shape[i], NUMBER_BYTES);
    put_number(&w->tensors, block_format_number(format), 4);
    put_number(&w->tensors, w->data_bytes, NUMBER_BYTES);
    uint64_t bytes = size;
    bytes_append(&w->sizes, &bytes, sizeof bytes);
    w->data_bytes = end + padding_after(end);
    w->tensor_count++;
    return ERR_OK;
}

void gguf_write_tensor(struct gguf_write *w, struct text name, enum block_format format,
                       uint32_t rank, const uint64_t *shape)
{
    if (w->err == ERR_OK)
        w->err = add_tensor(w, name, format, rank, shape);
}

static uint64_t tables_bytes(const struct gguf_write *w)
{
    return 4 + 4 + 2 * NUMBER_BYTES + w->keys.size + w->tensors.size;
}

uint64_t gguf_write_size_bytes(const struct gguf_write *w)
{
    uint64_t tables = tables_bytes(w);
    return tables + padding_after(tables) + w->data_bytes;
}

enum err gguf_write_header(struct gguf_write *w, file_sink_f sink, void *context)
{
    TRY(w->err);
    TRY(bytes_status(&w->keys));
    TRY(bytes_status(&w->tensors));
    TRY(bytes_status(&w->sizes));
    struct bytes start;
    bytes_init(&start, 64);
    bytes_append_text(&start, TEXT("GGUF"));
    put_number(&start, VERSION, 4);
    put_number(&start, w->tensor_count, NUMBER_BYTES);
    put_number(&start, w->key_count, NUMBER_BYTES);
    enum err err;
    TRY_OUT(bytes_status(&start));
    TRY_OUT(sink(context, bytes_span(&start)));
    TRY_OUT(sink(context, bytes_span(&w->keys)));
    TRY_OUT(sink(context, bytes_span(&w->tensors)));
    TRY_OUT(sink(context, (struct span){zeros, (size_t)padding_after(tables_bytes(w))}));
    w->sink = sink;
    w->context = context;
    w->tensor = 0;
    w->tensor_done = 0;
out:
    bytes_fini(&start);
    return err;
}

static uint64_t size_of_tensor(const struct gguf_write *w, uint64_t index)
{
    uint64_t size;
    memcpy(&size, w->sizes.data + index * sizeof size, sizeof size);
    return size;
}

/* Passes tensors that are complete, empty ones too. */
static enum err pass_complete(struct gguf_write *w)
{
    while (w->tensor < w->tensor_count && w->tensor_done == size_of_tensor(w, w->tensor)) {
        TRY(w->sink(w->context, (struct span){zeros, (size_t)padding_after(w->tensor_done)}));
        w->tensor++;
        w->tensor_done = 0;
    }
    return ERR_OK;
}

enum err gguf_write_data(struct gguf_write *w, struct span piece)
{
    ASSERT(w->sink != NULL);
    TRY(pass_complete(w));
    if (piece.size == 0)
        return ERR_OK;
    if (w->tensor == w->tensor_count || piece.size > size_of_tensor(w, w->tensor) - w->tensor_done)
        return ERR_SHAPE;
    TRY(w->sink(w->context, piece));
    w->tensor_done += piece.size;
    return pass_complete(w);
}

enum err gguf_write_finish(struct gguf_write *w)
{
    ASSERT(w->sink != NULL);
    TRY(pass_complete(w));
    return w->tensor == w->tensor_count ? ERR_OK : ERR_SHAPE;
}
