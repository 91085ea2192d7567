/* model_shape.c - one check an option. */
#include "worker/engine/nn/model_shape.h"

#include <inttypes.h>
#include <string.h>

#include "common/formats/hf/hf_config.h"
#include "worker/engine/kernel/attention.h"

static enum err check_family(const struct hf_config *c, const struct family *family,
                             struct err_text *et)
{
    if (family == NULL)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: model_type \"%s\"; this version runs %s", c->model_type,
                         family_list());
    if (c->hidden_act[0] != '\0' && strcmp(c->hidden_act, "silu") != 0 &&
        strcmp(c->hidden_act, "swish") != 0)
        return error_set(et, ERR_UNSUPPORTED, "config.json: hidden_act \"%s\"; expected silu",
                         c->hidden_act);
    if (c->attention_bias || c->mlp_bias || c->bias)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: a bias in linear layers is not supported");
    if (c->quantized)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: quantization_config: the weights are not plain f32, f16 or "
                         "bf16; take the unquantized model");
    if (c->partial_rotary_factor < 1 || c->attn_logit_softcapping > 0 ||
        c->final_logit_softcapping > 0)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: partial rotation and soft caps are not supported");
    return ERR_OK;
}

enum err model_shape_read(const struct hf_config *c, const struct family *family,
                          struct model_shape *shape, struct err_text *et)
{
    TRY(check_family(c, family, et));
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
    *shape = (struct model_shape){.layers = c->num_hidden_layers,
                                  .width = c->hidden_size,
                                  .heads = c->num_attention_heads,
                                  .kv_heads = c->num_key_value_heads,
                                  .head_width = c->head_dim,
                                  .mlp_width = c->intermediate_size,
                                  .vocabulary = c->vocab_size,
                                  .positions = c->max_position_embeddings,
                                  .window = c->sliding_window,
                                  .norm_epsilon = (float)c->norm_eps,
                                  .tied = c->tie_word_embeddings};
    return ERR_OK;
}
