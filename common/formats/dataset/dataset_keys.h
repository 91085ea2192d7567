/* dataset_keys.h - messages about the keys of a row: which were seen, which were expected, and
 * which was probably meant. */
#ifndef COMMON_FORMATS_DATASET_DATASET_KEYS_H
#define COMMON_FORMATS_DATASET_DATASET_KEYS_H

#include <stddef.h>

#include "common/base/error.h"
#include "common/formats/json/json_read.h"

/* Where a row stands. */
struct dataset_place {
    const char *file_name;
    uint64_t line;
};

/* "file:line: WHAT; the row has "a", "b"; is "promt" meant to be "prompt"?" for the first key of
 * `object` that is nearly one of expected[0..count). Returns ERR_DATA. */
enum err dataset_keys_missing(const struct dataset_place *place, struct json_value object,
                              const char *what, const char *const *expected, size_t count,
                              struct err_text *et);

/* The lines of a recipe under which rows of an unknown type can be read, behind "; ", where there
 * is one way: a list of messages, or one text alone, of another name. "" where there is none. */
enum { DATASET_KEYS_MAPPING_BYTES = 160 };
const char *dataset_keys_mapping(struct json_value object, char out[DATASET_KEYS_MAPPING_BYTES]);

/* "file:line: PATH: expected EXPECTED, found FOUND". Returns ERR_DATA. */
enum err dataset_keys_wrong(const struct dataset_place *place, struct json_value value,
                            const char *expected, struct err_text *et);

/* Index of the word nearest to `text` among words[0..count), if one is near enough to be meant;
 * else `count`. */
size_t dataset_keys_nearest(struct text text, const char *const *words, size_t count);

#endif
