/* hf_config.c - the keys of config.json, with the synonyms that families use. */
#include "common/formats/hf/hf_config.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_read.h"
#include "common/formats/hf/hf_write.h"
#include "common/formats/json/json_read.h"
#include "common/formats/json/json_write.h"
#include "common/formats/source/source.h"

enum {
    WIDTH_MAX = 1 << 20,
    LAYERS_MAX = 1 << 12,
    HEADS_MAX = 1 << 12,
    VOCABULARY_MAX = 1 << 24,
    POSITIONS_MAX = INT32_MAX,
    POSITIONS_DEFAULT = 2048
};

/* What the classes of transformers assume when a file leaves a key out. */
struct assumed {
    const char *model_type;
    const char *hidden_act;
    bool ties;
};

static const struct assumed assumptions[] = {
    {"llama", "silu", false},   {"mistral", "silu", false}, {"qwen2", "silu", false},
    {"qwen3", "silu", false},   {"phi", "gelu_new", false}, {"phi3", "silu", false},
    {"bitnet", "relu2", false},
};

static const struct assumed assumed_otherwise = {"", "", true};

static const struct assumed *assumed_for(const char *model_type)
{
    for (size_t i = 0; i < COUNT_OF(assumptions); i++) {
        if (strcmp(assumptions[i].model_type, model_type) == 0)
            return &assumptions[i];
    }
    return &assumed_otherwise;
}

static enum err read_names(struct json_value root, struct hf_config *c, struct err_text *et)
{
    TRY(hf_read_name(root, "model_type", true, c->model_type, et));
    TRY(hf_read_name(root, "torch_dtype", false, c->dtype, et));
    TRY(hf_read_name(root, "dtype", false, c->dtype, et));
    TRY(hf_read_name(root, "hidden_act", false, c->hidden_act, et));
    TRY(hf_read_name(root, "activation_function", false, c->hidden_act, et));
    TRY(hf_read_name(root, "hidden_activation", false, c->hidden_act, et));
    struct json_value names = {0};
    bool found = false;
    TRY(json_read_opt_array(root, "architectures", &names, &found, et));
    if (found && json_read_count(names) > 0)
        TRY(hf_read_as_name(json_read_item(names, 0), c->architecture, et));
    return ERR_OK;
}

static enum err read_sizes(struct json_value root, struct hf_config *c, struct err_text *et)
{
    static const char *const width[] = {"hidden_size", "n_embd", NULL};
    static const char *const inner[] = {"intermediate_size", "ffn_hidden_size", "n_inner", NULL};
    static const char *const layers[] = {"num_hidden_layers", "n_layer", NULL};
    static const char *const heads[] = {"num_attention_heads", "n_head", NULL};
    static const char *const kv[] = {"num_key_value_heads", "num_kv_heads", "n_head_kv", NULL};
    static const char *const head[] = {"head_dim", NULL};
    static const char *const vocabulary[] = {"vocab_size", NULL};
    static const char *const positions[] = {"max_position_embeddings", "n_positions", "max_seq_len",
                                            NULL};
    static const char *const window[] = {"sliding_window", NULL};
    TRY(hf_read_size(root, width, 1, WIDTH_MAX, &c->hidden_size, et));
    TRY(hf_read_size(root, vocabulary, 1, VOCABULARY_MAX, &c->vocab_size, et));
    TRY(hf_read_size(root, layers, 1, LAYERS_MAX, &c->num_hidden_layers, et));
    TRY(hf_read_size(root, heads, 1, HEADS_MAX, &c->num_attention_heads, et));
    c->intermediate_size = c->hidden_size * 4;
    TRY(hf_read_opt_size(root, inner, 1, WIDTH_MAX, &c->intermediate_size, et));
    TRY(hf_read_opt_size(root, kv, 1, HEADS_MAX, &c->num_key_value_heads, et));
    TRY(hf_read_opt_size(root, head, 1, WIDTH_MAX, &c->head_dim, et));
    c->max_position_embeddings = POSITIONS_DEFAULT;
    TRY(hf_read_opt_size(root, positions, 1, POSITIONS_MAX, &c->max_position_embeddings, et));
    TRY(hf_read_opt_size(root, window, 0, POSITIONS_MAX, &c->sliding_window, et));
    bool uses_window = true;
    TRY(json_read_opt_bool(root, "use_sliding_window", &uses_window, NULL, et));
    if (!uses_window)
        c->sliding_window = 0;
    return ERR_OK;
}

static enum err read_flags(struct json_value root, struct hf_config *c, struct err_text *et)
{
    const struct {
        const char *key;
        bool *flag;
    } flags[] = {
        {"tie_word_embeddings", &c->tie_word_embeddings},
        {"attention_bias", &c->attention_bias},
        {"mlp_bias", &c->mlp_bias},
        {"bias", &c->bias},
        {"alibi", &c->alibi},
        {"parallel_attn", &c->parallel_attn},
        {"new_decoder_architecture", &c->new_decoder_architecture},
        {"qk_layernorm", &c->qk_layernorm},
    };
    c->tie_word_embeddings = assumed_for(c->model_type)->ties;
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        TRY(json_read_opt_bool(root, flags[i].key, flags[i].flag, NULL, et));
    struct json_value quantization = {0};
    return json_read_opt_object(root, "quantization_config", &quantization, &c->quantized, et);
}

