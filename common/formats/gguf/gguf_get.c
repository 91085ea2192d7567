/* gguf_get.c - typed reading of keys, with messages that name file and key. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/gguf/gguf.h"
#include "common/formats/gguf/gguf_cursor.h"

static const struct {
    const char *name;
    size_t size_bytes;
} types[GGUF_TYPE_COUNT] = {
#define GGUF_TYPE_ROW(name, size_bytes) {#name, size_bytes},
    GGUF_TYPE_ROWS(GGUF_TYPE_ROW)
#undef GGUF_TYPE_ROW
};

static bool is_float(enum gguf_type type)
{
    return type == GGUF_F32 || type == GGUF_F64;
}

static bool is_whole(enum gguf_type type)
{
    return !is_float(type) && type != GGUF_BOOL && type != GGUF_TEXT;
}

int64_t gguf_item_i64(const struct gguf_value *value, uint64_t index)
{
    ASSERT(index < value->count && !is_float(value->type) && value->type != GGUF_TEXT);
    size_t size = types[value->type].size_bytes;
    uint64_t number = gguf_cursor_number(value->data.data + index * size, size);
    switch (value->type) {
    case GGUF_I8:
        return (int8_t)number;
    case GGUF_I16:
        return (int16_t)number;
    case GGUF_I32:
        return (int32_t)number;
    case GGUF_I64:
        return (int64_t)number;
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_F32:
    case GGUF_BOOL:
    case GGUF_TEXT:
    case GGUF_ARRAY:
    case GGUF_U64:
    case GGUF_F64:
    case GGUF_TYPE_COUNT:
        break;
    }
    return number > INT64_MAX ? INT64_MAX : (int64_t)number;
}

double gguf_item_f64(const struct gguf_value *value, uint64_t index)
{
    ASSERT(index < value->count && value->type != GGUF_TEXT);
    if (!is_float(value->type))
        return (double)gguf_item_i64(value, index);
    if (value->type == GGUF_F64) {
        uint64_t bits = gguf_cursor_number(value->data.data + index * 8, 8);
        double number;
        memcpy(&number, &bits, sizeof number);
        return number;
    }
    uint32_t bits = (uint32_t)gguf_cursor_number(value->data.data + index * 4, 4);
    float number;
    memcpy(&number, &bits, sizeof number);
    return (double)number;
}

/* "the u32 7", "the text \"abc\"", "an array of 3 f32". */
static void print_found(const struct gguf_value *value, char *out, size_t out_bytes)
{
    if (value == NULL)
        (void)snprintf(out, out_bytes, "nothing");
    else if (value->is_array)
        (void)snprintf(out, out_bytes, "an array of %" PRIu64 " %s", value->count,
                       types[value->type].name);
    else if (value->type == GGUF_TEXT)
        (void)snprintf(out, out_bytes, "the text \"%.*s\"", (int)MIN(value->texts[0].size, 80u),
                       value->texts[0].data);
    else if (is_float(value->type))
        (void)snprintf(out, out_bytes, "the %s %g", types[value->type].name,
                       gguf_item_f64(value, 0));
    else
        (void)snprintf(out, out_bytes, "the %s %" PRId64, types[value->type].name,
                       gguf_item_i64(value, 0));
}

enum err gguf_wrong(const struct gguf *gguf, const char *key, const char *expected,
                    struct err_text *et)
{
    char found[160];
    print_found(gguf_find(gguf, key), found, sizeof found);
    return error_set(et, ERR_FORMAT, "%s: %s: expected %s, found %s", gguf->name, key, expected,
                     found);
}

enum err gguf_opt_text(const struct gguf *gguf, const char *key, struct text *out, bool *found,
                       struct err_text *et)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    if (value != NULL && (value->is_array || value->type != GGUF_TEXT))
        return gguf_wrong(gguf, key, "a text", et);
    if (value != NULL)
        *out = value->texts[0];
    if (found != NULL)
        *found = value != NULL;
    return ERR_OK;
}

enum err gguf_opt_bool(const struct gguf *gguf, const char *key, bool *out, bool *found,
                       struct err_text *et)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    if (value != NULL && (value->is_array || value->type != GGUF_BOOL))
        return gguf_wrong(gguf, key, "true or false", et);
    if (value != NULL)
        *out = gguf_item_i64(value, 0) != 0;
    if (found != NULL)
        *found = value != NULL;
    return ERR_OK;
}

enum err gguf_opt_i64(const struct gguf *gguf, const char *key, int64_t min, int64_t max,
                      int64_t *out, bool *found, struct err_text *et)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    if (value != NULL) {
        int64_t number = value->is_array || !is_whole(value->type) ? 0 : gguf_item_i64(value, 0);
        if (value->is_array || !is_whole(value->type) || number < min || number > max) {
            char expected[80];
            (void)snprintf(expected, sizeof expected, "a whole number from %" PRId64 " to %" PRId64,
                           min, max);
            return gguf_wrong(gguf, key, expected, et);
        }
        *out = number;
    }
    if (found != NULL)
        *found = value != NULL;
    return ERR_OK;
}

enum err gguf_opt_f64(const struct gguf *gguf, const char *key, double *out, bool *found,
                      struct err_text *et)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    if (value != NULL) {
        bool fits = !value->is_array && (is_float(value->type) || is_whole(value->type));
        double number = fits ? gguf_item_f64(value, 0) : 0.0;
        if (!fits || !(number - number == 0.0)) /* NaN, infinities */
            return gguf_wrong(gguf, key, "a finite number", et);
        *out = number;
    }
    if (found != NULL)
        *found = value != NULL;
    return ERR_OK;
}

enum err gguf_opt_array(const struct gguf *gguf, const char *key, enum gguf_type kind,
                        const struct gguf_value **out, struct err_text *et)
{
    ASSERT(kind == GGUF_TEXT || kind == GGUF_I64 || kind == GGUF_F64);
    const struct gguf_value *value = gguf_find(gguf, key);
    *out = NULL;
    if (value == NULL)
        return ERR_OK;
    bool fits = kind == GGUF_TEXT  ? value->type == GGUF_TEXT
                : kind == GGUF_I64 ? is_whole(value->type)
                                   : is_float(value->type) || is_whole(value->type);
    if (!value->is_array || !fits)
        return gguf_wrong(gguf, key,
                          kind == GGUF_TEXT  ? "an array of texts"
                          : kind == GGUF_I64 ? "an array of whole numbers"
                                             : "an array of numbers",
                          et);
    *out = value;
    return ERR_OK;
}

static enum err need(const struct gguf *gguf, const char *key, bool found, enum err err,
                     const char *expected, struct err_text *et)
{
    return err != ERR_OK || found ? err : gguf_wrong(gguf, key, expected, et);
}

enum err gguf_text(const struct gguf *gguf, const char *key, struct text *out, struct err_text *et)
{
    bool found = false;
    enum err err = gguf_opt_text(gguf, key, out, &found, et);
    return need(gguf, key, found, err, "a text", et);
}

enum err gguf_i64(const struct gguf *gguf, const char *key, int64_t min, int64_t max, int64_t *out,
                  struct err_text *et)
{
    bool found = false;
    enum err err = gguf_opt_i64(gguf, key, min, max, out, &found, et);
    return need(gguf, key, found, err, "a whole number", et);
}

enum err gguf_f64(const struct gguf *gguf, const char *key, double *out, struct err_text *et)
{
    bool found = false;
    enum err err = gguf_opt_f64(gguf, key, out, &found, et);
    return need(gguf, key, found, err, "a number", et);
}
