/* imatrix_legacy.c - numbers of 32 bits, little-endian, one after the other. */
#include "common/formats/imatrix/imatrix_legacy.h"

#include <string.h>

#include "common/base/check.h"

/* An entry of an empty name and one value. */
enum { ENTRY_BYTES_MIN = 3 * 4 + 1 + 4 };

struct cursor {
    const char *name; /* of the file */
    const uint8_t *at;
    size_t left;
    struct err_text *et;
};

static uint32_t word_at(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

static enum err take(struct cursor *c, const char *what, size_t size, const uint8_t **out)
{
    if (c->left < size)
        return error_set(c->et, ERR_TRUNCATED,
                         "%s: expected %zu bytes of %s, found the end of the file after %zu",
                         c->name, size, what, c->left);
    *out = c->at;
    c->at += size;
    c->left -= size;
    return ERR_OK;
}

/* A number within 1..max. */
static enum err take_number(struct cursor *c, const char *what, uint32_t max, uint32_t *out)
{
    const uint8_t *bytes = NULL;
    TRY(take(c, what, 4, &bytes));
    *out = word_at(bytes);
    if (*out < 1 || *out > max)
        return error_set(c->et, ERR_FORMAT,
                         "%s: %s: expected 1 to %u, found %d; this is no importance matrix",
                         c->name, what, max, (int)*out);
    return ERR_OK;
}

static enum err read_entry(struct imatrix *m, struct cursor *c)
{
    const uint8_t *bytes = NULL;
    uint32_t size = 0, calls = 0, values = 0;
    struct imatrix_entry e = {.matrices = 1};
    TRY(take_number(c, "the length of a name", IMATRIX_NAME_BYTES_MAX, &size));
    TRY(take(c, "a name", size, &bytes));
    if (memchr(bytes, 0, size) != NULL)
        return error_set(c->et, ERR_FORMAT, "%s: entry %zu: expected a name, found a zero byte",
                         c->name, m->count);
    e.name =
        (struct text){arena_copy_text(&m->arena, (struct text){(const char *)bytes, size}), size};
    TRY(take_number(c, "the calls of an entry", IMATRIX_CALLS_MAX, &calls));
    TRY(take_number(c, "the values of an entry", INT32_MAX / 4, &values));
    TRY(take(c, "values", (size_t)values * 4, &bytes));
    e.columns = values;
    e.sums = arena_alloc(&m->arena, values, sizeof *e.sums);
    e.counts = arena_alloc(&m->arena, 1, sizeof *e.counts);
    if (e.name.data == NULL || e.sums == NULL || e.counts == NULL)
        return error_set(c->et, ERR_OUT_OF_MEMORY, "%s: out of memory", c->name);
    e.counts[0] = (float)calls;
    for (size_t i = 0; i < values; i++) {
        uint32_t bits = word_at(bytes + 4 * i);
        memcpy(&e.sums[i], &bits, sizeof bits);
    }
    m->entries[m->count++] = e;
    return ERR_OK;
}

/* What old files lack: number of chunks and the name of the text. */
static enum err read_end(struct imatrix *m, struct cursor *c)
{
    const uint8_t *bytes = NULL;
    if (c->left == 0)
        return ERR_OK;
    TRY(take(c, "the number of chunks", 4, &bytes));
    m->chunk_count = word_at(bytes);
    TRY(take(c, "the length of the text's name", 4, &bytes));
    uint32_t size = word_at(bytes);
    TRY(take(c, "the text's name", size, &bytes));
    if (c->left > 0)
        return error_set(c->et, ERR_FORMAT, "%s: expected the end of the file, found %zu bytes",
                         c->name, c->left);
    if (size > 0) {
        m->datasets = arena_alloc(&m->arena, 1, sizeof *m->datasets);
        const char *copy = arena_copy_text(&m->arena, (struct text){(const char *)bytes, size});
        if (m->datasets == NULL || copy == NULL)
            return error_set(c->et, ERR_OUT_OF_MEMORY, "%s: out of memory", c->name);
        m->datasets[0] = (struct text){copy, size};
        m->dataset_count = 1;
    }
    return ERR_OK;
}

enum err imatrix_legacy_read(struct imatrix *m, struct span content, const char *name,
                             struct err_text *et)
{
    struct cursor c = {.name = name, .at = content.data, .left = content.size, .et = et};
    uint32_t count = 0;
    TRY(take_number(&c, "the number of entries", IMATRIX_ENTRIES_MAX, &count));
    if (count > c.left / ENTRY_BYTES_MIN)
        return error_set(et, ERR_TRUNCATED, "%s: expected %u entries, found %zu bytes", name, count,
                         c.left);
    m->entries = arena_alloc(&m->arena, count, sizeof *m->entries);
    if (m->entries == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", name);
    for (uint32_t i = 0; i < count; i++)
        TRY(read_entry(m, &c));
    return read_end(m, &c);
}
