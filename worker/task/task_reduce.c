/* task_reduce.c - the statistics of all shards, folded along the tree over the rows; and the
 * importance matrix that llama.cpp's tools read. */
#include <stdio.h>

#include "common/calibration/statistics_fold.h"
#include "common/calibration/statistics_imatrix.h"
#include "common/formats/convert/convert_name.h"
#include "common/formats/gguf/gguf_arch.h"
#include "common/formats/imatrix/imatrix.h"
#include "common/recipe/recipe_quantize.h"
#include "worker/engine/nn/model_site.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_run.h"
#include "worker/task/task_target.h"

struct reduction {
    struct task_run *run;
    struct statistics_fold *fold; /* owned */
    uint64_t row_count;           /* of the tree, told by the first shard */
    struct arena arena;
};

static enum err push_shard(struct reduction *r, const struct statistics *shard, struct err_text *et)
{
    struct fold_node all = {0, shard->row_count};
    if (r->fold == NULL)
        TRY(statistics_fold_create_like(shard, all, &r->fold));
    r->row_count = shard->row_count;
    return statistics_fold_push(r->fold, shard, et);
}

static enum err push_all(struct reduction *r, struct err_text *et)
{
    struct cache *cache = r->run->env->options.cache;
    char name[64];
    for (unsigned i = 0;; i++) {
        const struct cache_item *item = NULL;
        struct statistics *shard = NULL;
        (void)snprintf(name, sizeof name, "statistics/%u", i);
        const struct artifact_ref *input = task_run_input(r->run, name);
        if (input == NULL)
            return i > 0 ? ERR_OK
                         : error_set(et, ERR_NOT_FOUND, "the task was given no statistics");
        TRY(task_run_progress(r->run, i, r->run->spec->inputs_count));
        TRY(cache_open(r->run->env->options.cache, input, &item, et));
        enum err err = statistics_parse(item->bytes, name, &shard, et);
        if (err == ERR_OK)
            err = push_shard(r, shard, et);
        statistics_destroy(&shard);
        cache_release(cache, &item);
        TRY(err);
    }
}

/* The GGUF name of a parameter of the model. */
static enum err gguf_name(const struct gguf_arch *arch, const char *name, struct arena *arena,
                          struct text *out)
{
    const struct convert_family *family;
    char text[CONVERT_NAME_BYTES];
    for (size_t i = 0; (family = convert_name_family(arch, i)) != NULL; i++) {
        struct convert_place place;
        if (!convert_name_of_hf(family, text_of(name), &place))
            continue;
        convert_name_print_gguf(family, place, text);
        *out = text_of(arena_copy_text(arena, text_of(text)));
        return out->data != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
    }
    return ERR_NOT_FOUND;
}

static enum err list_weights(struct reduction *r, const struct model *model,
                             struct statistics_imatrix_entry **out, size_t *count,
                             struct err_text *et)
{
    const struct gguf_arch *arch = NULL;
    size_t sites = model_site_count(model);
    struct statistics_imatrix_entry *entries =
        arena_alloc(&r->arena, sites * MODEL_SITE_PARAMS_MAX, sizeof *entries);
    if (entries == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(gguf_arch_of_config(model_config(model), "model", &arch, et));
    for (size_t i = 0; i < sites; i++) {
        struct model_site site = model_site(model, i);
        for (size_t k = 0; site.in_layer && k < site.param_count; k++) {
            struct statistics_imatrix_entry *entry = &entries[(*count)++];
            const char *name = model_param(model, site.params[k])->name;
            entry->site = site.name;
            enum err err = gguf_name(arch, name, &r->arena, &entry->weight);
            if (err == ERR_NOT_FOUND)
                return error_set(et, ERR_UNSUPPORTED, "%s has no name in GGUF", name);
            TRY(err);
        }
    }
    *out = entries;
    return ERR_OK;
}

/* File names of the calibration texts; the importance matrix keeps the first. */
static struct text dataset_name(const struct recipe *recipe)
{
    const char *path =
        recipe->calibration_datasets_count > 0 ? recipe->calibration_datasets[0].path : "";
    const char *slash = strrchr(path, '/');
    return text_of(slash != NULL ? slash + 1 : path);
}

static enum err write_importance(struct reduction *r, const struct statistics *all,
                                 struct err_text *et)
{
    const struct model *model;
    struct statistics_imatrix_entry *entries = NULL;
    struct imatrix importance;
    struct bytes text;
    size_t count = 0;
    TRY(task_model_open(r->run, &model, et));
    TRY(list_weights(r, model, &entries, &count, et));
    const struct statistics_imatrix_options options = {
        .chunk_size = (uint32_t)r->run->recipe.sequence_len,
        .dataset = dataset_name(&r->run->recipe),
    };
    TRY(statistics_imatrix(all, entries, count, &options, &importance, et));
    bytes_init(&text, SIZE_MAX);
    enum err err = imatrix_write(&importance, IMATRIX_GGUF, file_sink_bytes, &text);
    if (err == ERR_OK)
        err = task_run_output(r->run, "imatrix", bytes_span(&text), false, et);
    bytes_fini(&text);
    imatrix_close(&importance);
    return err;
}

static enum err reduce(struct reduction *r, struct err_text *et)
{
    const struct statistics *all;
    struct bytes text;
    TRY(push_all(r, et));
    enum err err = statistics_fold_finish(r->fold, &all);
    if (err != ERR_OK)
        return error_set(et, err, "the statistics of %llu rows: %s",
                         (unsigned long long)r->row_count, error_text(err));
    bytes_init(&text, SIZE_MAX);
    err = statistics_write(all, file_sink_bytes, &text);
    if (err == ERR_OK)
        err = task_run_output(r->run, "statistics", bytes_span(&text), false, et);
    bytes_fini(&text);
    TRY(err);
    if (recipe_quantize_targets(&r->run->recipe))
        TRY(task_target_tell(r->run, et));
    return write_importance(r, all, et);
}

enum err task_kind_reduce(struct task_run *run, struct err_text *et)
{
    struct reduction r = {.run = run};
    arena_init(&r.arena, SIZE_MAX); /* names of the model's weights */
    enum err err = reduce(&r, et);
    statistics_fold_destroy(&r.fold);
    arena_fini(&r.arena);
    return err;
}
