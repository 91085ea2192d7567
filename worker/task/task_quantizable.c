/* task_quantizable.c - the questions, cheapest first. */
#include "worker/task/task_quantizable.h"

#include "common/formats/compressed_tensors/compressed_linear.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/source/folder.h"
#include "worker/engine/nn/family.h"
#include "worker/task/task_gguf.h"
#include "worker/task/task_scheme.h"

enum { NAMES_BYTES_MAX = 1 << 26 };

/* What is written is read by the family's own code, which knows of no codes in these layouts. */
static enum err check_family(const struct model *model, struct text scheme, struct err_text *et)
{
    switch (model_family(model)->linear) {
    case LINEAR_PLAIN:
        return ERR_OK;
    case LINEAR_TURNED:
        return error_set(
            et, ERR_UNSUPPORTED,
            "quantize.scheme: %.*s: linear layers of %s lie transposed in their files, "
            "which this format does not have; a GGUF type (Q4_K_M, ...) does",
            TEXT_ARGS(scheme), model_config(model)->model_type);
    case LINEAR_TERNARY:
        return error_set(et, ERR_UNSUPPORTED,
                         "quantize.scheme: %.*s: weights of %s are -1, 0 and 1 already; the GGUF "
                         "types TQ1_0 and TQ2_0 hold them",
                         TEXT_ARGS(scheme), model_config(model)->model_type);
    }
    return ERR_INTERNAL;
}

/* A layer that is taken: its groups, and its name in the files, under which it is replaced. */
static enum err check_layer(const struct task_scheme *scheme, const struct model *model,
                            size_t param, const struct safetensors *files, struct arena *arena,
                            struct err_text *et)
{
    const struct model_param *m = model_param(model, param);
    const struct compressed_linear linear = {
        .scheme = scheme->scheme,
        .rows = m->rows,
        .columns = m->columns,
        .scale_dtype = task_scheme_file_type(scheme->grid.scale_dtype),
    };
    struct compressed_linear_tensors tensors;
    const char *module = task_scheme_module(model, param, arena);
    if (module == NULL)
        return ERR_OUT_OF_MEMORY;
    if (files != NULL && safetensors_find(files, text_of(m->name)) == NULL)
        return error_set(et, ERR_UNSUPPORTED,
                         "tensor %s is not in the files under this name; expected a checkpoint as "
                         "transformers saves a model with its head alone (load it with "
                         "AutoModelForCausalLM and save it again)",
                         m->name);
    return scheme->form == RECIPE_QUANTIZE_COMPRESSED
               ? compressed_linear_list(&linear, module, arena, &tensors, et)
               : ERR_OK;
}

static enum err check_layers(const struct task_scheme *scheme, const struct model *model,
                             const struct safetensors *files, struct arena *arena,
                             struct err_text *et)
{
    size_t found = 0;
    for (size_t i = 0; i < model_site_count(model); i++) {
        struct model_site site = model_site(model, i);
        for (size_t k = 0; site.in_layer && k < site.param_count; k++) {
            bool takes;
            TRY(task_scheme_takes(scheme, model, site.params[k], &takes, et));
            if (!takes)
                continue;
            TRY(check_layer(scheme, model, site.params[k], files, arena, et));
            found++;
        }
    }
    return found > 0 ? ERR_OK
                     : error_set(et, ERR_RECIPE,
                                 "quantize.targets: no linear layer of the model is meant (all of "
                                 "them: Linear; the head stays as it is)");
}

static enum err check_folder(const struct recipe *recipe, const struct model *model,
                             const char *path, struct arena *arena, struct err_text *et)
{
    struct task_scheme scheme;
    struct safetensors files = {.count = 0};
    TRY(task_scheme_read(recipe, model, arena, &scheme, et));
    if (path != NULL && !folder_exists(path))
        return error_set(et, ERR_UNSUPPORTED,
                         "quantize.scheme: %.*s: expected the folder of a model, found a GGUF file",
                         TEXT_ARGS(scheme.name));
    if (path != NULL && model_config(model)->quantized)
        return error_set(et, ERR_UNSUPPORTED,
                         "the model is quantized already (config.json: quantization_config); start "
                         "from the model before");
    TRY(check_family(model, scheme.name, et));
    if (path != NULL)
        TRY(safetensors_index_open_folder(&files, path, "model", et));
    enum err err = check_layers(&scheme, model, path != NULL ? &files : NULL, arena, et);
    if (path != NULL)
        safetensors_close(&files);
    return err;
}

enum err task_quantizable_check(const struct recipe *recipe, const struct model *model,
                                const char *path, struct err_text *et)
{
    struct arena arena;
    if (recipe_quantize_form(recipe) == RECIPE_QUANTIZE_GGUF)
        return task_gguf_check(recipe, et);
    arena_init(&arena, NAMES_BYTES_MAX);
    enum err err = check_folder(recipe, model, path, &arena, et);
    arena_fini(&arena);
    return err;
}
