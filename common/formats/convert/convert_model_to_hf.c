/* convert_model_to_hf.c - a GGUF file becomes a model folder. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_model.h"
#include "common/formats/convert/convert_tokenizer_files.h"
#include "common/formats/hf/hf_generation.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"

/* A conversion on its way; everything in it is owned, texts and tables by the arena. */
struct work {
    struct gguf gguf;
    struct hf_config config;
    struct convert_plan plan;
    struct safetensor *tensors; /* as the plan's, without data */
    struct arena arena;
    const char *folder;  /* the final name, without slashes at its end */
    const char *staging; /* where the files lie until they are whole */
    struct err_text *et;
};

/* Whatever a conversion may leave in its staging folder. */
static const char *const FILE_NAMES[] = {
    "model.safetensors",     "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json", "config.json",    "generation_config.json",
};

static enum err out_of_memory(const struct work *work)
{
    return error_set(work->et, ERR_OUT_OF_MEMORY, "%s: out of memory", work->folder);
}

static const char *name_of(enum block_format format)
{
    return format == BLOCK_FORMAT_F32   ? "float32"
           : format == BLOCK_FORMAT_F16 ? "float16"
                                        : "bfloat16";
}

static enum err open_all(struct work *work, const char *path,
                         const struct convert_model_options *options)
{
    enum block_format main_format = BLOCK_FORMAT_F32;
    TRY(gguf_open(&work->gguf, path, work->et));
    TRY(gguf_config_read(&work->gguf, &work->config, work->et));
    TRY(convert_plan_hf(&work->gguf, &work->config, options->format, options->decode, &work->arena,
                        &work->plan, &main_format, work->et));
    (void)snprintf(work->config.dtype, sizeof work->config.dtype, "%s", name_of(main_format));
    work->tensors = arena_alloc(&work->arena, work->plan.count, sizeof *work->tensors);
    if (work->tensors == NULL)
        return out_of_memory(work);
    for (size_t i = 0; i < work->plan.count; i++) {
        const struct convert_tensor *t = &work->plan.tensors[i];
        bool is_packed = t->out == BLOCK_FORMAT_COUNT;
        work->tensors[i] = (struct safetensor){
            .name = text_of(t->name),
            .dtype = is_packed ? SAFETENSORS_U8 : convert_float_dtype_of(t->out),
            .rank = t->rank,
            .shape = {t->shape[0], t->shape[1]},
            .data = {NULL, (size_t)convert_tensor_size_bytes(t)},
        };
    }
    return ERR_OK;
}

static enum err send_tensor(void *context, const struct safetensor *tensor, file_sink_f sink,
                            void *sink_context)
{
    const struct work *work = context;
    return convert_tensor_write(&work->plan.tensors[tensor - work->tensors], sink, sink_context);
}

static enum err write_weights(struct work *work, uint64_t *size_bytes)
{
    const struct safetensors_content content = {work->tensors, work->plan.count,
                                                &safetensors_write_note_pt, 1};
    const char *path = folder_join(&work->arena, work->staging, "model.safetensors");
    struct file_writer file;
    if (path == NULL)
        return out_of_memory(work);
    TRY(file_writer_open(&file, path, work->et));
    enum err err = safetensors_write_made(&content, send_tensor, work, file_sink_writer, &file);
    *size_bytes = file.size_bytes;
    if (err == ERR_OK)
        return file_writer_commit(&file, work->et);
    file_writer_abandon(&file);
    return error_set(work->et, err, "%s: cannot be written: %s", path, error_text(err));
}

static enum err write_text(struct work *work, const char *name, const struct bytes *text)
{
    const char *path = folder_join(&work->arena, work->staging, name);
    return path != NULL ? file_write_atomic(path, bytes_span(text), work->et) : out_of_memory(work);
}

/* The file may hold none. */
static enum err write_tokenizer(struct work *work, const char *path, bool *has_tokenizer)
{
    struct tokenizer *tokenizer = NULL;
    *has_tokenizer = gguf_find(&work->gguf, "tokenizer.ggml.tokens") != NULL;
    if (!*has_tokenizer)
        return ERR_OK;
    TRY(tokenizer_open(path, &tokenizer, work->et));
    enum err err = convert_tokenizer_files_write(tokenizer, work->staging, &work->arena, work->et);
    tokenizer_close(&tokenizer);
    return err;
}

