/* gguf_config_write.c - from config.json to the keys of a GGUF file, in the order in which
 * llama.cpp's converter gives them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/gguf/gguf_config.h"
#include "common/formats/hf/hf_rope.h"
#include "common/numeric/scalar.h"

enum { KEY_BYTES = 128 };

#define TAU          6.283185307179586476925
#define BASE_DEFAULT 10000.0

struct writing {
    const struct hf_config *config;
    const struct gguf_arch *arch;
    const char *name; /* of the model, for messages */
    struct gguf_write *w;
    struct err_text *et;
};

static bool has(const struct writing *g, unsigned flag)
{
    return (g->arch->flags & flag) != 0;
}

static void put_size(const struct writing *g, const char *rest, uint32_t value)
{
    char key[KEY_BYTES];
    (void)snprintf(key, sizeof key, "%s.%s", g->arch->name, rest);
    gguf_write_u32(g->w, key, value);
}

static void put_number(const struct writing *g, const char *rest, double value)
{
    char key[KEY_BYTES];
    (void)snprintf(key, sizeof key, "%s.%s", g->arch->name, rest);
    gguf_write_f32(g->w, key, (float)value);
}

static void put_text(const struct writing *g, const char *rest, const char *value)
{
    char key[KEY_BYTES];
    (void)snprintf(key, sizeof key, "%s.%s", g->arch->name, rest);
    gguf_write_text(g->w, key, text_of(value));
}

static uint32_t rotated_of(const struct hf_config *c)
{
    return (uint32_t)(c->partial_rotary_factor * c->head_dim);
}

static void put_sizes(const struct writing *g)
{
    const struct hf_config *c = g->config;
    put_size(g, "block_count", c->num_hidden_layers);
    put_size(g, "context_length", c->max_position_embeddings);
    put_size(g, "embedding_length", c->hidden_size);
    put_size(g, "feed_forward_length", c->intermediate_size);
    put_size(g, "attention.head_count", c->num_attention_heads);
    if (!has(g, GGUF_ARCH_ONE_HEADS))
        put_size(g, "attention.head_count_kv", c->num_key_value_heads);
    if (strcmp(g->arch->name, "falcon") == 0)
        put_text(g, "tensor_data_layout", "jploski");
}

/* What a reader assumes where no scale is given; see gguf_config.c. */
static double scalar_assumed(const struct writing *g)
{
    const struct hf_config *c = g->config;
    bool by_width = (strcmp(g->arch->name, "gemma2") == 0 && c->num_hidden_layers == 46) ||
                    (strcmp(g->arch->name, "gemma3") == 0 && c->num_hidden_layers == 62);
    return by_width ? (double)(c->hidden_size / c->num_attention_heads) : (double)c->head_dim;
}

/* Which layers have the window: one number where that says it, else a list. */
static void put_window(const struct writing *g)
{
    const struct hf_config *c = g->config;
    uint32_t pattern = 0;
    bool is_regular = true;
    char key[KEY_BYTES];
    put_size(g, "attention.sliding_window", c->sliding_window);
    for (uint32_t i = 0; i < c->num_hidden_layers && pattern == 0; i++)
        pattern = hf_config_layer_slides(c, i) ? 0 : i + 1;
    for (uint32_t i = 0; i < c->num_hidden_layers && is_regular; i++)
        is_regular = hf_config_layer_slides(c, i) != (pattern > 0 && (i + 1) % pattern == 0);
    /* A model too short to show its pattern keeps to the usual one. */
    bool is_usual = pattern == g->arch->window_pattern ||
                    (pattern == 0 && g->arch->window_pattern > c->num_hidden_layers);
    if (c->sliding_window == 0 || (is_regular && is_usual))
        return;
    if (is_regular) {
        put_size(g, "attention.sliding_window_pattern", pattern);
        return;
    }
    (void)snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", g->arch->name);
    gguf_write_array(g->w, key, GGUF_BOOL, c->num_hidden_layers);
    for (uint32_t i = 0; i < c->num_hidden_layers; i++)
        gguf_write_item_u8(g->w, hf_config_layer_slides(c, i));
}

static void put_attention(const struct writing *g)
{
    const struct hf_config *c = g->config;
    if (has(g, GGUF_ARCH_HEAD) || c->head_dim * c->num_attention_heads != c->hidden_size) {
        put_size(g, "attention.key_length", c->head_dim);
        put_size(g, "attention.value_length", c->head_dim);
    }
    if (has(g, GGUF_ARCH_WINDOW) || c->sliding_window > 0)
        put_window(g);
    if (has(g, GGUF_ARCH_CAPS)) {
        put_number(g, "attn_logit_softcapping", c->attn_logit_softcapping);
        put_number(g, "final_logit_softcapping", c->final_logit_softcapping);
    }
    double scalar = c->query_pre_attn_scalar;
    if (scalar > 0.0 && scalar != scalar_assumed(g))
        put_number(g, "attention.scale", 1.0 / sqrt(scalar));
}

