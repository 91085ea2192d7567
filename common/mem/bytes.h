/* bytes.h - a growing byte buffer with a ceiling and a sticky error.
 *
 * Writers append without checking each step and ask once at the end (bytes_status), so encoders
 * stay readable. After the first failure nothing more is appended.
 */
#ifndef COMMON_MEM_BYTES_H
#define COMMON_MEM_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"

struct bytes {
    uint8_t *data; /* owned */
    size_t size;
    size_t capacity;
    size_t limit_bytes;
    enum err err; /* first failure: ERR_OUT_OF_MEMORY or ERR_LIMIT */
};

void bytes_init(struct bytes *bytes, size_t limit_bytes);
void bytes_fini(struct bytes *bytes);

/* Empties the buffer, clears the error, keeps the memory. */
void bytes_clear(struct bytes *bytes);

void bytes_append(struct bytes *bytes, const void *data, size_t size);
void bytes_append_text(struct bytes *bytes, struct text text);
void bytes_print(struct bytes *bytes, const char *format, ...) PRINTF(2, 3);

/* Grows by `size` uninitialised bytes and returns where they start; NULL after a failure. */
uint8_t *bytes_extend(struct bytes *bytes, size_t size);

/* Gives away what was appended, in no more memory than it needs, and leaves the buffer empty. NULL
 * for nothing. Caller owns; release with mem_free. */
uint8_t *bytes_take(struct bytes *bytes);

MUST_CHECK enum err bytes_status(const struct bytes *bytes);

/* Borrowed until the next append, clear or fini. */
static inline struct span bytes_span(const struct bytes *bytes)
{
    return (struct span){bytes->data, bytes->size};
}

#endif
