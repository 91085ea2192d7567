/* test_hf.c - configs of real families, and what is wrong with bad ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/hf/hf_folder.h"
#include "common/formats/hf/hf_generation.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"

#define SIZES                                                                                      \
    "\"hidden_size\":8,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"vocab_size\":11,"

static enum err parse(const char *text, struct hf_config *c, struct err_text *et)
{
    return hf_config_parse(c, span_of_text(text_of(text)), "config.json", et);
}

static void test_hf_config__absent_keys_take_the_values_transformers_assumes(void **state)
{
    (void)state;
    struct hf_config c;
    assert_int_equal(parse("{\"model_type\":\"llama\"," SIZES "\"rms_norm_eps\":1e-5}", &c, NULL),
                     ERR_OK);
    assert_int_equal(c.num_key_value_heads, 4);
    assert_int_equal(c.head_dim, 2);
    assert_int_equal(c.intermediate_size, 32);
    assert_int_equal(c.max_position_embeddings, 2048);
    assert_true(c.rope_theta == 10000.0 && c.partial_rotary_factor == 1.0);
    assert_true(c.initializer_range == 0.02);
    assert_string_equal(c.hidden_act, "silu");
    assert_string_equal(c.rope.type, "");
    assert_false(c.tie_word_embeddings);
    assert_int_equal(c.bos_token_id, HF_CONFIG_NO_TOKEN);
    assert_int_equal(c.eos.count, 0);
    assert_int_equal(parse("{\"model_type\":\"gemma\"," SIZES "\"rms_norm_eps\":1e-6}", &c, NULL),
                     ERR_OK);
    assert_true(c.tie_word_embeddings);
}

static void test_hf_config__old_and_new_spellings_mean_the_same(void **state)
{
    (void)state;
    struct hf_config c;
    assert_int_equal(
        parse("{\"model_type\":\"RefinedWebModel\",\"hidden_size\":64,\"n_head\":4,\"n_layer\":3,"
              "\"vocab_size\":9,\"layer_norm_epsilon\":1e-5,\"multi_query\":true}",
              &c, NULL),
        ERR_OK);
    assert_int_equal(c.num_attention_heads, 4);
    assert_int_equal(c.num_hidden_layers, 3);
    assert_int_equal(c.num_key_value_heads, 1);
    assert_int_equal(parse("{\"model_type\":\"llama\"," SIZES "\"rms_norm_eps\":1e-5,\"dtype\":"
                           "\"bfloat16\",\"rope_parameters\":{\"rope_type\":\"default\","
                           "\"rope_theta\":500000.0},\"eos_token_id\":[128001,128009]}",
                           &c, NULL),
                     ERR_OK);
    assert_true(c.rope_theta == 500000.0);
    assert_string_equal(c.rope.type, "default");
    assert_string_equal(c.dtype, "bfloat16");
    assert_int_equal(c.eos.count, 2);
    assert_int_equal(c.eos.ids[1], 128009);
}

static void test_hf_config__each_family_has_its_own_windows(void **state)
{
    (void)state;
    static const struct {
        const char *keys; /* before SIZES */
        uint32_t window;
        uint8_t slides; /* bit l: layer l */
    } rows[] = {
        {"\"model_type\":\"llama\",\"sliding_window\":4", 0, 0},
        {"\"model_type\":\"mistral\",\"sliding_window\":4", 4, 3},
        {"\"model_type\":\"mistral\",\"sliding_window\":null", 0, 0},
        {"\"model_type\":\"mistral\"", 4096, 3},
        {"\"model_type\":\"qwen2\",\"sliding_window\":4", 0, 0},
        {"\"model_type\":\"qwen2\",\"sliding_window\":4,\"use_sliding_window\":true,"
         "\"max_window_layers\":1",
         4, 2},
        {"\"model_type\":\"gemma2\",\"sliding_window\":4", 4, 1},
        {"\"model_type\":\"gemma2\",\"sliding_window\":4,"
         "\"layer_types\":[\"full_attention\",\"sliding_attention\"]",
         4, 2},
        {"\"model_type\":\"gemma3_text\",\"sliding_window\":4", 4, 3},
        {"\"model_type\":\"gemma3_text\",\"sliding_window\":4,\"sliding_window_pattern\":1", 4, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[512];
        struct hf_config c;
        struct err_text et = {{0}};
        (void)snprintf(text, sizeof text, "{%s," SIZES "\"rms_norm_eps\":1e-6}", rows[i].keys);
        if (parse(text, &c, &et) != ERR_OK)
            fail_msg("%s: %s", rows[i].keys, et.text);
        assert_int_equal(c.sliding_window, rows[i].window);
        for (uint32_t l = 0; l < 2; l++)
            assert_int_equal(hf_config_layer_slides(&c, l), rows[i].slides >> l & 1);
    }
}

