/* gguf_config.c - from the keys of a GGUF file to config.json. */
#include "common/formats/gguf/gguf_config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_float.h"
#include "common/mem/mem.h"

enum { KEY_BYTES = 128 };

/* Largest relative difference of factors that are the same up to rounding. */
#define FACTOR_TOLERANCE 1e-4

struct reading {
    const struct gguf *gguf;
    const struct gguf_arch *arch;
    struct hf_config *config;
    struct err_text *et;
};

struct key {
    char text[KEY_BYTES];
};

static struct key key_of(const struct reading *r, const char *rest)
{
    struct key key;
    (void)snprintf(key.text, sizeof key.text, "%s.%s", r->arch->name, rest);
    return key;
}

static void set_name(char out[HF_CONFIG_NAME_BYTES], const char *name)
{
    (void)snprintf(out, HF_CONFIG_NAME_BYTES, "%s", name);
}

static enum err read_size(const struct reading *r, const char *rest, int64_t min, int64_t max,
                          uint32_t *out)
{
    int64_t number = 0;
    TRY(gguf_i64(r->gguf, key_of(r, rest).text, min, max, &number, r->et));
    *out = (uint32_t)number;
    return ERR_OK;
}

static enum err read_opt_size(const struct reading *r, const char *rest, int64_t min, int64_t max,
                              uint32_t *out)
{
    int64_t number = *out;
    TRY(gguf_opt_i64(r->gguf, key_of(r, rest).text, min, max, &number, NULL, r->et));
    *out = (uint32_t)number;
    return ERR_OK;
}

/* Files hold f32 of what somebody wrote in decimal: 1e-06f is read as 1e-06. */
static double decimal_of(double value)
{
    char text[JSON_FLOAT_BYTES];
    (void)json_float_print_f32((float)value, text);
    return strtod(text, NULL);
}

static enum err read_opt_number(const struct reading *r, const char *rest, double min, double max,
                                double *out)
{
    struct key key = key_of(r, rest);
    double number = *out;
    bool found = false;
    TRY(gguf_opt_f64(r->gguf, key.text, &number, &found, r->et));
    if (found && !(number >= min && number <= max))
        return error_set(r->et, ERR_FORMAT, "%s: %s: expected a number from %g to %g, found %g",
                         r->gguf->name, key.text, min, max, number);
    if (found)
        *out = decimal_of(number);
    return ERR_OK;
}

/* Rows of the embedding, which is what the model computes with. */
static enum err read_vocabulary(const struct reading *r)
{
    const struct gguf_tensor *table = gguf_find_tensor(r->gguf, TEXT("token_embd.weight"));
    const struct gguf_value *tokens = NULL;
    TRY(gguf_opt_array(r->gguf, "tokenizer.ggml.tokens", GGUF_TEXT, &tokens, r->et));
    if (tokens != NULL && tokens->count <= HF_CONFIG_VOCABULARY_MAX)
        r->config->vocab_size = (uint32_t)tokens->count;
    TRY(read_opt_size(r, "vocab_size", 1, HF_CONFIG_VOCABULARY_MAX, &r->config->vocab_size));
    if (table != NULL && table->rank == 2 && table->shape[0] <= HF_CONFIG_VOCABULARY_MAX)
        r->config->vocab_size = (uint32_t)table->shape[0];
    if (r->config->vocab_size == 0)
        return gguf_wrong(r->gguf, key_of(r, "vocab_size").text,
                          "the size of a vocabulary, here or in token_embd.weight", r->et);
    return ERR_OK;
}

/* A number, or for each layer whether it has the window. */
static enum err read_window_pattern(const struct reading *r)
{
    struct key key = key_of(r, "attention.sliding_window_pattern");
    const struct gguf_value *value = gguf_find(r->gguf, key.text);
    uint32_t pattern = r->arch->window_pattern;
    if (value == NULL || !value->is_array) {
        TRY(read_opt_size(r, "attention.sliding_window_pattern", 0, HF_CONFIG_LAYERS_MAX,
                          &pattern));
        hf_config_set_pattern(r->config, pattern);
        return ERR_OK;
    }
    if (value->type != GGUF_BOOL || value->count != r->config->num_hidden_layers)
        return gguf_wrong(r->gguf, key.text, "a number, or a bool for each layer", r->et);
    for (uint32_t i = 0; i < r->config->num_hidden_layers; i++) {
        if (gguf_item_i64(value, i) == 0)
            hf_config_set_full(r->config, i);
    }
    return ERR_OK;
}

