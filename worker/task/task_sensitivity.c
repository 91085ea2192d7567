/* task_sensitivity.c - one tensor of the file to come, in every format it may get: how far the
 * model's next-token distributions move, on a few rows of the calibration text.
 *
 * Each version is made as the final file would have it, importance and all, decoded again and laid
 * over the model.
 */
#include "common/base/check.h"
#include "common/formats/dataset/rows.h"
#include "common/formats/gguf/gguf_arch.h"
#include "common/mem/mem.h"
#include "worker/engine/compare/sensitivity.h"
#include "worker/engine/nn/model_overlay.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_target.h"

struct measuring {
    struct task_run *run;
    const struct model *model;
    struct task_gguf gguf; /* owned */
    size_t index;          /* of the form's tensor */
    size_t param;          /* of the model's parameter that it is */
    struct task_target_tensor tensor;
    struct rows rows;
    struct batch_input *inputs; /* in the arena: (input_count) */
    size_t input_count;
    size_t *order; /* in the arena: (rows) the parameter's row r is the tensor's row order[r] */
    float *values; /* owned: (rows, columns), as the parameter has them */
    struct bytes blocks;             /* owned */
    struct sensitivity *sensitivity; /* owned */
    struct arena arena;
};

/* ---- which parameter a tensor is, and where its rows lie ---- */

static bool is_named(const struct gguf_arch *arch, const char *name, const char *tensor)
{
    const struct convert_family *family;
    for (size_t i = 0; (family = convert_name_family(arch, i)) != NULL; i++) {
        char text[CONVERT_NAME_BYTES];
        struct convert_place place;
        if (!convert_name_of_hf(family, text_of(name), &place))
            continue;
        convert_name_print_gguf(family, place, text);
        return strcmp(text, tensor) == 0;
    }
    return false;
}

static enum err find_param(struct measuring *m, struct err_text *et)
{
    const struct gguf_arch *arch = NULL;
    const struct convert_tensor *t = convert_gguf_tensor(m->gguf.form, m->index);
    ptrdiff_t head = model_param_index(m->model, MODEL_HEAD, 0);
    TRY(gguf_arch_of_config(model_config(m->model), "model", &arch, et));
    m->param = model_param_count(m->model);
    for (size_t i = 0; i < model_param_count(m->model); i++) {
        const struct model_param *p = model_param(m->model, i);
        if (p->data != NULL && is_named(arch, p->name, t->name))
            m->param = i;
    }
    /* Tied models may store the one matrix under either name. */
    if (m->param == model_param_count(m->model) && head != MODEL_NO_PARAM &&
        (t->place.role == CONVERT_HEAD || t->place.role == CONVERT_EMBEDDING))
        m->param = (size_t)head;
    if (m->param == model_param_count(m->model))
        return error_set(et, ERR_UNSUPPORTED,
                         "quantize: a target cannot be searched for: tensor %s is no parameter of "
                         "this architecture's layers",
                         t->name);
    const struct model_param *p = model_param(m->model, m->param);
    if (p->rows != t->rows || p->columns != t->columns)
        return error_set(et, ERR_SHAPE, "tensor %s: expected %zu x %zu, found %zu x %zu", t->name,
                         p->rows, p->columns, t->rows, t->columns);
    return ERR_OK;
}

/* From the family's order to that of the model's file, and from there to the GGUF form's: the
 * latter is read off a column that holds the numbers of its rows. */
static enum err find_order(struct measuring *m)
{
    const struct convert_tensor *tensor = convert_gguf_tensor(m->gguf.form, m->index);
    const struct model_param *p = model_param(m->model, m->param);
    struct convert_tensor t = *tensor;
    float *numbers = arena_alloc(&m->arena, t.rows, sizeof *numbers);
    size_t *place = arena_alloc(&m->arena, t.rows, sizeof *place);
    m->order = arena_alloc(&m->arena, t.rows, sizeof *m->order);
    if (numbers == NULL || place == NULL || m->order == NULL)
        return ERR_OUT_OF_MEMORY;
    if (t.rows > (size_t)1 << 24) /* whole numbers of f32 */
        return ERR_LIMIT;
    for (size_t i = 0; i < t.rows; i++)
        numbers[i] = (float)i;
    t.columns = 1;
    t.in = BLOCK_FORMAT_F32;
    t.change = CONVERT_CHANGE_NONE;
    t.data = (struct span){(const uint8_t *)numbers, t.rows * sizeof *numbers};
    for (size_t i = 0; i < t.rows; i++) {
        float source;
        convert_tensor_row(&t, i, &source);
        place[(size_t)source] = i;
    }
    for (size_t i = 0; i < t.rows; i++)
        m->order[i] = place[model_stored_row(m->model, p, i)];
    return ERR_OK;
}

/* ---- the rows that are looked at ---- */

static enum err pick_rows(struct measuring *m, struct err_text *et)
{
    uint64_t total = m->rows.row_count;
    if (total == 0)
        return error_set(et, ERR_DATA, "the calibration text gave no row");
    if (m->rows.token_id_max >= model_shape(m->model)->vocabulary)
        return error_set(
            et, ERR_DATA,
            "token %u is outside the model's vocabulary of %zu: do tokenizer and model "
            "belong together?",
            m->rows.token_id_max, model_shape(m->model)->vocabulary);
    uint64_t want = m->run->recipe.quantize.sensitivity_tokens / MAX(m->rows.row_tokens_max, 1u);
    m->input_count = (size_t)MIN(MAX(want, (uint64_t)1), total);
    m->inputs = arena_alloc(&m->arena, m->input_count, sizeof *m->inputs);
    if (m->inputs == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < m->input_count; i++) {
        uint64_t index = i * total / m->input_count;
        struct row row = rows_at(&m->rows, index);
        m->inputs[i] = (struct batch_input){.index = index,
                                            .tokens = row.tokens,
                                            .token_count = row.count,
                                            .segment_starts = row.segment_starts,
                                            .segment_count = row.segment_count};
    }
    return ERR_OK;
}

