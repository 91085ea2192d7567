/* json_read.h - JSON of other people, read strictly: values with a type, errors with a place.
 *
 * Refused: bytes that are not UTF-8, a key that occurs twice, NaN and Infinity, more than one
 * document, sizes and depths above the caller's ceiling. A getter's error names the file, the path
 * of the key ("rope_scaling.factor"), what was expected and what was found.
 * Integers that do not fit 64 bits are legal JSON and occur in real files (model_max_length); a
 * document with one is read with doubles throughout, and integer getters then accept doubles that
 * are whole.
 *
 * Owns: the parsed tree. This folder is the only one that knows jansson, which takes its memory
 * from the C library: it stops the process at some places when memory is out, so sweeps of failing
 * allocations cover our part and not its.
 */
#ifndef COMMON_FORMATS_JSON_JSON_READ_H
#define COMMON_FORMATS_JSON_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"

enum {
    JSON_READ_DEPTH_MAX = 64,
    JSON_READ_SIZE_BYTES_MAX = 256 << 20 /* tokenizers reach tens of MB */
};

enum json_read_type {
    JSON_READ_ABSENT,
    JSON_READ_NULL,
    JSON_READ_BOOL,
    JSON_READ_INTEGER,
    JSON_READ_REAL,
    JSON_READ_TEXT,
    JSON_READ_ARRAY,
    JSON_READ_OBJECT,
    JSON_READ_TYPE_COUNT
};

struct json_doc;

/* A value inside a document, with its place: borrowed until json_read_close; when absent it also
 * borrows the key by which it was looked for. */
struct json_value {
    const struct json_doc *doc;
    void *node;         /* opaque; NULL: absent */
    const void *parent; /* opaque; NULL: the root */
    struct text key;    /* its name in an object; data is NULL in an array */
    size_t index;       /* its place in an array */
};

struct json_read_options {
    const char *name;      /* file name for messages; copied */
    size_t first_line;     /* of the text in its file, 0 and 1 mean 1: rows of JSON Lines */
    size_t size_bytes_max; /* 0: JSON_READ_SIZE_BYTES_MAX */
    size_t depth_max;      /* 0: JSON_READ_DEPTH_MAX; at most that */
};

/* Parses one object or array; the document owns copies, `content` may go. ERR_FORMAT with
 * file:line:column, ERR_LIMIT (size or depth), ERR_OUT_OF_MEMORY. Release with json_read_close. */
MUST_CHECK enum err json_read_parse(struct span content, const struct json_read_options *options,
                                    struct json_doc **doc, struct err_text *et);

/* Maps and parses a file. */
MUST_CHECK enum err json_read_open(const char *path, size_t size_bytes_max, struct json_doc **doc,
                                   struct err_text *et);

/* NULL and *doc NULL are allowed. */
void json_read_close(struct json_doc **doc);

struct json_value json_read_root(const struct json_doc *doc);

/* The name given at parsing; borrowed until json_read_close. */
const char *json_read_name(const struct json_doc *doc);

enum json_read_type json_read_type(struct json_value value);

/* "a number", "an object": how messages name a type. Static string. */
const char *json_read_type_name(enum json_read_type type);

/* Members of an object, elements of an array, 0 for anything else. */
size_t json_read_count(struct json_value value);

/* The member, absent when there is none or `object` is not an object. */
struct json_value json_read_find(struct json_value object, const char *key);

/* The element, absent beyond the end. */
struct json_value json_read_item(struct json_value array, size_t index);

static inline bool json_read_is_absent(struct json_value value)
{
    return value.node == NULL;
}

/* Walks members in the order of the file, or elements. Start with a zeroed cursor:
 *     struct json_cursor c = {0};
 *     while (json_read_next(object, &c)) use(c.value.key, c.value);
 */
struct json_cursor {
    struct json_value value;
    size_t count; /* values seen, this one included */
    void *position;
};
bool json_read_next(struct json_value container, struct json_cursor *cursor);

/* The value as such; ERR_FORMAT with place, expected and found when it is something else. Text is
 * borrowed until json_read_close, terminated, and may hold NUL characters. An integer reads as a
 * double too. */
MUST_CHECK enum err json_read_as_text(struct json_value value, struct text *out,
                                      struct err_text *et);
MUST_CHECK enum err json_read_as_bool(struct json_value value, bool *out, struct err_text *et);
MUST_CHECK enum err json_read_as_i64(struct json_value value, int64_t min, int64_t max,
                                     int64_t *out, struct err_text *et);
MUST_CHECK enum err json_read_as_f64(struct json_value value, double *out, struct err_text *et);

/* Members that must be there. ERR_FORMAT otherwise, also for null. */
MUST_CHECK enum err json_read_text(struct json_value object, const char *key, struct text *out,
                                   struct err_text *et);
MUST_CHECK enum err json_read_bool(struct json_value object, const char *key, bool *out,
                                   struct err_text *et);
MUST_CHECK enum err json_read_i64(struct json_value object, const char *key, int64_t min,
                                  int64_t max, int64_t *out, struct err_text *et);
MUST_CHECK enum err json_read_f64(struct json_value object, const char *key, double *out,
                                  struct err_text *et);
MUST_CHECK enum err json_read_array(struct json_value object, const char *key,
                                    struct json_value *out, struct err_text *et);
MUST_CHECK enum err json_read_object(struct json_value object, const char *key,
                                     struct json_value *out, struct err_text *et);

/* Members that may be missing or null: then *out stays as it is, and *out_found (may be NULL) is
 * false. A wrong type is an error all the same. */
MUST_CHECK enum err json_read_opt_text(struct json_value object, const char *key, struct text *out,
                                       bool *out_found, struct err_text *et);
MUST_CHECK enum err json_read_opt_bool(struct json_value object, const char *key, bool *out,
                                       bool *out_found, struct err_text *et);
MUST_CHECK enum err json_read_opt_i64(struct json_value object, const char *key, int64_t min,
                                      int64_t max, int64_t *out, bool *out_found,
                                      struct err_text *et);
MUST_CHECK enum err json_read_opt_f64(struct json_value object, const char *key, double *out,
                                      bool *out_found, struct err_text *et);
MUST_CHECK enum err json_read_opt_array(struct json_value object, const char *key,
                                        struct json_value *out, bool *out_found,
                                        struct err_text *et);
MUST_CHECK enum err json_read_opt_object(struct json_value object, const char *key,
                                         struct json_value *out, bool *out_found,
                                         struct err_text *et);

/* Reports that `value` is not what its reader wants: "file: key.path: expected ..., found ...".
 * Returns ERR_FORMAT. `expected` is a phrase. */
enum err json_read_wrong(struct json_value value, const char *expected, struct err_text *et);

#endif
