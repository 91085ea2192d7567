/* task_export_gguf.c - codes of a GGUF type as a GGUF file.
 *
 * The plan of a conversion says which tensor goes where and in which order its rows lie; the
 * numbers that it would encode are those that training encoded already, so their blocks are moved
 * instead. A tensor of the plan is known by where its data lies.
 */
#include <stdlib.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_gguf.h"
#include "worker/task/task_encoder.h"
#include "worker/task/task_export_quantized.h"
#include "worker/task/task_gguf.h"
#include "worker/task/task_settings.h"

struct exporter {
    struct task_export_quantized *q;
    struct safetensors weights; /* tables in the export's arena */
    struct convert_quantize quantize;
    struct convert_model_options options;
    struct convert_gguf *form; /* owned */
    struct bytes made;         /* owned: the tensor at hand */
};

static enum block_format format_of(const struct exporter *e)
{
    return (enum block_format)e->q->qat.config.dtype; /* both are the rows of block_format.def */
}

static int by_name(const void *a, const void *b)
{
    return text_compare(((const struct safetensor *)a)->name, ((const struct safetensor *)b)->name);
}

/* All parameters as a folder would hold them. Those with codes are said to be numbers, since only
 * their shape is looked at. */
static enum err list_weights(struct exporter *e)
{
    const struct model *model = e->q->x->model;
    size_t count = model_param_count(model);
    struct safetensor *tensors = arena_alloc(&e->q->x->arena, count, sizeof *tensors);
    if (tensors == NULL)
        return ERR_OUT_OF_MEMORY;
    e->weights = (struct safetensors){.tensors = tensors};
    for (size_t i = 0; i < count; i++) {
        const struct model_param *p = model_param(model, i);
        struct pass_weight codes = fake_quant_find(e->q->quant, i);
        if (p->part.whole != MODEL_NO_PARAM)
            continue;
        struct safetensor *t = &tensors[e->weights.count++];
        *t = task_export_quantized_plain(e->q, i);
        if (codes.data != NULL)
            t->data =
                (struct span){codes.data, dtype_span_bytes(codes.dtype, p->rows * p->columns)};
    }
    qsort(tensors, e->weights.count, sizeof *tensors, by_name);
    return ERR_OK;
}

/* The codes behind a tensor of the plan; data NULL when it has none. */
static struct pass_weight codes_of(const struct exporter *e, const struct convert_tensor *t)
{
    size_t count = model_param_count(e->q->x->model);
    for (size_t i = 0; i < count; i++) {
        struct pass_weight codes = fake_quant_find(e->q->quant, i);
        if (codes.data != NULL && codes.data == (const void *)t->data.data)
            return codes;
    }
    return (struct pass_weight){.data = NULL};
}

static enum err open_form(struct exporter *e, struct err_text *et)
{
    const char *folder;
    TRY(task_model_folder(e->q->x->run, &folder, et));
    return convert_gguf_open_weights(folder, &e->weights, &e->options, &e->form, et);
}

/* Every tensor with codes has their type. Its name is known once there is a plan. */
static enum err choose(struct exporter *e, struct err_text *et)
{
    size_t count = 0, chosen = 0;
    TRY(open_form(e, et));
    count = convert_gguf_count(e->form);
    struct convert_choice *choices = arena_alloc(&e->q->x->arena, count, sizeof *choices);
    for (size_t i = 0; choices != NULL && i < count; i++) {
        const struct convert_tensor *t = convert_gguf_tensor(e->form, i);
        if (codes_of(e, t).data == NULL)
            continue;
        const char *name = arena_copy_text(&e->q->x->arena, text_of(t->name));
        if (name == NULL)
            return ERR_OUT_OF_MEMORY;
        choices[chosen++] = (struct convert_choice){text_of(name), format_of(e)};
    }
    if (choices == NULL)
        return ERR_OUT_OF_MEMORY;
    convert_gguf_close(&e->form);
    e->quantize.choices = choices;
    e->quantize.choice_count = chosen;
    e->options.quantize = &e->quantize;
    return open_form(e, et);
}

/* The blocks of a tensor, its rows where the file has them. */
static enum err give(void *context, size_t index, struct span *out, struct err_text *et)
{
    struct exporter *e = context;
    struct convert_tensor t = *convert_gguf_tensor(e->form, index);
    struct pass_weight codes = codes_of(e, &t);
    (void)et;
    TRY(task_run_progress(e->q->x->run, index, convert_gguf_count(e->form)));
    if (codes.data == NULL)
        return ERR_OK;
    ASSERT(!codes.turned && t.out == format_of(e) && t.change == CONVERT_CHANGE_NONE);
    t.in = t.out;
    t.order = t.order == CONVERT_ORDER_TURNED ? CONVERT_ORDER_SAME : t.order;
    bytes_clear(&e->made);
    TRY(convert_tensor_write(&t, file_sink_bytes, &e->made));
    TRY(bytes_status(&e->made));
    *out = bytes_span(&e->made);
    return ERR_OK;
}

static enum err send(void *context, file_sink_f sink, void *sink_context, struct err_text *et)
{
    struct exporter *e = context;
    return convert_gguf_write(e->form, give, e, sink, sink_context, et);
}

static enum err export_file(struct exporter *e, struct err_text *et)
{
    struct task_export *x = e->q->x;
    TRY(list_weights(e));
    TRY(choose(e, et));
    TRY(convert_gguf_prepare(e->form, et));
    const char *name =
        task_gguf_file_name(&x->run->recipe, text_of(block_format_name(format_of(e))), &x->arena);
    return name != NULL ? task_export_quantized_file(e->q, name, send, e, et) : ERR_OUT_OF_MEMORY;
}

enum err task_export_quantized_gguf(struct task_export_quantized *q, struct err_text *et)
{
    struct exporter e = {.q = q};
    struct kernel *kernel;
    TRY(task_run_kernel(q->x->run, &kernel, et));
    struct text base = task_settings_base_model(&q->x->run->recipe);
    e.quantize.encoder = task_encoder(kernel);
    e.options.name = arena_copy_text(&q->x->arena, base);
    e.options.format = CONVERT_PLAN_KEEP;
    if (e.options.name == NULL)
        return ERR_OUT_OF_MEMORY;
    bytes_init(&e.made, SIZE_MAX);
    enum err err = export_file(&e, et);
    convert_gguf_close(&e.form);
    bytes_fini(&e.made);
    return err;
}
