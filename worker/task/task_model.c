/* task_model.c - inputs as a folder, a folder as a model. */
#include "worker/task/task_model.h"

#include <stdio.h>
#include <string.h>

#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"
#include "common/message/state.h"
#include "worker/task/task_run.h"
#include "worker/task/task_session.h"
#include "worker/task/task_settings.h"

enum { KEY_BYTES = 16 << 20, PATH_BYTES = 8192 };

static bool is_under(struct text name, const char *prefix)
{
    size_t size = strlen(prefix);
    return name.size > size && memcmp(name.data, prefix, size) == 0;
}

void task_model_drop_view(struct cache *cache, const struct cache_item ***items, size_t *item_count,
                          char **folder)
{
    cache_unview(cache, folder);
    for (size_t i = 0; i < *item_count; i++)
        cache_release(cache, &(*items)[i]);
    mem_free((void *)*items);
    *items = NULL;
    *item_count = 0;
}

void task_model_close(struct task_model *model, struct cache *cache)
{
    tokenizer_close(&model->tokenizer);
    model_destroy(&model->model);
    model_destroy(&model->stored);
    mem_free(model->path);
    task_model_drop_view(cache, &model->items, &model->item_count, &model->folder);
    *model = (struct task_model){.items = NULL};
}

enum err task_model_view(struct task_run *run, const char *prefix, const struct cache_item ***items,
                         size_t *item_count, char **folder, struct err_text *et)
{
    struct cache *cache = run->env->options.cache;
    const struct task_spec *spec = run->spec;
    size_t count = 0;
    char *path = NULL;
    enum err err = ERR_OK;
    const struct cache_item **opened =
        (const struct cache_item **)mem_alloc(spec->inputs_count + 1, sizeof *opened);
    struct text *names = mem_alloc(spec->inputs_count + 1, sizeof *names);
    if (opened == NULL || names == NULL) {
        err = ERR_OUT_OF_MEMORY;
        goto out;
    }
    for (uint32_t i = 0; i < spec->inputs_count; i++) {
        struct text name = spec->inputs[i].name;
        if (!is_under(name, prefix))
            continue;
        TRY_OUT(cache_open(cache, &spec->inputs[i], &opened[count], et));
        size_t skip = strlen(prefix);
        names[count++] = (struct text){name.data + skip, name.size - skip};
    }
    TRY_OUT(cache_view(cache, opened, names, count, &path, et));
    *items = opened;
    *item_count = count;
    *folder = path;
    opened = NULL;
out:
    mem_free(names);
    if (opened != NULL)
        task_model_drop_view(cache, &opened, &count, &path);
    return err;
}

static const char *const prefixes[TASK_MODEL_ROLE_COUNT] = {
    [TASK_MODEL_BASE] = "model/",
    [TASK_MODEL_RESULT] = "result/",
};

/* The recipe as far as it may decide the model: variants share theirs, unless it is made at random
 * from a seed. */
static void write_recipe(const struct task_run *run, struct bytes *out)
{
    struct recipe recipe = run->recipe; /* borrows */
    recipe.learning_rate = 0;
    recipe.lora_r = 0;
    recipe.seed = recipe.random_init ? recipe.seed : 0;
    recipe_write(&recipe, out);
}

/* Digest of what decides the model: its files by name, and the recipe. */
static enum err find_key(const struct task_run *run, const char *prefix, struct digest *key)
{
    struct bytes text;
    bytes_init(&text, KEY_BYTES);
    write_recipe(run, &text);
    for (uint32_t i = 0; i < run->spec->inputs_count; i++) {
        const struct artifact_ref *input = &run->spec->inputs[i];
        if (!is_under(input->name, prefix))
            continue;
        bytes_append(&text, input->name.data, input->name.size);
        bytes_append(&text, input->digest.v, DIGEST_BYTES);
    }
    enum err err = bytes_status(&text);
    if (err == ERR_OK)
        *key = digest_of(bytes_span(&text));
    bytes_fini(&text);
    return err;
}

