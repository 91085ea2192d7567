/* block_format.h - names and sizes of the block formats of block_format.def.
 *
 * Refuses to know: what the bytes of a block mean.
 */
#ifndef COMMON_FORMATS_GGUF_BLOCK_FORMAT_H
#define COMMON_FORMATS_GGUF_BLOCK_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "schemas/block_format.def"

enum block_format {
#define BLOCK_FORMAT_ENUM(id, number, elements, bytes) BLOCK_FORMAT_##id,
    BLOCK_FORMAT_ROWS(BLOCK_FORMAT_ENUM)
#undef BLOCK_FORMAT_ENUM
        BLOCK_FORMAT_COUNT
};

/* "Q4_K". Static string. */
const char *block_format_name(enum block_format format);

/* The format of that name, in upper or lower case; BLOCK_FORMAT_COUNT when there is none. */
enum block_format block_format_named(struct text name);

/* The tensor type of GGUF. */
uint32_t block_format_number(enum block_format format);

/* Elements and bytes of a block. */
uint32_t block_format_elements(enum block_format format);
uint32_t block_format_bytes(enum block_format format);

/* Bytes of `count` elements, which must be whole blocks. False when they are not, or beyond the
 * range of size_t. */
bool block_format_size_bytes(enum block_format format, uint64_t count, size_t *size_bytes);

/* The format of a GGUF tensor type. ERR_UNSUPPORTED for one that is not read (*why, static, says
 * "Q8_1, which holds activations, not weights"), ERR_FORMAT for one that does not exist. */
MUST_CHECK enum err block_format_of_number(uint32_t number, enum block_format *out,
                                           const char **why);

#endif
