/* task_folder.c - which tensors the folder has, and where each lies. */
#include "worker/task/task_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/mem/mem.h"

struct folder {
    struct task_run *run;
    const struct model *model;
    struct task_scheme scheme;
    struct safetensors base;         /* owned */
    const struct cache_item **items; /* owned, open: "tensors" of every task */
    struct safetensors *files;       /* owned: of them */
    size_t file_count;
    struct safetensor *tensors; /* of the result, in arena */
    size_t count;
    char *scratch; /* owned: for files on their way */
    struct arena arena;
};

static enum err open_tasks(struct folder *f, struct err_text *et)
{
    uint32_t most = f->run->spec->inputs_count;
    char input[64];
    f->items = (const struct cache_item **)mem_alloc(most, sizeof *f->items);
    f->files = mem_alloc(most, sizeof *f->files);
    if (f->items == NULL || f->files == NULL)
        return ERR_OUT_OF_MEMORY;
    for (;; f->file_count++) {
        const struct cache_item **item = &f->items[f->file_count];
        (void)snprintf(input, sizeof input, "tensors/%zu", f->file_count);
        if (task_run_input(f->run, input) == NULL)
            return ERR_OK;
        TRY(task_run_open(f->run, input, item, et));
        enum err err = safetensors_parse(&f->files[f->file_count], (*item)->bytes, input, et);
        if (err != ERR_OK) {
            cache_release(f->run->env->options.cache, item);
            return err;
        }
    }
}

/* Names of what tasks made, sorted, to look up the base's tensors. */
static int by_name(const void *a, const void *b)
{
    return text_compare(((const struct safetensor *)a)->name, ((const struct safetensor *)b)->name);
}

static bool has(const struct safetensor *made, size_t count, struct text name)
{
    const struct safetensor key = {.name = name};
    return bsearch(&key, made, count, sizeof *made, by_name) != NULL;
}

/* Whether a task's tensors stand in place of the base's: under its name, or in words beside it. */
static enum err is_replaced(struct folder *f, const struct safetensor *made, size_t count,
                            struct text name, bool *out)
{
    static const char ending[] = ".weight";
    size_t size = sizeof ending - 1;
    *out = has(made, count, name);
    if (*out || name.size <= size || memcmp(name.data + name.size - size, ending, size) != 0)
        return ERR_OK;
    char *packed = arena_print(&f->arena, "%.*s_packed", TEXT_ARGS(name));
    if (packed == NULL)
        return ERR_OUT_OF_MEMORY;
    *out = has(made, count, text_of(packed));
    return ERR_OK;
}

static enum err list_tensors(struct folder *f, struct err_text *et)
{
    size_t most = f->base.count, made = 0;
    for (size_t i = 0; i < f->file_count; i++)
        most += f->files[i].count;
    f->tensors = arena_alloc(&f->arena, most, sizeof *f->tensors);
    if (f->tensors == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < f->file_count; i++) {
        for (size_t k = 0; k < f->files[i].count; k++)
            f->tensors[made++] = f->files[i].tensors[k];
    }
    qsort(f->tensors, made, sizeof *f->tensors, by_name);
    for (size_t i = 1; i < made; i++) {
        if (by_name(&f->tensors[i - 1], &f->tensors[i]) == 0)
            return error_set(et, ERR_FORMAT, "tensor %.*s was made twice",
                             TEXT_ARGS(f->tensors[i].name));
    }
    f->count = made;
    for (size_t i = 0; i < f->base.count; i++) {
        bool gone;
        TRY(is_replaced(f, f->tensors, made, f->base.tensors[i].name, &gone));
        if (!gone)
            f->tensors[f->count++] = f->base.tensors[i];
    }
    qsort(f->tensors, f->count, sizeof *f->tensors, by_name);
    return ERR_OK;
}

