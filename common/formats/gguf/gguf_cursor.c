/* gguf_cursor.c - checked steps. */
#include "common/formats/gguf/gguf_cursor.h"

#include <inttypes.h>

#include "common/base/check.h"

static enum err ends_early(const struct gguf_cursor *c, const char *what, uint64_t wanted)
{
    return error_set(c->et, ERR_TRUNCATED,
                     "%s: %s at byte %zu: expected %" PRIu64 " bytes, found %zu before the end",
                     c->name, what, gguf_cursor_offset(c), wanted, gguf_cursor_left(c));
}

uint64_t gguf_cursor_number(const uint8_t *data, size_t size)
{
    ASSERT(size <= sizeof(uint64_t));
    uint64_t number = 0;
    for (size_t i = size; i-- > 0;)
        number = number << 8 | data[i];
    return number;
}

enum err gguf_cursor_take(struct gguf_cursor *c, const char *what, uint64_t count,
                          uint64_t item_bytes, struct span *out)
{
    size_t size;
    if (!check_mul(count, item_bytes, &size))
        return error_set(c->et, ERR_OVERFLOW, "%s: %s at byte %zu: %" PRIu64 " items overflow",
                         c->name, what, gguf_cursor_offset(c), count);
    if (size > gguf_cursor_left(c))
        return ends_early(c, what, size);
    *out = (struct span){c->at, size};
    c->at += size;
    return ERR_OK;
}

enum err gguf_cursor_u32(struct gguf_cursor *c, const char *what, uint32_t *out)
{
    struct span field = {0};
    TRY(gguf_cursor_take(c, what, 1, sizeof *out, &field));
    *out = (uint32_t)gguf_cursor_number(field.data, sizeof *out);
    return ERR_OK;
}

enum err gguf_cursor_u64(struct gguf_cursor *c, const char *what, uint64_t *out)
{
    struct span field = {0};
    TRY(gguf_cursor_take(c, what, 1, sizeof *out, &field));
    *out = gguf_cursor_number(field.data, sizeof *out);
    return ERR_OK;
}

enum err gguf_cursor_text(struct gguf_cursor *c, const char *what, uint64_t size_bytes_max,
                          struct text *out)
{
    uint64_t size;
    struct span field = {0};
    TRY(gguf_cursor_u64(c, what, &size));
    if (size > gguf_cursor_left(c))
        return ends_early(c, what, size);
    if (size > size_bytes_max)
        return error_set(c->et, ERR_LIMIT,
                         "%s: %s at byte %zu: expected at most %" PRIu64 " bytes, found %" PRIu64,
                         c->name, what, gguf_cursor_offset(c), size_bytes_max, size);
    TRY(gguf_cursor_take(c, what, 1, size, &field));
    *out = (struct text){(const char *)field.data, field.size};
    return ERR_OK;
}