static enum err read_sizes(const struct reading *r)
{
    struct hf_config *c = r->config;
    TRY(read_size(r, "block_count", 1, HF_CONFIG_LAYERS_MAX, &c->num_hidden_layers));
    TRY(read_size(r, "embedding_length", 1, HF_CONFIG_WIDTH_MAX, &c->hidden_size));
    TRY(read_size(r, "attention.head_count", 1, HF_CONFIG_HEADS_MAX, &c->num_attention_heads));
    c->intermediate_size = c->hidden_size * 4;
    TRY(read_opt_size(r, "feed_forward_length", 1, HF_CONFIG_WIDTH_MAX, &c->intermediate_size));
    c->num_key_value_heads = c->num_attention_heads;
    TRY(read_opt_size(r, "attention.head_count_kv", 1, HF_CONFIG_HEADS_MAX,
                      &c->num_key_value_heads));
    c->max_position_embeddings = HF_CONFIG_POSITIONS_DEFAULT;
    TRY(read_opt_size(r, "context_length", 1, INT32_MAX, &c->max_position_embeddings));
    TRY(read_opt_size(r, "attention.sliding_window", 0, INT32_MAX, &c->sliding_window));
    TRY(read_window_pattern(r));
    if (c->num_attention_heads % c->num_key_value_heads != 0)
        return error_set(r->et, ERR_FORMAT,
                         "%s: %s: expected a divisor of attention.head_count = %u, found %u",
                         r->gguf->name, key_of(r, "attention.head_count_kv").text,
                         c->num_attention_heads, c->num_key_value_heads);
    uint32_t value_length = 0;
    TRY(read_opt_size(r, "attention.key_length", 1, HF_CONFIG_WIDTH_MAX, &c->head_dim));
    TRY(read_opt_size(r, "attention.value_length", 1, HF_CONFIG_WIDTH_MAX, &value_length));
    if (c->head_dim == 0 && c->hidden_size % c->num_attention_heads != 0)
        return error_set(r->et, ERR_FORMAT,
                         "%s: %s: expected a multiple of attention.head_count = %u, found %u",
                         r->gguf->name, key_of(r, "embedding_length").text, c->num_attention_heads,
                         c->hidden_size);
    if (c->head_dim == 0)
        c->head_dim = c->hidden_size / c->num_attention_heads;
    if (value_length != 0 && value_length != c->head_dim)
        return error_set(r->et, ERR_UNSUPPORTED, "%s: %s: expected the size of keys, %u, found %u",
                         r->gguf->name, key_of(r, "attention.value_length").text, c->head_dim,
                         value_length);
    return read_vocabulary(r);
}

/* Gemma 2 and 3 of 27B scale by width over heads, the others by the head: llama.cpp knows them by
 * their number of layers. */
static enum err read_attention_scale(const struct reading *r)
{
    struct hf_config *c = r->config;
    bool is_gemma2 = strcmp(r->arch->name, "gemma2") == 0;
    bool is_gemma3 = strcmp(r->arch->name, "gemma3") == 0;
    double scale = 0.0;
    TRY(read_opt_number(r, "attention.scale", 1e-6, 1e6, &scale));
    if (scale > 0.0)
        c->query_pre_attn_scalar = decimal_of(1.0 / (scale * scale));
    else if ((is_gemma2 && c->num_hidden_layers == 46) || (is_gemma3 && c->num_hidden_layers == 62))
        c->query_pre_attn_scalar = c->hidden_size / c->num_attention_heads;
    else if (is_gemma2 || is_gemma3)
        c->query_pre_attn_scalar = c->head_dim;
    return ERR_OK;
}

static enum err read_numbers(const struct reading *r)
{
    struct hf_config *c = r->config;
    const char *eps = (r->arch->flags & GGUF_ARCH_LAYER_NORM) != 0
                          ? "attention.layer_norm_epsilon"
                          : "attention.layer_norm_rms_epsilon";
    uint32_t rotated = c->head_dim;
    bool is_gemma3 = strcmp(r->arch->name, "gemma3") == 0;
    c->rope_theta = is_gemma3 ? 1000000.0 : 10000.0;
    c->rope_local_theta = is_gemma3 ? 10000.0 : 0.0;
    c->initializer_range = 0.02;
    c->embedding_multiplier = 1.0;
    TRY(read_opt_number(r, eps, 1e-30, 1.0, &c->norm_eps));
    if (c->norm_eps == 0.0)
        return gguf_wrong(r->gguf, key_of(r, eps).text, "a number", r->et);
    TRY(read_opt_number(r, "rope.freq_base", 1.0, 1e15, &c->rope_theta));
    TRY(read_opt_number(r, "rope.freq_base_swa", 1.0, 1e15, &c->rope_local_theta));
    TRY(read_opt_number(r, "attn_logit_softcapping", 0.0, 1e6, &c->attn_logit_softcapping));
    TRY(read_opt_number(r, "final_logit_softcapping", 0.0, 1e6, &c->final_logit_softcapping));
    TRY(read_opt_size(r, "rope.dimension_count", 0, c->head_dim, &rotated));
    c->partial_rotary_factor = rotated == 0 ? 1.0 : (double)rotated / c->head_dim;
    return read_attention_scale(r);
}

