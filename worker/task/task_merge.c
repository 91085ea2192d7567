/* task_merge.c - the trained adapter goes into its base: a model folder that needs neither.
 *
 * Where the base is a folder of plain weights, its files are the pattern: the same tensors under
 * the same names in the same types, those that training or quantizing while opening did not touch
 * byte for byte. Else (GGUF, quantized folders) they are those of the family's folders.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/model_files.h"
#include "worker/task/task_export.h"
#include "worker/task/task_folder.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_merge_tensor.h"
#include "worker/task/task_mergeable.h"

struct merging {
    struct task_export x;    /* what was trained */
    struct model *published; /* owned, without data: as the family's folders have it */
    struct train_merge merge;
    struct safetensors base; /* owned: the pattern */
    bool has_pattern;
    struct safetensor *tensors; /* of the result, in the arena */
    ptrdiff_t *params;          /* whose each is, or MODEL_NO_PARAM: a copy of the pattern's */
    size_t count;
    char *scratch; /* owned: for files on their way */
    struct err_text *et;
};

/* ---- which weights are merged into ---- */

/* `full`: the base as it was published; `dequantized`: as training saw it. */
static enum err choose_model(struct merging *m, struct err_text *et)
{
    const struct recipe *recipe = &m->x.run->recipe;
    const struct model *stored;
    TRY(task_model_open_stored(m->x.run, &stored, et));
    TRY(task_mergeable_check(recipe, stored, m->x.layout, et));
    m->merge =
        (struct train_merge){.model = recipe->merge == RECIPE_MERGE_FULL ? stored : m->x.model,
                             .layout = m->x.layout,
                             .values = m->x.values,
                             .anchor = m->x.anchor,
                             .kernel = m->x.run->env->f32};
    return ERR_OK;
}

/* ---- tensors ---- */

static bool has_changed(const struct merging *m, size_t param)
{
    return train_merge_touches(&m->merge, param) ||
           !dtype_is_plain(model_param(m->merge.model, param)->dtype);
}

/* Says whose a tensor of the pattern is. */
static void settle(struct merging *m, const char *name, size_t param)
{
    const struct safetensor *t = safetensors_find(&m->base, text_of(name));
    if (t != NULL)
        m->params[t - m->base.tensors] = (ptrdiff_t)param;
}

static enum err list_pattern(struct merging *m, const char *folder, struct err_text *et)
{
    const struct model *model = m->merge.model;
    char name[MODEL_FILES_NAME_BYTES];
    TRY(safetensors_index_open_folder(&m->base, folder, "model", et));
    m->has_pattern = true;
    m->count = m->base.count;
    m->params = arena_alloc(&m->x.arena, m->count, sizeof *m->params);
    m->tensors = arena_alloc(&m->x.arena, m->count, sizeof *m->tensors);
    if (m->params == NULL || m->tensors == NULL)
        return ERR_OUT_OF_MEMORY;
    memcpy(m->tensors, m->base.tensors, m->count * sizeof *m->tensors);
    for (size_t i = 0; i < m->count; i++)
        m->params[i] = MODEL_NO_PARAM;
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        if (p->data == NULL || !has_changed(m, i))
            continue;
        for (size_t form = 0; model_files_name(p, form, name); form++)
            settle(m, name, i);
        if (p->role == MODEL_EMBEDDING && model_shape(model)->tied)
            settle(m, model_family(model)->names[MODEL_HEAD], i);
    }
    return ERR_OK;
}

/* The type of a parameter's tensor where there is no pattern. */
static enum safetensors_dtype type_of(const struct merging *m, const struct model_param *p)
{
    static const struct {
        enum dtype dtype;
        const char *name;
        enum safetensors_dtype file;
    } types[] = {{DTYPE_F32, "float32", SAFETENSORS_F32},
                 {DTYPE_BF16, "bfloat16", SAFETENSORS_BF16},
                 {DTYPE_F16, "float16", SAFETENSORS_F16}};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (types[i].dtype == p->file_dtype ||
            (!dtype_is_plain(p->file_dtype) &&
             strcmp(types[i].name, model_config(m->merge.model)->dtype) == 0))
            return types[i].file;
    }
    return SAFETENSORS_F16;
}

static enum err list_published(struct merging *m)
{
    size_t count = model_param_count(m->published);
    m->params = arena_alloc(&m->x.arena, count, sizeof *m->params);
    m->tensors = arena_alloc(&m->x.arena, count, sizeof *m->tensors);
    if (m->params == NULL || m->tensors == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const struct model_param *p = model_param(m->merge.model, i);
        const struct model_param *as = model_param(m->published, i);
        struct safetensor *t = &m->tensors[m->count];
        if (p->data == NULL)
            continue;
        *t = (struct safetensor){
            .name = text_of(as->name), .dtype = type_of(m, p), .rank = as->columns == 1 ? 1 : 2};
        t->shape[0] = as->turned ? as->columns : as->rows;
        t->shape[1] = as->turned ? as->rows : as->columns;
        t->data.size = dtype_span_bytes(task_merge_tensor_type(t->dtype), p->rows * p->columns);
        m->params[m->count++] = (ptrdiff_t)i;
    }
    return ERR_OK;
}

