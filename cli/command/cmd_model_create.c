/* cmd_model_create.c - `qctl model create`: an untrained model of a given shape, as a folder that
 * every tool loads. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command/cmd.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/hf/hf_generation.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/arena.h"
#include "worker/engine/nn/model.h"

enum { ARENA_BYTES_MAX = 64 << 20, FILE_BYTES_MAX = 256 << 20 };

static enum err write_weights(const struct model *model, const char *path, struct arena *arena,
                              struct err_text *et)
{
    size_t count = model_param_count(model);
    struct safetensor *tensors = arena_alloc(arena, count, sizeof *tensors);
    if (tensors == NULL)
        return ERR_OUT_OF_MEMORY;
    size_t written = 0;
    for (size_t i = 0; i < count; i++) {
        const struct model_param *param = model_param(model, i);
        size_t elements = param->rows * param->columns;
        if (param->part.whole != MODEL_NO_PARAM)
            continue;
        bool vector = param->kind == MODEL_KIND_GAIN || param->kind == MODEL_KIND_BIAS;
        ASSERT(param->dtype == DTYPE_F32);
        tensors[written++] = (struct safetensor){
            .name = text_of(param->name),
            .dtype = SAFETENSORS_F32,
            .rank = vector ? 1 : 2,
            .shape = {param->turned ? param->columns : param->rows,
                      param->turned ? param->rows : param->columns},
            .data = {param->data, elements * sizeof(float)},
        };
    }
    const struct safetensors_content content = {tensors, written, &safetensors_write_note_pt, 1};
    return safetensors_write_file(&content, path, et);
}

static enum err write_texts(const struct hf_config *config, const char *folder, struct arena *arena,
                            struct err_text *et)
{
    const struct hf_generation generation = {
        .bos_token_id = config->bos_token_id,
        .pad_token_id = config->pad_token_id,
        .eos = config->eos,
        .temperature = 1,
        .top_p = 1,
        .repetition_penalty = 1,
    };
    const char *config_path = folder_join(arena, folder, "config.json");
    const char *generation_path = folder_join(arena, folder, "generation_config.json");
    struct bytes text;
    if (config_path == NULL || generation_path == NULL)
        return ERR_OUT_OF_MEMORY;
    bytes_init(&text, HF_CONFIG_SIZE_BYTES_MAX);
    enum err err;
    TRY_OUT(hf_config_print(config, &text));
    TRY_OUT(file_write_atomic(config_path, bytes_span(&text), et));
    bytes_clear(&text);
    TRY_OUT(hf_generation_print(&generation, &text));
    err = file_write_atomic(generation_path, bytes_span(&text), et);
out:
    bytes_fini(&text);
    return err;
}

static enum err copy_tokenizer(const char *from, const char *to, struct arena *arena,
                               struct err_text *et)
{
    const char *name;
    for (size_t i = 0; (name = tokenizer_file_name(i)) != NULL; i++) {
        const char *source = folder_join(arena, from, name);
        const char *target = folder_join(arena, to, name);
        if (source == NULL || target == NULL)
            return ERR_OUT_OF_MEMORY;
        if (strcmp(name, "config.json") == 0 || !file_exists(source))
            continue;
        struct bytes content;
        bytes_init(&content, FILE_BYTES_MAX);
        enum err err = file_read(source, FILE_BYTES_MAX, &content, et);
        if (err == ERR_OK)
            err = file_write_atomic(target, bytes_span(&content), et);
        bytes_fini(&content);
        TRY(err);
    }
    return ERR_OK;
}

/* Takes away the folder where the files are gathered, if nothing else is in it. */
static void remove_staging(const char *staging, struct arena *arena)
{
    static const char *const own[] = {"config.json", "generation_config.json", "model.safetensors"};
    for (size_t i = 0;; i++) {
        const char *name = i < COUNT_OF(own) ? own[i] : tokenizer_file_name(i - COUNT_OF(own));
        const char *path = name != NULL ? folder_join(arena, staging, name) : NULL;
        if (path == NULL)
            break;
        const char *temp = arena_print(arena, "%s.tmp", path);
        if (temp == NULL)
            break;
        (void)unlink(path);
        (void)unlink(temp);
    }
    (void)rmdir(staging);
}

static enum err write_files(const struct hf_config *config, const struct model *model,
                            const char *tokenizer, const char *folder, struct arena *arena,
                            struct err_text *et)
{
    const char *weights = folder_join(arena, folder, "model.safetensors");
    if (weights == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(write_texts(config, folder, arena, et));
    if (tokenizer != NULL)
        TRY(copy_tokenizer(tokenizer, folder, arena, et));
    return write_weights(model, weights, arena, et);
}

/* All of the folder, or nothing. */
static enum err write_folder(const struct hf_config *config, const struct model *model,
                             const char *tokenizer, const char *folder, struct arena *arena,
                             struct err_text *et)
{
    size_t size = strlen(folder);
    while (size > 1 && folder[size - 1] == '/')
        size--;
    const char *path = arena_print(arena, "%.*s", (int)size, folder);
    const char *staging = arena_print(arena, "%.*s.tmp", (int)size, folder);
    if (path == NULL || staging == NULL)
        return ERR_OUT_OF_MEMORY;
    if (folder_exists(staging))
        return error_set(et, ERR_EXISTS,
                         "%s: expected no such folder, for the files are gathered there; a call "
                         "that was killed leaves it: remove it",
                         staging);
    TRY(folder_create(staging, et));
    enum err err = write_files(config, model, tokenizer, staging, arena, et);
    if (err == ERR_OK && rename(staging, path) != 0)
        err = error_set(et, error_from_errno(errno), "%s: rename: %s", path, strerror(errno));
    if (err == ERR_OK)
        return folder_sync_parent(path, et);
    remove_staging(staging, arena);
    return err;
}

enum err cmd_model_create(struct invocation *invocation, struct err_text *et)
{
    const char *folder = invocation->arguments[0];
    const char *config_path = command_text(invocation, "config");
    const char *tokenizer_path = command_text(invocation, "tokenizer");
    struct hf_config config;
    struct model *model = NULL;
    struct arena arena;
    char size[HUMAN_BYTES], count[HUMAN_BYTES];
    uint64_t seed = 42;
    if (config_path == NULL)
        return error_set(et, ERR_USAGE, "expected --config FILE: the config.json of the model");
    if (folder_exists(folder) || file_exists(folder))
        return error_set(et, ERR_EXISTS, "%s: exists already; name a new folder", folder);
    TRY(command_u64(invocation, "seed", 0, 1ull << 53, &seed, et));
    TRY(hf_config_open(&config, config_path, et));
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err;
    TRY_OUT(model_create_random(&config, seed, &model, et));
    TRY_OUT(write_folder(&config, model, tokenizer_path, folder, &arena, et));
    (void)fprintf(invocation->messages, "%s: %s parameters, %s\n", folder,
                  human_count(model_element_count(model), count),
                  human_size(model_size_bytes(model), size));
out:
    model_destroy(&model);
    arena_fini(&arena);
    return err;
}
