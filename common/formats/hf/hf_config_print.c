/* hf_config_print.c - config.json with the keys that the classes of each family know. */
#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/hf/hf_write.h"
#include "common/formats/json/json_write.h"

enum dialect_flag {
    HAS_HEAD_DIM = 1 << 0,
    HAS_BIASES = 1 << 1,  /* attention_bias, mlp_bias */
    HAS_WINDOW = 1 << 2,  /* sliding_window, null where there is none */
    HAS_LAYERS = 1 << 3,  /* layer_types */
    HAS_SWITCH = 1 << 4,  /* use_sliding_window */
    HAS_SCALAR = 1 << 5,  /* query_pre_attn_scalar */
    HAS_CAPS = 1 << 6,    /* attn_logit_softcapping, final_logit_softcapping */
    HAS_PARTIAL = 1 << 7, /* partial_rotary_factor */
};

/* How a family spells what all have. */
struct dialect {
    const char *model_type;
    const char *eps;
    const char *activation;
    const char *width, *inner, *layers, *heads, *positions;
    const char *kv_heads; /* NULL: all heads have their own */
    unsigned flags;
};

#define USUAL_SIZES                                                                                \
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",                \
        "max_position_embeddings"

static const struct dialect dialects[] = {
    {"", "rms_norm_eps", "hidden_act", USUAL_SIZES, "num_key_value_heads",
     HAS_HEAD_DIM | HAS_BIASES},
    {"mistral", "rms_norm_eps", "hidden_act", USUAL_SIZES, "num_key_value_heads",
     HAS_HEAD_DIM | HAS_BIASES | HAS_WINDOW},
    {"qwen2", "rms_norm_eps", "hidden_act", USUAL_SIZES, "num_key_value_heads",
     HAS_WINDOW | HAS_SWITCH | HAS_LAYERS},
    {"qwen3", "rms_norm_eps", "hidden_act", USUAL_SIZES, "num_key_value_heads",
     HAS_HEAD_DIM | HAS_WINDOW | HAS_SWITCH | HAS_LAYERS},
    {"gemma", "rms_norm_eps", "hidden_activation", USUAL_SIZES, "num_key_value_heads",
     HAS_HEAD_DIM},
    {"gemma2", "rms_norm_eps", "hidden_activation", USUAL_SIZES, "num_key_value_heads",
     HAS_HEAD_DIM | HAS_WINDOW | HAS_LAYERS | HAS_SCALAR | HAS_CAPS},
    {"gemma3_text", "rms_norm_eps", "hidden_activation", USUAL_SIZES, "num_key_value_heads",
     HAS_HEAD_DIM | HAS_WINDOW | HAS_LAYERS | HAS_SCALAR | HAS_CAPS},
    {"phi", "layer_norm_eps", "hidden_act", USUAL_SIZES, "num_key_value_heads", HAS_PARTIAL},
    {"phi3", "rms_norm_eps", "hidden_act", USUAL_SIZES, "num_key_value_heads",
     HAS_WINDOW | HAS_PARTIAL},
    {"falcon", "layer_norm_epsilon", "activation", "hidden_size", "ffn_hidden_size",
     "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "num_kv_heads", 0},
    {"gpt2", "layer_norm_epsilon", "activation_function", "n_embd", "n_inner", "n_layer", "n_head",
     "n_positions", NULL, 0},
};

static const struct dialect *dialect_of(const char *model_type)
{
    for (size_t i = 1; i < COUNT_OF(dialects); i++) {
        if (strcmp(dialects[i].model_type, model_type) == 0)
            return &dialects[i];
    }
    return &dialects[0];
}

static void print_factors(struct json_write *w, const char *key, const double *factors,
                          size_t count)
{
    json_write_array_begin(w, key);
    for (size_t i = 0; i < count; i++)
        json_write_f64(w, NULL, factors[i]);
    json_write_array_end(w);
}

static void print_rope(struct json_write *w, const struct hf_config_rope *r)
{
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        {"factor", r->factor},
        {"low_freq_factor", r->low_freq_factor},
        {"high_freq_factor", r->high_freq_factor},
        {"attention_factor", r->attention_factor},
        {"beta_fast", r->beta_fast},
        {"beta_slow", r->beta_slow},
    };
    if (r->type[0] == '\0') {
        json_write_null(w, "rope_scaling");
        return;
    }
    json_write_object_begin(w, "rope_scaling");
    json_write_text(w, "rope_type", text_of(r->type));
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        if (numbers[i].value > 0.0)
            json_write_f64(w, numbers[i].key, numbers[i].value);
    }
    if (r->factor_count > 0) { /* longrope: transformers before 4.43 reads "type" alone */
        json_write_text(w, "type", text_of(r->type));
        print_factors(w, "long_factor", r->long_factors, r->factor_count);
        print_factors(w, "short_factor", r->short_factors, r->factor_count);
    } else if (r->original_max_position_embeddings > 0) {
        json_write_u64(w, "original_max_position_embeddings", r->original_max_position_embeddings);
    }
    json_write_object_end(w);
}

