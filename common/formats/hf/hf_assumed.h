/* hf_assumed.h - what the classes of transformers assume when a config.json leaves a key out. */
#ifndef COMMON_FORMATS_HF_HF_ASSUMED_H
#define COMMON_FORMATS_HF_HF_ASSUMED_H

#include <stdbool.h>
#include <stdint.h>

/* Zero: no such thing, or the key must be there. */
struct hf_assumed {
    const char *model_type;
    const char *hidden_act;
    bool ties;
    bool has_window;         /* the family looks at sliding_window */
    bool window_needs_flag;  /* only with use_sliding_window */
    uint32_t sliding_window; /* when the key is absent, not when it is null */
    uint32_t window_pattern; /* every so many layers one without a window */
    double rope_theta, rope_local_theta;
    double query_pre_attn_scalar, attn_cap, final_cap;
    uint32_t vocab_size, heads, kv_heads, head_dim, positions;
    double norm_eps;
};

/* The row of a model_type; one that assumes nothing for those without. Static storage. */
const struct hf_assumed *hf_assumed_for(const char *model_type);

#endif