static void test_hf_config__bad_values_are_refused_with_their_key(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *message;
    } rows[] = {
        {"[]", "config.json: the document: expected an object, found an array"},
        {"{}", "config.json: model_type: expected a text, found nothing"},
        {"{\"model_type\":\"llama\"}",
         "config.json: hidden_size: expected an integer from 1 to 1048576, found nothing"},
        {"{\"model_type\":\"llama\",\"hidden_size\":1e12}",
         "config.json: hidden_size: expected an integer from 1 to 1048576, found 1e+12"},
        {"{\"model_type\":\"llama\"," SIZES "\"rms_norm_eps\":\"1e-5\"}",
         "config.json: rms_norm_eps: expected a number, found the text \"1e-5\""},
        {"{\"model_type\":\"llama\"," SIZES "\"rms_norm_eps\":0}",
         "config.json: rms_norm_eps: expected a number from 1e-30 to 1, found 0"},
        {"{\"model_type\":\"llama\"," SIZES "\"rms_norm_eps\":1e-5,\"num_key_value_heads\":3}",
         "config.json: num_key_value_heads: expected a divisor of num_attention_heads = 4, found "
         "3"},
        {"{\"model_type\":\"llama\",\"hidden_size\":10,\"num_hidden_layers\":2,"
         "\"num_attention_heads\":4,\"vocab_size\":11,\"rms_norm_eps\":1e-5}",
         "config.json: hidden_size: expected a multiple of num_attention_heads = 4 (or a "
         "head_dim), found 10"},
        {"{\"model_type\":\"llama\"," SIZES
         "\"rms_norm_eps\":1e-5,\"rope_scaling\":{\"factor\":2}}",
         "config.json: rope_scaling.rope_type: expected the name of a scaling, found nothing"},
        {"{\"model_type\":\"llama\"," SIZES
         "\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":\"yes\"}",
         "config.json: tie_word_embeddings: expected true or false, found the text \"yes\""},
        {"{\"model_type\":\"llama\"," SIZES "\"rms_norm_eps\":1e-5,\"eos_token_id\":[1,\"2\"]}",
         "config.json: eos_token_id[1]: expected an integer from -2147483648 to 2147483647, found "
         "the text \"2\""},
        {"{\"model_type\":\"llama\"," SIZES "\"rms_norm_eps\":1e-5,\"rope_scaling\":{\"type\":"
         "\"longrope\",\"long_factor\":[1,2],\"short_factor\":[1]}}",
         "config.json: rope_scaling.short_factor: expected as many factors as in long_factor, "
         "found an array"},
        {"{\"model_type\":\"llama\"," SIZES
         "\"rms_norm_eps\":1e-5,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8}}",
         "config.json: rope_scaling: llama3 needs factor, low_freq_factor, a larger "
         "high_freq_factor and original_max_position_embeddings"},
        {"{\"model_type\":\"gemma2\"," SIZES
         "\"rms_norm_eps\":1e-5,\"layer_types\":[\"full_attention\"]}",
         "config.json: layer_types: expected one name for each of num_hidden_layers, found an "
         "array"},
        {"{\"model_type\":\"gemma2\"," SIZES
         "\"rms_norm_eps\":1e-5,\"layer_types\":[\"full_attention\",\"linear_attention\"]}",
         "config.json: layer_types[1]: expected full_attention or sliding_attention, found the "
         "text \"linear_attention\""},
        {"{\"model_type\":\"gemma3\"}",
         "config.json: text_config: expected the config of the language model, found nothing"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct hf_config c = {.vocab_size = 77};
        struct err_text et = {{0}};
        assert_int_equal(parse(rows[i].text, &c, &et), ERR_FORMAT);
        assert_string_equal(et.text, rows[i].message);
        assert_int_equal(c.vocab_size, 77);
    }
}

static void test_hf_config__a_printed_config_reads_back_equal(void **state)
{
    (void)state;
    struct hf_config c;
    struct hf_config again;
    struct bytes out;
    bytes_init(&out, 1 << 16);
    assert_int_equal(
        parse("{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"]," SIZES
              "\"rms_norm_eps\":1e-5,\"bos_token_id\":1,\"eos_token_id\":[2,3],\"torch_dtype\":"
              "\"float32\",\"tie_word_embeddings\":true,\"rope_scaling\":{\"rope_type\":\"llama3\","
              "\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
              "\"original_max_position_embeddings\":8192}}",
              &c, NULL),
        ERR_OK);
    assert_int_equal(hf_config_print(&c, &out), ERR_OK);
    assert_int_equal(hf_config_parse(&again, bytes_span(&out), "again", NULL), ERR_OK);
    assert_memory_equal(&c, &again, sizeof c); /* both were zeroed before */
    bytes_fini(&out);
}