static void print_sizes(struct json_write *w, const struct dialect *d, const struct hf_config *c)
{
    json_write_u64(w, "vocab_size", c->vocab_size);
    json_write_u64(w, d->width, c->hidden_size);
    json_write_u64(w, d->inner, c->intermediate_size);
    json_write_u64(w, d->layers, c->num_hidden_layers);
    json_write_u64(w, d->heads, c->num_attention_heads);
    json_write_u64(w, d->positions, c->max_position_embeddings);
    if (d->kv_heads != NULL)
        json_write_u64(w, d->kv_heads, c->num_key_value_heads);
    if ((d->flags & HAS_HEAD_DIM) != 0 || c->head_dim * c->num_attention_heads != c->hidden_size)
        json_write_u64(w, "head_dim", c->head_dim);
}

static void print_window(struct json_write *w, const struct dialect *d, const struct hf_config *c)
{
    if (c->sliding_window > 0)
        json_write_u64(w, "sliding_window", c->sliding_window);
    else if ((d->flags & HAS_WINDOW) != 0)
        json_write_null(w, "sliding_window");
    if ((d->flags & HAS_SWITCH) != 0)
        json_write_bool(w, "use_sliding_window", c->sliding_window > 0);
    if ((d->flags & HAS_LAYERS) == 0 || c->sliding_window == 0)
        return;
    json_write_array_begin(w, "layer_types");
    for (uint32_t i = 0; i < c->num_hidden_layers; i++)
        json_write_text(w, NULL,
                        hf_config_layer_slides(c, i) ? TEXT("sliding_attention")
                                                     : TEXT("full_attention"));
    json_write_array_end(w);
}

static void print_cap(struct json_write *w, const char *key, double cap)
{
    if (cap > 0.0)
        json_write_f64(w, key, cap);
    else
        json_write_null(w, key);
}

/* transformers 5 checks the type: a whole number must be written as one. */
static void print_scalar(struct json_write *w, double scalar)
{
    uint64_t whole = (uint64_t)scalar;
    if ((double)whole >= scalar)
        json_write_u64(w, "query_pre_attn_scalar", whole);
    else
        json_write_f64(w, "query_pre_attn_scalar", scalar);
}

