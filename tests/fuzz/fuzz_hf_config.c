/* fuzz_hf_config.c - what is accepted is within its bounds and prints as a config that reads. */
#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/hf/hf_generation.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct span content = {data, size};
    struct err_text et;
    struct hf_generation generation;
    if (hf_generation_parse(&generation, content, "fuzz", &et) == ERR_OK)
        ASSERT(generation.eos.count <= HF_CONFIG_TOKENS_MAX);
    struct hf_config c;
    if (hf_config_parse(&c, content, "fuzz", &et) != ERR_OK)
        return 0;
    ASSERT(c.num_attention_heads > 0 && c.num_attention_heads % c.num_key_value_heads == 0);
    ASSERT(c.head_dim > 0 && c.norm_eps > 0.0 && c.rope.factor_count <= HF_CONFIG_ROPE_FACTORS_MAX);
    ASSERT(memchr(c.model_type, '\0', sizeof c.model_type) != NULL);
    struct bytes out;
    bytes_init(&out, 1 << 20);
    enum err err = hf_config_print(&c, &out);
    ASSERT(err == ERR_OK);
    struct hf_config again;
    err = hf_config_parse(&again, bytes_span(&out), "again", &et);
    ASSERT(err == ERR_OK);
    ASSERT(again.hidden_size == c.hidden_size && again.norm_eps == c.norm_eps);
    bytes_fini(&out);
    return 0;
}