/* transformers 5 refuses 256.0 where its class says int. */
static void test_hf_config__a_whole_number_is_printed_as_one(void **state)
{
    (void)state;
    struct hf_config c;
    struct bytes out;
    bytes_init(&out, 1 << 16);
    assert_int_equal(parse("{\"model_type\":\"gemma2\"," SIZES
                           "\"rms_norm_eps\":1e-6,\"query_pre_attn_scalar\":224}",
                           &c, NULL),
                     ERR_OK);
    assert_int_equal(hf_config_print(&c, &out), ERR_OK);
    bytes_append(&out, "", 1);
    assert_non_null(strstr((const char *)bytes_span(&out).data, "\"query_pre_attn_scalar\": 224,"));
    bytes_fini(&out);
}

static void test_hf_config__every_allocation_may_fail(void **state)
{
    (void)state;
    enum err err = ERR_OUT_OF_MEMORY;
    for (size_t n = 1; err != ERR_OK; n++) {
        struct hf_config c;
        struct bytes out;
        bytes_init(&out, 1 << 16);
        (void)mem_fault_after(n);
        err = parse("{\"model_type\":\"llama\"," SIZES "\"rms_norm_eps\":1e-5}", &c, NULL);
        if (err == ERR_OK)
            err = hf_config_print(&c, &out);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
        assert_true(n < 100);
        bytes_fini(&out);
    }
}

static void test_hf_generation__sampling_defaults_are_neutral(void **state)
{
    (void)state;
    struct hf_generation g;
    assert_int_equal(hf_generation_parse(&g, span_of_text(TEXT("{\"eos_token_id\":2}")), "g", NULL),
                     ERR_OK);
    assert_true(g.temperature == 1.0 && g.top_p == 1.0 && g.repetition_penalty == 1.0);
    assert_int_equal(g.top_k, 0);
    assert_int_equal(g.eos.ids[0], 2);
    assert_int_equal(g.bos_token_id, HF_CONFIG_NO_TOKEN);
    struct err_text et;
    assert_int_equal(hf_generation_parse(&g, span_of_text(TEXT("{\"top_p\":1.5}")), "g", &et),
                     ERR_FORMAT);
    assert_string_equal(et.text, "g: top_p: expected a number from 0 to 1, found 1.5");
}

static const char *data_folder(void)
{
    const char *folder = getenv("QFLEET_DATA");
    return folder != NULL ? folder : "../shared/data";
}

struct real_row {
    const char *path;
    const char *model_type;
    uint32_t layers, width, inner, heads, kv_heads, head_dim, vocabulary, window;
    size_t factors;
    bool ties;
};

static const struct real_row real_configs[] = {
    {"configs/Llama-2-7b-hf", "llama", 32, 4096, 11008, 32, 32, 128, 32000, 0, 0, false},
    {"configs/Phi-3.5-mini-instruct", "phi3", 32, 3072, 8192, 32, 32, 96, 32064, 262144, 48, false},
    {"configs/bitnet-b1.58-2B-4T", "bitnet", 30, 2560, 6912, 20, 5, 128, 128256, 0, 0, true},
    {"configs/falcon-7b", "falcon", 32, 4544, 18176, 71, 1, 64, 65024, 0, 0, true},
    {"configs/gemma-2b", "gemma", 18, 2048, 16384, 8, 1, 256, 256000, 0, 0, true},
    {"configs/mistral-7b", "mistral", 32, 4096, 14336, 32, 8, 128, 32000, 4096, 0, false},
    {"configs/phi-2", "phi", 32, 2560, 10240, 32, 32, 80, 51200, 0, 0, false},
    {"models/TinyStories-656K", "llama", 2, 128, 384, 8, 4, 16, 2048, 0, 0, true},
    {"models/lm-6m", "llama", 6, 256, 768, 8, 4, 32, 4096, 0, 0, true},
};

static void test_hf_config__real_files_read_as_their_models_are(void **state)
{
    (void)state;
    if (!folder_exists(data_folder())) {
        print_message("skipped: %s is not there\n", data_folder());
        skip();
    }
    for (size_t i = 0; i < COUNT_OF(real_configs); i++) {
        const struct real_row *r = &real_configs[i];
        struct arena arena;
        struct hf_config c;
        struct err_text et = {{0}};
        arena_init(&arena, 4096);
        char *path = arena_print(&arena, "%s/%s/config.json", data_folder(), r->path);
        if (hf_config_open(&c, path, &et) != ERR_OK)
            fail_msg("%s", et.text);
        assert_string_equal(c.model_type, r->model_type);
        assert_int_equal(c.num_hidden_layers, r->layers);
        assert_int_equal(c.hidden_size, r->width);
        assert_int_equal(c.intermediate_size, r->inner);
        assert_int_equal(c.num_attention_heads, r->heads);
        assert_int_equal(c.num_key_value_heads, r->kv_heads);
        assert_int_equal(c.head_dim, r->head_dim);
        assert_int_equal(c.vocab_size, r->vocabulary);
        assert_int_equal(c.sliding_window, r->window);
        assert_int_equal(c.rope.factor_count, r->factors);
        assert_int_equal(c.tie_word_embeddings, r->ties);
        assert_true(c.norm_eps > 0.0 && c.norm_eps < 1e-4);
        arena_fini(&arena);
    }
}

