/* task_quantize.c - one tensor of the result: its bytes, and what they cost. */
#include <math.h>

#include "common/base/check.h"
#include "common/formats/json/json_write.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/task/task_choices.h"
#include "worker/task/task_gguf.h"
#include "worker/task/task_kind.h"

enum { FIGURES_BYTES_MAX = 1 << 20 };

/* Sums over a tensor, rows in their order: w - w' and w, by themselves and weighed by the
 * importance of their columns. */
struct figures {
    double error, norm, weighted_error, weighted_norm;
    double error_max;
};

static void add_row(struct figures *f, const struct convert_tensor *t, const float *plain,
                    const float *made)
{
    for (size_t i = 0; i < t->columns; i++) {
        double w = plain[i], d = (double)made[i] - w;
        double weight = t->importance != NULL ? t->importance[i] : 1;
        f->error += d * d;
        f->norm += w * w;
        f->weighted_error += weight * d * d;
        f->weighted_norm += weight * w * w;
        f->error_max = MAX(f->error_max, fabs(d));
    }
}

static enum err measure(const struct convert_tensor *t, struct span made, struct figures *out)
{
    size_t row_bytes = made.size / t->rows;
    float *rows = mem_alloc(2 * t->columns, sizeof *rows);
    if (rows == NULL)
        return ERR_OUT_OF_MEMORY;
    *out = (struct figures){0};
    for (size_t r = 0; r < t->rows; r++) {
        convert_tensor_row(t, r, rows);
        t->encoder->decode(t->out, t->columns, made.data + r * row_bytes, rows + t->columns);
        add_row(out, t, rows, rows + t->columns);
    }
    mem_free(rows);
    return ERR_OK;
}

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static enum err put_figures(struct task_run *run, const struct task_choice *choice,
                            struct span made, const struct figures *f, struct err_text *et)
{
    struct json_write w;
    struct digest digest;
    char hex[DIGEST_HEX_BYTES];
    TRY(digest_of_artifact(made, &digest));
    digest_hex(digest, hex);
    json_write_init(&w, JSON_WRITE_LINE, FIGURES_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "tensor", choice->name);
    json_write_text(&w, "format", choice->format);
    json_write_u64(&w, "rows", choice->rows);
    json_write_u64(&w, "columns", choice->columns);
    json_write_u64(&w, "size_bytes", made.size);
    json_write_text(&w, "digest", text_of(hex));
    json_write_f64(&w, "bits_per_weight",
                   8.0 * (double)made.size / ((double)choice->rows * (double)choice->columns));
    json_write_f64(&w, "relative_error", ratio(f->error, f->norm));
    json_write_f64(&w, "weighted_error", ratio(f->weighted_error, f->weighted_norm));
    json_write_f64(&w, "max_error", f->error_max);
    json_write_object_end(&w);
    struct span text;
    enum err err = json_write_finish(&w, &text);
    if (err == ERR_OK)
        err = task_run_output(run, "figures", text, false, et);
    json_write_fini(&w);
    return err;
}

static enum err quantize(struct task_run *run, const struct task_choices *choices,
                         struct task_gguf *gguf, struct bytes *made, struct err_text *et)
{
    const struct task_spec *spec = run->spec;
    struct figures figures;
    if (spec->first >= choices->count || spec->total != choices->count)
        return error_set(et, ERR_PROTOCOL, "tensor %llu of %zu", (unsigned long long)spec->first,
                         choices->count);
    const struct task_choice *choice = &choices->items[spec->first];
    size_t index = convert_gguf_find(gguf->form, choice->name);
    if (index == convert_gguf_count(gguf->form))
        return error_set(et, ERR_FORMAT, "choices: the model has no tensor %.*s",
                         TEXT_ARGS(choice->name));
    TRY(convert_gguf_encode(gguf->form, index, file_sink_bytes, made, et));
    TRY(bytes_status(made));
    TRY(measure(convert_gguf_tensor(gguf->form, index), bytes_span(made), &figures));
    TRY(task_run_output(run, "tensors", bytes_span(made), false, et));
    return put_figures(run, choice, bytes_span(made), &figures, et);
}

enum err task_kind_quantize(struct task_run *run, struct err_text *et)
{
    struct task_choices choices;
    struct task_gguf gguf;
    struct arena arena;
    struct bytes made;
    arena_init(&arena, SIZE_MAX); /* a list of the model's tensors */
    bytes_init(&made, SIZE_MAX);
    enum err err = task_choices_read(run, &arena, &choices, et);
    if (err == ERR_OK) {
        err = task_gguf_open(run, &choices, &gguf, et);
        if (err == ERR_OK)
            err = quantize(run, &choices, &gguf, &made, et);
        task_gguf_close(&gguf);
    }
    bytes_fini(&made);
    arena_fini(&arena);
    return err;
}
