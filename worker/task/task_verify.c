/* task_verify.c - the result is opened as its users will, and every tensor that the fleet made is
 * hashed where it lies now. */
#include <stdio.h>
#include <string.h>

#include "common/formats/gguf/gguf.h"
#include "common/formats/json/json_read.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/source/folder.h"
#include "worker/engine/nn/model.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_run.h"

struct verification {
    struct task_run *run;
    const struct cache_item **items; /* owned */
    size_t item_count;
    char *folder; /* owned: the result, as files */
    struct arena arena;
};

/* The file in the result whose name ends in .gguf. */
static const char *find_file(struct verification *v)
{
    for (uint32_t i = 0; i < v->run->spec->inputs_count; i++) {
        static const char prefix[] = "result/", ending[] = ".gguf";
        struct text name = v->run->spec->inputs[i].name;
        size_t p = sizeof prefix - 1, e = sizeof ending - 1;
        if (name.size > p + e && memcmp(name.data, prefix, p) == 0 &&
            memcmp(name.data + name.size - e, ending, e) == 0 &&
            !text_is(name, "result/imatrix.gguf")) {
            const char *copy =
                arena_copy_text(&v->arena, (struct text){name.data + p, name.size - p});
            return copy != NULL ? folder_join(&v->arena, v->folder, copy) : NULL;
        }
    }
    return NULL;
}

/* The result, opened by its format: one of the two. */
struct result {
    const char *path;
    struct gguf gguf;           /* owned */
    struct safetensors weights; /* owned */
    bool is_folder;
};

static struct span find_tensor(const struct result *result, struct text name)
{
    const struct gguf_tensor *in_file =
        result->is_folder ? NULL : gguf_find_tensor(&result->gguf, name);
    const struct safetensor *in_folder =
        result->is_folder ? safetensors_find(&result->weights, name) : NULL;
    return in_file != NULL     ? in_file->data
           : in_folder != NULL ? in_folder->data
                               : (struct span){NULL, 0};
}

static enum err check_part(const struct result *result, struct json_value part, struct err_text *et)
{
    struct text name, hex;
    struct digest digest;
    char found[DIGEST_HEX_BYTES];
    TRY(json_read_text(part, "name", &name, et));
    TRY(json_read_text(part, "digest", &hex, et));
    struct span data = find_tensor(result, name);
    if (data.data == NULL)
        return error_set(et, ERR_DIGEST, "%s: tensor %.*s is not there", result->path,
                         TEXT_ARGS(name));
    TRY(digest_of_artifact(data, &digest));
    digest_hex(digest, found);
    if (text_is(hex, found))
        return ERR_OK;
    return error_set(et, ERR_DIGEST, "%s: tensor %.*s: expected the hash %.12s, found %.12s",
                     result->path, TEXT_ARGS(name), hex.data, found);
}

static enum err check_parts(const struct result *result, struct json_value figures,
                            struct err_text *et)
{
    struct json_value tensors, parts;
    TRY(json_read_array(figures, "tensors", &tensors, et));
    for (size_t i = 0; i < json_read_count(tensors); i++) {
        TRY(json_read_array(json_read_item(tensors, i), "parts", &parts, et));
        for (size_t k = 0; k < json_read_count(parts); k++)
            TRY(check_part(result, json_read_item(parts, k), et));
    }
    return ERR_OK;
}

static enum err check_figures(struct verification *v, const struct result *result,
                              const char *input, struct err_text *et)
{
    const struct cache_item *item = NULL;
    const struct json_read_options options = {.name = input};
    struct json_doc *doc = NULL;
    TRY(task_run_open(v->run, input, &item, et));
    enum err err = json_read_parse(item->bytes, &options, &doc, et);
    if (err == ERR_OK)
        err = check_parts(result, json_read_root(doc), et);
    json_read_close(&doc);
    cache_release(v->run->env->options.cache, &item);
    return err;
}

static enum err check_all(struct verification *v, const struct result *result, struct err_text *et)
{
    char name[64];
    for (uint32_t i = 0;; i++) {
        (void)snprintf(name, sizeof name, "figures/%u", i);
        if (task_run_input(v->run, name) == NULL)
            return task_run_fact(v->run, "verified_tensors", i);
        TRY(task_run_progress(v->run, i, v->run->spec->inputs_count));
        TRY(check_figures(v, result, name, et));
    }
}

static enum err verify(struct verification *v, struct err_text *et)
{
    struct model *model = NULL;
    struct result result = {.is_folder = false};
    TRY(task_model_view(v->run, "result/", &v->items, &v->item_count, &v->folder, et));
    result.path = find_file(v);
    result.is_folder = result.path == NULL;
    if (result.is_folder) {
        result.path = v->folder;
        TRY(safetensors_index_open_folder(&result.weights, result.path, "model", et));
    } else {
        TRY(gguf_open(&result.gguf, result.path, et));
    }
    enum err err = check_all(v, &result, et);
    if (result.is_folder)
        safetensors_close(&result.weights);
    else
        gguf_close(&result.gguf);
    TRY(err);
    TRY(model_open(result.path, &model, et));
    model_destroy(&model);
    return ERR_OK;
}

enum err task_kind_verify(struct task_run *run, struct err_text *et)
{
    struct verification v = {.run = run};
    arena_init(&v.arena, SIZE_MAX); /* names */
    enum err err = verify(&v, et);
    task_model_drop_view(run->env->options.cache, &v.items, &v.item_count, &v.folder);
    arena_fini(&v.arena);
    return err;
}
