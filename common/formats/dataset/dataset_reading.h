/* dataset_reading.h - what the readers of rows share: a row with its place, fields as text, parts.
 * For this folder. */
#ifndef COMMON_FORMATS_DATASET_DATASET_READING_H
#define COMMON_FORMATS_DATASET_DATASET_READING_H

#include "common/formats/dataset/dataset_keys.h"
#include "common/formats/dataset/dataset_row.h"

enum { DATASET_READING_BYTES_MAX = 256 << 20 };

/* One row being read. */
struct dataset_reading {
    struct dataset_row *row;
    struct dataset_place place;
    const struct dataset_options *options;
    const struct dataset_chat *chat;
    struct json_value root;
    struct err_text *et;
};

/* Room for `count` parts, none of them there yet. */
MUST_CHECK enum err dataset_reading_parts(struct dataset_row *row, size_t count);
void dataset_reading_add(struct dataset_row *row, struct text text, bool counts);

/* Text under `key` of `object`; the key is known to be wanted. ERR_DATA: it is something else. */
MUST_CHECK enum err dataset_reading_text(const struct dataset_reading *r, struct json_value object,
                                         const char *key, struct text *out);

/* The same of the row, where null and absence mean empty. */
MUST_CHECK enum err dataset_reading_text_if_any(const struct dataset_reading *r, const char *key,
                                                struct text *out);

bool dataset_reading_has(struct json_value object, const char *key);

/* The one of words[0..count) that `object` has; NULL when it has none or several. */
const char *dataset_reading_only_key(struct json_value object, const char *const *words,
                                     size_t count);

/* Appends what stands before an answer in Stanford's Alpaca (Taori et al. 2023), of "instruction",
 * "input" and "system", to row->rendered. */
MUST_CHECK enum err dataset_reading_alpaca(struct dataset_reading *r);

#endif