static enum err read_factors(const struct reading *r, const char *name, double *out, size_t count)
{
    const struct gguf_tensor *t = gguf_find_tensor(r->gguf, text_of(name));
    if (t->format != BLOCK_FORMAT_F32 || t->rank != 1 || t->shape[0] != count)
        return error_set(r->et, ERR_SHAPE, "%s: tensor %s: expected %zu F32 factors", r->gguf->name,
                         name, count);
    for (size_t i = 0; i < count; i++) {
        float factor;
        memcpy(&factor, t->data.data + i * sizeof factor, sizeof factor);
        if (!(factor > 0.0f && factor < 1e9f))
            return error_set(r->et, ERR_FORMAT, "%s: tensor %s: expected factors above 0, found %g",
                             r->gguf->name, name, (double)factor);
        out[i] = decimal_of((double)factor);
    }
    return ERR_OK;
}

static bool factors_agree(const double *factors, const float *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fabs(factors[i] - (double)wanted[i]) > FACTOR_TOLERANCE * factors[i])
            return false;
    }
    return true;
}

/* The tensor says what the factors are, config.json how they come about: with Meta's 1 and 4 for
 * low and high, their largest is the factor, and the context is the one that gives the rest. */
static enum err read_rope_freqs(const struct reading *r)
{
    struct hf_config *c = r->config;
    size_t count = c->head_dim / 2;
    double factors[HF_CONFIG_ROPE_FACTORS_MAX];
    float wanted[HF_CONFIG_ROPE_FACTORS_MAX];
    if (count > HF_CONFIG_ROPE_FACTORS_MAX)
        return error_set(r->et, ERR_LIMIT, "%s: tensor " GGUF_CONFIG_ROPE_FREQS ": too long",
                         r->gguf->name);
    TRY(read_factors(r, GGUF_CONFIG_ROPE_FREQS, factors, count));
    set_name(c->rope.type, "llama3");
    c->rope.low_freq_factor = 1.0;
    c->rope.high_freq_factor = 4.0;
    for (size_t i = 0; i < count; i++)
        c->rope.factor = MAX(c->rope.factor, factors[i]);
    static const uint32_t usual = 8192;
    for (uint32_t context = 1; context <= 1u << 20; context *= 2) {
        c->rope.original_max_position_embeddings = context == 1 ? usual : context;
        gguf_config_rope_freqs(c, wanted, count);
        if (factors_agree(factors, wanted, count))
            return ERR_OK;
    }
    return error_set(r->et, ERR_UNSUPPORTED,
                     "%s: tensor " GGUF_CONFIG_ROPE_FREQS
                     ": its factors are not those of rope type llama3",
                     r->gguf->name);
}

/* rope.scaling.attn_factor times what llama.cpp multiplies it with; left out where it is what the
 * type means without it. */
static enum err read_attention_factor(const struct reading *r, double times)
{
    double factor = 0.0;
    TRY(read_opt_number(r, "rope.scaling.attn_factor", 0.0, 1e6, &factor));
    factor *= times;
    double usual = gguf_config_attention_factor(r->config);
    if (factor > 0.0 && fabs(factor - usual) > FACTOR_TOLERANCE * usual)
        r->config->rope.attention_factor = decimal_of(factor);
    return ERR_OK;
}

static enum err read_yarn(const struct reading *r)
{
    struct hf_config_rope *rope = &r->config->rope;
    set_name(rope->type, "yarn");
    if (rope->original_max_position_embeddings == 0)
        rope->original_max_position_embeddings = r->config->max_position_embeddings;
    TRY(read_opt_number(r, "rope.scaling.yarn_beta_fast", 0.0, 1e6, &rope->beta_fast));
    TRY(read_opt_number(r, "rope.scaling.yarn_beta_slow", 0.0, 1e6, &rope->beta_slow));
    return read_attention_factor(r, gguf_config_attention_factor(r->config));
}

