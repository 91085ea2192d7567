/* hf_write.c - members that several files have. */
#include "common/formats/hf/hf_write.h"

void hf_write_tokens(struct json_write *w, int32_t bos, int32_t pad,
                     const struct hf_config_tokens *eos)
{
    if (bos != HF_CONFIG_NO_TOKEN)
        json_write_i64(w, "bos_token_id", bos);
    if (pad != HF_CONFIG_NO_TOKEN)
        json_write_i64(w, "pad_token_id", pad);
    if (eos->count == 1)
        json_write_i64(w, "eos_token_id", eos->ids[0]);
    if (eos->count < 2)
        return;
    json_write_array_begin(w, "eos_token_id");
    for (size_t i = 0; i < eos->count; i++)
        json_write_i64(w, NULL, eos->ids[i]);
    json_write_array_end(w);
}
