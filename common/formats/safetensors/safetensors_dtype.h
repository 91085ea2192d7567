/* safetensors_dtype.h - the element types of the format, in the format's own order.
 *
 * The order is that of the reference writer, which lays tensors out by it, widest last in this
 * list and first in a file. Types narrower than a byte are not in the list; files with them are
 * refused by name.
 */
#ifndef COMMON_FORMATS_SAFETENSORS_SAFETENSORS_DTYPE_H
#define COMMON_FORMATS_SAFETENSORS_SAFETENSORS_DTYPE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/span.h"

/* name, bytes of an element */
#define SAFETENSORS_DTYPE_ROWS(ROW)                                                                \
    ROW(BOOL, 1)                                                                                   \
    ROW(U8, 1)                                                                                     \
    ROW(I8, 1)                                                                                     \
    ROW(F8_E5M2, 1)                                                                                \
    ROW(F8_E4M3, 1)                                                                                \
    ROW(F8_E8M0, 1)                                                                                \
    ROW(I16, 2)                                                                                    \
    ROW(U16, 2)                                                                                    \
    ROW(F16, 2)                                                                                    \
    ROW(BF16, 2)                                                                                   \
    ROW(I32, 4)                                                                                    \
    ROW(U32, 4)                                                                                    \
    ROW(F32, 4)                                                                                    \
    ROW(C64, 8)                                                                                    \
    ROW(F64, 8)                                                                                    \
    ROW(I64, 8)                                                                                    \
    ROW(U64, 8)

enum safetensors_dtype {
#define SAFETENSORS_DTYPE_ENUM(name, size_bytes) SAFETENSORS_##name,
    SAFETENSORS_DTYPE_ROWS(SAFETENSORS_DTYPE_ENUM)
#undef SAFETENSORS_DTYPE_ENUM
        SAFETENSORS_DTYPE_COUNT
};

/* Bytes of one element. */
size_t safetensors_dtype_size_bytes(enum safetensors_dtype dtype);

/* The spelling in files: "F32". Static string. */
const char *safetensors_dtype_name(enum safetensors_dtype dtype);

/* False when no row has this name. */
bool safetensors_dtype_of(struct text name, enum safetensors_dtype *out);

#endif
