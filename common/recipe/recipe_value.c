/* recipe_value.c - the grammar of scalars. */
#include "common/recipe/recipe_value.h"

#include <math.h>
#include <stdlib.h>
#include <strings.h>

#include "common/base/check.h"

enum { NUMBER_BYTES_MAX = 64 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Copies [sign] digits [. digits] [e [sign] digits] without underscores; false when `text` is
 * anything else. `out` is terminated. */
static bool clean_number(struct text text, char out[NUMBER_BYTES_MAX])
{
    enum { WHOLE, FRACTION, EXPONENT } part = WHOLE;
    size_t n = 0, digits = 0;
    if (text.size == 0 || text.size >= NUMBER_BYTES_MAX)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        bool sign_fits =
            i == 0 || (part == EXPONENT && digits == 0 && !is_digit(text.data[i - 1]) &&
                       text.data[i - 1] != '+' && text.data[i - 1] != '-');
        if (is_digit(c)) {
            digits++;
        } else if (c == '_') {
            bool between = i > 0 && i + 1 < text.size && is_digit(text.data[i - 1]) &&
                           is_digit(text.data[i + 1]);
            if (!between)
                return false;
            continue;
        } else if (c == '.' && part == WHOLE) {
            part = FRACTION;
        } else if ((c == 'e' || c == 'E') && part != EXPONENT && digits > 0) {
            part = EXPONENT;
            digits = 0;
        } else if (!((c == '+' || c == '-') && sign_fits)) {
            return false;
        }
        out[n++] = c;
    }
    out[n] = '\0';
    return digits > 0;
}

bool recipe_value_f64(struct text text, double *out)
{
    char number[NUMBER_BYTES_MAX];
    if (!clean_number(text, number))
        return false;
    double value = strtod(number, NULL);
    if (!isfinite(value))
        return false;
    *out = value;
    return true;
}

/* Digits only: exact up to 64 bits, which doubles are not. */
static bool plain_u64(const char *digits, uint64_t *out)
{
    uint64_t value = 0;
    if (*digits == '\0')
        return false;
    for (; *digits != '\0'; digits++) {
        if (!is_digit(*digits) || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*digits - '0'), &value))
            return false;
    }
    *out = value;
    return true;
}

bool recipe_value_u64(struct text text, uint64_t *out)
{
    char number[NUMBER_BYTES_MAX];
    double real;
    if (!clean_number(text, number))
        return false;
    if (plain_u64(number[0] == '+' ? number + 1 : number, out))
        return true;
    if (!recipe_value_f64(text, &real) || real < 0 || real >= 0x1p53 || real != floor(real))
        return false;
    *out = (uint64_t)real;
    return true;
}

bool recipe_value_i64(struct text text, int64_t *out)
{
    uint64_t magnitude;
    bool negative = text.size > 0 && text.data[0] == '-';
    if (negative)
        text = (struct text){text.data + 1, text.size - 1};
    if (!recipe_value_u64(text, &magnitude) || magnitude > INT64_MAX)
        return false;
    if (negative && text.size > 0 && text.data[0] == '+')
        return false;
    *out = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    return true;
}

static bool is_word(struct text text, const char *word)
{
    struct text w = text_of(word);
    return text.size == w.size && strncasecmp(text.data, w.data, w.size) == 0;
}

bool recipe_value_bool(struct text text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on"};
    static const char *const no[] = {"false", "no", "off"};
    for (size_t i = 0; i < COUNT_OF(yes); i++) {
        if (is_word(text, yes[i]) || is_word(text, no[i])) {
            *out = is_word(text, yes[i]);
            return true;
        }
    }
    return false;
}

struct unit {
    const char *word;
    double factor;
};

static bool with_unit(struct text text, const struct unit *units, size_t count, double fallback,
                      uint64_t *out)
{
    size_t split = text.size;
    while (split > 0 && !is_digit(text.data[split - 1]) && text.data[split - 1] != '.')
        split--;
    size_t unit_at = split;
    while (unit_at < text.size && text.data[unit_at] == ' ')
        unit_at++;
    struct text word = {text.data + unit_at, text.size - unit_at};
    double factor = word.size == 0 ? fallback : 0;
    for (size_t i = 0; i < count; i++) {
        if (is_word(word, units[i].word))
            factor = units[i].factor;
    }
    double number;
    if (factor <= 0 || !recipe_value_f64((struct text){text.data, split}, &number) || number < 0)
        return false;
    double value = number * factor;
    if (value >= 0x1p63)
        return false;
    *out = (uint64_t)value;
    return true;
}

bool recipe_value_size(struct text text, uint64_t *out)
{
    static const struct unit units[] = {
        {"B", 1},       {"K", 0x1p10},   {"KB", 0x1p10},  {"KiB", 0x1p10}, {"M", 0x1p20},
        {"MB", 0x1p20}, {"MiB", 0x1p20}, {"G", 0x1p30},   {"GB", 0x1p30},  {"GiB", 0x1p30},
        {"T", 0x1p40},  {"TB", 0x1p40},  {"TiB", 0x1p40},
    };
    return with_unit(text, units, COUNT_OF(units), 1, out);
}

bool recipe_value_duration(struct text text, uint64_t *out)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60e3}, {"min", 60e3}, {"h", 3600e3}, {"d", 86400e3},
    };
    return with_unit(text, units, COUNT_OF(units), 1000, out);
}

bool recipe_value_is_null(struct text text)
{
    return text.size == 0 || text_is(text, "~") || is_word(text, "null");
}
