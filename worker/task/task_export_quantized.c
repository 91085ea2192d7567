/* task_export_quantized.c - a model trained under a quantizer, as what it was trained to be: the
 * last codes once more, and what has none as it trained, or as the base has it. */
#include "worker/task/task_export_quantized.h"

#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "worker/task/task_scheme.h"

/* The entry of the layout that is the parameter itself, NULL when it does not train. */
static const struct train_entry *find_entry(const struct task_export *x, size_t param)
{
    for (size_t i = 0; i < train_layout_entry_count(x->layout); i++) {
        const struct train_entry *entry = train_layout_entry(x->layout, i);
        if (entry->param == param && entry->part == TRAIN_PART_WHOLE)
            return entry;
    }
    return NULL;
}

struct safetensor task_export_quantized_plain(const struct task_export_quantized *q, size_t param)
{
    const struct model_param *p = model_param(q->x->model, param);
    const struct train_entry *entry = find_entry(q->x, param);
    enum dtype dtype = entry != NULL ? DTYPE_F32 : p->dtype;
    bool is_vector = p->kind == MODEL_KIND_GAIN || p->kind == MODEL_KIND_BIAS;
    bool is_plain = dtype_is_plain(dtype); /* else its codes are what counts */
    struct safetensor t = {
        .name = text_of(p->name),
        .dtype = is_plain ? task_scheme_file_type(dtype) : SAFETENSORS_F32,
        .rank = is_vector ? 1 : 2,
        .shape = {p->turned ? p->columns : p->rows, p->turned ? p->rows : p->columns},
    };
    const void *data = entry != NULL ? q->x->values + entry->offset : p->data;
    t.data = (struct span){data, dtype_span_bytes(dtype, p->rows * p->columns)};
    return t;
}

enum err task_export_quantized_file(struct task_export_quantized *q, const char *name,
                                    task_export_quantized_send_f send, void *context,
                                    struct err_text *et)
{
    struct cache *cache = q->x->run->env->options.cache;
    char *scratch = NULL;
    struct file_writer file;
    struct source source;
    TRY(cache_view(cache, NULL, NULL, 0, &scratch, et));
    const char *path = folder_join(&q->x->arena, scratch, name);
    enum err err = path != NULL ? file_writer_open(&file, path, et) : ERR_OUT_OF_MEMORY;
    if (err == ERR_OK) {
        err = send(context, file_sink_writer, &file, et);
        err = err == ERR_OK ? file_writer_commit(&file, et) : file_writer_fail(&file, err, et);
    }
    if (err == ERR_OK)
        err = source_open(&source, path, et);
    if (err == ERR_OK) {
        err = task_export_put_span(q->x, name, source.bytes, et);
        source_close(&source);
    }
    cache_unview(cache, &scratch);
    return err;
}

enum err task_export_quantized(struct task_export *x, const struct task_qat *qat,
                               struct err_text *et)
{
    struct task_export_quantized q = {.x = x, .qat = *qat};
    struct kernel *kernel;
    TRY(task_run_kernel(x->run, &kernel, et));
    TRY(fake_quant_create(x->model, kernel, x->layout, &q.qat.config, &q.quant, et));
    enum err err = fake_quant_update(q.quant, x->values, FAKE_QUANT_FINAL, et);
    if (err == ERR_OK)
        err = q.qat.config.form == FAKE_QUANT_BLOCKS ? task_export_quantized_gguf(&q, et)
                                                     : task_export_quantized_folder(&q, et);
    fake_quant_destroy(&q.quant);
    return err;
}
