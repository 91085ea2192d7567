/* gguf.c - the tables of one file, checked as a whole. */
#include "common/formats/gguf/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/gguf/gguf_cursor.h"
#include "common/mem/mem.h"

enum {
    MAGIC_BYTES = 4,
    KEY_BYTES_MIN = 8 + 4 + 1,        /* of a key with its value in the file */
    TEXT_BYTES_MIN = 8,               /* of a text */
    TENSOR_BYTES_MIN = 8 + 4 + 4 + 8, /* of a row of the tensor table */
    ALIGNMENT_MIN = 8,
    ALIGNMENT_MAX = 1 << 20
};

static const size_t item_bytes[GGUF_TYPE_COUNT] = {
#define GGUF_TYPE_BYTES(name, size_bytes) size_bytes,
    GGUF_TYPE_ROWS(GGUF_TYPE_BYTES)
#undef GGUF_TYPE_BYTES
};

/* A file in the reading. */
struct reading {
    struct gguf_cursor cursor;
    struct gguf *gguf;
    uint64_t *offsets; /* owned: of each tensor in the data */
    struct err_text *et;
};

static enum err out_of_memory(const struct reading *r)
{
    return error_set(r->et, ERR_OUT_OF_MEMORY, "%s: out of memory", r->cursor.name);
}

static int compare_values(const void *a, const void *b)
{
    return text_compare((*(const struct gguf_value *const *)a)->key,
                        (*(const struct gguf_value *const *)b)->key);
}

static int compare_tensors(const void *a, const void *b)
{
    return text_compare((*(const struct gguf_tensor *const *)a)->name,
                        (*(const struct gguf_tensor *const *)b)->name);
}

/* Order in the data; empty tensors before the one that starts at the same place. */
static int compare_places(const void *a, const void *b)
{
    const struct gguf_tensor *left = *(const struct gguf_tensor *const *)a;
    const struct gguf_tensor *right = *(const struct gguf_tensor *const *)b;
    if (left->data.data != right->data.data)
        return left->data.data < right->data.data ? -1 : 1;
    return (left->data.size > right->data.size) - (left->data.size < right->data.size);
}

bool gguf_recognise(struct span content)
{
    return content.size >= MAGIC_BYTES && memcmp(content.data, "GGUF", MAGIC_BYTES) == 0;
}

static enum err read_version(struct reading *r)
{
    struct gguf_cursor *c = &r->cursor;
    if (!gguf_recognise((struct span){c->at, gguf_cursor_left(c)}))
        return error_set(r->et, ERR_FORMAT,
                         "%s: expected a GGUF file, found other bytes at its start", c->name);
    c->at += MAGIC_BYTES;
    uint32_t version;
    TRY(gguf_cursor_u32(c, "the version", &version));
    if ((version & 0xffffu) == 0 && version != 0)
        return error_set(r->et, ERR_UNSUPPORTED,
                         "%s: expected a little-endian GGUF file, found a big-endian one", c->name);
    if (version != 2 && version != 3)
        return error_set(r->et, ERR_UNSUPPORTED, "%s: expected GGUF version 2 or 3, found %" PRIu32,
                         c->name, version);
    r->gguf->version = version;
    return ERR_OK;
}

/* A count that the rest of the file could hold. */
static enum err check_count(struct reading *r, const char *what, uint64_t count, size_t bytes_min,
                            uint64_t max)
{
    size_t left = gguf_cursor_left(&r->cursor);
    if (count > left / bytes_min)
        return error_set(r->et, ERR_TRUNCATED,
                         "%s: expected %" PRIu64 " %s, found %zu bytes for them", r->cursor.name,
                         count, what, left);
    if (count > max)
        return error_set(r->et, ERR_LIMIT, "%s: expected at most %" PRIu64 " %s, found %" PRIu64,
                         r->cursor.name, max, what, count);
    return ERR_OK;
}

