/* safetensors.c - the header of one file, checked as a whole. */
#include "common/formats/safetensors/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/mem/mem.h"

#define METADATA_KEY "__metadata__"

/* A header in the reading: what its checks need at hand. */
struct header {
    const char *name; /* of the file, for messages */
    struct json_doc *doc;
    const uint8_t *content; /* of the file; NULL when the head alone is at hand */
    uint64_t data_begin;    /* of the data block */
    uint64_t data_bytes;
    struct err_text *et;
};

/* A tensor and where its data begins in the file. */
struct entry {
    struct safetensor tensor;
    uint64_t begin;
};

static int compare_entries(const void *a, const void *b)
{
    return text_compare(((const struct entry *)a)->tensor.name,
                        ((const struct entry *)b)->tensor.name);
}

static int compare_notes(const void *a, const void *b)
{
    return text_compare(((const struct safetensors_note *)a)->key,
                        ((const struct safetensors_note *)b)->key);
}

/* Order in the data block; empty tensors before the one that starts at the same place. */
static int compare_offsets(const void *a, const void *b)
{
    const struct entry *left = *(const struct entry *const *)a;
    const struct entry *right = *(const struct entry *const *)b;
    uint64_t size = left->tensor.data.size, other = right->tensor.data.size;
    if (left->begin != right->begin)
        return left->begin < right->begin ? -1 : 1;
    return (size > other) - (size < other);
}

static uint64_t header_bytes(const uint8_t *prefix)
{
    uint64_t size = 0;
    for (size_t i = SAFETENSORS_PREFIX_BYTES; i-- > 0;)
        size = size << 8 | prefix[i];
    return size;
}

uint64_t safetensors_head_bytes(const uint8_t prefix[SAFETENSORS_PREFIX_BYTES])
{
    uint64_t size = header_bytes(prefix);
    return size + MIN(UINT64_MAX - size, (uint64_t)SAFETENSORS_PREFIX_BYTES);
}

/* Splits a file of `size_bytes` into header text and data block. */
static enum err split(struct span head, uint64_t size_bytes, struct text *json, struct header *h)
{
    if (head.size < SAFETENSORS_PREFIX_BYTES)
        return error_set(h->et, ERR_TRUNCATED,
                         "%s: expected a safetensors file, found %zu bytes where its header starts",
                         h->name, head.size);
    uint64_t size = header_bytes(head.data);
    if (size > SAFETENSORS_HEADER_BYTES_MAX)
        return error_set(h->et, ERR_FORMAT,
                         "%s: expected a safetensors header of at most %d bytes, found a length of "
                         "%" PRIu64 " (not a safetensors file?)",
                         h->name, SAFETENSORS_HEADER_BYTES_MAX, size);
    if (size > head.size - SAFETENSORS_PREFIX_BYTES)
        return error_set(h->et, ERR_TRUNCATED,
                         "%s: expected a header of %" PRIu64 " bytes, found a file of %zu bytes",
                         h->name, size, head.size);
    if (size == 0 || head.data[SAFETENSORS_PREFIX_BYTES] != '{')
        return error_set(h->et, ERR_FORMAT, "%s: expected a header that starts with '{'", h->name);
    *json = (struct text){(const char *)head.data + SAFETENSORS_PREFIX_BYTES, (size_t)size};
    h->data_begin = SAFETENSORS_PREFIX_BYTES + size;
    h->data_bytes = size_bytes - h->data_begin;
    return ERR_OK;
}

static enum err read_shape(struct json_value entry, struct header *h, struct safetensor *t,
                           size_t *size_bytes)
{
    struct json_value shape;
    TRY(json_read_array(entry, "shape", &shape, h->et));
    if (json_read_count(shape) > SAFETENSORS_RANK_MAX)
        return error_set(h->et, ERR_LIMIT,
                         "%s: tensor %s: expected at most %d dimensions, found %zu", h->name,
                         t->name.data, SAFETENSORS_RANK_MAX, json_read_count(shape));
    size_t size = safetensors_dtype_size_bytes(t->dtype);
    bool fits = true;
    struct json_cursor c = {0};
    while (json_read_next(shape, &c)) {
        int64_t extent;
        TRY(json_read_as_i64(c.value, 0, INT64_MAX, &extent, h->et));
        t->shape[t->rank++] = (uint64_t)extent;
        fits = fits && check_mul(size, (size_t)extent, &size);
    }
    if (!fits)
        return error_set(h->et, ERR_OVERFLOW, "%s: tensor %s: its shape overflows 64 bits", h->name,
                         t->name.data);
    *size_bytes = size;
    return ERR_OK;
}

