/* convert_float.h - f32, f16 and bf16, either from the other; ties go to even.
 *
 * Between equal types bytes are copied, so that every NaN stays what it is.
 */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_FLOAT_H
#define COMMON_FORMATS_CONVERT_CONVERT_FLOAT_H

#include "common/formats/gguf/block_format.h"
#include "common/formats/safetensors/safetensors_dtype.h"

/* Whether the format is one of the three. */
bool convert_float_is_plain(enum block_format format);

/* The format of an element type and back; false when it is none of the three. */
bool convert_float_format_of(enum safetensors_dtype dtype, enum block_format *out);
enum safetensors_dtype convert_float_dtype_of(enum block_format format);

/* out[i] = element i of `count` at `from`, which may have any alignment. */
void convert_float_decode(enum block_format format, size_t count, const void *from, float *out);

/* The same the other way, rounded to nearest. */
void convert_float_encode(enum block_format format, size_t count, const float *from, void *out);

/* Whether the format holds all values exactly. */
bool convert_float_holds(enum block_format format, size_t count, const float *values);

#endif