static enum err send_tensor(void *context, const struct safetensor *tensor, file_sink_f sink,
                            void *sink_context)
{
    struct merging *m = context;
    size_t index = (size_t)(tensor - m->tensors);
    ptrdiff_t param = m->params[index];
    TRY(task_run_progress(m->x.run, index, m->count));
    if (param == MODEL_NO_PARAM)
        return sink(sink_context, tensor->data);
    const struct model_param *as = model_param(m->published, (size_t)param);
    const struct task_merge_tensor t = {
        .tensor = tensor,
        .merge = &m->merge,
        .param = (size_t)param,
        .turned = as->turned,
        .is_gain = as->kind == MODEL_KIND_GAIN,
        .offset = model_shape(m->merge.model)->norm_offset - model_shape(m->published)->norm_offset,
    };
    return task_merge_tensor_send(&t, sink, sink_context, m->et);
}

/* ---- files ---- */

static enum err read_config(struct merging *m, struct bytes *out, struct err_text *et)
{
    const struct cache_item *item = NULL;
    if (m->has_pattern) {
        TRY(task_run_open(m->x.run, "model/config.json", &item, et));
        bytes_append(out, item->bytes.data, item->bytes.size);
        cache_release(m->x.run->env->options.cache, &item);
        return bytes_status(out);
    }
    static const struct {
        enum safetensors_dtype file;
        const char *name;
    } types[] = {{SAFETENSORS_F32, "float32"}, {SAFETENSORS_BF16, "bfloat16"}};
    struct hf_config *config = arena_alloc(&m->x.arena, 1, sizeof *config);
    ptrdiff_t linear = model_param_index(m->merge.model, MODEL_OUTPUT, 0);
    if (config == NULL)
        return ERR_OUT_OF_MEMORY;
    *config = *model_config(m->merge.model);
    config->quantized = false; /* nor does its quantization_config speak of these weights */
    config->quant_method[0] = config->quant_linear_class[0] = config->quant_mode[0] = '\0';
    snprintf(config->dtype, sizeof config->dtype, "float16");
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (types[i].file == type_of(m, model_param(m->merge.model, (size_t)linear)))
            snprintf(config->dtype, sizeof config->dtype, "%s", types[i].name);
    }
    TRY(hf_config_print(config, out));
    return bytes_status(out);
}

static enum err put_weights(struct merging *m, struct span config, struct err_text *et)
{
    struct quantized_folder plan;
    const struct quantized_folder_content content = {
        .config = config,
        .tensors = m->tensors,
        .count = m->count,
        .data = send_tensor,
        .context = m,
    };
    TRY(quantized_folder_plan(&content, &m->x.arena, &plan, et));
    TRY(cache_view(m->x.run->env->options.cache, NULL, NULL, 0, &m->scratch, et));
    for (size_t i = 0; i < plan.count; i++)
        TRY(task_folder_put(m->x.run, &plan, i, m->scratch, &m->x.arena, et));
    return ERR_OK;
}

static enum err merge_all(struct merging *m, struct err_text *et)
{
    const char *folder;
    bool packed;
    struct bytes config;
    TRY(task_export_open(&m->x, et));
    TRY(choose_model(m, et));
    TRY(train_merge_check(&m->merge, m->x.model, et));
    TRY(model_create_outline(model_config(m->merge.model), &m->published, et));
    TRY(train_merge_check(&m->merge, m->published, et));
    TRY(task_model_folder(m->x.run, &folder, et));
    TRY(task_model_is_file(m->x.run, &packed, et));
    TRY(packed || model_config(m->merge.model)->quantized ? list_published(m)
                                                          : list_pattern(m, folder, et));
    bytes_init(&config, SIZE_MAX);
    enum err err = read_config(m, &config, et);
    if (err == ERR_OK)
        err = put_weights(m, bytes_span(&config), et);
    bytes_fini(&config);
    TRY(err);
    TRY(task_export_generation(&m->x, et));
    return task_export_tokenizer(&m->x, et);
}

enum err task_kind_merge(struct task_run *run, struct err_text *et)
{
    struct merging m = {.x = {.run = run, .folder = ""}, .et = et};
    enum err err = merge_all(&m, et);
    safetensors_close(&m.base);
    cache_unview(run->env->options.cache, &m.scratch);
    model_destroy(&m.published);
    task_export_close(&m.x);
    return err;
}
