/* task_quantize.c - one tensor of the result: its bytes, and what they cost. */
#include "common/mem/mem.h"
#include "worker/task/task_choices.h"
#include "worker/task/task_figures.h"
#include "worker/task/task_gguf.h"
#include "worker/task/task_kind.h"

static enum err measure(const struct convert_tensor *t, struct span made, struct tensor_error *out)
{
    size_t row_bytes = made.size / t->rows;
    float *rows = mem_alloc(2 * t->columns, sizeof *rows);
    if (rows == NULL)
        return ERR_OUT_OF_MEMORY;
    *out = (struct tensor_error){0};
    for (size_t r = 0; r < t->rows; r++) {
        convert_tensor_row(t, r, rows);
        t->encoder->decode(t->out, t->columns, made.data + r * row_bytes, rows + t->columns);
        tensor_error_add(out, 1, t->columns, rows, rows + t->columns, t->importance);
    }
    mem_free(rows);
    return ERR_OK;
}

static enum err quantize(struct task_run *run, const struct task_choices *choices,
                         struct task_gguf *gguf, struct bytes *made, struct err_text *et)
{
    const struct task_spec *spec = run->spec;
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
    TRY(task_run_output(run, "tensors", bytes_span(made), false, et));
    const struct safetensor part = {.name = choice->name, .data = bytes_span(made)};
    struct task_figure figure = {.tensor = choice->name,
                                 .format = choice->format,
                                 .rows = choice->rows,
                                 .columns = choice->columns,
                                 .size_bytes = made->size,
                                 .output_error = -1,
                                 .parts = &part,
                                 .part_count = 1};
    TRY(measure(convert_gguf_tensor(gguf->form, index), part.data, &figure.error));
    return task_figures_put(run, &figure, 1, et);
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
