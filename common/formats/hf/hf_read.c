/* hf_read.c - bounded values under one of several names. */
#include "common/formats/hf/hf_read.h"

#include <stdio.h>
#include <string.h>

enum err hf_read_as_name(struct json_value value, char out[HF_CONFIG_NAME_BYTES],
                         struct err_text *et)
{
    struct text text = {0};
    TRY(json_read_as_text(value, &text, et));
    if (text.size >= HF_CONFIG_NAME_BYTES || memchr(text.data, '\0', text.size) != NULL)
        return json_read_wrong(value, "a name of at most 63 bytes", et);
    memcpy(out, text.data, text.size);
    out[text.size] = '\0';
    return ERR_OK;
}

static bool is_given(struct json_value value)
{
    enum json_read_type type = json_read_type(value);
    return type != JSON_READ_ABSENT && type != JSON_READ_NULL;
}

enum err hf_read_name(struct json_value object, const char *key, bool is_needed,
                      char out[HF_CONFIG_NAME_BYTES], struct err_text *et)
{
    struct json_value value = json_read_find(object, key);
    return is_needed || is_given(value) ? hf_read_as_name(value, out, et) : ERR_OK;
}

/* The member under the first of its names that is there; else the absent one of the first name. */
static struct json_value find(struct json_value object, const char *const *keys)
{
    for (size_t i = 0; keys[i] != NULL; i++) {
        struct json_value value = json_read_find(object, keys[i]);
        if (is_given(value))
            return value;
    }
    return json_read_find(object, keys[0]);
}

enum err hf_read_size(struct json_value object, const char *const *keys, int64_t min, int64_t max,
                      uint32_t *out, struct err_text *et)
{
    int64_t value = 0;
    TRY(json_read_as_i64(find(object, keys), min, max, &value, et));
    *out = (uint32_t)value;
    return ERR_OK;
}

enum err hf_read_opt_size(struct json_value object, const char *const *keys, int64_t min,
                          int64_t max, uint32_t *out, struct err_text *et)
{
    return is_given(find(object, keys)) ? hf_read_size(object, keys, min, max, out, et) : ERR_OK;
}

static enum err as_number(struct json_value value, double min, double max, double *out,
                          struct err_text *et)
{
    double number = 0.0;
    TRY(json_read_as_f64(value, &number, et));
    if (!(number >= min && number <= max)) {
        char expected[96];
        (void)snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
        return json_read_wrong(value, expected, et);
    }
    *out = number;
    return ERR_OK;
}

enum err hf_read_number(struct json_value object, const char *const *keys, double min, double max,
                        double *out, struct err_text *et)
{
    return as_number(find(object, keys), min, max, out, et);
}

enum err hf_read_opt_number(struct json_value object, const char *key, double min, double max,
                            double *out, struct err_text *et)
{
    struct json_value value = json_read_find(object, key);
    return is_given(value) ? as_number(value, min, max, out, et) : ERR_OK;
}

static enum err as_token(struct json_value value, int32_t *out, struct err_text *et)
{
    int64_t id = 0;
    TRY(json_read_as_i64(value, INT32_MIN, INT32_MAX, &id, et));
    *out = id < 0 ? HF_CONFIG_NO_TOKEN : (int32_t)id;
    return ERR_OK;
}

enum err hf_read_token(struct json_value object, const char *key, int32_t *out, struct err_text *et)
{
    struct json_value value = json_read_find(object, key);
    *out = HF_CONFIG_NO_TOKEN;
    return is_given(value) ? as_token(value, out, et) : ERR_OK;
}

enum err hf_read_tokens(struct json_value object, const char *key, struct hf_config_tokens *out,
                        struct err_text *et)
{
    struct json_value value = json_read_find(object, key);
    *out = (struct hf_config_tokens){0};
    if (!is_given(value))
        return ERR_OK;
    if (json_read_type(value) != JSON_READ_ARRAY) {
        TRY(as_token(value, &out->ids[0], et));
        out->count = out->ids[0] != HF_CONFIG_NO_TOKEN;
        return ERR_OK;
    }
    if (json_read_count(value) > HF_CONFIG_TOKENS_MAX)
        return json_read_wrong(value, "at most 16 token ids", et);
    struct json_cursor c = {0};
    while (json_read_next(value, &c))
        TRY(as_token(c.value, &out->ids[out->count++], et));
    return ERR_OK;
}
