/* hf_config.c - the keys of config.json, with the synonyms that families use. */
#include "common/formats/hf/hf_config.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_assumed.h"
#include "common/formats/hf/hf_read.h"
#include "common/formats/json/json_read.h"
#include "common/formats/source/source.h"

enum { POSITIONS_MAX = INT32_MAX };

/* ---- windows ---- */

void hf_config_set_full(struct hf_config *c, uint32_t layer)
{
    c->full_layers[layer / 8] = (uint8_t)(c->full_layers[layer / 8] | 1u << layer % 8);
}

bool hf_config_layer_slides(const struct hf_config *config, uint32_t layer)
{
    return config->sliding_window > 0 && layer < HF_CONFIG_LAYERS_MAX &&
           (config->full_layers[layer / 8] >> layer % 8 & 1) == 0;
}

void hf_config_set_pattern(struct hf_config *config, uint32_t pattern)
{
    memset(config->full_layers, 0, sizeof config->full_layers);
    for (uint32_t l = pattern; pattern > 0 && l <= HF_CONFIG_LAYERS_MAX; l += pattern)
        hf_config_set_full(config, l - 1);
}

/* layer_types of newer files wins over the older ways to say which layers have the window. */
static enum err read_layers(struct json_value root, struct hf_config *c, struct err_text *et)
{
    static const char *const patterns[] = {"sliding_window_pattern", "_sliding_window_pattern",
                                           NULL};
    static const char *const lows[] = {"max_window_layers", NULL};
    const struct hf_assumed *assumed = hf_assumed_for(c->model_type);
    uint32_t pattern = assumed->window_pattern, low = 28;
    struct json_value types = {0};
    bool found = false;
    TRY(hf_read_opt_size(root, patterns, 1, HF_CONFIG_LAYERS_MAX, &pattern, et));
    TRY(hf_read_opt_size(root, lows, 0, INT32_MAX, &low, et));
    hf_config_set_pattern(c, pattern);
    for (uint32_t l = 0; assumed->window_needs_flag && l < MIN(low, c->num_hidden_layers); l++)
        hf_config_set_full(c, l);
    TRY(json_read_opt_array(root, "layer_types", &types, &found, et));
    if (!found)
        return ERR_OK;
    if (json_read_count(types) != c->num_hidden_layers)
        return json_read_wrong(types, "one name for each of num_hidden_layers", et);
    hf_config_set_pattern(c, 0);
    struct json_cursor at = {0};
    for (uint32_t l = 0; json_read_next(types, &at); l++) {
        char name[HF_CONFIG_NAME_BYTES] = "";
        TRY(hf_read_as_name(at.value, name, et));
        if (strcmp(name, "full_attention") == 0)
            hf_config_set_full(c, l);
        else if (strcmp(name, "sliding_attention") != 0)
            return json_read_wrong(at.value, "full_attention or sliding_attention", et);
    }
    return ERR_OK;
}

static enum err read_window(struct json_value root, struct hf_config *c, struct err_text *et)
{
    static const char *const window[] = {"sliding_window", NULL};
    const struct hf_assumed *assumed = hf_assumed_for(c->model_type);
    bool uses_window = !assumed->window_needs_flag;
    if (json_read_type(json_read_find(root, window[0])) == JSON_READ_ABSENT)
        c->sliding_window = assumed->sliding_window;
    TRY(hf_read_opt_size(root, window, 0, POSITIONS_MAX, &c->sliding_window, et));
    TRY(json_read_opt_bool(root, "use_sliding_window", &uses_window, NULL, et));
    if (!uses_window || !assumed->has_window)
        c->sliding_window = 0;
    return read_layers(root, c, et);
}

/* ---- keys ---- */

/* The names that Falcon's files had before it had one. */
static void rename_old(struct hf_config *c)
{
    bool two_norms = strcmp(c->model_type, "RefinedWeb") == 0;
    if (!two_norms && strcmp(c->model_type, "RefinedWebModel") != 0)
        return;
    memcpy(c->model_type, "falcon", sizeof "falcon");
    c->new_decoder_architecture = two_norms;
}

