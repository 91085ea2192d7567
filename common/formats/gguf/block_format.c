/* block_format.c - block_format.def as a table. */
#include "common/formats/gguf/block_format.h"

#include <string.h>
#include <strings.h>

#include "common/base/check.h"

struct row {
    const char *name;
    uint32_t number;
    uint32_t elements;
    uint32_t bytes;
};

static const struct row rows[BLOCK_FORMAT_COUNT] = {
#define BLOCK_FORMAT_ROW(id, number, elements, bytes) {#id, number, elements, bytes},
    BLOCK_FORMAT_ROWS(BLOCK_FORMAT_ROW)
#undef BLOCK_FORMAT_ROW
};

static const struct refused {
    uint32_t number;
    const char *why;
} refused[] = {
#define BLOCK_FORMAT_REFUSED(number, name, why) {number, name ", which " why},
    BLOCK_FORMAT_REFUSED_ROWS(BLOCK_FORMAT_REFUSED)
#undef BLOCK_FORMAT_REFUSED
};

const char *block_format_name(enum block_format format)
{
    ASSERT((unsigned)format < BLOCK_FORMAT_COUNT);
    return rows[format].name;
}

enum block_format block_format_named(struct text name)
{
    for (unsigned i = 0; i < BLOCK_FORMAT_COUNT; i++) {
        const char *own = block_format_name((enum block_format)i);
        if (strlen(own) == name.size && strncasecmp(own, name.data, name.size) == 0)
            return (enum block_format)i;
    }
    return BLOCK_FORMAT_COUNT;
}

uint32_t block_format_number(enum block_format format)
{
    ASSERT((unsigned)format < BLOCK_FORMAT_COUNT);
    return rows[format].number;
}

uint32_t block_format_elements(enum block_format format)
{
    ASSERT((unsigned)format < BLOCK_FORMAT_COUNT);
    return rows[format].elements;
}

uint32_t block_format_bytes(enum block_format format)
{
    ASSERT((unsigned)format < BLOCK_FORMAT_COUNT);
    return rows[format].bytes;
}

bool block_format_size_bytes(enum block_format format, uint64_t count, size_t *size_bytes)
{
    ASSERT((unsigned)format < BLOCK_FORMAT_COUNT);
    const struct row *row = &rows[format];
    return count % row->elements == 0 && check_mul(count / row->elements, row->bytes, size_bytes);
}

enum err block_format_of_number(uint32_t number, enum block_format *out, const char **why)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (rows[i].number == number) {
            *out = (enum block_format)i;
            return ERR_OK;
        }
    }
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        if (refused[i].number == number) {
            *why = refused[i].why;
            return ERR_UNSUPPORTED;
        }
    }
    *why = "which no tensor type has";
    return ERR_FORMAT;
}