/* Linear layers that stay plain, which bitsandbytes wants to know by name. */
static enum err list_skipped(struct folder *f, struct text **out, size_t *count,
                             struct err_text *et)
{
    size_t sites = model_site_count(f->model);
    struct text *list = arena_alloc(&f->arena, sites * MODEL_SITE_PARAMS_MAX, sizeof *list);
    if (list == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < sites; i++) {
        struct model_site site = model_site(f->model, i);
        for (size_t k = 0; k < site.param_count; k++) {
            bool takes;
            TRY(task_scheme_takes(&f->scheme, f->model, site.params[k], &takes, et));
            const char *module = task_scheme_module(f->model, site.params[k], &f->arena);
            if (module == NULL)
                return ERR_OUT_OF_MEMORY;
            if (!takes || !site.in_layer)
                list[(*count)++] = text_of(site.in_layer ? module : "lm_head");
        }
    }
    *out = list;
    return ERR_OK;
}

static enum err print_config(struct folder *f, struct bytes *out, struct err_text *et)
{
    struct text *skipped = NULL;
    size_t count = 0;
    if (f->scheme.form == RECIPE_QUANTIZE_COMPRESSED)
        return compressed_config_print(&f->scheme.config, out);
    const struct bnb_linear linear = {
        .type = f->scheme.bnb,
        .nested = f->scheme.bnb_nested,
        .block_size = BNB_LINEAR_BLOCK,
        .before = task_scheme_file_type(f->scheme.grid.scale_dtype),
    };
    TRY(list_skipped(f, &skipped, &count, et));
    return bnb_linear_config(&linear, skipped, count, out);
}

enum err task_folder_put(struct task_run *run, const struct quantized_folder *plan, size_t index,
                         const char *scratch, struct arena *arena, struct err_text *et)
{
    const char *name = plan->files[index].name;
    const char *path = folder_join(arena, scratch, name);
    struct file_writer file;
    struct source source;
    if (path == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(file_writer_open(&file, path, et));
    enum err err = quantized_folder_send(plan, index, file_sink_writer, &file, et);
    if (err != ERR_OK)
        return file_writer_fail(&file, err, et);
    TRY(file_writer_commit(&file, et));
    TRY(source_open(&source, path, et));
    err = task_run_output(run, name, source.bytes, false, et);
    source_close(&source);
    return err;
}

static enum err put_file(struct folder *f, const struct quantized_folder *plan, size_t index,
                         struct err_text *et)
{
    TRY(task_run_progress(f->run, index, plan->count));
    return task_folder_put(f->run, plan, index, f->scratch, &f->arena, et);
}

static enum err assemble(struct folder *f, struct err_text *et)
{
    const char *base;
    struct bytes config;
    struct quantized_folder plan;
    TRY(task_model_folder(f->run, &base, et));
    TRY(safetensors_index_open_folder(&f->base, base, "model", et));
    TRY(open_tasks(f, et));
    TRY(list_tensors(f, et));
    TRY(cache_view(f->run->env->options.cache, NULL, NULL, 0, &f->scratch, et));
    bytes_init(&config, SIZE_MAX);
    enum err err = print_config(f, &config, et);
    if (err == ERR_OK)
        err = bytes_status(&config);
    const struct quantized_folder_content content = {
        .base = base,
        .quantization_config = bytes_span(&config),
        .tensors = f->tensors,
        .count = f->count,
    };
    if (err == ERR_OK)
        err = quantized_folder_plan(&content, &f->arena, &plan, et);
    for (size_t i = 0; err == ERR_OK && i < plan.count; i++)
        err = put_file(f, &plan, i, et);
    bytes_fini(&config);
    return err;
}

enum err task_folder_assemble(struct task_run *run, struct err_text *et)
{
    struct folder f = {.run = run};
    TRY(task_model_open(run, &f.model, et));
    arena_init(&f.arena, SIZE_MAX); /* lists of the model's tensors */
    enum err err = task_scheme_read(&run->recipe, f.model, &f.arena, &f.scheme, et);
    if (err == ERR_OK)
        err = assemble(&f, et);
    for (size_t i = 0; i < f.file_count; i++) {
        safetensors_close(&f.files[i]);
        cache_release(run->env->options.cache, &f.items[i]);
    }
    mem_free((void *)f.items);
    mem_free(f.files);
    safetensors_close(&f.base);
    cache_unview(run->env->options.cache, &f.scratch);
    arena_fini(&f.arena);
    return err;
}
