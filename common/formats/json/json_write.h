/* json_write.h - JSON of ours: one text for one value, in every run and on every machine.
 *
 * Members of an object come out sorted by the bytes of their keys, in whatever order they are
 * given; floats are printed by json_float; nothing is escaped that need not be. The first failure
 * (text that is not UTF-8, NaN, infinity, a key given twice, memory) sticks and is told at the
 * end, so writers of structs read as lists of their fields.
 *
 *     struct json_write w;
 *     json_write_init(&w, JSON_WRITE_PRETTY, size_max);
 *     json_write_object_begin(&w, NULL);
 *     json_write_i64(&w, "r", 8);
 *     json_write_object_end(&w);
 *     err = json_write_finish(&w, &out);
 *     json_write_fini(&w);
 *
 * `key` is the member's name inside an object and NULL elsewhere.
 */
#ifndef COMMON_FORMATS_JSON_JSON_WRITE_H
#define COMMON_FORMATS_JSON_JSON_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/bytes.h"

enum json_write_style {
    JSON_WRITE_COMPACT, /* {"a":1,"b":[2,3]} */
    JSON_WRITE_LINE,    /* {"a": 1, "b": [2, 3]} */
    JSON_WRITE_PRETTY   /* two spaces a level, a member or element a line, final line feed */
};

enum { JSON_WRITE_DEPTH_MAX = 32 };

struct json_write_frame {
    size_t start;         /* in `out`: after the bracket */
    size_t members_start; /* in `members` */
    size_t keys_start;    /* in `keys` */
    size_t count;
    bool is_object;
};

struct json_write {
    struct bytes out;     /* owned */
    struct bytes keys;    /* owned: keys of the open objects, unescaped */
    struct bytes members; /* owned: a row for each member of the open objects */
    struct bytes sorted;  /* owned: scratch of the sort */
    struct json_write_frame frames[JSON_WRITE_DEPTH_MAX];
    size_t depth;
    enum json_write_style style;
    enum err err;
};

void json_write_init(struct json_write *w, enum json_write_style style, size_t size_bytes_max);
void json_write_fini(struct json_write *w);

void json_write_object_begin(struct json_write *w, const char *key);
void json_write_object_end(struct json_write *w);
void json_write_array_begin(struct json_write *w, const char *key);
void json_write_array_end(struct json_write *w);

void json_write_null(struct json_write *w, const char *key);
void json_write_bool(struct json_write *w, const char *key, bool value);
void json_write_i64(struct json_write *w, const char *key, int64_t value);
void json_write_u64(struct json_write *w, const char *key, uint64_t value);
void json_write_f64(struct json_write *w, const char *key, double value);
void json_write_f32(struct json_write *w, const char *key, float value);
void json_write_text(struct json_write *w, const char *key, struct text value);

/* The same of a text that others chose: each byte that is no UTF-8 becomes U+FFFD. */
void json_write_text_shown(struct json_write *w, const char *key, struct text value);

/* The text of the one value written; borrowed until json_write_fini. ERR_FORMAT for bad UTF-8 or a
 * key given twice, ERR_NOT_FINITE, ERR_LIMIT, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err json_write_finish(struct json_write *w, struct span *out);

/* Appends the finished text to `out` and ends the writer, also on failure; errors as above. */
MUST_CHECK enum err json_write_close(struct json_write *w, struct bytes *out);

/* Appends `text` in quotes, escaped as JSON. ERR_FORMAT when it is not UTF-8: nothing appended. */
MUST_CHECK enum err json_write_quoted(struct bytes *out, struct text text);

#endif
