/* task_export_model.c - the model that full training left, as a folder of safetensors. */
#include <stdio.h>

#include "common/formats/hf/hf_generation.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "worker/task/task_export.h"

enum { PATH_BYTES = 4096 };

static enum err read_generation(const struct hf_config *config, const char *folder,
                                struct hf_generation *out, struct err_text *et)
{
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s/generation_config.json", folder);
    if (length < 0 || (size_t)length >= sizeof path)
        return ERR_LIMIT;
    enum err err = hf_generation_open(out, path, NULL);
    if (err != ERR_NOT_FOUND)
        return err == ERR_OK ? ERR_OK : hf_generation_open(out, path, et);
    *out = (struct hf_generation){
        .bos_token_id = config->bos_token_id,
        .pad_token_id = config->pad_token_id,
        .eos = config->eos,
        .temperature = 1,
        .top_p = 1,
        .repetition_penalty = 1,
    };
    return ERR_OK;
}

enum err task_export_generation(struct task_export *x, struct err_text *et)
{
    const char *folder;
    struct hf_generation generation;
    struct bytes text;
    TRY(task_model_folder(x->run, &folder, et));
    TRY(read_generation(model_config(x->model), folder, &generation, et));
    bytes_init(&text, SIZE_MAX);
    enum err err = task_export_put(x, "generation_config.json",
                                   hf_generation_print(&generation, &text), &text, et);
    bytes_fini(&text);
    return err;
}

enum err task_export_model(struct task_export *x, struct err_text *et)
{
    struct bytes text;
    size_t count = train_layout_entry_count(x->layout);
    struct safetensor *tensors =
        task_export_list_tensors(x, train_layout_entry(x->layout, 0), count, x->values);
    struct hf_config *config = arena_alloc(&x->arena, 1, sizeof *config);
    if (tensors == NULL || config == NULL)
        return ERR_OUT_OF_MEMORY;
    const struct safetensors_content content = {
        .tensors = tensors, .count = count, .notes = &safetensors_write_note_pt, .note_count = 1};
    *config = *model_config(x->model);
    snprintf(config->dtype, sizeof config->dtype, "float32");
    bytes_init(&text, SIZE_MAX);
    enum err err = ERR_OK;
    TRY_OUT(task_export_put(x, "model.safetensors",
                            safetensors_write(&content, file_sink_bytes, &text), &text, et));
    TRY_OUT(task_export_put(x, "config.json", hf_config_print(config, &text), &text, et));
    err = task_export_generation(x, et);
out:
    bytes_fini(&text);
    return err;
}