/* ---- one format after the other ---- */

static enum err encode(struct measuring *m, struct task_target_candidate *c, struct err_text *et)
{
    bytes_clear(&m->blocks);
    TRY(convert_gguf_encode_as(m->gguf.form, m->index, c->format, file_sink_bytes, &m->blocks, et));
    TRY(bytes_status(&m->blocks));
    return m->blocks.size == c->size_bytes ? ERR_OK : ERR_INTERNAL;
}

/* The stored rows as numbers in their places, and their distance from the tensor's. */
static enum err decode(struct measuring *m, struct task_target_candidate *c)
{
    const struct convert_tensor *t = convert_gguf_tensor(m->gguf.form, m->index);
    size_t row_bytes = m->blocks.size / t->rows;
    struct tensor_error error = {0};
    float *row = mem_alloc(t->columns, sizeof *row);
    if (row == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t r = 0; r < t->rows; r++) {
        size_t from = m->order[r];
        float *values = m->values + r * t->columns;
        m->gguf.quantize.encoder.decode(c->format, t->columns, m->blocks.data + from * row_bytes,
                                        values);
        convert_tensor_row(t, from, row);
        tensor_error_add(&error, 1, t->columns, row, values, t->importance);
    }
    mem_free(row);
    c->relative_error = tensor_error_relative(&error);
    c->weighted_error = tensor_error_relative_weighted(&error);
    return ERR_OK;
}

static enum err measure(struct measuring *m, struct task_target_candidate *c, struct err_text *et)
{
    const struct model_param *p = model_param(m->model, m->param);
    const struct model_override other = {p->name, p->rows, p->columns, m->values};
    struct model *changed = NULL;
    struct sensitivity_sums sums;
    TRY(encode(m, c, et));
    TRY(decode(m, c));
    TRY(model_overlay_create(m->model, &other, 1, &changed, et));
    enum err err = sensitivity_measure(m->sensitivity, changed, &sums, et);
    model_destroy(&changed);
    if (err != ERR_OK)
        return error_prefix(et, err, "%s as %s", p->name, block_format_name(c->format));
    c->kl = sums.kl / (double)sums.positions;
    c->kl_max = sums.kl_max;
    m->tensor.tokens = sums.positions;
    m->run->result->tokens += sums.positions;
    return ERR_OK;
}

static enum err measure_all(struct measuring *m, struct err_text *et)
{
    struct kernel *kernel;
    const struct model_param *p = model_param(m->model, m->param);
    TRY(task_run_kernel(m->run, &kernel, et));
    m->values = mem_alloc(p->rows * p->columns, sizeof *m->values);
    if (m->values == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(sensitivity_create(m->model, kernel, m->param, m->inputs, m->input_count, &m->sensitivity,
                           et));
    for (size_t i = 0; i < m->tensor.count; i++) {
        TRY(task_run_progress(m->run, i, m->tensor.count));
        TRY(measure(m, &m->tensor.candidates[i], et));
    }
    m->run->result->peak_bytes = sensitivity_peak_bytes(m->sensitivity);
    return task_run_progress(m->run, m->tensor.count, m->tensor.count);
}

/* ---- the task ---- */

static enum err find_tensor(struct measuring *m, struct err_text *et)
{
    const struct task_spec *spec = m->run->spec;
    size_t *indices, count;
    TRY(task_target_list(&m->gguf, &m->arena, &indices, &count, et));
    if (spec->first >= count || spec->total != count)
        return error_set(et, ERR_PROTOCOL, "tensor %llu of %llu, of %zu that have a choice",
                         (unsigned long long)spec->first, (unsigned long long)spec->total, count);
    m->index = indices[spec->first];
    task_target_outline(&m->gguf, m->index, &m->tensor);
    TRY(task_model_open(m->run, &m->model, et));
    TRY(find_param(m, et));
    return find_order(m);
}

static enum err hand_in(struct measuring *m, struct err_text *et)
{
    bytes_clear(&m->blocks);
    TRY(task_target_write(&m->tensor, &m->blocks));
    return task_run_output(m->run, "sensitivity", bytes_span(&m->blocks), false, et);
}

enum err task_kind_sensitivity(struct task_run *run, struct err_text *et)
{
    struct measuring m = {.run = run};
    const struct cache_item *rows = NULL;
    enum err err;
    TRY(task_run_open(run, "calib_rows", &rows, et));
    arena_init(&m.arena, SIZE_MAX); /* lists of tensors, rows of one */
    bytes_init(&m.blocks, SIZE_MAX);
    TRY_OUT(task_gguf_open(run, NULL, &m.gguf, et));
    TRY_OUT(rows_open(rows->bytes, &m.rows, et));
    TRY_OUT(find_tensor(&m, et));
    TRY_OUT(pick_rows(&m, et));
    TRY_OUT(measure_all(&m, et));
    err = hand_in(&m, et);
out:
    sensitivity_destroy(&m.sensitivity);
    task_gguf_close(&m.gguf);
    mem_free(m.values);
    bytes_fini(&m.blocks);
    arena_fini(&m.arena);
    cache_release(run->env->options.cache, &rows);
    return err;
}
