/* model_shape.c - one check an option. */
#include "worker/engine/nn/model_shape.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "common/formats/hf/hf_config.h"
#include "worker/engine/kernel/attention.h"

static enum err read_act(const struct hf_config *c, enum kernel_act *out, struct err_text *et)
{
    static const struct {
        const char *name;
        enum kernel_act act;
    } acts[] = {
        {"", KERNEL_ACT_SILU},
        {"silu", KERNEL_ACT_SILU},
        {"swish", KERNEL_ACT_SILU},
        {"gelu", KERNEL_ACT_GELU_ERF},
        {"gelu_new", KERNEL_ACT_GELU_TANH},
        {"gelu_fast", KERNEL_ACT_GELU_TANH},
        {"gelu_pytorch_tanh", KERNEL_ACT_GELU_TANH},
        {"relu2", KERNEL_ACT_RELU_SQUARED},
    };
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
        if (strcmp(c->hidden_act, acts[i].name) == 0) {
            *out = acts[i].act;
            return ERR_OK;
        }
    }
    return error_set(et, ERR_UNSUPPORTED,
                     "config.json: hidden_act \"%s\"; expected silu, gelu, gelu_new, "
                     "gelu_pytorch_tanh or relu2",
                     c->hidden_act);
}

static enum err check_options(const struct hf_config *c, const struct family *family,
                              struct err_text *et)
{
    if (family == NULL)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: model_type \"%s\"; this version runs %s", c->model_type,
                         family_list());
    bool bitnet = strcmp(c->quant_method, "bitnet") == 0;
    bool known = strcmp(c->quant_method, "compressed-tensors") == 0 ||
                 strcmp(c->quant_method, "bitsandbytes") == 0 ||
                 (bitnet && family->linear != LINEAR_TURNED);
    if (c->quantized && (family->linear == LINEAR_TERNARY ? !bitnet : !known))
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: quantization_config: quant_method \"%s\"; expected "
                         "compressed-tensors, bitsandbytes or bitnet (models of type bitnet: that "
                         "alone); take the unquantized model",
                         c->quant_method);
    const char *linear = c->quant_linear_class;
    if (linear[0] != '\0' && strcmp(linear, "bitlinear") != 0 &&
        strcmp(linear, "autobitlinear") != 0)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: quantization_config.linear_class \"%s\"; expected bitlinear "
                         "or autobitlinear",
                         linear);
    if (c->alibi)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: alibi: positions by slopes of attention are not supported; "
                         "falcon-7b and the models after it rotate instead");
    if (c->embedding_multiplier > 0 && c->embedding_multiplier != 1)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: embedding_multiplier %g: models of type %s do not scale "
                         "their embeddings by it",
                         c->embedding_multiplier, family->model_type);
    if (c->qk_layernorm)
        return error_set(et, ERR_UNSUPPORTED, "config.json: qk_layernorm is not supported");
    if (strcmp(family->model_type, "falcon") == 0 && !c->parallel_attn &&
        !c->new_decoder_architecture)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: parallel_attn false: this falcon is not supported");
    return ERR_OK;
}

static enum err check_sizes(const struct hf_config *c, struct err_text *et)
{
    if (c->num_hidden_layers == 0 || c->hidden_size == 0 || c->vocab_size == 0 ||
        c->intermediate_size == 0 || c->num_attention_heads == 0)
        return error_set(et, ERR_FORMAT,
                         "config.json: layers, heads, vocab_size and widths must be above 0");
    if (c->head_dim == 0 || c->head_dim % 2 != 0 || c->head_dim > ATTENTION_HEAD_WIDTH_MAX)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: head_dim %" PRIu32 "; expected an even number up to %d",
                         c->head_dim, ATTENTION_HEAD_WIDTH_MAX);
    if (c->num_key_value_heads == 0 || c->num_attention_heads % c->num_key_value_heads != 0)
        return error_set(et, ERR_FORMAT,
                         "config.json: num_key_value_heads %" PRIu32
                         " does not divide num_attention_heads %" PRIu32,
                         c->num_key_value_heads, c->num_attention_heads);
    return ERR_OK;
}

/* As transformers: the part of a head is cut to whole elements, and must be even. */
static enum err read_rotary(const struct hf_config *c, const struct family *family, size_t *out,
                            struct err_text *et)
{
    *out = 0;
    if (family->position == POSITION_LEARNED)
        return ERR_OK;
    *out = (size_t)(c->head_dim * c->partial_rotary_factor);
    if (*out == 0 || *out % 2 != 0)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: partial_rotary_factor %g rotates %zu of %" PRIu32
                         " elements of a head; expected an even number",
                         c->partial_rotary_factor, *out, c->head_dim);
    return ERR_OK;
}

static bool is_longrope(const struct hf_config *c)
{
    return strcmp(c->rope.type, "longrope") == 0 || strcmp(c->rope.type, "su") == 0;
}

enum err model_shape_read(const struct hf_config *c, const struct family *family,
                          struct model_shape *shape, struct err_text *et)
{
    enum kernel_act act = KERNEL_ACT_SILU;
    size_t rotary_width = 0;
    TRY(check_options(c, family, et));
    TRY(check_sizes(c, et));
    TRY(read_act(c, &act, et));
    TRY(read_rotary(c, family, &rotary_width, et));
    double scalar = c->query_pre_attn_scalar > 0 ? c->query_pre_attn_scalar : (double)c->head_dim;
    bool scaled = family->embedding == EMBEDDING_SCALED;
    *shape = (struct model_shape){
        .layers = c->num_hidden_layers,
        .width = c->hidden_size,
        .heads = c->num_attention_heads,
        .kv_heads = c->num_key_value_heads,
        .head_width = c->head_dim,
        .rotary_width = rotary_width,
        .mlp_width = c->intermediate_size,
        .vocabulary = c->vocab_size,
        .positions = c->max_position_embeddings,
        .positions_short = is_longrope(c) ? c->rope.original_max_position_embeddings : 0,
        .window = c->sliding_window,
        .norm_epsilon = (float)c->norm_eps,
        .norm_offset = family->norm == NORM_RMS_PLUS_ONE ? 1 : 0,
        .attention_scale = (float)(1 / sqrt(scalar)),
        .attention_cap = (float)c->attn_logit_softcapping,
        .logit_cap = (float)c->final_logit_softcapping,
        .embedding_scale = scaled ? (float)sqrt((double)c->hidden_size) : 1,
        .act = act,
        .tied = c->tie_word_embeddings};
    return ERR_OK;
}
