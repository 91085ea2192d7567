/* hf_write.h - what the writers of Hugging Face's JSON files share. */
#ifndef COMMON_FORMATS_HF_HF_WRITE_H
#define COMMON_FORMATS_HF_HF_WRITE_H

#include "common/formats/hf/hf_config.h"
#include "common/formats/json/json_write.h"

/* bos_token_id, pad_token_id and eos_token_id (an id or a list), those that are given. */
void hf_write_tokens(struct json_write *w, int32_t bos, int32_t pad,
                     const struct hf_config_tokens *eos);

#endif
