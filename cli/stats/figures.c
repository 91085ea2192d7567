/* figures.c - one JSON document a task. */
#include "cli/stats/figures.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_read.h"

enum { ARENA_BYTES_MAX = 256 << 20, CONTENT_BYTES_MAX = 16 << 20, ITEMS_FIRST = 64 };

void figures_init(struct figures *figures)
{
    *figures = (struct figures){0};
    arena_init(&figures->arena, ARENA_BYTES_MAX);
}

void figures_fini(struct figures *figures)
{
    arena_fini(&figures->arena);
    *figures = (struct figures){0};
}

static enum err make_room(struct figures *figures)
{
    if (figures->count < figures->capacity)
        return ERR_OK;
    size_t capacity = MAX(2 * figures->capacity, (size_t)ITEMS_FIRST);
    struct figure *items = arena_alloc(&figures->arena, capacity, sizeof *items);
    if (items == NULL)
        return ERR_OUT_OF_MEMORY;
    if (figures->count > 0)
        memcpy(items, figures->items, figures->count * sizeof *items);
    figures->items = items;
    figures->capacity = capacity;
    return ERR_OK;
}

static enum err read_count(struct json_value object, const char *key, uint64_t *out,
                           struct err_text *et)
{
    int64_t number;
    TRY(json_read_i64(object, key, 0, INT64_MAX >> 8, &number, et));
    *out = (uint64_t)number;
    return ERR_OK;
}

static enum err read_text(struct figures *figures, struct json_value object, const char *key,
                          struct text *out, struct err_text *et)
{
    TRY(json_read_text(object, key, out, et));
    const char *copy = arena_copy_text(&figures->arena, *out);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    out->data = copy;
    return ERR_OK;
}

/* Formats whose values are not decoded again say 0 for every error. */
static void forget_unmeasured(struct figure *f)
{
    if (f->largest == 0 && f->relative == 0 && f->weighted == 0)
        f->largest = f->relative = f->weighted = (double)NAN;
}

static enum err read_figure(struct figures *figures, struct json_value object, struct figure *out,
                            struct err_text *et)
{
    *out = (struct figure){.output = (double)NAN};
    TRY(read_text(figures, object, "tensor", &out->name, et));
    TRY(read_text(figures, object, "format", &out->format, et));
    TRY(read_count(object, "rows", &out->rows, et));
    TRY(read_count(object, "columns", &out->columns, et));
    TRY(read_count(object, "size_bytes", &out->size_bytes, et));
    TRY(json_read_f64(object, "bits_per_weight", &out->bits, et));
    TRY(json_read_f64(object, "relative_error", &out->relative, et));
    TRY(json_read_f64(object, "weighted_error", &out->weighted, et));
    TRY(json_read_f64(object, "max_error", &out->largest, et));
    TRY(json_read_opt_f64(object, "output_error", &out->output, NULL, et));
    forget_unmeasured(out);
    out->place = tensor_place_of(out->name);
    return ERR_OK;
}

static enum err add_all(struct figures *figures, struct json_value root, struct err_text *et)
{
    struct json_value list;
    struct json_cursor c = {.count = 0};
    TRY(json_read_array(root, "tensors", &list, et));
    while (json_read_next(list, &c)) {
        struct figure figure;
        TRY(read_figure(figures, c.value, &figure, et));
        TRY(make_room(figures));
        figures->items[figures->count++] = figure;
    }
    return ERR_OK;
}

enum err figures_add(struct figures *figures, struct span content, const char *name,
                     struct err_text *et)
{
    const struct json_read_options options = {.name = name, .size_bytes_max = CONTENT_BYTES_MAX};
    struct json_doc *doc = NULL;
    TRY(json_read_parse(content, &options, &doc, et));
    enum err err = add_all(figures, json_read_root(doc), et);
    json_read_close(&doc);
    return err;
}