static enum err read_long_rope(const struct reading *r)
{
    struct hf_config_rope *rope = &r->config->rope;
    size_t count = (size_t)(r->config->partial_rotary_factor * r->config->head_dim + 0.5) / 2;
    if (count > HF_CONFIG_ROPE_FACTORS_MAX)
        return error_set(r->et, ERR_LIMIT, "%s: tensor " GGUF_CONFIG_ROPE_LONG ": too long",
                         r->gguf->name);
    if (gguf_find_tensor(r->gguf, TEXT(GGUF_CONFIG_ROPE_SHORT)) == NULL)
        return error_set(r->et, ERR_FORMAT,
                         "%s: expected a tensor " GGUF_CONFIG_ROPE_SHORT " beside the long one",
                         r->gguf->name);
    TRY(read_factors(r, GGUF_CONFIG_ROPE_LONG, rope->long_factors, count));
    TRY(read_factors(r, GGUF_CONFIG_ROPE_SHORT, rope->short_factors, count));
    rope->factor_count = count;
    set_name(rope->type, "longrope");
    return read_attention_factor(r, 1.0);
}

static enum err read_rope(const struct reading *r)
{
    struct hf_config_rope *rope = &r->config->rope;
    struct text type = {0};
    struct key key = key_of(r, "rope.scaling.type");
    TRY(gguf_opt_text(r->gguf, key.text, &type, NULL, r->et));
    TRY(read_opt_size(r, "rope.scaling.original_context_length", 1, INT32_MAX,
                      &rope->original_max_position_embeddings));
    if (gguf_find_tensor(r->gguf, TEXT(GGUF_CONFIG_ROPE_FREQS)) != NULL)
        return read_rope_freqs(r);
    if (gguf_find_tensor(r->gguf, TEXT(GGUF_CONFIG_ROPE_LONG)) != NULL)
        return read_long_rope(r);
    TRY(read_opt_number(r, "rope.scaling.factor", 0.0, 1e9, &rope->factor));
    if (type.size == 0 && rope->factor > 0.0)
        type = TEXT("linear"); /* what llama.cpp takes it for */
    if (type.size == 0 || text_is(type, "none") ||
        (text_is(type, "linear") && (rope->factor == 0.0 || rope->factor == 1.0))) {
        rope->factor = 0.0;
        if (rope->original_max_position_embeddings == r->config->max_position_embeddings)
            rope->original_max_position_embeddings = 0;
        return ERR_OK;
    }
    if (!text_is(type, "linear") && !text_is(type, "yarn"))
        return gguf_wrong(r->gguf, key.text, "none, linear or yarn", r->et);
    if (text_is(type, "yarn"))
        return read_yarn(r);
    set_name(rope->type, "linear");
    return ERR_OK;
}

static bool has_tensor(const struct reading *r, const char *name)
{
    return gguf_find_tensor(r->gguf, text_of(name)) != NULL;
}

/* What only the tensors tell. */
static void read_flags(const struct reading *r)
{
    struct hf_config *c = r->config;
    const struct gguf_tensor *weight = gguf_find_tensor(r->gguf, TEXT("blk.0.ffn_down.weight"));
    bool is_falcon = strcmp(r->arch->name, "falcon") == 0;
    bool says_biases = (r->arch->flags & GGUF_ARCH_LAYER_NORM) == 0; /* the others have them all */
    c->tie_word_embeddings = !has_tensor(r, "output.weight");
    c->attention_bias = says_biases && has_tensor(r, "blk.0.attn_output.bias");
    c->mlp_bias = says_biases && has_tensor(r, "blk.0.ffn_down.bias");
    c->bias = is_falcon && has_tensor(r, "blk.0.attn_qkv.bias");
    c->parallel_attn = is_falcon;
    bool has_two_norms = has_tensor(r, "blk.0.attn_norm_2.weight");
    c->new_decoder_architecture = is_falcon && (has_two_norms || c->num_key_value_heads > 1);
    c->num_ln_in_parallel_attn = has_two_norms ? 2 : 1;
    if (weight == NULL)
        return;
    if (weight->format == BLOCK_FORMAT_F32)
        set_name(c->dtype, "float32");
    else if (weight->format == BLOCK_FORMAT_F16)
        set_name(c->dtype, "float16");
    else if (weight->format == BLOCK_FORMAT_BF16)
        set_name(c->dtype, "bfloat16");
}

/* What llama.cpp writes where there is none, as u32. */
static const int64_t no_token = UINT32_MAX;

static enum err wrong_token(const struct reading *r, const char *key, int64_t id)
{
    return error_set(r->et, ERR_FORMAT,
                     "%s: %s: expected a token of the vocabulary, 0 to %u, found %" PRId64,
                     r->gguf->name, key, r->config->vocab_size - 1, id);
}

