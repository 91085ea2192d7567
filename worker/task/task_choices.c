/* task_choices.c - the list as JSON, and back. */
#include "worker/task/task_choices.h"

#include <string.h>

#include "common/formats/json/json_read.h"
#include "common/formats/json/json_write.h"

enum { CHOICES_BYTES_MAX = 64 << 20 };

enum err task_choices_write(const struct task_choices *choices, struct bytes *out)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, CHOICES_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "form", choices->form);
    json_write_text(&w, "scheme", choices->scheme);
    json_write_array_begin(&w, "tensors");
    for (size_t i = 0; i < choices->count; i++) {
        const struct task_choice *item = &choices->items[i];
        json_write_object_begin(&w, NULL);
        json_write_text(&w, "name", item->name);
        json_write_text(&w, "format", item->format);
        json_write_u64(&w, "rows", item->rows);
        json_write_u64(&w, "columns", item->columns);
        json_write_u64(&w, "size_bytes", item->size_bytes);
        json_write_object_end(&w);
    }
    json_write_array_end(&w);
    json_write_object_end(&w);
    struct span text;
    enum err err = json_write_finish(&w, &text);
    if (err == ERR_OK) {
        bytes_append(out, text.data, text.size);
        err = bytes_status(out);
    }
    json_write_fini(&w);
    return err;
}

static enum err copy_text(struct json_value object, const char *key, struct arena *arena,
                          struct text *out, struct err_text *et)
{
    struct text text;
    TRY(json_read_text(object, key, &text, et));
    const char *copy = arena_copy_text(arena, text);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    *out = (struct text){copy, text.size};
    return ERR_OK;
}

static enum err copy_count(struct json_value object, const char *key, uint64_t *out,
                           struct err_text *et)
{
    int64_t number;
    TRY(json_read_i64(object, key, 0, INT64_MAX, &number, et));
    *out = (uint64_t)number;
    return ERR_OK;
}

static enum err read_all(struct json_value root, struct arena *arena, struct task_choices *out,
                         struct err_text *et)
{
    struct json_value list;
    TRY(copy_text(root, "form", arena, &out->form, et));
    TRY(copy_text(root, "scheme", arena, &out->scheme, et));
    TRY(json_read_array(root, "tensors", &list, et));
    size_t count = json_read_count(list);
    struct task_choice *items = arena_alloc(arena, count, sizeof *items);
    if (items == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        struct json_value item = json_read_item(list, i);
        TRY(copy_text(item, "name", arena, &items[i].name, et));
        TRY(copy_text(item, "format", arena, &items[i].format, et));
        TRY(copy_count(item, "rows", &items[i].rows, et));
        TRY(copy_count(item, "columns", &items[i].columns, et));
        TRY(copy_count(item, "size_bytes", &items[i].size_bytes, et));
    }
    out->items = items;
    out->count = count;
    return ERR_OK;
}

enum err task_choices_read(struct task_run *run, struct arena *arena, struct task_choices *out,
                           struct err_text *et)
{
    const struct cache_item *item = NULL;
    struct json_doc *doc = NULL;
    const struct json_read_options options = {.name = "choices",
                                              .size_bytes_max = CHOICES_BYTES_MAX};
    *out = (struct task_choices){.count = 0};
    TRY(task_run_open(run, "choices", &item, et));
    enum err err = json_read_parse(item->bytes, &options, &doc, et);
    if (err == ERR_OK)
        err = read_all(json_read_root(doc), arena, out, et);
    json_read_close(&doc);
    cache_release(run->env->options.cache, &item);
    return err;
}
