/* convert_gguf_keys.c - what stands before the tensors. */
#include "common/formats/convert/convert_gguf_keys.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_tokenizer.h"
#include "common/formats/tokenizer/tokenizer.h"

static void put_token(struct gguf_write *w, const char *key, int32_t id)
{
    if (id != HF_CONFIG_NO_TOKEN)
        gguf_write_u32(w, key, (uint32_t)id);
}

static void put_ends(const struct hf_config_tokens *eos, struct gguf_write *w)
{
    if (eos->count < 2)
        return;
    gguf_write_array(w, GGUF_CONFIG_ENDS, GGUF_I32, eos->count);
    for (size_t i = 0; i < eos->count; i++)
        gguf_write_item_i32(w, eos->ids[i]);
}

static enum err put_tokenizer(const char *folder, const struct hf_config *config,
                              struct arena *arena, struct gguf_write *w, bool *has_tokenizer,
                              struct err_text *et)
{
    struct tokenizer *tokenizer = NULL;
    enum err err = tokenizer_open(folder, &tokenizer, et);
    *has_tokenizer = err == ERR_OK;
    if (err == ERR_NOT_FOUND) {
        put_token(w, "tokenizer.ggml.bos_token_id", config->bos_token_id);
        put_token(w, "tokenizer.ggml.padding_token_id", config->pad_token_id);
        if (config->eos.count > 0)
            put_token(w, "tokenizer.ggml.eos_token_id", config->eos.ids[0]);
        return ERR_OK;
    }
    TRY(err);
    err = convert_tokenizer_write(tokenizer, config, arena, w, et);
    tokenizer_close(&tokenizer);
    return err == ERR_OK ? ERR_OK : error_prefix(et, err, "%s", folder);
}

enum err convert_gguf_keys_make(const char *folder, const struct hf_config *config,
                                const struct convert_model_options *options,
                                const struct convert_plan *plan, struct arena *arena,
                                struct gguf_write *w, bool *has_tokenizer, struct err_text *et)
{
    const struct gguf_arch *arch = NULL;
    TRY(gguf_arch_of_config(config, folder, &arch, et));
    gguf_write_text(w, "general.architecture", text_of(arch->name));
    gguf_write_text(w, "general.type", TEXT("model"));
    if (options->name != NULL)
        gguf_write_text(w, "general.name", text_of(options->name));
    uint32_t file_type = convert_quantize_file_type(options->quantize, plan);
    TRY(gguf_config_write(config, folder, file_type, w, et));
    TRY(put_tokenizer(folder, config, arena, w, has_tokenizer, et));
    put_ends(&config->eos, w);
    gguf_write_u32(w, "general.quantization_version", GGUF_WRITE_QUANTIZATION_VERSION);
    if (options->quantize != NULL)
        convert_quantize_keys(options->quantize, w);
    return ERR_OK;
}

/* Whether what is said anew, or is no longer true, stands under the key. */
static bool is_left_out(struct text key, bool is_retyped)
{
    static const char *const parts[] = {"split.no", "split.count", "split.tensors.count",
                                        "general.alignment"};
    static const char *const types[] = {
        "general.quantization_version",   "general.file_type",
        "quantize.imatrix.file",          "quantize.imatrix.dataset",
        "quantize.imatrix.entries_count", "quantize.imatrix.chunks_count",
    };
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        if (text_is(key, parts[i]))
            return true;
    }
    for (size_t i = 0; i < COUNT_OF(types) && is_retyped; i++) {
        if (text_is(key, types[i]))
            return true;
    }
    return false;
}

void convert_gguf_keys_copy(const struct gguf *gguf, const struct convert_model_options *options,
                            const struct convert_plan *plan, struct gguf_write *w,
                            bool *has_tokenizer)
{
    bool is_retyped = options->quantize != NULL || options->format != CONVERT_PLAN_KEEP;
    bool is_named = false;
    for (size_t i = 0; i < gguf->value_count; i++) {
        const struct gguf_value *value = &gguf->values[i];
        bool is_name = options->name != NULL && text_is(value->key, "general.name");
        is_named = is_named || is_name;
        if (is_name)
            gguf_write_text(w, "general.name", text_of(options->name));
        else if (!is_left_out(value->key, is_retyped))
            gguf_write_value(w, value);
    }
    if (options->name != NULL && !is_named)
        gguf_write_text(w, "general.name", text_of(options->name));
    if (is_retyped) {
        gguf_write_u32(w, "general.quantization_version", GGUF_WRITE_QUANTIZATION_VERSION);
        gguf_write_u32(w, "general.file_type", convert_quantize_file_type(options->quantize, plan));
    }
    if (options->quantize != NULL)
        convert_quantize_keys(options->quantize, w);
    *has_tokenizer = gguf_find(gguf, "tokenizer.ggml.tokens") != NULL;
}