static enum err read_offsets(struct json_value entry, struct header *h, struct entry *out,
                             size_t size_bytes)
{
    struct safetensor *t = &out->tensor;
    struct json_value offsets;
    TRY(json_read_array(entry, "data_offsets", &offsets, h->et));
    if (json_read_count(offsets) != 2)
        return json_read_wrong(offsets, "[begin, end]", h->et);
    int64_t begin;
    int64_t end;
    TRY(json_read_as_i64(json_read_item(offsets, 0), 0, INT64_MAX, &begin, h->et));
    TRY(json_read_as_i64(json_read_item(offsets, 1), 0, INT64_MAX, &end, h->et));
    if (begin > end)
        return error_set(h->et, ERR_FORMAT,
                         "%s: tensor %s: data_offsets begin at %" PRId64
                         ", after their end %" PRId64,
                         h->name, t->name.data, begin, end);
    if ((uint64_t)(end - begin) != size_bytes)
        return error_set(h->et, ERR_FORMAT,
                         "%s: tensor %s: expected %zu bytes from type and shape, found %" PRId64
                         " in data_offsets",
                         h->name, t->name.data, size_bytes, end - begin);
    if ((uint64_t)end > h->data_bytes)
        return error_set(h->et, ERR_TRUNCATED,
                         "%s: tensor %s: ends at byte %" PRId64 " of the data, which has %" PRIu64,
                         h->name, t->name.data, end, h->data_bytes);
    out->begin = h->data_begin + (uint64_t)begin;
    t->data = (struct span){h->content == NULL ? NULL : h->content + out->begin, size_bytes};
    return ERR_OK;
}

static enum err read_tensor(struct json_value entry, struct header *h, struct arena *arena,
                            struct entry *out)
{
    struct safetensor *t = &out->tensor;
    const char *name = arena_copy_text(arena, entry.key);
    if (name == NULL)
        return error_set(h->et, ERR_OUT_OF_MEMORY, "%s: out of memory", h->name);
    *t = (struct safetensor){.name = {name, entry.key.size}};
    if (json_read_type(entry) != JSON_READ_OBJECT)
        return json_read_wrong(entry, "a tensor's object", h->et);
    struct text dtype;
    TRY(json_read_text(entry, "dtype", &dtype, h->et));
    if (!safetensors_dtype_of(dtype, &t->dtype))
        return error_set(h->et, ERR_UNSUPPORTED,
                         "%s: tensor %s: element type %.*s is not supported", h->name, name,
                         TEXT_ARGS(dtype));
    size_t size_bytes = 0;
    TRY(read_shape(entry, h, t, &size_bytes));
    return read_offsets(entry, h, out, size_bytes);
}

static enum err read_notes(struct json_value object, struct header *h, struct safetensors *st)
{
    if (json_read_type(object) == JSON_READ_NULL)
        return ERR_OK; /* as MLX writes it */
    if (json_read_type(object) != JSON_READ_OBJECT)
        return json_read_wrong(object, "an object of texts", h->et);
    st->notes = arena_alloc(&st->arena, json_read_count(object), sizeof *st->notes);
    if (st->notes == NULL)
        return error_set(h->et, ERR_OUT_OF_MEMORY, "%s: out of memory", h->name);
    struct json_cursor c = {0};
    while (json_read_next(object, &c)) {
        struct text value;
        TRY(json_read_as_text(c.value, &value, h->et));
        const char *key = arena_copy_text(&st->arena, c.value.key);
        const char *text = arena_copy_text(&st->arena, value);
        if (key == NULL || text == NULL)
            return error_set(h->et, ERR_OUT_OF_MEMORY, "%s: out of memory", h->name);
        st->notes[st->note_count++] =
            (struct safetensors_note){{key, c.value.key.size}, {text, value.size}};
    }
    if (st->note_count > 0)
        qsort(st->notes, st->note_count, sizeof *st->notes, compare_notes);
    return ERR_OK;
}

/* `entries` has room for as many as the header names. */
static enum err read_entries(struct header *h, struct entry *entries, struct safetensors *st)
{
    struct json_cursor c = {0};
    while (json_read_next(json_read_root(h->doc), &c)) {
        if (text_is(c.value.key, METADATA_KEY))
            TRY(read_notes(c.value, h, st));
        else
            TRY(read_tensor(c.value, h, &st->arena, &entries[st->count++]));
    }
    if (st->count > 0)
        qsort(entries, st->count, sizeof *entries, compare_entries);
    return ERR_OK;
}

/* The tensors cover the data block, each byte once. */
static enum err check_cover(const struct header *h, const struct entry *entries, size_t count)
{
    const struct entry **order = mem_alloc(count, sizeof *order);
    if (order == NULL)
        return error_set(h->et, ERR_OUT_OF_MEMORY, "%s: out of memory", h->name);
    for (size_t i = 0; i < count; i++)
        order[i] = &entries[i];
    if (count > 0)
        qsort(order, count, sizeof *order, compare_offsets);
    enum err err = ERR_OK;
    uint64_t at = h->data_begin;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        const struct safetensor *t = &order[i]->tensor;
        uint64_t begin = order[i]->begin;
        if (begin < at)
            err = error_set(h->et, ERR_FORMAT, "%s: tensors %s and %s overlap", h->name,
                            order[i - 1]->tensor.name.data, t->name.data);
        else if (begin > at)
            err = error_set(h->et, ERR_FORMAT,
                            "%s: %" PRIu64 " bytes before tensor %s belong to no tensor", h->name,
                            begin - at, t->name.data);
        at = begin + t->data.size;
    }
    mem_free(order);
    uint64_t rest = h->data_begin + h->data_bytes - at;
    if (err == ERR_OK && rest > 0)
        err = error_set(h->et, ERR_FORMAT,
                        "%s: %" PRIu64 " bytes after the last tensor belong to no tensor", h->name,
                        rest);
    return err;
}