static bool is_gguf(struct text name)
{
    return name.size > 5 && memcmp(name.data + name.size - 5, ".gguf", 5) == 0;
}

/* The folder where config.json is among the inputs; else the GGUF file: one that is named so, or
 * else any; of the parts of a split one the first by name. An importance matrix may lie beside. */
static enum err find_path(const struct task_run *run, const char *prefix, struct task_model *model)
{
    size_t skip = strlen(prefix);
    struct text first = {0};
    bool is_folder = false;
    for (uint32_t i = 0; i < run->spec->inputs_count; i++) {
        struct text name = run->spec->inputs[i].name;
        if (!is_under(name, prefix))
            continue;
        name = (struct text){name.data + skip, name.size - skip};
        if (text_is(name, TASK_MODEL_IMATRIX))
            continue;
        is_folder = is_folder || text_is(name, "config.json");
        bool better =
            is_gguf(name) != is_gguf(first) ? is_gguf(name) : text_compare(name, first) < 0;
        if (first.size == 0 || better)
            first = name;
    }
    if (is_folder)
        first = (struct text){0};
    struct bytes path;
    bytes_init(&path, PATH_BYTES);
    bytes_print(&path, "%s", model->folder);
    if (first.size > 0)
        bytes_print(&path, "/%.*s", TEXT_ARGS(first));
    enum err err = bytes_status(&path);
    if (err == ERR_OK) {
        struct span span = bytes_span(&path);
        model->path = mem_copy_text((struct text){(const char *)span.data, span.size});
        err = model->path != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
    }
    bytes_fini(&path);
    return err;
}

/* Opens the view of a role's files into a closed model. */
static enum err view(struct task_run *run, enum task_model_role role, struct digest key,
                     struct task_model *model, struct err_text *et)
{
    TRY(task_model_view(run, prefixes[role], &model->items, &model->item_count, &model->folder,
                        et));
    enum err err = find_path(run, prefixes[role], model);
    if (err == ERR_OK)
        model->key = key;
    else
        task_model_close(model, run->env->options.cache);
    return err;
}

/* Makes env->model the one of this run's job. */
static enum err settle(struct task_run *run, struct err_text *et)
{
    struct task_env *env = run->env;
    struct digest key;
    TRY(find_key(run, prefixes[TASK_MODEL_BASE], &key));
    if (env->model.folder != NULL && digest_equal(env->model.key, key))
        return ERR_OK;
    task_session_close_all(env); /* they borrow the model */
    task_model_close(&env->result, env->options.cache);
    task_model_close(&env->model, env->options.cache);
    return view(run, TASK_MODEL_BASE, key, &env->model, et);
}

enum err task_model_is_file(struct task_run *run, bool *out, struct err_text *et)
{
    TRY(settle(run, et));
    *out = strcmp(run->env->model.path, run->env->model.folder) != 0;
    return ERR_OK;
}

enum err task_model_folder(struct task_run *run, const char **out, struct err_text *et)
{
    TRY(settle(run, et));
    *out = run->env->model.folder;
    return ERR_OK;
}

enum err task_model_path(struct task_run *run, const char **out, struct err_text *et)
{
    TRY(settle(run, et));
    *out = run->env->model.path;
    return ERR_OK;
}