static enum err read_texts(struct reading *r, struct gguf_value *value)
{
    size_t left = gguf_cursor_left(&r->cursor);
    if (value->count > left / TEXT_BYTES_MIN)
        return error_set(r->et, ERR_TRUNCATED,
                         "%s: %.*s: expected %" PRIu64 " texts, found %zu bytes for them",
                         r->cursor.name, TEXT_ARGS(value->key), value->count, left);
    struct text *texts = arena_alloc(&r->gguf->arena, (size_t)value->count, sizeof *texts);
    if (texts == NULL)
        return out_of_memory(r);
    for (uint64_t i = 0; i < value->count; i++)
        TRY(gguf_cursor_text(&r->cursor, "a text", SIZE_MAX, &texts[i]));
    value->texts = texts;
    return ERR_OK;
}

static enum err check_bools(const struct reading *r, const struct gguf_value *value)
{
    for (size_t i = 0; i < value->data.size; i++) {
        if (value->data.data[i] > 1)
            return error_set(r->et, ERR_FORMAT, "%s: %.*s: expected 0 or 1 for a bool, found %d",
                             r->cursor.name, TEXT_ARGS(value->key), value->data.data[i]);
    }
    return ERR_OK;
}

static enum err read_type(struct reading *r, const struct gguf_value *value, uint32_t *type)
{
    TRY(gguf_cursor_u32(&r->cursor, "the type of a value", type));
    if (*type >= GGUF_TYPE_COUNT)
        return error_set(r->et, ERR_FORMAT, "%s: %.*s: expected a type below %d, found %" PRIu32,
                         r->cursor.name, TEXT_ARGS(value->key), GGUF_TYPE_COUNT, *type);
    return ERR_OK;
}

static enum err read_value(struct reading *r, struct gguf_value *value)
{
    struct gguf_cursor *c = &r->cursor;
    uint32_t type;
    TRY(gguf_cursor_text(c, "a key", GGUF_KEY_BYTES_MAX, &value->key));
    TRY(read_type(r, value, &type));
    value->count = 1;
    value->is_array = type == GGUF_ARRAY;
    if (value->is_array) {
        TRY(read_type(r, value, &type));
        TRY(gguf_cursor_u64(c, "the length of an array", &value->count));
        if (type == GGUF_ARRAY)
            return error_set(r->et, ERR_UNSUPPORTED,
                             "%s: %.*s: expected an array of plain values, found one of arrays",
                             c->name, TEXT_ARGS(value->key));
    }
    value->type = (enum gguf_type)type;
    if (value->type == GGUF_TEXT)
        return read_texts(r, value);
    TRY(gguf_cursor_take(c, "a value", value->count, item_bytes[type], &value->data));
    return value->type == GGUF_BOOL ? check_bools(r, value) : ERR_OK;
}

static enum err read_values(struct reading *r, uint64_t count)
{
    struct gguf *g = r->gguf;
    TRY(check_count(r, "keys", count, KEY_BYTES_MIN, GGUF_KEYS_MAX));
    g->values = arena_alloc(&g->arena, (size_t)count, sizeof *g->values);
    g->values_by_key = arena_alloc(&g->arena, (size_t)count, sizeof *g->values_by_key);
    if (g->values == NULL || g->values_by_key == NULL)
        return out_of_memory(r);
    while (g->value_count < count) {
        TRY(read_value(r, &g->values[g->value_count]));
        g->values_by_key[g->value_count] = &g->values[g->value_count];
        g->value_count++;
    }
    if (count > 0)
        qsort(g->values_by_key, g->value_count, sizeof *g->values_by_key, compare_values);
    for (size_t i = 1; i < g->value_count; i++) {
        if (text_equal(g->values_by_key[i - 1]->key, g->values_by_key[i]->key))
            return error_set(r->et, ERR_FORMAT, "%s: the key %.*s occurs twice", r->cursor.name,
                             TEXT_ARGS(g->values_by_key[i]->key));
    }
    return ERR_OK;
}

static enum err read_format(struct reading *r, struct gguf_tensor *t)
{
    uint32_t number;
    const char *why = NULL;
    TRY(gguf_cursor_u32(&r->cursor, "the type of a tensor", &number));
    enum err err = block_format_of_number(number, &t->format, &why);
    if (err != ERR_OK)
        return error_set(r->et, err, "%s: tensor %.*s: its type is %" PRIu32 ", %s", r->cursor.name,
                         TEXT_ARGS(t->name), number, why);
    return ERR_OK;
}

