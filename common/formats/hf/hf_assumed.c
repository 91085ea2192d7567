/* hf_assumed.c - one row a model_type. */
#include "common/formats/hf/hf_assumed.h"

#include <string.h>

#include "common/base/check.h"

static const struct hf_assumed assumptions[] = {
    {.model_type = "llama", .hidden_act = "silu"},
    {.model_type = "mistral", .hidden_act = "silu", .has_window = true, .sliding_window = 4096},
    {.model_type = "qwen2",
     .hidden_act = "silu",
     .has_window = true,
     .window_needs_flag = true,
     .sliding_window = 4096},
    {.model_type = "qwen3",
     .hidden_act = "silu",
     .has_window = true,
     .window_needs_flag = true,
     .sliding_window = 4096},
    {.model_type = "gemma", .hidden_act = "gelu_pytorch_tanh", .ties = true},
    {.model_type = "gemma2",
     .hidden_act = "gelu_pytorch_tanh",
     .ties = true,
     .has_window = true,
     .sliding_window = 4096,
     .window_pattern = 2,
     .query_pre_attn_scalar = 256,
     .attn_cap = 50,
     .final_cap = 30},
    {.model_type = "gemma3_text",
     .hidden_act = "gelu_pytorch_tanh",
     .ties = true,
     .has_window = true,
     .sliding_window = 4096,
     .window_pattern = 6,
     .rope_theta = 1e6,
     .rope_local_theta = 1e4,
     .query_pre_attn_scalar = 256,
     .vocab_size = 262208,
     .heads = 8,
     .kv_heads = 4,
     .head_dim = 256,
     .positions = 131072,
     .norm_eps = 1e-6},
    {.model_type = "phi", .hidden_act = "gelu_new"},
    {.model_type = "phi3", .hidden_act = "silu", .has_window = true},
    {.model_type = "falcon", .hidden_act = "gelu", .ties = true},
    {.model_type = "gpt2", .hidden_act = "gelu_new", .ties = true},
    {.model_type = "bitnet", .hidden_act = "relu2", .rope_theta = 5e5},
};

static const struct hf_assumed assumed_otherwise = {
    .model_type = "", .hidden_act = "", .ties = true, .has_window = true};

const struct hf_assumed *hf_assumed_for(const char *model_type)
{
    for (size_t i = 0; i < COUNT_OF(assumptions); i++) {
        if (strcmp(assumptions[i].model_type, model_type) == 0)
            return &assumptions[i];
    }
    return &assumed_otherwise;
}