static void make_folder(char path[32])
{
    memcpy(path, "/tmp/qfleet-test-XXXXXX", sizeof "/tmp/qfleet-test-XXXXXX");
    assert_non_null(mkdtemp(path));
}

static void put(const char *folder, const char *name, const char *content)
{
    struct arena arena;
    arena_init(&arena, 4096);
    assert_int_equal(
        file_write_atomic(folder_join(&arena, folder, name), span_of_text(text_of(content)), NULL),
        ERR_OK);
    arena_fini(&arena);
}

static void remove_folder(const char *path)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct folder_listing listing;
    assert_int_equal(folder_list(path, &arena, &listing, NULL), ERR_OK);
    for (size_t i = 0; i < listing.count; i++)
        assert_int_equal(unlink(folder_join(&arena, path, listing.entries[i].name)), 0);
    assert_int_equal(rmdir(path), 0);
    arena_fini(&arena);
}

static void test_hf_folder__only_files_of_the_model_are_listed(void **state)
{
    (void)state;
    char folder[32];
    struct arena arena;
    struct hf_folder found;
    struct err_text et;
    make_folder(folder);
    arena_init(&arena, 1 << 20);
    put(folder, "optimizer.pt", "x");
    put(folder, "tokenizer.json", "{}");
    assert_int_equal(hf_folder_list(folder, &arena, &found, &et), ERR_NOT_FOUND);
    assert_non_null(strstr(et.text, "expected a config.json, found none"));
    put(folder, "config.json", "{}");
    assert_int_equal(hf_folder_list(folder, &arena, &found, &et), ERR_NOT_FOUND);
    assert_non_null(strstr(et.text, "expected model.safetensors or"));
    assert_int_equal(hf_folder_list_unweighted(folder, &arena, &found, &et), ERR_OK);
    assert_int_equal(found.count, 2);
    put(folder, "model-1.safetensors", "one");
    put(folder, "model.safetensors.index.json",
        "{\"weight_map\":{\"a\":\"model-1.safetensors\",\"b\":\"model-1.safetensors\"}}");
    assert_int_equal(hf_folder_list(folder, &arena, &found, &et), ERR_OK);
    static const char *const names[] = {"config.json", "model-1.safetensors",
                                        "model.safetensors.index.json", "tokenizer.json"};
    static const enum hf_folder_kind kinds[] = {HF_FOLDER_CONFIG, HF_FOLDER_WEIGHTS,
                                                HF_FOLDER_WEIGHTS, HF_FOLDER_TOKENIZER};
    assert_int_equal(found.count, COUNT_OF(names));
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        assert_string_equal(found.files[i].name, names[i]);
        assert_int_equal(found.files[i].kind, kinds[i]);
    }
    assert_int_equal(found.files[1].size_bytes, 3);
    put(folder, "model.safetensors.index.json", "{\"weight_map\":{\"a\":\"model-2.safetensors\"}}");
    assert_int_equal(hf_folder_list(folder, &arena, &found, &et), ERR_NOT_FOUND);
    assert_non_null(strstr(et.text, "weight_map names model-2.safetensors, which is not there"));
    put(folder, "model.safetensors", "whole");
    assert_int_equal(hf_folder_list(folder, &arena, &found, &et), ERR_OK);
    assert_int_equal(found.count, 3); /* the single file is what is read; the index is not */
    assert_string_equal(found.files[1].name, "model.safetensors");
    arena_fini(&arena);
    remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hf_config__absent_keys_take_the_values_transformers_assumes),
        cmocka_unit_test(test_hf_config__old_and_new_spellings_mean_the_same),
        cmocka_unit_test(test_hf_config__each_family_has_its_own_windows),
        cmocka_unit_test(test_hf_config__bad_values_are_refused_with_their_key),
        cmocka_unit_test(test_hf_config__a_printed_config_reads_back_equal),
        cmocka_unit_test(test_hf_config__a_whole_number_is_printed_as_one),
        cmocka_unit_test(test_hf_config__every_allocation_may_fail),
        cmocka_unit_test(test_hf_generation__sampling_defaults_are_neutral),
        cmocka_unit_test(test_hf_config__real_files_read_as_their_models_are),
        cmocka_unit_test(test_hf_folder__only_files_of_the_model_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