static enum err read_names(struct json_value root, struct hf_config *c, struct err_text *et)
{
    TRY(hf_read_name(root, "model_type", true, c->model_type, et));
    rename_old(c);
    TRY(hf_read_name(root, "torch_dtype", false, c->dtype, et));
    TRY(hf_read_name(root, "dtype", false, c->dtype, et));
    TRY(hf_read_name(root, "hidden_act", false, c->hidden_act, et));
    TRY(hf_read_name(root, "activation", false, c->hidden_act, et));
    TRY(hf_read_name(root, "activation_function", false, c->hidden_act, et));
    TRY(hf_read_name(root, "hidden_activation", false, c->hidden_act, et));
    struct json_value names = {0};
    bool found = false;
    TRY(json_read_opt_array(root, "architectures", &names, &found, et));
    if (found && json_read_count(names) > 0)
        TRY(hf_read_as_name(json_read_item(names, 0), c->architecture, et));
    return ERR_OK;
}

/* A size that must be there unless the family assumes one. */
static enum err read_size(struct json_value root, const char *const *keys, int64_t max,
                          uint32_t assumed, uint32_t *out, struct err_text *et)
{
    *out = assumed;
    return assumed > 0 ? hf_read_opt_size(root, keys, 1, max, out, et)
                       : hf_read_size(root, keys, 1, max, out, et);
}

static enum err read_sizes(struct json_value root, struct hf_config *c, struct err_text *et)
{
    const struct hf_assumed *assumed = hf_assumed_for(c->model_type);
    static const char *const width[] = {"hidden_size", "n_embd", NULL};
    static const char *const inner[] = {"intermediate_size", "ffn_hidden_size", "n_inner", NULL};
    static const char *const layers[] = {"num_hidden_layers", "n_layer", NULL};
    static const char *const heads[] = {"num_attention_heads", "n_head", NULL};
    static const char *const kv[] = {"num_key_value_heads", "num_kv_heads", "n_head_kv", NULL};
    static const char *const head[] = {"head_dim", NULL};
    static const char *const vocabulary[] = {"vocab_size", NULL};
    static const char *const positions[] = {"max_position_embeddings", "n_positions", "max_seq_len",
                                            NULL};
    TRY(hf_read_size(root, width, 1, HF_CONFIG_WIDTH_MAX, &c->hidden_size, et));
    TRY(read_size(root, vocabulary, HF_CONFIG_VOCABULARY_MAX, assumed->vocab_size, &c->vocab_size,
                  et));
    TRY(hf_read_size(root, layers, 1, HF_CONFIG_LAYERS_MAX, &c->num_hidden_layers, et));
    TRY(read_size(root, heads, HF_CONFIG_HEADS_MAX, assumed->heads, &c->num_attention_heads, et));
    c->num_key_value_heads = assumed->kv_heads;
    c->head_dim = assumed->head_dim;
    c->intermediate_size = c->hidden_size * 4;
    TRY(hf_read_opt_size(root, inner, 1, HF_CONFIG_WIDTH_MAX, &c->intermediate_size, et));
    TRY(hf_read_opt_size(root, kv, 1, HF_CONFIG_HEADS_MAX, &c->num_key_value_heads, et));
    TRY(hf_read_opt_size(root, head, 1, HF_CONFIG_WIDTH_MAX, &c->head_dim, et));
    c->max_position_embeddings =
        assumed->positions > 0 ? assumed->positions : HF_CONFIG_POSITIONS_DEFAULT;
    TRY(hf_read_opt_size(root, positions, 1, POSITIONS_MAX, &c->max_position_embeddings, et));
    return read_window(root, c, et);
}

