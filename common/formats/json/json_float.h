/* json_float.h - numbers as text, the same everywhere.
 *
 * The shortest correctly rounded decimal that reads back as the same value, written the way
 * Python's repr writes it (so that our files compare with those of the ecosystem): 1.0, 0.0001,
 * 1e-05, 123456789.0, 1e+16. Exponent form is used below 1e-4 and from 1e16 on.
 */
#ifndef COMMON_FORMATS_JSON_JSON_FLOAT_H
#define COMMON_FORMATS_JSON_JSON_FLOAT_H

#include <stddef.h>

enum { JSON_FLOAT_BYTES = 32 };

/* Writes `value`, which must be finite, and a terminator; returns the length. */
size_t json_float_print_f64(double value, char out[JSON_FLOAT_BYTES]);

/* The same with the fewest digits that tell apart two f32: 0.1f is 0.1. */
size_t json_float_print_f32(float value, char out[JSON_FLOAT_BYTES]);

#endif