/* Name, shape, format and size; the data itself once it is known where it starts. */
static enum err read_tensor(struct reading *r, struct gguf_tensor *t, uint64_t *offset)
{
    struct gguf_cursor *c = &r->cursor;
    TRY(gguf_cursor_text(c, "the name of a tensor", GGUF_NAME_BYTES_MAX, &t->name));
    TRY(gguf_cursor_u32(c, "the rank of a tensor", &t->rank));
    if (t->rank > GGUF_RANK_MAX)
        return error_set(r->et, ERR_FORMAT,
                         "%s: tensor %.*s: expected at most %d dimensions, found %" PRIu32, c->name,
                         TEXT_ARGS(t->name), GGUF_RANK_MAX, t->rank);
    size_t bound = 1; /* no product of some of the extents overflows, whatever is empty */
    bool fits = true;
    for (uint32_t i = t->rank; i-- > 0;) {
        TRY(gguf_cursor_u64(c, "the shape of a tensor", &t->shape[i]));
        fits = fits && check_mul(bound, MAX(t->shape[i], 1u), &bound);
    }
    TRY(read_format(r, t));
    TRY(gguf_cursor_u64(c, "the offset of a tensor", offset));
    uint64_t columns = t->rank > 0 ? t->shape[t->rank - 1] : 1;
    if (columns % block_format_elements(t->format) != 0)
        return error_set(r->et, ERR_FORMAT,
                         "%s: tensor %.*s: expected rows of whole %s blocks of %" PRIu32
                         " elements, found rows of %" PRIu64,
                         c->name, TEXT_ARGS(t->name), block_format_name(t->format),
                         block_format_elements(t->format), columns);
    if (!fits || !block_format_size_bytes(t->format, gguf_element_count(t), &t->data.size))
        return error_set(r->et, ERR_OVERFLOW, "%s: tensor %.*s: its shape overflows 64 bits",
                         c->name, TEXT_ARGS(t->name));
    return ERR_OK;
}

static enum err read_tensors(struct reading *r, uint64_t count)
{
    struct gguf *g = r->gguf;
    TRY(check_count(r, "tensors", count, TENSOR_BYTES_MIN, GGUF_TENSORS_MAX));
    g->tensors = arena_alloc(&g->arena, (size_t)count, sizeof *g->tensors);
    g->tensors_by_name = arena_alloc(&g->arena, (size_t)count, sizeof *g->tensors_by_name);
    r->offsets = mem_alloc((size_t)count, sizeof *r->offsets);
    if (g->tensors == NULL || g->tensors_by_name == NULL || r->offsets == NULL)
        return out_of_memory(r);
    while (g->tensor_count < count) {
        TRY(read_tensor(r, &g->tensors[g->tensor_count], &r->offsets[g->tensor_count]));
        g->tensors_by_name[g->tensor_count] = &g->tensors[g->tensor_count];
        g->tensor_count++;
    }
    if (count > 0)
        qsort(g->tensors_by_name, g->tensor_count, sizeof *g->tensors_by_name, compare_tensors);
    for (size_t i = 1; i < g->tensor_count; i++) {
        if (text_equal(g->tensors_by_name[i - 1]->name, g->tensors_by_name[i]->name))
            return error_set(r->et, ERR_FORMAT, "%s: tensor %.*s occurs twice", r->cursor.name,
                             TEXT_ARGS(g->tensors_by_name[i]->name));
    }
    return ERR_OK;
}

static enum err read_alignment(const struct reading *r, size_t *alignment)
{
    int64_t number = GGUF_ALIGNMENT;
    TRY(gguf_opt_i64(r->gguf, "general.alignment", ALIGNMENT_MIN, ALIGNMENT_MAX, &number, NULL,
                     r->et));
    if ((number & (number - 1)) != 0)
        return gguf_wrong(r->gguf, "general.alignment", "a power of two", r->et);
    *alignment = (size_t)number;
    return ERR_OK;
}