static enum err read_numbers(struct json_value root, struct hf_config *c, struct err_text *et)
{
    static const char *const eps[] = {"rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon",
                                      "norm_eps", NULL};
    TRY(hf_read_number(root, eps, 1e-30, 1.0, &c->norm_eps, et));
    c->rope_theta = 10000.0;
    c->partial_rotary_factor = 1.0;
    c->initializer_range = 0.02;
    c->embedding_multiplier = 1.0;
    const struct {
        const char *key;
        double min;
        double max;
        double *number;
    } numbers[] = {
        {"rope_theta", 1.0, 1e15, &c->rope_theta},
        {"partial_rotary_factor", 1e-3, 1.0, &c->partial_rotary_factor},
        {"initializer_range", 0.0, 100.0, &c->initializer_range},
        {"embedding_multiplier", 1e-6, 1e6, &c->embedding_multiplier},
        {"query_pre_attn_scalar", 1e-6, 1e6, &c->query_pre_attn_scalar},
        {"attn_logit_softcapping", 0.0, 1e6, &c->attn_logit_softcapping},
        {"final_logit_softcapping", 0.0, 1e6, &c->final_logit_softcapping},
    };
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        TRY(hf_read_opt_number(root, numbers[i].key, numbers[i].min, numbers[i].max,
                               numbers[i].number, et));
    return ERR_OK;
}

static enum err read_factors(struct json_value rope, const char *key, double *factors,
                             size_t *count, struct err_text *et)
{
    struct json_value list = {0};
    bool found = false;
    TRY(json_read_opt_array(rope, key, &list, &found, et));
    *count = 0;
    if (!found)
        return ERR_OK;
    if (json_read_count(list) > HF_CONFIG_ROPE_FACTORS_MAX)
        return json_read_wrong(list, "at most 512 factors", et);
    struct json_cursor c = {0};
    while (json_read_next(list, &c))
        TRY(json_read_as_f64(c.value, &factors[(*count)++], et));
    return ERR_OK;
}

static enum err read_rope_fields(struct json_value object, struct hf_config_rope *r,
                                 struct err_text *et)
{
    const struct {
        const char *key;
        double *number;
    } numbers[] = {
        {"factor", &r->factor},
        {"low_freq_factor", &r->low_freq_factor},
        {"high_freq_factor", &r->high_freq_factor},
        {"attention_factor", &r->attention_factor},
        {"beta_fast", &r->beta_fast},
        {"beta_slow", &r->beta_slow},
    };
    static const char *const original[] = {"original_max_position_embeddings", NULL};
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        TRY(hf_read_opt_number(object, numbers[i].key, 0.0, 1e9, numbers[i].number, et));
    TRY(hf_read_opt_size(object, original, 1, POSITIONS_MAX, &r->original_max_position_embeddings,
                         et));
    size_t short_count = 0;
    TRY(read_factors(object, "long_factor", r->long_factors, &r->factor_count, et));
    TRY(read_factors(object, "short_factor", r->short_factors, &short_count, et));
    if (short_count != r->factor_count)
        return json_read_wrong(json_read_find(object, "short_factor"),
                               "as many factors as in long_factor", et);
    return ERR_OK;
}

/* rope_scaling of older files; rope_parameters of newer ones, which hold rope_theta too. */
static enum err read_rope(struct json_value root, struct hf_config *c, struct err_text *et)
{
    static const char *const original[] = {"original_max_position_embeddings", NULL};
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    struct hf_config_rope *r = &c->rope;
    TRY(hf_read_opt_size(root, original, 1, POSITIONS_MAX, &r->original_max_position_embeddings,
                         et));
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct json_value object = {0};
        bool found = false;
        TRY(json_read_opt_object(root, keys[i], &object, &found, et));
        if (!found)
            continue;
        TRY(hf_read_name(object, "type", false, r->type, et));
        TRY(hf_read_name(object, "rope_type", false, r->type, et));
        if (i == 0 && r->type[0] == '\0')
            return json_read_wrong(json_read_find(object, "rope_type"), "the name of a scaling",
                                   et);
        TRY(hf_read_opt_number(object, "rope_theta", 1.0, 1e15, &c->rope_theta, et));
        TRY(hf_read_opt_number(object, "partial_rotary_factor", 1e-3, 1.0,
                               &c->partial_rotary_factor, et));
        TRY(read_rope_fields(object, r, et));
    }
    return ERR_OK;
}