static enum err read_quantization(struct json_value root, struct hf_config *c, struct err_text *et)
{
    struct json_value object = {0};
    TRY(json_read_opt_object(root, "quantization_config", &object, &c->quantized, et));
    if (!c->quantized)
        return ERR_OK;
    TRY(hf_read_name(object, "quant_method", false, c->quant_method, et));
    TRY(hf_read_name(object, "linear_class", false, c->quant_linear_class, et));
    return hf_read_name(object, "quantization_mode", false, c->quant_mode, et);
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
    static const char *const norms[] = {"num_ln_in_parallel_attn", NULL};
    c->tie_word_embeddings = hf_assumed_for(c->model_type)->ties;
    c->parallel_attn = strcmp(c->model_type, "falcon") == 0;
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        TRY(json_read_opt_bool(root, flags[i].key, flags[i].flag, NULL, et));
    c->num_ln_in_parallel_attn = c->new_decoder_architecture ? 2 : 1;
    TRY(hf_read_opt_size(root, norms, 1, 2, &c->num_ln_in_parallel_attn, et));
    return read_quantization(root, c, et);
}

/* A number whose absence and whose null mean different things. */
static enum err read_capped(struct json_value root, const char *key, double assumed, double max,
                            double *out, struct err_text *et)
{
    if (json_read_type(json_read_find(root, key)) == JSON_READ_ABSENT)
        *out = assumed;
    return hf_read_opt_number(root, key, 0.0, max, out, et);
}

static enum err read_numbers(struct json_value root, struct hf_config *c, struct err_text *et)
{
    static const char *const eps[] = {"rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon",
                                      "norm_eps", NULL};
    const struct hf_assumed *assumed = hf_assumed_for(c->model_type);
    c->norm_eps = assumed->norm_eps;
    if (assumed->norm_eps > 0)
        TRY(hf_read_opt_number(root, eps[0], 1e-30, 1.0, &c->norm_eps, et));
    else
        TRY(hf_read_number(root, eps, 1e-30, 1.0, &c->norm_eps, et));
    c->rope_theta = assumed->rope_theta > 0 ? assumed->rope_theta : 10000.0;
    c->rope_local_theta = assumed->rope_local_theta;
    c->query_pre_attn_scalar = assumed->query_pre_attn_scalar;
    c->partial_rotary_factor = strcmp(c->model_type, "phi") == 0 ? 0.5 : 1.0;
    c->initializer_range = 0.02;
    c->embedding_multiplier = 1.0;
    const struct {
        const char *key;
        double min;
        double max;
        double *number;
    } numbers[] = {
        {"rope_theta", 1.0, 1e15, &c->rope_theta},
        {"rope_local_base_freq", 1.0, 1e15, &c->rope_local_theta},
        {"partial_rotary_factor", 1e-3, 1.0, &c->partial_rotary_factor},
        {"initializer_range", 0.0, 100.0, &c->initializer_range},
        {"embedding_multiplier", 1e-6, 1e6, &c->embedding_multiplier},
        {"query_pre_attn_scalar", 1e-6, 1e6, &c->query_pre_attn_scalar},
    };
    TRY(read_capped(root, "attn_logit_softcapping", assumed->attn_cap, 1e6,
                    &c->attn_logit_softcapping, et));
    TRY(read_capped(root, "final_logit_softcapping", assumed->final_cap, 1e6,
                    &c->final_logit_softcapping, et));
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

static enum err read_rope_object(struct json_value object, struct hf_config *c, bool needs_type,
                                 struct err_text *et)
{
    struct hf_config_rope *r = &c->rope;
    TRY(hf_read_name(object, "type", false, r->type, et));
    TRY(hf_read_name(object, "rope_type", false, r->type, et));
    if (needs_type && r->type[0] == '\0')
        return json_read_wrong(json_read_find(object, "rope_type"), "the name of a scaling", et);
    TRY(hf_read_opt_number(object, "rope_theta", 1.0, 1e15, &c->rope_theta, et));
    TRY(hf_read_opt_number(object, "partial_rotary_factor", 1e-3, 1.0, &c->partial_rotary_factor,
                           et));
    return read_rope_fields(object, r, et);
}

/* Llama 3's scaling has no assumed numbers: whoever reads the config finds all four. */
static enum err check_llama3(struct json_value root, const struct hf_config_rope *r,
                             struct err_text *et)
{
    if (strcmp(r->type, "llama3") != 0 ||
        (r->factor > 0.0 && r->low_freq_factor > 0.0 && r->high_freq_factor > r->low_freq_factor &&
         r->original_max_position_embeddings > 0))
        return ERR_OK;
    return error_set(et, ERR_FORMAT,
                     "%s: rope_scaling: llama3 needs factor, low_freq_factor, a larger "
                     "high_freq_factor and original_max_position_embeddings",
                     json_read_name(root.doc));
}

/* rope_scaling of older files; rope_parameters of newer ones, which hold rope_theta too, for two
 * kinds of layers where these differ. */
static enum err read_rope(struct json_value root, struct hf_config *c, struct err_text *et)
{
    static const char *const original[] = {"original_max_position_embeddings", NULL};
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    TRY(hf_read_opt_size(root, original, 1, POSITIONS_MAX,
                         &c->rope.original_max_position_embeddings, et));
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct json_value object = {0}, full = {0}, local = {0};
        bool found = false, has_full = false, has_local = false;
        TRY(json_read_opt_object(root, keys[i], &object, &found, et));
        if (!found)
            continue;
        TRY(json_read_opt_object(object, "full_attention", &full, &has_full, et));
        TRY(json_read_opt_object(object, "sliding_attention", &local, &has_local, et));
        if (has_local)
            TRY(hf_read_opt_number(local, "rope_theta", 1.0, 1e15, &c->rope_local_theta, et));
        if (has_full || !has_local)
            TRY(read_rope_object(has_full ? full : object, c, i == 0, et));
    }
    return check_llama3(root, &c->rope, et);
}

