/* hf_read.h - what the readers of Hugging Face's JSON files share: synonyms, token ids, bounds. */
#ifndef COMMON_FORMATS_HF_HF_READ_H
#define COMMON_FORMATS_HF_HF_READ_H

#include "common/formats/hf/hf_config.h"
#include "common/formats/json/json_read.h"

/* A name of at most HF_CONFIG_NAME_BYTES - 1 bytes. The value itself; a member, which stays as it
 * is when it is optional and absent. */
MUST_CHECK enum err hf_read_as_name(struct json_value value, char out[HF_CONFIG_NAME_BYTES],
                                    struct err_text *et);
MUST_CHECK enum err hf_read_name(struct json_value object, const char *key, bool is_needed,
                                 char out[HF_CONFIG_NAME_BYTES], struct err_text *et);

/* The first of `keys` (NULL-terminated) that is there and not null. */
MUST_CHECK enum err hf_read_size(struct json_value object, const char *const *keys, int64_t min,
                                 int64_t max, uint32_t *out, struct err_text *et);
MUST_CHECK enum err hf_read_opt_size(struct json_value object, const char *const *keys, int64_t min,
                                     int64_t max, uint32_t *out, struct err_text *et);
MUST_CHECK enum err hf_read_number(struct json_value object, const char *const *keys, double min,
                                   double max, double *out, struct err_text *et);
MUST_CHECK enum err hf_read_opt_number(struct json_value object, const char *key, double min,
                                       double max, double *out, struct err_text *et);

/* A token id, HF_CONFIG_NO_TOKEN when absent, null or negative. */
MUST_CHECK enum err hf_read_token(struct json_value object, const char *key, int32_t *out,
                                  struct err_text *et);

/* One id or a list of them. */
MUST_CHECK enum err hf_read_tokens(struct json_value object, const char *key,
                                   struct hf_config_tokens *out, struct err_text *et);

#endif
