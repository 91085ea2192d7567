/* json_float.c - shortest round-trip printing on top of a correctly rounding C library.
 *
 * The decimal point of printf and strtod follows the locale; no program of ours leaves the "C"
 * locale, and a test holds the bytes.
 */
#include "common/formats/json/json_float.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

enum { F64_DIGITS_MAX = 17, F32_DIGITS_MAX = 9, EXPONENT_MIN = -4, EXPONENT_END = 16 };

/* Digits d.ddd as "%.*e" gives them, rearranged. `exponent` is the power of ten of the first. */
static size_t arrange(const char *digits, size_t count, int exponent, bool negative,
                      char out[JSON_FLOAT_BYTES])
{
    size_t n = 0;
    if (negative)
        out[n++] = '-';
    if (exponent < EXPONENT_MIN || exponent >= EXPONENT_END) {
        out[n++] = digits[0];
        if (count > 1) {
            out[n++] = '.';
            memcpy(out + n, digits + 1, count - 1);
            n += count - 1;
        }
        int size = snprintf(out + n, JSON_FLOAT_BYTES - n, "e%c%02d", exponent < 0 ? '-' : '+',
                            abs(exponent));
        return n + (size_t)size;
    }
    size_t whole = exponent < 0 ? 1 : (size_t)exponent + 1; /* digits before the point */
    size_t zeros = exponent < 0 ? (size_t)-exponent : 0;    /* before the first digit */
    for (size_t i = 0, next = 0; i < MAX(whole + 1, zeros + count); i++) {
        if (i == whole)
            out[n++] = '.';
        bool from_digits = i >= zeros && next < count;
        out[n++] = from_digits ? digits[next] : '0';
        next += from_digits;
    }
    out[n] = '\0';
    return n;
}

static size_t print(double value, int digits_max, char out[JSON_FLOAT_BYTES])
{
    ASSERT(isfinite(value));
    char buffer[40]; /* -d.<16 digits>e-324 */
    for (int count = 1; count <= digits_max; count++) {
        (void)snprintf(buffer, sizeof buffer, "%.*e", count - 1, value);
        bool same = digits_max == F32_DIGITS_MAX ? strtof(buffer, NULL) == (float)value
                                                 : strtod(buffer, NULL) == value;
        if (same)
            break;
    }
    bool negative = buffer[0] == '-';
    char digits[F64_DIGITS_MAX + 1];
    size_t count = 0;
    const char *at = buffer + negative;
    for (; *at != 'e'; at++) {
        if (*at != '.')
            digits[count++] = *at;
    }
    return arrange(digits, count, (int)strtol(at + 1, NULL, 10), negative, out);
}

size_t json_float_print_f64(double value, char out[JSON_FLOAT_BYTES])
{
    return print(value, F64_DIGITS_MAX, out);
}

size_t json_float_print_f32(float value, char out[JSON_FLOAT_BYTES])
{
    return print((double)value, F32_DIGITS_MAX, out);
}
