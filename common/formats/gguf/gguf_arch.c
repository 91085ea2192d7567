/* gguf_arch.c - the table of architectures. */
#include "common/formats/gguf/gguf_arch.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"

#define GELU "gelu_pytorch_tanh"

/* The first row of a model_type with its activation is the one that is written. */
static const struct gguf_arch rows[] = {
    {"llama", "llama", "LlamaForCausalLM", "silu",
     GGUF_ARCH_PERMUTED | GGUF_ARCH_VOCABULARY | GGUF_ARCH_BASE | GGUF_ARCH_ROTATED, 0},
    {"gemma", "gemma", "GemmaForCausalLM", GELU,
     GGUF_ARCH_PLUS_ONE | GGUF_ARCH_HEAD | GGUF_ARCH_TIED, 0},
    {"gemma2", "gemma2", "Gemma2ForCausalLM", GELU,
     GGUF_ARCH_PLUS_ONE | GGUF_ARCH_HEAD | GGUF_ARCH_TIED | GGUF_ARCH_WINDOW | GGUF_ARCH_CAPS, 2},
    {"gemma3", "gemma3_text", "Gemma3ForCausalLM", GELU,
     GGUF_ARCH_PLUS_ONE | GGUF_ARCH_HEAD | GGUF_ARCH_TIED | GGUF_ARCH_WINDOW | GGUF_ARCH_BASE, 6},
    {"phi2", "phi", "PhiForCausalLM", "gelu_new", GGUF_ARCH_LAYER_NORM | GGUF_ARCH_ROTATED, 0},
    {"phi3", "phi3", "Phi3ForCausalLM", "silu",
     GGUF_ARCH_BASE | GGUF_ARCH_ROTATED | GGUF_ARCH_WINDOW, 0},
    {"falcon", "falcon", "FalconForCausalLM", "gelu", GGUF_ARCH_LAYER_NORM, 0},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", "silu", GGUF_ARCH_BASE, 0},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", "silu", GGUF_ARCH_BASE | GGUF_ARCH_HEAD, 0},
    {"gpt2", "gpt2", "GPT2LMHeadModel", "gelu_new", GGUF_ARCH_LAYER_NORM | GGUF_ARCH_ONE_HEADS, 0},
    {"bitnet", "bitnet", "BitNetForCausalLM", "silu", GGUF_ARCH_BASE | GGUF_ARCH_LINEAR, 0},
    {"bitnet-b1.58", "bitnet", "BitNetForCausalLM", "relu2", GGUF_ARCH_BASE | GGUF_ARCH_LINEAR, 0},
};

/* Other names of config.json for the same. */
static const struct {
    const char *found;
    const char *meant;
} synonyms[] = {
    {"mistral", "llama"},
    {"gemma3", "gemma3_text"},
};

/* Activations that are computed alike. Gemma's first files say "gelu" and mean its approximation.
 */
static const struct {
    const char *model_type;
    const char *found;
} same_activations[] = {
    {"gemma", "gelu"}, {"gemma", ""},      {"gemma2", ""},       {"gemma3_text", ""},
    {"falcon", ""},    {"phi", GELU},      {"phi", "gelu_fast"}, {"gpt2", ""},
    {"gpt2", GELU},    {"llama", "swish"},
};

const struct gguf_arch *gguf_arch_named(struct text name)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (text_is(name, rows[i].name))
            return &rows[i];
    }
    return NULL;
}

void gguf_arch_choices(char *out, size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < COUNT_OF(rows) && used < out_bytes; i++) {
        int size = snprintf(out + used, out_bytes - used, "%s%s", i > 0 ? ", " : "", rows[i].name);
        used += size > 0 ? (size_t)size : 0;
    }
}

static bool activation_fits(const struct gguf_arch *arch, const char *found)
{
    if (strcmp(arch->activation, found) == 0)
        return true;
    for (size_t i = 0; i < COUNT_OF(same_activations); i++) {
        if (strcmp(same_activations[i].model_type, arch->model_type) == 0 &&
            strcmp(same_activations[i].found, found) == 0)
            return true;
    }
    return false;
}

static const char *meaning_of(const char *model_type)
{
    for (size_t i = 0; i < COUNT_OF(synonyms); i++) {
        if (strcmp(synonyms[i].found, model_type) == 0)
            return synonyms[i].meant;
    }
    return model_type;
}

bool gguf_arch_means(const struct gguf_arch *arch, const char *model_type)
{
    return strcmp(arch->model_type, meaning_of(model_type)) == 0;
}

enum err gguf_arch_of_config(const struct hf_config *config, const char *name,
                             const struct gguf_arch **out, struct err_text *et)
{
    const char *type = meaning_of(config->model_type);
    const struct gguf_arch *near = NULL;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (strcmp(rows[i].model_type, type) != 0)
            continue;
        near = &rows[i];
        if (activation_fits(near, config->hidden_act))
            break;
    }
    char choices[160];
    gguf_arch_choices(choices, sizeof choices);
    if (near == NULL)
        return error_set(et, ERR_UNSUPPORTED,
                         "%s: model_type: expected a model of one of the architectures %s, found "
                         "\"%s\"",
                         name, choices, config->model_type);
    if (!activation_fits(near, config->hidden_act))
        return error_set(et, ERR_UNSUPPORTED,
                         "%s: hidden_act: GGUF files of architecture %s mean \"%s\", found \"%s\"",
                         name, near->name, near->activation, config->hidden_act);
    if (config->alibi)
        return error_set(et, ERR_UNSUPPORTED, "%s: alibi: GGUF files of architecture %s mean false",
                         name, near->name);
    *out = near;
    return ERR_OK;
}
