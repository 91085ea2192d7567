/* hf_generation.h - generation_config.json: how a model starts, ends and samples its texts. */
#ifndef COMMON_FORMATS_HF_HF_GENERATION_H
#define COMMON_FORMATS_HF_HF_GENERATION_H

#include "common/formats/hf/hf_config.h"

struct hf_generation {
    int32_t bos_token_id; /* HF_CONFIG_NO_TOKEN when absent */
    int32_t pad_token_id;
    struct hf_config_tokens eos;
    bool do_sample;            /* false when absent */
    double temperature;        /* 1 when absent */
    double top_p;              /* 1 when absent */
    double repetition_penalty; /* 1 when absent */
    uint32_t top_k;            /* 0: no limit */
    uint32_t max_new_tokens;   /* 0: absent */
};

/* Errors as hf_config_open; a folder may lack the file (ERR_NOT_FOUND). */
MUST_CHECK enum err hf_generation_open(struct hf_generation *generation, const char *path,
                                       struct err_text *et);
MUST_CHECK enum err hf_generation_parse(struct hf_generation *generation, struct span content,
                                        const char *name, struct err_text *et);

/* Appends the file that goes with a model of ours: its tokens. */
MUST_CHECK enum err hf_generation_print(const struct hf_generation *generation, struct bytes *out);

#endif