static enum err create_random(struct task_run *run, const char *folder, struct model **out,
                              struct err_text *et)
{
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/config.json", folder);
    if (length < 0 || (size_t)length >= sizeof path)
        return ERR_LIMIT;
    struct hf_config *config = mem_alloc(1, sizeof *config);
    if (config == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = hf_config_open(config, path, et);
    if (err == ERR_OK)
        err = model_create_random(config, run->recipe.seed, out, et);
    mem_free(config);
    return err;
}

/* What training made of a random start has weights: it is what tasks after that are given. */
static bool has_weights(const struct task_run *run)
{
    static const char ending[] = ".safetensors";
    size_t size = sizeof ending - 1;
    for (uint32_t i = 0; i < run->spec->inputs_count; i++) {
        struct text name = run->spec->inputs[i].name;
        if (is_under(name, prefixes[TASK_MODEL_BASE]) && name.size > size &&
            memcmp(name.data + name.size - size, ending, size) == 0)
            return true;
    }
    return false;
}

bool task_model_sees_loaded(enum stage_kind kind)
{
    switch (kind) {
    case STAGE_KIND_INIT:
    case STAGE_KIND_TRAIN:
    case STAGE_KIND_EVALUATE:
    case STAGE_KIND_EXPORT:
    case STAGE_KIND_REFERENCE:
    case STAGE_KIND_MERGE:
    case STAGE_KIND_MEASURE:
        return true;
    case STAGE_KIND_PREPARE:
    case STAGE_KIND_PACK:
    case STAGE_KIND_CALIBRATE:
    case STAGE_KIND_REDUCE:
    case STAGE_KIND_SENSITIVITY:
    case STAGE_KIND_CHOOSE:
    case STAGE_KIND_QUANTIZE:
    case STAGE_KIND_ASSEMBLE:
    case STAGE_KIND_VERIFY:
    case STAGE_KIND_COMPARE:
    case STAGE_KIND_REPORT:
    case STAGE_KIND_REPLAY:
    case STAGE_KIND_COUNT:
        break;
    }
    return false;
}

/* Opens *model by the recipe, unless it is open. */
static enum err open_model(struct task_run *run, const struct model_load *load,
                           struct model **model, struct err_text *et)
{
    const struct task_model *base = &run->env->model;
    if (*model != NULL)
        return ERR_OK;
    if (run->recipe.random_init && !has_weights(run))
        return create_random(run, base->folder, model, et);
    return model_open_as(base->path, load, model, et);
}

enum err task_model_open(struct task_run *run, const struct model **out, struct err_text *et)
{
    const struct model_load load = task_settings_load(&run->recipe, run->env->f32);
    struct task_model *model = &run->env->model;
    if (load.weights != MODEL_LOAD_AS_STORED &&
        !task_model_sees_loaded((enum stage_kind)run->spec->kind))
        return task_model_open_stored(run, out, et);
    TRY(settle(run, et));
    TRY(open_model(run, &load, &model->model, et));
    *out = model->model;
    return ERR_OK;
}

enum err task_model_open_stored(struct task_run *run, const struct model **out, struct err_text *et)
{
    const struct model_load load = task_settings_load(&run->recipe, NULL);
    struct task_model *model = &run->env->model;
    bool differs = load.weights != MODEL_LOAD_AS_STORED;
    TRY(settle(run, et));
    TRY(open_model(run, NULL, differs ? &model->stored : &model->model, et));
    *out = differs ? model->stored : model->model;
    return ERR_OK;
}

enum err task_model_open_result(struct task_run *run, const struct model **out, struct err_text *et)
{
    struct task_model *model = &run->env->result;
    struct digest key;
    TRY(settle(run, et)); /* another job's result goes with its base */
    TRY(find_key(run, prefixes[TASK_MODEL_RESULT], &key));
    if (model->folder == NULL || !digest_equal(model->key, key)) {
        task_model_close(model, run->env->options.cache);
        TRY(view(run, TASK_MODEL_RESULT, key, model, et));
    }
    if (model->model == NULL)
        TRY(model_open(model->path, &model->model, et));
    *out = model->model;
    return ERR_OK;
}

enum err task_model_tokenizer(struct task_run *run, const struct tokenizer **out,
                              struct err_text *et)
{
    TRY(settle(run, et));
    struct task_model *model = &run->env->model;
    if (model->tokenizer == NULL)
        TRY(tokenizer_open(model->path, &model->tokenizer, et));
    *out = model->tokenizer;
    return ERR_OK;
}