/* Puts each tensor into the data block. */
static enum err place_tensors(struct reading *r)
{
    struct gguf *g = r->gguf;
    struct gguf_cursor *c = &r->cursor;
    size_t alignment = 0;
    TRY(read_alignment(r, &alignment));
    size_t padding = (alignment - gguf_cursor_offset(c) % alignment) % alignment;
    c->at += MIN(padding, gguf_cursor_left(c));
    for (size_t i = 0; i < g->tensor_count; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        uint64_t offset = r->offsets[i];
        if (offset % alignment != 0)
            return error_set(r->et, ERR_FORMAT,
                             "%s: tensor %.*s: expected an offset that %zu divides, found %" PRIu64,
                             c->name, TEXT_ARGS(t->name), alignment, offset);
        if (offset > gguf_cursor_left(c) || t->data.size > gguf_cursor_left(c) - offset)
            return error_set(r->et, ERR_TRUNCATED,
                             "%s: tensor %.*s: expected %zu bytes at byte %" PRIu64
                             " of the data, which has %zu",
                             c->name, TEXT_ARGS(t->name), t->data.size, offset,
                             gguf_cursor_left(c));
        t->data.data = c->at + offset;
    }
    return ERR_OK;
}

static enum err check_overlap(const struct reading *r)
{
    const struct gguf *g = r->gguf;
    const struct gguf_tensor **order = mem_alloc(g->tensor_count, sizeof *order);
    if (order == NULL)
        return out_of_memory(r);
    for (size_t i = 0; i < g->tensor_count; i++)
        order[i] = &g->tensors[i];
    if (g->tensor_count > 0)
        qsort(order, g->tensor_count, sizeof *order, compare_places);
    enum err err = ERR_OK;
    for (size_t i = 1; i < g->tensor_count && err == ERR_OK; i++) {
        if (order[i]->data.data < order[i - 1]->data.data + order[i - 1]->data.size)
            err = error_set(r->et, ERR_FORMAT, "%s: tensors %.*s and %.*s overlap", r->cursor.name,
                            TEXT_ARGS(order[i - 1]->name), TEXT_ARGS(order[i]->name));
    }
    mem_free(order);
    return err;
}

enum err gguf_parse(struct gguf *gguf, struct span content, const char *name, struct err_text *et)
{
    struct gguf made = {.name = name};
    struct reading r = {
        .cursor = {name, content.data, content.data, content.data + content.size, et},
        .gguf = &made,
        .et = et,
    };
    uint64_t tensor_count;
    uint64_t value_count;
    arena_init(&made.arena, SIZE_MAX); /* bounded by the counts */
    enum err err;
    TRY_OUT(read_version(&r));
    TRY_OUT(gguf_cursor_u64(&r.cursor, "the number of tensors", &tensor_count));
    TRY_OUT(gguf_cursor_u64(&r.cursor, "the number of keys", &value_count));
    TRY_OUT(read_values(&r, value_count));
    TRY_OUT(read_tensors(&r, tensor_count));
    TRY_OUT(place_tensors(&r));
    TRY_OUT(check_overlap(&r));
    made.name = arena_copy_text(&made.arena, text_of(name));
    TRY_OUT(made.name != NULL ? ERR_OK : out_of_memory(&r));
    *gguf = made;
out:
    mem_free(r.offsets);
    if (err != ERR_OK)
        gguf_close(&made);
    return err;
}

void gguf_drop(const struct gguf *gguf, struct span data)
{
    source_drop(&gguf->source, data);
    for (size_t i = 0; i < gguf->part_count; i++)
        source_drop(&gguf->parts[i].source, data);
}

void gguf_close(struct gguf *gguf)
{
    for (size_t i = 0; i < gguf->part_count; i++)
        gguf_close(&gguf->parts[i]); /* parts have no parts */
    mem_free(gguf->parts);
    arena_fini(&gguf->arena);
    source_close(&gguf->source);
    *gguf = (struct gguf){0};
}

const struct gguf_value *gguf_find(const struct gguf *gguf, const char *key)
{
    size_t low = 0;
    size_t high = gguf->value_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = text_compare(text_of(key), gguf->values_by_key[middle]->key);
        if (order == 0)
            return gguf->values_by_key[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *gguf, struct text name)
{
    size_t low = 0;
    size_t high = gguf->tensor_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = text_compare(name, gguf->tensors_by_name[middle]->name);
        if (order == 0)
            return gguf->tensors_by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

uint64_t gguf_element_count(const struct gguf_tensor *tensor)
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < tensor->rank; i++)
        count *= tensor->shape[i];
    return count;
}