/* What one key says about another. */
static enum err check_heads(struct json_value root, struct hf_config *c, struct err_text *et)
{
    bool shares_one = false;
    TRY(json_read_opt_bool(root, "multi_query", &shares_one, NULL, et));
    if (c->num_key_value_heads == 0)
        c->num_key_value_heads =
            shares_one && !c->new_decoder_architecture ? 1 : c->num_attention_heads;
    if (c->num_attention_heads % c->num_key_value_heads != 0)
        return error_set(et, ERR_FORMAT,
                         "%s: num_key_value_heads: expected a divisor of num_attention_heads = %u, "
                         "found %u",
                         json_read_name(root.doc), c->num_attention_heads, c->num_key_value_heads);
    if (c->head_dim != 0)
        return ERR_OK;
    if (c->hidden_size % c->num_attention_heads != 0)
        return error_set(et, ERR_FORMAT,
                         "%s: hidden_size: expected a multiple of num_attention_heads = %u (or a "
                         "head_dim), found %u",
                         json_read_name(root.doc), c->num_attention_heads, c->hidden_size);
    c->head_dim = c->hidden_size / c->num_attention_heads;
    return ERR_OK;
}

static enum err read_all(struct json_value root, struct hf_config *c, struct err_text *et)
{
    TRY(read_names(root, c, et));
    TRY(read_sizes(root, c, et));
    TRY(read_flags(root, c, et));
    TRY(read_numbers(root, c, et));
    TRY(read_rope(root, c, et));
    TRY(check_heads(root, c, et));
    TRY(hf_read_token(root, "bos_token_id", &c->bos_token_id, et));
    TRY(hf_read_token(root, "pad_token_id", &c->pad_token_id, et));
    TRY(hf_read_tokens(root, "eos_token_id", &c->eos, et));
    if (c->hidden_act[0] == '\0') {
        const char *act = assumed_for(c->model_type)->hidden_act;
        memcpy(c->hidden_act, act, strlen(act) + 1);
    }
    return ERR_OK;
}

enum err hf_config_parse(struct hf_config *config, struct span content, const char *name,
                         struct err_text *et)
{
    struct json_doc *doc = NULL;
    const struct json_read_options options = {.name = name,
                                              .size_bytes_max = HF_CONFIG_SIZE_BYTES_MAX};
    TRY(json_read_parse(content, &options, &doc, et));
    struct hf_config made = {0};
    struct json_value root = json_read_root(doc);
    enum err err = json_read_type(root) == JSON_READ_OBJECT
                       ? read_all(root, &made, et)
                       : json_read_wrong(root, "an object", et);
    if (err == ERR_OK)
        *config = made;
    json_read_close(&doc);
    return err;
}

enum err hf_config_open(struct hf_config *config, const char *path, struct err_text *et)
{
    struct source source;
    TRY(source_open(&source, path, et));
    enum err err = hf_config_parse(config, source.bytes, path, et);
    source_close(&source);
    return err;
}

static void print_rope(struct json_write *w, const struct hf_config_rope *r)
{
    if (r->type[0] == '\0') {
        json_write_null(w, "rope_scaling");
        return;
    }
    json_write_object_begin(w, "rope_scaling");
    json_write_text(w, "rope_type", text_of(r->type));
    if (r->factor > 0.0)
        json_write_f64(w, "factor", r->factor);
    if (r->low_freq_factor > 0.0)
        json_write_f64(w, "low_freq_factor", r->low_freq_factor);
    if (r->high_freq_factor > 0.0)
        json_write_f64(w, "high_freq_factor", r->high_freq_factor);
    if (r->original_max_position_embeddings > 0)
        json_write_u64(w, "original_max_position_embeddings", r->original_max_position_embeddings);
    json_write_object_end(w);
}

enum err hf_config_print(const struct hf_config *c, struct bytes *out)
{
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
    json_write_text(&w, "hidden_act", text_of(c->hidden_act));
    json_write_u64(&w, "vocab_size", c->vocab_size);
    json_write_u64(&w, "hidden_size", c->hidden_size);
    json_write_u64(&w, "intermediate_size", c->intermediate_size);
    json_write_u64(&w, "num_hidden_layers", c->num_hidden_layers);
    json_write_u64(&w, "num_attention_heads", c->num_attention_heads);
    json_write_u64(&w, "num_key_value_heads", c->num_key_value_heads);
    json_write_u64(&w, "head_dim", c->head_dim);
    json_write_u64(&w, "max_position_embeddings", c->max_position_embeddings);
    if (c->sliding_window > 0)
        json_write_u64(&w, "sliding_window", c->sliding_window);
    json_write_f64(&w, "rms_norm_eps", c->norm_eps);
    json_write_f64(&w, "rope_theta", c->rope_theta);
    json_write_f64(&w, "initializer_range", c->initializer_range);
    json_write_f64(&w, "attention_dropout", 0.0);
    json_write_bool(&w, "tie_word_embeddings", c->tie_word_embeddings);
    json_write_bool(&w, "attention_bias", c->attention_bias);
    json_write_bool(&w, "mlp_bias", c->mlp_bias);
    json_write_bool(&w, "use_cache", true);
    hf_write_tokens(&w, c->bos_token_id, c->pad_token_id, &c->eos);
    print_rope(&w, &c->rope);
    json_write_object_end(&w);
    return json_write_close(&w, out);
}
