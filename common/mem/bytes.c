/* bytes.c - growth by doubling, capped. */
#include "common/mem/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

void bytes_init(struct bytes *bytes, size_t limit_bytes)
{
    *bytes = (struct bytes){.limit_bytes = limit_bytes};
}

void bytes_fini(struct bytes *bytes)
{
    mem_free(bytes->data);
    *bytes = (struct bytes){.limit_bytes = bytes->limit_bytes};
}

void bytes_clear(struct bytes *bytes)
{
    bytes->size = 0;
    bytes->err = ERR_OK;
}

uint8_t *bytes_extend(struct bytes *bytes, size_t size)
{
    size_t wanted;
    if (bytes->err != ERR_OK)
        return NULL;
    if (!check_add(bytes->size, size, &wanted) || wanted > bytes->limit_bytes) {
        bytes->err = ERR_LIMIT;
        return NULL;
    }
    if (wanted > bytes->capacity || bytes->data == NULL) {
        size_t capacity = MAX(wanted, MIN(bytes->capacity * 2, bytes->limit_bytes));
        capacity = MAX(capacity, MIN((size_t)256, bytes->limit_bytes));
        uint8_t *data = mem_resize(bytes->data, capacity, 1);
        if (data == NULL) {
            bytes->err = ERR_OUT_OF_MEMORY;
            return NULL;
        }
        bytes->data = data;
        bytes->capacity = capacity;
    }
    uint8_t *start = bytes->data + bytes->size;
    bytes->size = wanted;
    return start;
}

uint8_t *bytes_take(struct bytes *bytes)
{
    uint8_t *data = bytes->size > 0 ? bytes->data : NULL;
    uint8_t *fitted = data != NULL ? mem_resize(data, bytes->size, 1) : NULL;
    if (data != NULL)
        bytes->data = NULL;
    bytes_fini(bytes);
    return fitted != NULL ? fitted : data;
}

void bytes_append(struct bytes *bytes, const void *data, size_t size)
{
    uint8_t *start = bytes_extend(bytes, size);
    if (start != NULL && size > 0)
        memcpy(start, data, size);
}

void bytes_append_text(struct bytes *bytes, struct text text)
{
    bytes_append(bytes, text.data, text.size);
}

void bytes_print(struct bytes *bytes, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *start = size < 0 ? NULL : (char *)bytes_extend(bytes, (size_t)size + 1);
    if (start != NULL) {
        (void)vsnprintf(start, (size_t)size + 1, format, again);
        bytes->size--; /* the terminator is not content */
    }
    va_end(again);
}

enum err bytes_status(const struct bytes *bytes)
{
    return bytes->err;
}
