/* test_inspect.c - adapters in GGUF as llama.cpp writes them, and plans of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/command/inspect_adapter.h"
#include "cli/command/inspect_memory.h"
#include "cli/command/inspect_tensors.h"
#include "common/base/check.h"
#include "common/formats/gguf/gguf_write.h"
#include "common/formats/hf/hf_config.h"

/* An adapter of two layers with r = 4, in = 8, out = 6; the last lora_b may be left out. */
static struct bytes adapter_file(bool whole)
{
    static const uint64_t a_shape[] = {4, 8}, b_shape[] = {6, 4};
    static const char *const names[] = {"blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b",
                                        "blk.1.attn_q.weight.lora_a", "blk.1.attn_q.weight.lora_b"};
    static const uint8_t zeros[4 * 8 * 4];
    struct gguf_write w;
    struct bytes out;
    size_t count = whole ? 4 : 3;
    bytes_init(&out, 1 << 16);
    gguf_write_init(&w);
    gguf_write_text(&w, "general.type", TEXT("adapter"));
    gguf_write_text(&w, "general.architecture", TEXT("llama"));
    gguf_write_text(&w, "adapter.type", TEXT("lora"));
    gguf_write_f32(&w, "adapter.lora.alpha", 16);
    for (size_t i = 0; i < count; i++)
        gguf_write_tensor(&w, text_of(names[i]), BLOCK_FORMAT_F32, 2,
                          i % 2 == 0 ? a_shape : b_shape);
    assert_int_equal(gguf_write_header(&w, file_sink_bytes, &out), ERR_OK);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(
            gguf_write_data(&w, (struct span){zeros, i % 2 == 0 ? sizeof zeros : 6 * 4 * 4}),
            ERR_OK);
    assert_int_equal(gguf_write_finish(&w), ERR_OK);
    gguf_write_fini(&w);
    return out;
}

static void test_inspect__gguf_adapter_is_grouped_with_rank_and_scale(void **state)
{
    (void)state;
    struct bytes file = adapter_file(true);
    struct gguf gguf = {0};
    struct inspect_facts facts;
    struct inspect_adapter adapter;
    struct inspect_tensors tensors;
    assert_int_equal(gguf_parse(&gguf, bytes_span(&file), "a.gguf", NULL), ERR_OK);
    inspect_facts_init(&facts);
    assert_int_equal(inspect_adapter_of_gguf(&gguf, &facts, &adapter, NULL), ERR_OK);
    assert_int_equal(facts.err, ERR_OK);
    assert_int_equal(adapter.count, 1);
    assert_int_equal(adapter.module_count, 2);
    assert_string_equal(adapter.groups[0].name, "attn_q");
    assert_int_equal(adapter.groups[0].rank, 4);
    assert_int_equal(adapter.groups[0].in, 8);
    assert_int_equal(adapter.groups[0].out, 6);
    assert_true(adapter.groups[0].scale == 4);
    assert_int_equal(inspect_tensors_of_gguf(&gguf, &tensors), ERR_OK);
    assert_int_equal(tensors.count, 4);
    assert_int_equal(tensors.element_count, 2 * (4 * 8 + 6 * 4));
    assert_int_equal(tensors.size_bytes, 4 * tensors.element_count);
    inspect_tensors_fini(&tensors);
    inspect_facts_fini(&facts);
    gguf_close(&gguf);
    bytes_fini(&file);
}

static void test_inspect__half_a_pair_is_named(void **state)
{
    (void)state;
    struct bytes file = adapter_file(false);
    struct gguf gguf = {0};
    struct inspect_facts facts;
    struct inspect_adapter adapter;
    struct err_text et;
    assert_int_equal(gguf_parse(&gguf, bytes_span(&file), "a.gguf", NULL), ERR_OK);
    inspect_facts_init(&facts);
    assert_int_equal(inspect_adapter_of_gguf(&gguf, &facts, &adapter, &et), ERR_FORMAT);
    assert_string_equal(et.text,
                        "a.gguf: blk.1.attn_q.weight.lora_a has no blk.1.attn_q.weight.lora_b");
    inspect_facts_fini(&facts);
    gguf_close(&gguf);
    bytes_fini(&file);
}

static void test_inspect__plans_need_no_weights_and_grow_with_what_trains(void **state)
{
    (void)state;
    static const char json[] =
        "{\"model_type\":\"llama\",\"hidden_size\":4096,\"intermediate_size\":11008,"
        "\"num_hidden_layers\":32,\"num_attention_heads\":32,\"vocab_size\":32000,"
        "\"rms_norm_eps\":1e-05,\"max_position_embeddings\":4096,\"tie_word_embeddings\":false}";
    struct hf_config config;
    struct model *model = NULL;
    struct inspect_memory memory;
    struct span content = {(const uint8_t *)json, sizeof json - 1};
    assert_int_equal(hf_config_parse(&config, content, "config.json", NULL), ERR_OK);
    assert_int_equal(model_create_outline(&config, &model, NULL), ERR_OK);
    assert_int_equal(model_element_count(model), 6738415616);
    assert_int_equal(inspect_memory_plan(model, "q_proj,v_proj", 0, &memory, NULL), ERR_OK);
    assert_int_equal(memory.length_count, 2);
    assert_int_equal(memory.row_count, INSPECT_MEMORY_ROWS);
    assert_int_equal(memory.rows[1].trained_count, 4194304); /* 2 * 32 * 8 * (4096 + 4096) */
    enum { EVALUATION, R_8, R_16, R_64, R_64_CHECKPOINTING, FULL };
    for (size_t i = 0; i < 2; i++) {
        for (size_t r = R_8; r <= R_64; r++)
            assert_true(memory.rows[r - 1].worker_bytes[i] < memory.rows[r].worker_bytes[i]);
        assert_true(memory.rows[R_64_CHECKPOINTING].worker_bytes[i] <
                    memory.rows[R_64].worker_bytes[i]);
        assert_true(memory.rows[R_64].worker_bytes[i] < memory.rows[FULL].worker_bytes[i]);
    }
    for (size_t r = 0; r < memory.row_count; r++)
        assert_true(memory.rows[r].worker_bytes[0] < memory.rows[r].worker_bytes[1]);
    model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inspect__gguf_adapter_is_grouped_with_rank_and_scale),
        cmocka_unit_test(test_inspect__half_a_pair_is_named),
        cmocka_unit_test(test_inspect__plans_need_no_weights_and_grow_with_what_trains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