static enum err fill(const struct header *h, const struct entry *entries, struct safetensors *st)
{
    st->tensors = arena_alloc(&st->arena, st->count, sizeof *st->tensors);
    st->begins = arena_alloc(&st->arena, st->count, sizeof *st->begins);
    if (st->tensors == NULL || st->begins == NULL)
        return error_set(h->et, ERR_OUT_OF_MEMORY, "%s: out of memory", h->name);
    for (size_t i = 0; i < st->count; i++) {
        st->tensors[i] = entries[i].tensor;
        st->begins[i] = entries[i].begin;
    }
    return ERR_OK;
}

static enum err read_header(struct header *h, struct safetensors *st)
{
    size_t count = json_read_count(json_read_root(h->doc));
    if (count > SAFETENSORS_TENSORS_MAX)
        return error_set(h->et, ERR_LIMIT, "%s: expected at most %d tensors, found %zu", h->name,
                         SAFETENSORS_TENSORS_MAX, count);
    struct entry *entries = mem_alloc(count, sizeof *entries);
    if (entries == NULL)
        return error_set(h->et, ERR_OUT_OF_MEMORY, "%s: out of memory", h->name);
    enum err err = read_entries(h, entries, st);
    if (err == ERR_OK)
        err = check_cover(h, entries, st->count);
    if (err == ERR_OK)
        err = fill(h, entries, st);
    mem_free(entries);
    return err;
}

/* `content`: NULL, or the file that `head` is the start of. */
static enum err parse(struct safetensors *st, struct span head, uint64_t size_bytes,
                      const uint8_t *content, const char *name, struct err_text *et)
{
    struct header h = {.name = name, .content = content, .et = et};
    struct text json = {0};
    TRY(split(head, size_bytes, &json, &h));
    const struct json_read_options options = {
        .name = name, .size_bytes_max = SAFETENSORS_HEADER_BYTES_MAX, .depth_max = 8};
    TRY(json_read_parse(span_of_text(json), &options, &h.doc, et));
    struct safetensors made = {0};
    arena_init(&made.arena, SIZE_MAX); /* bounded by the header */
    enum err err;
    TRY_OUT(read_header(&h, &made));
    *st = made;
out:
    json_read_close(&h.doc);
    if (err != ERR_OK)
        safetensors_close(&made);
    return err;
}

enum err safetensors_parse(struct safetensors *st, struct span content, const char *name,
                           struct err_text *et)
{
    return parse(st, content, content.size, content.data, name, et);
}

enum err safetensors_parse_head(struct safetensors *st, struct span head, uint64_t size_bytes,
                                const char *name, struct err_text *et)
{
    return parse(st, head, MAX(size_bytes, (uint64_t)head.size), NULL, name, et);
}

enum err safetensors_open(struct safetensors *st, const char *path, struct err_text *et)
{
    struct source source;
    TRY(source_open(&source, path, et));
    enum err err = safetensors_parse(st, source.bytes, path, et);
    if (err == ERR_OK)
        st->source = source;
    else
        source_close(&source);
    return err;
}

void safetensors_drop(const struct safetensors *st, struct span data)
{
    source_drop(&st->source, data);
    for (size_t i = 0; i < st->shard_count; i++)
        source_drop(&st->shards[i].source, data);
}

void safetensors_close(struct safetensors *st)
{
    for (size_t i = 0; i < st->shard_count; i++)
        safetensors_close(&st->shards[i]); /* shards have no shards */
    mem_free(st->shards);
    arena_fini(&st->arena);
    source_close(&st->source);
    *st = (struct safetensors){0};
}

const struct safetensor *safetensors_find(const struct safetensors *st, struct text name)
{
    size_t low = 0;
    size_t high = st->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = text_compare(name, st->tensors[middle].name);
        if (order == 0)
            return &st->tensors[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

struct text safetensors_note_of(const struct safetensors *st, const char *key)
{
    for (size_t i = 0; i < st->note_count; i++) {
        if (text_is(st->notes[i].key, key))
            return st->notes[i].value;
    }
    return (struct text){0};
}

uint64_t safetensors_element_count(const struct safetensor *tensor)
{
    return tensor->data.size / safetensors_dtype_size_bytes(tensor->dtype);
}
