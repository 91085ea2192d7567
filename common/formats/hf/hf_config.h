/* hf_config.h - config.json of a Hugging Face model folder as one plain struct.
 *
 * A superset over the families: what a family does not use keeps its default. Old spellings are
 * read too (n_head, n_layer, RefinedWebModel's keys). Keys that are not listed here are tolerated,
 * as every reader of these files must; a listed key of the wrong type or with an absurd value is
 * an error that names file and key.
 * Refuses to know: which families the engine has rows for, and what the values do.
 */
#ifndef COMMON_FORMATS_HF_HF_CONFIG_H
#define COMMON_FORMATS_HF_HF_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/bytes.h"

enum {
    HF_CONFIG_SIZE_BYTES_MAX = 4 << 20,
    HF_CONFIG_NAME_BYTES = 64,     /* with the terminator */
    HF_CONFIG_TOKENS_MAX = 16,     /* ends of text */
    HF_CONFIG_WIDTH_MAX = 1 << 20, /* of anything that has a width */
    HF_CONFIG_LAYERS_MAX = 1 << 12,
    HF_CONFIG_HEADS_MAX = 1 << 12,
    HF_CONFIG_VOCABULARY_MAX = 1 << 24,
    HF_CONFIG_POSITIONS_DEFAULT = 2048, /* where a file is silent */
    HF_CONFIG_ROPE_FACTORS_MAX = 512    /* half the width of a head */
};

#define HF_CONFIG_NO_TOKEN (-1)

struct hf_config_tokens {
    size_t count;
    int32_t ids[HF_CONFIG_TOKENS_MAX];
};

/* rope_scaling, or rope_parameters of newer files. `type` is empty or "default" when positions are
 * not scaled; then the rest is unset. Zero: the key was absent. */
struct hf_config_rope {
    char type[HF_CONFIG_NAME_BYTES]; /* "linear", "dynamic", "yarn", "longrope", "llama3", ... */
    double factor;
    double low_freq_factor;  /* llama3 */
    double high_freq_factor; /* llama3 */
    double attention_factor; /* yarn, longrope */
    double beta_fast;        /* yarn */
    double beta_slow;        /* yarn */
    uint32_t original_max_position_embeddings;
    size_t factor_count; /* of each list below: longrope */
    double long_factors[HF_CONFIG_ROPE_FACTORS_MAX];
    double short_factors[HF_CONFIG_ROPE_FACTORS_MAX];
};

struct hf_config {
    char model_type[HF_CONFIG_NAME_BYTES];   /* "falcon" for the RefinedWeb of older files */
    char architecture[HF_CONFIG_NAME_BYTES]; /* the first of `architectures`, or empty */
    char dtype[HF_CONFIG_NAME_BYTES];        /* "float32", or empty */
    char hidden_act[HF_CONFIG_NAME_BYTES];   /* hidden_activation wins where both stand; or empty */

    /* quantization_config, empty where there is none: its quant_method, and BitNet's two keys. */
    char quant_method[HF_CONFIG_NAME_BYTES];
    char quant_linear_class[HF_CONFIG_NAME_BYTES];
    char quant_mode[HF_CONFIG_NAME_BYTES];

    uint32_t vocab_size;
    uint32_t hidden_size;
    uint32_t intermediate_size; /* four times hidden_size where a file leaves it out */
    uint32_t num_hidden_layers;
    uint32_t num_attention_heads;
    uint32_t num_key_value_heads;     /* = heads when absent; 1 with multi_query; divides heads */
    uint32_t head_dim;                /* hidden_size / heads when absent */
    uint32_t max_position_embeddings; /* HF_CONFIG_POSITIONS_DEFAULT when absent */
    uint32_t sliding_window;          /* 0: none, also in families that never look at the key */
    uint8_t full_layers[HF_CONFIG_LAYERS_MAX / 8]; /* bit l: layer l has no window */
    uint32_t num_ln_in_parallel_attn;              /* falcon: norms before a parallel layer */

    double norm_eps; /* rms_norm_eps, layer_norm_eps or layer_norm_epsilon */
    double rope_theta;
    double rope_local_theta;        /* of layers with a window, gemma3; 0: the same */
    double partial_rotary_factor;   /* 1 when absent */
    double initializer_range;       /* 0.02 when absent */
    double embedding_multiplier;    /* 1 when absent, 0 in configs made by hand */
    double query_pre_attn_scalar;   /* 0: absent */
    double attn_logit_softcapping;  /* 0: none */
    double final_logit_softcapping; /* 0: none */
    struct hf_config_rope rope;

    bool tie_word_embeddings; /* absent: what transformers assumes for the model_type */
    bool attention_bias;
    bool mlp_bias;
    bool bias; /* falcon: all linear layers */
    bool alibi;
    bool parallel_attn;
    bool new_decoder_architecture;
    bool qk_layernorm;
    bool quantized; /* there is a quantization_config */

    int32_t bos_token_id; /* HF_CONFIG_NO_TOKEN when absent */
    int32_t pad_token_id;
    struct hf_config_tokens eos;
};

/* Reads `path`. ERR_NOT_FOUND, ERR_IO, ERR_LIMIT; ERR_FORMAT with file and key. On failure *config
 * is untouched. */
MUST_CHECK enum err hf_config_open(struct hf_config *config, const char *path, struct err_text *et);

/* The same for content in memory; `name` is for messages. */
MUST_CHECK enum err hf_config_parse(struct hf_config *config, struct span content, const char *name,
                                    struct err_text *et);

/* Whether the sliding window holds in a layer. */
bool hf_config_layer_slides(const struct hf_config *config, uint32_t layer);

/* Every `pattern`-th layer sees all keys, the others the window; 0: all layers have the window. */
void hf_config_set_pattern(struct hf_config *config, uint32_t pattern);

/* The layer sees all keys. */
void hf_config_set_full(struct hf_config *config, uint32_t layer);

/* Appends config.json with the keys that transformers' classes of the model_type know, sorted; a
 * model_type that is not known here gets those of Llama. For a model made from a random start, or
 * when weights are written anew. */
MUST_CHECK enum err hf_config_print(const struct hf_config *config, struct bytes *out);

#endif
