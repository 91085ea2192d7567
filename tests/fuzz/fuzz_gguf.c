/* fuzz_gguf.c - what is accepted lies within the input, is found by name, costs a fixed multiple of
 * the input, and can be written and read again; a config that is made of it can be written back. */
#include "common/base/check.h"
#include "common/formats/gguf/gguf_config.h"
#include "tests/fuzz/fuzz.h"

enum { MEMORY_A_BYTE = 16, MEMORY_FIXED = 1 << 16 };

static void check_config(const struct gguf *g)
{
    static struct hf_config config; /* large for a stack */
    struct err_text et;
    if (gguf_config_read(g, &config, &et) != ERR_OK)
        return;
    ASSERT(config.num_attention_heads % config.num_key_value_heads == 0);
    ASSERT(config.head_dim > 0 && config.vocab_size > 0 && config.norm_eps > 0.0);
    ASSERT(config.rope.factor_count <= HF_CONFIG_ROPE_FACTORS_MAX);
    struct gguf_write w;
    gguf_write_init(&w);
    enum err err = gguf_config_write(&config, "fuzz", 0, &w, &et);
    ASSERT(err == ERR_OK || err == ERR_UNSUPPORTED);
    gguf_write_fini(&w);
}

static void check_rewritten(const struct gguf *g)
{
    struct gguf_write w;
    struct gguf again;
    struct err_text et;
    struct bytes out;
    gguf_write_init(&w);
    bytes_init(&out, 64 << 20);
    for (size_t i = 0; i < g->value_count; i++) {
        if (!text_is(g->values[i].key, "general.alignment")) /* ours is always 32 */
            gguf_write_value(&w, &g->values[i]);
    }
    for (size_t i = 0; i < g->tensor_count; i++)
        gguf_write_tensor(&w, g->tensors[i].name, g->tensors[i].format, g->tensors[i].rank,
                          g->tensors[i].shape);
    enum err err = gguf_write_header(&w, file_sink_bytes, &out);
    ASSERT(err == ERR_OK || err == ERR_LIMIT); /* a name as long as readers take and one more */
    for (size_t i = 0; i < g->tensor_count && err == ERR_OK; i++)
        err = gguf_write_data(&w, g->tensors[i].data);
    if (err == ERR_OK) {
        err = gguf_write_finish(&w);
        ASSERT(err == ERR_OK && out.size == gguf_write_size_bytes(&w));
        err = gguf_parse(&again, bytes_span(&out), "again", &et);
        ASSERT(err == ERR_OK && again.tensor_count == g->tensor_count);
        for (size_t i = 0; i < g->tensor_count; i++)
            ASSERT(span_equal(again.tensors[i].data, g->tensors[i].data));
        gguf_close(&again);
    }
    bytes_fini(&out);
    gguf_write_fini(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf g;
    struct err_text et;
    if (gguf_parse(&g, (struct span){data, size}, "fuzz", &et) != ERR_OK)
        return 0;
    ASSERT(g.arena.used_bytes <= MEMORY_FIXED + MEMORY_A_BYTE * size);
    for (size_t i = 0; i < g.tensor_count; i++) {
        const struct gguf_tensor *t = &g.tensors[i];
        ASSERT(t->data.data >= data && t->data.data + t->data.size <= data + size);
        ASSERT(gguf_find_tensor(&g, t->name) == t);
        ASSERT(t->data.size == 0 || gguf_element_count(t) > 0);
    }
    check_rewritten(&g);
    check_config(&g);
    gguf_close(&g);
    return 0;
}