static enum err write_configs(struct work *work)
{
    const struct hf_config *c = &work->config;
    const struct hf_generation generation = {
        .bos_token_id = c->bos_token_id,
        .pad_token_id = c->pad_token_id,
        .eos = c->eos,
        .temperature = 1,
        .top_p = 1,
        .repetition_penalty = 1,
    };
    struct bytes text;
    bytes_init(&text, HF_CONFIG_SIZE_BYTES_MAX);
    enum err err;
    TRY_OUT(hf_generation_print(&generation, &text));
    TRY_OUT(write_text(work, "generation_config.json", &text));
    bytes_clear(&text);
    TRY_OUT(hf_config_print(c, &text));
    err = write_text(work, "config.json", &text);
out:
    bytes_fini(&text);
    return err;
}

static enum err name_folders(struct work *work, const char *folder)
{
    size_t size = strlen(folder);
    while (size > 1 && folder[size - 1] == '/')
        size--;
    char *final = arena_print(&work->arena, "%.*s", (int)size, folder);
    work->staging = arena_print(&work->arena, "%.*s.tmp", (int)size, folder);
    if (final == NULL || work->staging == NULL)
        return out_of_memory(work);
    work->folder = final;
    return ERR_OK;
}

/* Takes away the staging folder, this conversion's or one's that was cut short, if nothing else is
 * in it. */
static void remove_staging(struct work *work)
{
    for (size_t i = 0; i < COUNT_OF(FILE_NAMES); i++) {
        const char *path = folder_join(&work->arena, work->staging, FILE_NAMES[i]);
        const char *temp = path != NULL ? arena_print(&work->arena, "%s.tmp", path) : NULL;
        if (temp == NULL)
            return;
        (void)unlink(path);
        (void)unlink(temp);
    }
    (void)rmdir(work->staging);
}

static enum err begin_staging(struct work *work)
{
    remove_staging(work);
    if (folder_exists(work->staging))
        return error_set(work->et, ERR_EXISTS,
                         "%s: expected no such folder, for the files are gathered there; remove it",
                         work->staging);
    return folder_create(work->staging, work->et);
}

static enum err end_staging(struct work *work)
{
    if (rename(work->staging, work->folder) != 0)
        return error_set(work->et, error_from_errno(errno), "%s: rename: %s", work->folder,
                         strerror(errno));
    return folder_sync_parent(work->folder, work->et);
}

static enum err write_files(struct work *work, const char *path, struct convert_model_report *made)
{
    TRY(begin_staging(work));
    enum err err;
    TRY_OUT(write_tokenizer(work, path, &made->has_tokenizer)); /* what may be refused, first */
    TRY_OUT(write_weights(work, &made->size_bytes));
    TRY_OUT(write_configs(work));
    err = end_staging(work);
out:
    if (err != ERR_OK)
        remove_staging(work);
    return err;
}

enum err convert_model_to_hf(const char *path, const char *folder,
                             const struct convert_model_options *options,
                             struct convert_model_report *report, struct err_text *et)
{
    struct work *work = mem_alloc(1, sizeof *work);
    if (work == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", path);
    struct convert_model_report made = {0};
    const struct gguf_arch *arch = NULL;
    work->folder = folder;
    work->et = et;
    arena_init(&work->arena, SIZE_MAX); /* bounded by the file's tables */
    enum err err;
    TRY_OUT(name_folders(work, folder));
    TRY_OUT(open_all(work, path, options));
    TRY_OUT(gguf_arch_of_config(&work->config, path, &arch, et));
    TRY_OUT(write_files(work, path, &made));
    made.architecture = arch->name;
    made.tensor_count = work->plan.count;
    *report = made;
out:
    gguf_close(&work->gguf);
    arena_fini(&work->arena);
    mem_free(work);
    return err;
}
