/* freeze.c - lists, maps and hashes input files. */
#include "cli/client/freeze.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/formats/gguf/gguf.h"
#include "common/formats/hf/hf_folder.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"

struct freezer {
    const struct recipe *recipe;
    struct arena *arena;
    struct artifact_ref *refs;
    uint32_t count;
    struct err_text *et;
};

static const char *absolute(struct freezer *f, const char *path)
{
    char real[PATH_MAX];
    return arena_copy_text(f->arena, text_of(realpath(path, real) != NULL ? real : path));
}

static enum err add_file(struct freezer *f, const char *name, const char *path)
{
    if (f->count == LIMIT_INPUTS)
        return error_set(f->et, ERR_LIMIT, "%s: expected at most %d input files",
                         f->recipe->file_name, LIMIT_INPUTS);
    struct source source;
    TRY(source_open(&source, path, f->et));
    source_will_stream(&source);
    struct artifact_ref ref = {.size_bytes = source.bytes.size};
    enum err err = digest_of_artifact(source.bytes, &ref.digest);
    source_close(&source);
    TRY(err);
    const char *copy = absolute(f, path);
    if (name == NULL || copy == NULL)
        return ERR_OUT_OF_MEMORY;
    ref.name = text_of(name);
    ref.path = text_of(copy);
    f->refs[f->count++] = ref;
    return ERR_OK;
}

/* `path` of the recipe, found; the key stands before the message. */
static enum err resolve(struct freezer *f, enum recipe_key key, const char *path, const char **out)
{
    const char *found = recipe_path(f->recipe, path, f->arena);
    if (found == NULL)
        return ERR_OUT_OF_MEMORY;
    if (!file_exists(found) && !folder_exists(found))
        return error_set(f->et, ERR_NOT_FOUND,
                         "%s:%u: %s: expected a file or folder at %s, found nothing; paths are "
                         "relative to the recipe",
                         f->recipe->file_name, f->recipe->origins[key].line, recipe_key_name(key),
                         found);
    *out = found;
    return ERR_OK;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* The file, and those beside it where it is the first of a split model. */
static enum err add_gguf(struct freezer *f, const char *path)
{
    struct gguf gguf;
    if (f->recipe->random_init)
        return error_set(f->et, ERR_RECIPE,
                         "%s:%u: base_model: expected a folder with config.json for a random "
                         "start, found the file %s",
                         f->recipe->file_name, f->recipe->origins[RECIPE_KEY_base_model].line,
                         path);
    TRY(gguf_open(&gguf, path, f->et));
    enum err err = ERR_OK;
    for (size_t i = 0; i < gguf.part_count + 1 && err == ERR_OK; i++) {
        const char *part = i == 0 ? gguf.name : gguf.parts[i - 1].name;
        err = add_file(f, arena_print(f->arena, "model/%s", base_of(part)), part);
    }
    gguf_close(&gguf);
    return err;
}

static enum err add_model(struct freezer *f)
{
    const char *folder;
    TRY(resolve(f, RECIPE_KEY_base_model, f->recipe->base_model, &folder));
    if (file_exists(folder))
        return add_gguf(f, folder);
    struct hf_folder files;
    if (f->recipe->random_init)
        TRY(hf_folder_list_unweighted(folder, f->arena, &files, f->et));
    else
        TRY(hf_folder_list(folder, f->arena, &files, f->et));
    for (size_t i = 0; i < files.count; i++) {
        if (f->recipe->random_init && files.files[i].kind == HF_FOLDER_WEIGHTS)
            continue;
        const char *path = folder_join(f->arena, folder, files.files[i].name);
        if (path == NULL)
            return ERR_OUT_OF_MEMORY;
        TRY(add_file(f, arena_print(f->arena, "model/%s", files.files[i].name), path));
    }
    return ERR_OK;
}

static enum err add_datasets(struct freezer *f, enum recipe_key key, const char *role,
                             const struct recipe_dataset *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *path;
        TRY(resolve(f, key, rows[i].path, &path));
        if (folder_exists(path))
            return error_set(
                f->et, ERR_DATA, "%s:%u: %s: expected a file, found the folder %s; name its files",
                f->recipe->file_name, f->recipe->origins[key].line, recipe_key_name(key), path);
        TRY(add_file(f, arena_print(f->arena, "%s/%zu/%s", role, i, base_of(path)), path));
        if (f->refs[f->count - 1].size_bytes == 0)
            return error_set(f->et, ERR_DATA, "%s: expected rows, found an empty file", path);
    }
    return ERR_OK;
}

static enum err add_adapter(struct freezer *f)
{
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors"};
    if (f->recipe->lora_model_dir == NULL)
        return ERR_OK;
    const char *folder;
    TRY(resolve(f, RECIPE_KEY_lora_model_dir, f->recipe->lora_model_dir, &folder));
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        const char *path = folder_join(f->arena, folder, files[i]);
        if (path == NULL)
            return ERR_OUT_OF_MEMORY;
        TRY(add_file(f, arena_print(f->arena, "adapter/%s", files[i]), path));
    }
    return ERR_OK;
}

static enum err add_importance(struct freezer *f)
{
    const char *path;
    if (!recipe_quantizes(f->recipe) || f->recipe->quantize.imatrix == NULL)
        return ERR_OK;
    TRY(resolve(f, RECIPE_KEY_quantize, f->recipe->quantize.imatrix, &path));
    return add_file(f, arena_print(f->arena, "imatrix/%s", base_of(path)), path);
}

enum err freeze_inputs(const struct recipe *recipe, struct arena *arena, struct artifact_ref **refs,
                       uint32_t *count, struct err_text *et)
{
    struct freezer f = {.recipe = recipe, .arena = arena, .et = et};
    f.refs = arena_alloc(arena, LIMIT_INPUTS, sizeof *f.refs);
    if (f.refs == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(add_model(&f));
    TRY(add_datasets(&f, RECIPE_KEY_datasets, "data", recipe->datasets, recipe->datasets_count));
    TRY(add_datasets(&f, RECIPE_KEY_test_datasets, "test", recipe->test_datasets,
                     recipe->test_datasets_count));
    TRY(add_datasets(&f, RECIPE_KEY_calibration_datasets, "calib", recipe->calibration_datasets,
                     recipe->calibration_datasets_count));
    TRY(add_adapter(&f));
    TRY(add_importance(&f));
    *refs = f.refs;
    *count = f.count;
    return ERR_OK;
}

uint64_t freeze_request(struct span recipe_text, const struct artifact_ref *refs, uint32_t count)
{
    struct digest link = digest_of(recipe_text);
    uint64_t request;
    for (uint32_t i = 0; i < count; i++) {
        link = digest_link(link, span_of_text(refs[i].name));
        link = digest_link(link, (struct span){refs[i].digest.v, DIGEST_BYTES});
    }
    memcpy(&request, link.v, sizeof request);
    return request;
}
