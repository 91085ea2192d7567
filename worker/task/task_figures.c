/* task_figures.c - sums to ratios, tensors to hashes. */
#include "worker/task/task_figures.h"

#include "common/base/check.h"
#include "common/formats/json/json_write.h"

enum { FIGURES_BYTES_MAX = 16 << 20 };

static enum err write_parts(struct json_write *w, const struct task_figure *f)
{
    json_write_array_begin(w, "parts");
    for (size_t i = 0; i < f->part_count; i++) {
        struct digest digest;
        char hex[DIGEST_HEX_BYTES];
        TRY(digest_of_artifact(f->parts[i].data, &digest));
        digest_hex(digest, hex);
        json_write_object_begin(w, NULL);
        json_write_text(w, "name", f->parts[i].name);
        json_write_text(w, "digest", text_of(hex));
        json_write_object_end(w);
    }
    json_write_array_end(w);
    return ERR_OK;
}

static enum err write_figure(struct json_write *w, const struct task_figure *f)
{
    double weights = MAX((double)f->rows * (double)f->columns, 1.0);
    json_write_object_begin(w, NULL);
    json_write_text(w, "tensor", f->tensor);
    json_write_text(w, "format", f->format);
    json_write_u64(w, "rows", f->rows);
    json_write_u64(w, "columns", f->columns);
    json_write_u64(w, "size_bytes", f->size_bytes);
    json_write_f64(w, "bits_per_weight", 8.0 * (double)f->size_bytes / weights);
    json_write_f64(w, "relative_error", tensor_error_relative(&f->error));
    json_write_f64(w, "weighted_error", tensor_error_relative_weighted(&f->error));
    json_write_f64(w, "max_error", f->error.largest);
    if (f->output_error >= 0)
        json_write_f64(w, "output_error", f->output_error);
    TRY(write_parts(w, f));
    json_write_object_end(w);
    return ERR_OK;
}

enum err task_figures_put(struct task_run *run, const struct task_figure *figures, size_t count,
                          struct err_text *et)
{
    struct json_write w;
    struct span text;
    enum err err = ERR_OK;
    json_write_init(&w, JSON_WRITE_LINE, FIGURES_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_array_begin(&w, "tensors");
    for (size_t i = 0; i < count; i++)
        TRY_OUT(write_figure(&w, &figures[i]));
    json_write_array_end(&w);
    json_write_object_end(&w);
    TRY_OUT(json_write_finish(&w, &text));
    err = task_run_output(run, "figures", text, false, et);
out:
    json_write_fini(&w);
    return err;
}