/* What one key says about another. */
static enum err check_heads(struct json_value root, struct hf_config *c, struct err_text *et)
{
    bool is_falcon = strcmp(c->model_type, "falcon") == 0, shares_one = is_falcon;
    TRY(json_read_opt_bool(root, "multi_query", &shares_one, NULL, et));
    if (is_falcon && !c->new_decoder_architecture)
        c->num_key_value_heads = shares_one ? 1 : c->num_attention_heads;
    if (c->num_key_value_heads == 0)
        c->num_key_value_heads = c->num_attention_heads;
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

/* Gemma 3 with pictures keeps the config of its language model inside. */
static enum err enter_text(struct json_value *root, struct err_text *et)
{
    char model_type[HF_CONFIG_NAME_BYTES] = "";
    struct json_value object = {0};
    bool found = false;
    TRY(hf_read_name(*root, "model_type", true, model_type, et));
    if (strcmp(model_type, "gemma3") != 0)
        return ERR_OK;
    TRY(json_read_opt_object(*root, "text_config", &object, &found, et));
    if (!found)
        return json_read_wrong(json_read_find(*root, "text_config"),
                               "the config of the language model", et);
    *root = object;
    return ERR_OK;
}

static enum err read_all(struct json_value root, struct hf_config *c, struct err_text *et)
{
    TRY(enter_text(&root, et));
    TRY(read_names(root, c, et));
    TRY(read_sizes(root, c, et));
    TRY(read_flags(root, c, et));
    TRY(read_numbers(root, c, et));
    TRY(read_rope(root, c, et));
    TRY(check_heads(root, c, et));
    TRY(hf_read_token(root, "bos_token_id", &c->bos_token_id, et));
    TRY(hf_read_token(root, "pad_token_id", &c->pad_token_id, et));
    TRY(hf_read_tokens(root, "eos_token_id", &c->eos, et));
    /* Gemma's first files say gelu and mean the tanh form, which the class puts right. */
    bool is_gemma = strcmp(c->model_type, "gemma") == 0 && strcmp(c->hidden_act, "gelu") == 0;
    if (c->hidden_act[0] == '\0' || is_gemma) {
        const char *act = hf_assumed_for(c->model_type)->hidden_act;
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
