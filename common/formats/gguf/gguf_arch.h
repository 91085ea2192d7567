/* gguf_arch.h - the architectures of GGUF files, one row each, and the model types of config.json
 * that they stand for.
 *
 * An architecture implies what a config.json spells out: the activation, the kind of norm, which
 * keys it gives. Mistral models are of architecture llama.
 *
 * Source: llama.cpp convert_hf_to_gguf.py and src/llama-model.cpp; for bitnet-b1.58 bitnet.cpp.
 */
#ifndef COMMON_FORMATS_GGUF_GGUF_ARCH_H
#define COMMON_FORMATS_GGUF_GGUF_ARCH_H

#include <stdbool.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/hf/hf_config.h"

enum gguf_arch_flag {
    GGUF_ARCH_LAYER_NORM = 1 << 0, /* attention.layer_norm_epsilon, not ..._rms_epsilon */
    GGUF_ARCH_PERMUTED = 1 << 1,   /* rows of q and k lie as pairs (2i, 2i + 1) */
    GGUF_ARCH_PLUS_ONE = 1 << 2,   /* gains of norms are stored plus one */
    GGUF_ARCH_VOCABULARY = 1 << 3, /* vocab_size is always given */
    GGUF_ARCH_BASE = 1 << 4,       /* rope.freq_base is always given */
    GGUF_ARCH_ROTATED = 1 << 5,    /* rope.dimension_count is always given */
    GGUF_ARCH_HEAD = 1 << 6,       /* attention.key_length and value_length are always given */
    GGUF_ARCH_ONE_HEADS = 1 << 7,  /* no attention.head_count_kv */
    GGUF_ARCH_WINDOW = 1 << 8,     /* attention.sliding_window is always given */
    GGUF_ARCH_CAPS = 1 << 9,       /* attn_logit_softcapping, final_logit_softcapping */
    GGUF_ARCH_TIED = 1 << 10,      /* never an output.weight */
    GGUF_ARCH_LINEAR = 1 << 11,    /* rope.scaling.type linear, factor 1 where nothing is scaled */
};

struct gguf_arch {
    const char *name;         /* general.architecture */
    const char *model_type;   /* of config.json */
    const char *architecture; /* the class of transformers */
    const char *activation;   /* hidden_act */
    unsigned flags;           /* of enum gguf_arch_flag */
    uint32_t window_pattern;  /* every so many layers one without a window; 0: none without */
};

/* The row of a general.architecture, NULL when there is none. */
const struct gguf_arch *gguf_arch_named(struct text name);

/* The row of a model. ERR_UNSUPPORTED: its model_type has no GGUF architecture here, or it has
 * what the architecture cannot say (another activation, alibi). `name` is for messages. */
MUST_CHECK enum err gguf_arch_of_config(const struct hf_config *config, const char *name,
                                        const struct gguf_arch **out, struct err_text *et);

/* Whether the architecture stands for models of this model_type. */
bool gguf_arch_means(const struct gguf_arch *arch, const char *model_type);

/* "llama, gemma, ...", cut to fit: for messages. */
void gguf_arch_choices(char *out, size_t out_bytes);

#endif
