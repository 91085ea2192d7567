/* fuzz_json.c - whatever is accepted can be walked, named, and written such that it reads back. */
#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/formats/json/json_write.h"
#include "tests/fuzz/fuzz.h"

static void copy_value(struct json_write *w, const char *key, struct json_value v)
{
    struct err_text et;
    struct text text;
    bool boolean;
    int64_t integer;
    double real;
    if (json_read_as_text(v, &text, &et) == ERR_OK)
        json_write_text(w, key, text);
    else if (json_read_as_bool(v, &boolean, &et) == ERR_OK)
        json_write_bool(w, key, boolean);
    else if (json_read_type(v) == JSON_READ_INTEGER &&
             json_read_as_i64(v, INT64_MIN, INT64_MAX, &integer, &et) == ERR_OK)
        json_write_i64(w, key, integer);
    else if (json_read_as_f64(v, &real, &et) == ERR_OK)
        json_write_f64(w, key, real);
    else
        json_write_null(w, key);
}

/* Depth is bounded at parsing. */
static void copy_tree(struct json_write *w, const char *key, struct json_value v)
{
    enum json_read_type type = json_read_type(v);
    if (type != JSON_READ_OBJECT && type != JSON_READ_ARRAY) {
        copy_value(w, key, v);
        return;
    }
    bool is_object = type == JSON_READ_OBJECT;
    is_object ? json_write_object_begin(w, key) : json_write_array_begin(w, key);
    struct json_cursor c = {0};
    while (json_read_next(v, &c))
        copy_tree(w, is_object ? c.value.key.data : NULL, c.value);
    is_object ? json_write_object_end(w) : json_write_array_end(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct json_read_options options = {
        .name = "fuzz", .size_bytes_max = 1 << 20, .depth_max = JSON_WRITE_DEPTH_MAX};
    struct json_doc *doc = NULL;
    struct err_text et;
    if (json_read_parse((struct span){data, size}, &options, &doc, &et) != ERR_OK)
        return 0;
    struct json_write w;
    struct span written;
    json_write_init(&w, (enum json_write_style)(size % 3), 16 << 20);
    copy_tree(&w, NULL, json_read_root(doc));
    enum err err = json_write_finish(&w, &written);
    ASSERT(err == ERR_OK);
    struct json_doc *again = NULL;
    const struct json_read_options lax = {.name = "again"};
    err = json_read_parse(written, &lax, &again, &et);
    ASSERT(err == ERR_OK);
    ASSERT(json_read_count(json_read_root(again)) == json_read_count(json_read_root(doc)));
    json_read_close(&again);
    json_write_fini(&w);
    json_read_close(&doc);
    return 0;
}
