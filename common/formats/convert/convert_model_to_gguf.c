/* convert_model_to_gguf.c - a model folder becomes a GGUF file. */
#include "common/formats/convert/convert_model.h"
#include "common/formats/convert/convert_tokenizer.h"
#include "common/formats/hf/hf_generation.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/source/folder.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/mem.h"

/* A conversion on its way; everything in it is owned. */
struct work {
    struct hf_config config;
    struct safetensors weights;
    struct tokenizer *tokenizer; /* NULL: the folder has none */
    struct convert_plan plan;
    struct arena arena;
    struct gguf_write w;
};

static uint32_t file_type_of(const struct convert_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        const struct convert_tensor *t = &plan->tensors[i];
        if (t->is_made || t->rank != 2 || convert_name_kind(t->place.role) != CONVERT_LINEAR)
            continue;
        return t->out == BLOCK_FORMAT_F32   ? GGUF_WRITE_FILE_TYPE_F32
               : t->out == BLOCK_FORMAT_F16 ? GGUF_WRITE_FILE_TYPE_F16
                                            : GGUF_WRITE_FILE_TYPE_BF16;
    }
    return GGUF_WRITE_FILE_TYPE_F32;
}

/* Chat models stop at the end of a turn too, which generation_config.json says. */
static enum err read_ends(struct work *work, const char *folder, struct err_text *et)
{
    struct hf_config_tokens *eos = &work->config.eos;
    struct hf_generation generation;
    const char *path = folder_join(&work->arena, folder, "generation_config.json");
    if (path == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", folder);
    if (!file_exists(path))
        return ERR_OK;
    TRY(hf_generation_open(&generation, path, et));
    for (size_t i = 0; i < generation.eos.count; i++) {
        bool is_new = eos->count < HF_CONFIG_TOKENS_MAX;
        for (size_t k = 0; k < eos->count; k++)
            is_new = is_new && eos->ids[k] != generation.eos.ids[i];
        if (is_new)
            eos->ids[eos->count++] = generation.eos.ids[i];
    }
    return ERR_OK;
}

static enum err open_all(struct work *work, const char *folder,
                         const struct convert_model_options *options, struct err_text *et)
{
    const char *config = folder_join(&work->arena, folder, "config.json");
    if (config == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", folder);
    TRY(hf_config_open(&work->config, config, et));
    TRY(read_ends(work, folder, et));
    TRY(safetensors_index_open_folder(&work->weights, folder, "model", et));
    enum err err = tokenizer_open(folder, &work->tokenizer, et);
    if (err != ERR_OK && err != ERR_NOT_FOUND)
        return err;
    TRY(convert_plan_gguf(&work->config, folder, &work->weights, options->format, &work->arena,
                          &work->plan, et));
    if (options->quantize == NULL)
        return ERR_OK;
    return convert_quantize_plan(options->quantize, &work->config, folder, &work->arena,
                                 &work->plan, et);
}

static void put_token(struct gguf_write *w, const char *key, int32_t id)
{
    if (id != HF_CONFIG_NO_TOKEN)
        gguf_write_u32(w, key, (uint32_t)id);
}

static void write_ends(const struct hf_config_tokens *eos, struct gguf_write *w)
{
    if (eos->count < 2)
        return;
    gguf_write_array(w, GGUF_CONFIG_ENDS, GGUF_I32, eos->count);
    for (size_t i = 0; i < eos->count; i++)
        gguf_write_item_i32(w, eos->ids[i]);
}

static enum err write_keys(struct work *work, const char *folder,
                           const struct convert_model_options *options,
                           struct convert_model_report *report, struct err_text *et)
{
    const struct gguf_arch *arch = NULL;
    struct gguf_write *w = &work->w;
    TRY(gguf_arch_of_config(&work->config, folder, &arch, et));
    gguf_write_text(w, "general.architecture", text_of(arch->name));
    gguf_write_text(w, "general.type", TEXT("model"));
    if (options->name != NULL)
        gguf_write_text(w, "general.name", text_of(options->name));
    uint32_t file_type = options->quantize != NULL ? convert_mix_file_type(options->quantize->mix)
                                                   : file_type_of(&work->plan);
    TRY(gguf_config_write(&work->config, folder, file_type, w, et));
    if (work->tokenizer == NULL) {
        put_token(w, "tokenizer.ggml.bos_token_id", work->config.bos_token_id);
        put_token(w, "tokenizer.ggml.padding_token_id", work->config.pad_token_id);
        if (work->config.eos.count > 0)
            put_token(w, "tokenizer.ggml.eos_token_id", work->config.eos.ids[0]);
    } else {
        enum err err = convert_tokenizer_write(work->tokenizer, &work->config, &work->arena, w, et);
        if (err != ERR_OK)
            return error_prefix(et, err, "%s", folder);
    }
    write_ends(&work->config.eos, w);
    gguf_write_u32(w, "general.quantization_version", GGUF_WRITE_QUANTIZATION_VERSION);
    if (options->quantize != NULL)
        convert_quantize_keys(options->quantize, w);
    report->architecture = arch->name;
    report->tensor_count = work->plan.count;
    report->has_tokenizer = work->tokenizer != NULL;
    return ERR_OK;
}

enum err convert_model_to_gguf(const char *folder, const char *path,
                               const struct convert_model_options *options,
                               struct convert_model_report *report, struct err_text *et)
{
    struct work *work = mem_alloc(1, sizeof *work);
    if (work == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", folder);
    struct convert_model_report made = {0};
    arena_init(&work->arena, SIZE_MAX); /* bounded by the files' tables */
    gguf_write_init(&work->w);
    enum err err;
    TRY_OUT(open_all(work, folder, options, et));
    TRY_OUT(write_keys(work, folder, options, &made, et));
    TRY_OUT(convert_plan_write(&work->plan, &work->w, path, et));
    made.size_bytes = gguf_write_size_bytes(&work->w);
    *report = made;
out:
    gguf_write_fini(&work->w);
    tokenizer_close(&work->tokenizer);
    safetensors_close(&work->weights);
    arena_fini(&work->arena);
    mem_free(work);
    return err;
}