double gguf_config_attention_factor(const struct hf_config *c)
{
    double original = c->rope.original_max_position_embeddings;
    if (strcmp(c->rope.type, "yarn") == 0)
        return c->rope.factor > 1.0 ? 1.0 + 0.1 * scalar_log(c->rope.factor) : 1.0;
    double scale = original > 1.0 ? c->max_position_embeddings / original : 1.0;
    return scale > 1.0 ? sqrt(1.0 + scalar_log(scale) / scalar_log(original)) : 1.0;
}

static void put_yarn(const struct writing *g)
{
    const struct hf_config_rope *rope = &g->config->rope;
    put_size(g, "rope.scaling.original_context_length", rope->original_max_position_embeddings);
    if (rope->attention_factor > 0.0) /* llama.cpp multiplies by the usual one */
        put_number(g, "rope.scaling.attn_factor",
                   rope->attention_factor / gguf_config_attention_factor(g->config));
    if (rope->beta_fast > 0.0)
        put_number(g, "rope.scaling.yarn_beta_fast", rope->beta_fast);
    if (rope->beta_slow > 0.0)
        put_number(g, "rope.scaling.yarn_beta_slow", rope->beta_slow);
}

static enum err put_rope(const struct writing *g)
{
    const struct hf_config *c = g->config;
    const struct hf_config_rope *rope = &c->rope;
    const char *type = rope->type;
    bool is_phi3 = strcmp(g->arch->name, "phi3") == 0;
    if (is_phi3)
        put_size(g, "rope.scaling.original_context_length",
                 rope->original_max_position_embeddings > 0 ? rope->original_max_position_embeddings
                                                            : c->max_position_embeddings);
    if (type[0] == '\0' || strcmp(type, "default") == 0) {
        if (has(g, GGUF_ARCH_LINEAR)) {
            put_text(g, "rope.scaling.type", "linear");
            put_number(g, "rope.scaling.factor", 1.0);
        }
        return ERR_OK;
    }
    if (strcmp(type, "linear") == 0 || (strcmp(type, "yarn") == 0 && !is_phi3)) {
        put_text(g, "rope.scaling.type", type);
        put_number(g, "rope.scaling.factor", rope->factor);
        if (type[0] == 'y')
            put_yarn(g);
        return ERR_OK;
    }
    if (strcmp(type, "llama3") == 0 && strcmp(g->arch->name, "llama") == 0)
        return ERR_OK; /* a tensor holds it */
    if ((strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0) && is_phi3 &&
        rope->original_max_position_embeddings > 1) {
        put_number(g, "rope.scaling.attn_factor",
                   rope->attention_factor > 0.0 ? rope->attention_factor
                                                : gguf_config_attention_factor(c));
        return ERR_OK;
    }
    return error_set(g->et, ERR_UNSUPPORTED,
                     "%s: rope_scaling: GGUF files of architecture %s cannot say type \"%s\"",
                     g->name, g->arch->name, type);
}

enum err gguf_config_write(const struct hf_config *c, const char *name, uint32_t file_type,
                           struct gguf_write *w, struct err_text *et)
{
    struct writing g = {.config = c, .name = name, .w = w, .et = et};
    TRY(gguf_arch_of_config(c, name, &g.arch, et));
    put_sizes(&g);
    bool has_position_table = has(&g, GGUF_ARCH_ONE_HEADS);
    if (!has_position_table && (has(&g, GGUF_ARCH_BASE) || c->rope_theta != BASE_DEFAULT))
        put_number(&g, "rope.freq_base", c->rope_theta);
    put_number(&g,
               has(&g, GGUF_ARCH_LAYER_NORM) ? "attention.layer_norm_epsilon"
                                             : "attention.layer_norm_rms_epsilon",
               c->norm_eps);
    if (c->rope_local_theta > 0.0 && c->rope_local_theta != BASE_DEFAULT)
        put_number(&g, "rope.freq_base_swa", c->rope_local_theta);
    put_attention(&g);
    gguf_write_u32(w, "general.file_type", file_type);
    if (has(&g, GGUF_ARCH_VOCABULARY))
        put_size(&g, "vocab_size", c->vocab_size);
    if (!has_position_table && (has(&g, GGUF_ARCH_ROTATED) || rotated_of(c) != c->head_dim))
        put_size(&g, "rope.dimension_count", rotated_of(c));
    return put_rope(&g);
}

void gguf_config_rope_freqs(const struct hf_config *c, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double exponent = (double)(2 * i) / (double)(2 * count);
        double wavelength = TAU * scalar_pow(c->rope_theta, exponent);
        out[i] = (float)hf_rope_llama3_divisor(&c->rope, wavelength);
    }
}