static void print_numbers(struct json_write *w, const struct dialect *d, const struct hf_config *c)
{
    json_write_f64(w, d->eps, c->norm_eps);
    json_write_f64(w, "initializer_range", c->initializer_range);
    json_write_f64(w, "attention_dropout", 0.0);
    json_write_f64(w, "rope_theta", c->rope_theta);
    if (c->rope_local_theta > 0.0)
        json_write_f64(w, "rope_local_base_freq", c->rope_local_theta);
    if ((d->flags & HAS_PARTIAL) != 0 && c->partial_rotary_factor > 0.0)
        json_write_f64(w, "partial_rotary_factor", c->partial_rotary_factor);
    if ((d->flags & HAS_SCALAR) != 0 && c->query_pre_attn_scalar > 0.0)
        print_scalar(w, c->query_pre_attn_scalar);
    if (c->embedding_multiplier > 0.0 && c->embedding_multiplier != 1.0)
        json_write_f64(w, "embedding_multiplier", c->embedding_multiplier);
    if ((d->flags & HAS_CAPS) != 0) {
        print_cap(w, "attn_logit_softcapping", c->attn_logit_softcapping);
        print_cap(w, "final_logit_softcapping", c->final_logit_softcapping);
    }
}

static void print_falcon(struct json_write *w, const struct hf_config *c)
{
    json_write_bool(w, "alibi", c->alibi);
    json_write_bool(w, "bias", c->bias);
    json_write_bool(w, "multi_query", c->num_key_value_heads == 1);
    json_write_bool(w, "new_decoder_architecture", c->new_decoder_architecture);
    json_write_bool(w, "parallel_attn", c->parallel_attn);
    if (c->new_decoder_architecture)
        json_write_u64(w, "num_ln_in_parallel_attn", c->num_ln_in_parallel_attn);
}

static void print_quantization(struct json_write *w, const struct hf_config *c)
{
    if (c->quant_method[0] == '\0')
        return;
    json_write_object_begin(w, "quantization_config");
    json_write_text(w, "quant_method", text_of(c->quant_method));
    if (c->quant_linear_class[0] != '\0')
        json_write_text(w, "linear_class", text_of(c->quant_linear_class));
    if (c->quant_mode[0] != '\0')
        json_write_text(w, "quantization_mode", text_of(c->quant_mode));
    json_write_object_end(w);
}

static void print_flags(struct json_write *w, const struct dialect *d, const struct hf_config *c)
{
    json_write_bool(w, "tie_word_embeddings", c->tie_word_embeddings);
    json_write_bool(w, "use_cache", true);
    if ((d->flags & HAS_BIASES) != 0 || c->attention_bias)
        json_write_bool(w, "attention_bias", c->attention_bias);
    if ((d->flags & HAS_BIASES) != 0 || c->mlp_bias)
        json_write_bool(w, "mlp_bias", c->mlp_bias);
    if (strcmp(c->model_type, "falcon") == 0)
        print_falcon(w, c);
    if (strcmp(c->model_type, "phi") == 0)
        json_write_bool(w, "qk_layernorm", c->qk_layernorm);
    if (strcmp(c->model_type, "phi3") == 0 && c->rope.original_max_position_embeddings > 0)
        json_write_u64(w, "original_max_position_embeddings",
                       c->rope.original_max_position_embeddings);
    if (strcmp(c->model_type, "gpt2") == 0)
        json_write_u64(w, "n_ctx", c->max_position_embeddings);
}

enum err hf_config_print(const struct hf_config *c, struct bytes *out)
{
    const struct dialect *d = dialect_of(c->model_type);
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, HF_CONFIG_SIZE_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_array_begin(&w, "architectures");
    if (c->architecture[0] != '\0')
        json_write_text(&w, NULL, text_of(c->architecture));
    json_write_array_end(&w);
    json_write_text(&w, "model_type", text_of(c->model_type));
    if (c->dtype[0] != '\0')
        json_write_text(&w, "torch_dtype", text_of(c->dtype));
    json_write_text(&w, d->activation, text_of(c->hidden_act));
    print_sizes(&w, d, c);
    print_window(&w, d, c);
    print_numbers(&w, d, c);
    print_flags(&w, d, c);
    hf_write_tokens(&w, c->bos_token_id, c->pad_token_id, &c->eos);
    print_rope(&w, &c->rope);
    print_quantization(&w, c);
    json_write_object_end(&w);
    return json_write_close(&w, out);
}
