/* task_target.c - who has a choice, and what was measured, as JSON and back. */
#include "worker/task/task_target.h"

#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/formats/json/json_write.h"

enum { SENSITIVITY_BYTES_MAX = 1 << 20 };

static bool has_choice(const struct task_gguf *gguf, size_t index)
{
    enum block_format formats[CONVERT_MIX_CANDIDATES_MAX];
    const struct convert_tensor *t = convert_gguf_tensor(gguf->form, index);
    return convert_gguf_takes_part(gguf->form, index) && !t->is_given &&
           convert_mix_candidates(t->columns, formats) > 1;
}

enum err task_target_list(const struct task_gguf *gguf, struct arena *arena, size_t **indices,
                          size_t *count, struct err_text *et)
{
    size_t total = convert_gguf_count(gguf->form);
    *count = 0;
    *indices = arena_alloc(arena, total, sizeof **indices);
    if (*indices == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < total; i++) {
        if (has_choice(gguf, i))
            (*indices)[(*count)++] = i;
    }
    return *count > 0 ? ERR_OK
                      : error_set(et, ERR_RECIPE,
                                  "quantize: a target needs tensors whose type may be chosen; "
                                  "the recipe, or the model's widths, leave none");
}

enum err task_target_tell(struct task_run *run, struct err_text *et)
{
    struct task_gguf gguf;
    size_t *indices, count = 0;
    enum err err = task_gguf_open(run, NULL, &gguf, et);
    if (err == ERR_OK)
        err = task_target_list(&gguf, &gguf.arena, &indices, &count, et);
    if (err == ERR_OK)
        err = task_run_fact(run, "sensitivity_tasks", count);
    task_gguf_close(&gguf);
    return err;
}

void task_target_outline(const struct task_gguf *gguf, size_t index, struct task_target_tensor *out)
{
    enum block_format formats[CONVERT_MIX_CANDIDATES_MAX];
    const struct convert_tensor *t = convert_gguf_tensor(gguf->form, index);
    *out = (struct task_target_tensor){
        .name = text_of(t->name), .rows = t->rows, .columns = t->columns};
    out->count = convert_mix_candidates(t->columns, formats);
    for (size_t i = 0; i < out->count; i++) {
        uint64_t blocks = out->rows * (out->columns / block_format_elements(formats[i]));
        out->candidates[i] = (struct task_target_candidate){
            .format = formats[i], .size_bytes = blocks * block_format_bytes(formats[i])};
    }
}

/* ---- the artifact of one task ---- */

enum err task_target_write(const struct task_target_tensor *tensor, struct bytes *out)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_LINE, SENSITIVITY_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "name", tensor->name);
    json_write_u64(&w, "rows", tensor->rows);
    json_write_u64(&w, "columns", tensor->columns);
    json_write_u64(&w, "tokens", tensor->tokens);
    json_write_array_begin(&w, "candidates");
    for (size_t i = 0; i < tensor->count; i++) {
        const struct task_target_candidate *c = &tensor->candidates[i];
        json_write_object_begin(&w, NULL);
        json_write_text(&w, "format", text_of(block_format_name(c->format)));
        json_write_u64(&w, "size_bytes", c->size_bytes);
        json_write_f64(&w, "kl", c->kl);
        json_write_f64(&w, "kl_max", c->kl_max);
        json_write_f64(&w, "relative_error", c->relative_error);
        json_write_f64(&w, "weighted_error", c->weighted_error);
        json_write_object_end(&w);
    }
    json_write_array_end(&w);
    json_write_object_end(&w);
    return json_write_close(&w, out);
}

static enum err read_count(struct json_value object, const char *key, uint64_t *out,
                           struct err_text *et)
{
    int64_t number;
    TRY(json_read_i64(object, key, 0, INT64_MAX >> 8, &number, et));
    *out = (uint64_t)number;
    return ERR_OK;
}

static enum err read_candidate(struct json_value item, struct task_target_candidate *c,
                               struct err_text *et)
{
    struct text format;
    TRY(json_read_text(item, "format", &format, et));
    c->format = block_format_named(format);
    if (c->format == BLOCK_FORMAT_COUNT)
        return error_set(et, ERR_FORMAT, "sensitivity: %.*s is no tensor type", TEXT_ARGS(format));
    TRY(read_count(item, "size_bytes", &c->size_bytes, et));
    TRY(json_read_f64(item, "kl", &c->kl, et));
    TRY(json_read_f64(item, "kl_max", &c->kl_max, et));
    TRY(json_read_f64(item, "relative_error", &c->relative_error, et));
    return json_read_f64(item, "weighted_error", &c->weighted_error, et);
}

static enum err read_tensor(struct json_value root, struct arena *arena,
                            struct task_target_tensor *out, struct err_text *et)
{
    struct json_value list;
    TRY(json_read_text(root, "name", &out->name, et));
    out->name = text_of(arena_copy_text(arena, out->name));
    if (out->name.data == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(read_count(root, "rows", &out->rows, et));
    TRY(read_count(root, "columns", &out->columns, et));
    TRY(read_count(root, "tokens", &out->tokens, et));
    TRY(json_read_array(root, "candidates", &list, et));
    out->count = json_read_count(list);
    if (out->count == 0 || out->count > CONVERT_MIX_CANDIDATES_MAX)
        return error_set(et, ERR_FORMAT,
                         "sensitivity of %.*s: expected 1 to %d candidates, "
                         "found %zu",
                         TEXT_ARGS(out->name), CONVERT_MIX_CANDIDATES_MAX, out->count);
    for (size_t i = 0; i < out->count; i++)
        TRY(read_candidate(json_read_item(list, i), &out->candidates[i], et));
    return ERR_OK;
}

enum err task_target_read(struct task_run *run, const char *name, struct arena *arena,
                          struct task_target_tensor *out, struct err_text *et)
{
    const struct cache_item *item = NULL;
    struct json_doc *doc = NULL;
    const struct json_read_options options = {.name = name,
                                              .size_bytes_max = SENSITIVITY_BYTES_MAX};
    *out = (struct task_target_tensor){.count = 0};
    TRY(task_run_open(run, name, &item, et));
    enum err err = json_read_parse(item->bytes, &options, &doc, et);
    if (err == ERR_OK)
        err = read_tensor(json_read_root(doc), arena, out, et);
    json_read_close(&doc);
    cache_release(run->env->options.cache, &item);
    return err;
}