static enum err read_token(const struct reading *r, const char *key, int32_t *out)
{
    int64_t id = no_token;
    TRY(gguf_opt_i64(r->gguf, key, 0, UINT32_MAX, &id, NULL, r->et));
    if (id != no_token && id >= r->config->vocab_size)
        return wrong_token(r, key, id);
    *out = id != no_token ? (int32_t)id : HF_CONFIG_NO_TOKEN;
    return ERR_OK;
}

/* Files of models that were trained without padding name one beyond the embedding; nothing is ever
 * computed with it. */
static enum err read_padding(const struct reading *r)
{
    int64_t id = no_token;
    TRY(gguf_opt_i64(r->gguf, "tokenizer.ggml.padding_token_id", 0, UINT32_MAX, &id, NULL, r->et));
    r->config->pad_token_id = id < r->config->vocab_size ? (int32_t)id : HF_CONFIG_NO_TOKEN;
    return ERR_OK;
}

static void add_end(struct hf_config *c, int32_t id)
{
    bool is_new = id != HF_CONFIG_NO_TOKEN && c->eos.count < HF_CONFIG_TOKENS_MAX;
    for (size_t i = 0; i < c->eos.count; i++)
        is_new = is_new && c->eos.ids[i] != id;
    if (is_new)
        c->eos.ids[c->eos.count++] = id;
}

/* Ends of texts, of turns and of messages: a model stops at each. */
static enum err read_ends(const struct reading *r)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const struct gguf_value *list = NULL;
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        int32_t id = HF_CONFIG_NO_TOKEN;
        TRY(read_token(r, keys[i], &id));
        add_end(r->config, id);
    }
    TRY(gguf_opt_array(r->gguf, GGUF_CONFIG_ENDS, GGUF_I64, &list, r->et));
    for (uint64_t i = 0; list != NULL && i < list->count; i++) {
        int64_t id = gguf_item_i64(list, i);
        if (id < 0 || id >= r->config->vocab_size)
            return wrong_token(r, GGUF_CONFIG_ENDS, id);
        add_end(r->config, (int32_t)id);
    }
    return ERR_OK;
}

static enum err read_tokens(const struct reading *r)
{
    struct hf_config *c = r->config;
    TRY(read_token(r, "tokenizer.ggml.bos_token_id", &c->bos_token_id));
    TRY(read_padding(r));
    return read_ends(r);
}

static enum err read_arch(struct reading *r)
{
    struct text name = {0};
    struct text type = TEXT("model");
    TRY(gguf_text(r->gguf, "general.architecture", &name, r->et));
    TRY(gguf_opt_text(r->gguf, "general.type", &type, NULL, r->et));
    if (!text_is(type, "model"))
        return error_set(r->et, ERR_UNSUPPORTED, "%s: general.type: expected a model, found %.*s",
                         r->gguf->name, TEXT_ARGS(type));
    r->arch = gguf_arch_named(name);
    if (r->arch != NULL)
        return ERR_OK;
    char choices[160];
    gguf_arch_choices(choices, sizeof choices);
    return error_set(r->et, ERR_UNSUPPORTED,
                     "%s: general.architecture: expected one of %s, found \"%.*s\"", r->gguf->name,
                     choices, (int)MIN(name.size, 64u), name.data);
}

static enum err read_all(struct reading *r)
{
    TRY(read_arch(r));
    set_name(r->config->model_type, r->arch->model_type);
    set_name(r->config->architecture, r->arch->architecture);
    set_name(r->config->hidden_act, r->arch->activation);
    TRY(read_sizes(r));
    TRY(read_numbers(r));
    TRY(read_rope(r));
    TRY(read_tokens(r));
    read_flags(r);
    if (strcmp(r->arch->model_type, "bitnet") == 0) { /* weights are ternary already */
        r->config->quantized = true;
        set_name(r->config->quant_method, "bitnet");
        set_name(r->config->quant_linear_class, "autobitlinear");
        set_name(r->config->quant_mode, "offline");
    }
    if (strcmp(r->arch->name, "llama") == 0 && r->config->sliding_window > 0) {
        set_name(r->config->model_type, "mistral");
        set_name(r->config->architecture, "MistralForCausalLM");
    }
    return ERR_OK;
}

enum err gguf_config_read(const struct gguf *gguf, struct hf_config *config, struct err_text *et)
{
    struct hf_config *made = mem_alloc(1, sizeof *made);
    if (made == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", gguf->name);
    struct reading r = {.gguf = gguf, .config = made, .et = et};
    enum err err = read_all(&r);
    if (err == ERR_OK)
        *config = *made;
    mem_free(made);
    return err;
}
