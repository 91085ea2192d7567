/* gguf_cursor.h - little-endian fields of a GGUF file, one after the other; for this folder only.
 *
 * A cursor stands in front of bytes that are known to exist: every step is checked, and the first
 * that does not fit ends the reading with the place named.
 */
#ifndef COMMON_FORMATS_GGUF_GGUF_CURSOR_H
#define COMMON_FORMATS_GGUF_GGUF_CURSOR_H

#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"

struct gguf_cursor {
    const char *name; /* of the file */
    const uint8_t *start;
    const uint8_t *at;
    const uint8_t *end;
    struct err_text *et;
};

/* ERR_TRUNCATED: the file ends before; `what` is a phrase ("the number of keys"). */
MUST_CHECK enum err gguf_cursor_u32(struct gguf_cursor *cursor, const char *what, uint32_t *out);
MUST_CHECK enum err gguf_cursor_u64(struct gguf_cursor *cursor, const char *what, uint64_t *out);

/* A text of at most `size_bytes_max`, borrowed from the file. ERR_TRUNCATED, ERR_LIMIT. */
MUST_CHECK enum err gguf_cursor_text(struct gguf_cursor *cursor, const char *what,
                                     uint64_t size_bytes_max, struct text *out);

/* The next `count * item_bytes` bytes. */
MUST_CHECK enum err gguf_cursor_take(struct gguf_cursor *cursor, const char *what, uint64_t count,
                                     uint64_t item_bytes, struct span *out);

/* Bytes that are left. */
static inline size_t gguf_cursor_left(const struct gguf_cursor *cursor)
{
    return (size_t)(cursor->end - cursor->at);
}

/* Of the file, from its start. */
static inline size_t gguf_cursor_offset(const struct gguf_cursor *cursor)
{
    return (size_t)(cursor->at - cursor->start);
}

/* `size` little-endian bytes as a number; size <= 8. */
uint64_t gguf_cursor_number(const uint8_t *data, size_t size);

#endif
