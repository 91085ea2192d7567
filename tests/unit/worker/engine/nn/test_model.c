/* test_model.c - what a model refuses to open, and what it says then. */
#include "worker/engine/nn/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/source/file.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/frequency.h"

static struct hf_config small_config(void)
{
    return (struct hf_config){.model_type = "llama",
                              .vocab_size = 8,
                              .hidden_size = 4,
                              .intermediate_size = 6,
                              .num_hidden_layers = 1,
                              .num_attention_heads = 2,
                              .num_key_value_heads = 1,
                              .head_dim = 2,
                              .max_position_embeddings = 16,
                              .norm_eps = 1e-5,
                              .rope_theta = 10000,
                              .partial_rotary_factor = 1,
                              .initializer_range = 0.02};
}

static void test_model__random_start_depends_on_seed_and_name_alone(void **state)
{
    (void)state;
    struct hf_config config = small_config();
    struct model *a = NULL, *b = NULL, *c = NULL;
    assert_int_equal(model_create_random(&config, 1, &a, NULL), ERR_OK);
    config.num_hidden_layers = 2;
    assert_int_equal(model_create_random(&config, 1, &b, NULL), ERR_OK);
    assert_int_equal(model_create_random(&config, 2, &c, NULL), ERR_OK);
    const struct model_param *pa = model_param(a, (size_t)model_param_index(a, MODEL_HEAD, 0));
    const struct model_param *pb = model_param(b, (size_t)model_param_index(b, MODEL_HEAD, 0));
    const struct model_param *pc = model_param(c, (size_t)model_param_index(c, MODEL_HEAD, 0));
    assert_string_equal(pa->name, "lm_head.weight");
    assert_memory_equal(pa->data, pb->data, 8 * 4 * sizeof(float));
    assert_memory_not_equal(pa->data, pc->data, 8 * 4 * sizeof(float));
    const struct model_param *norm = model_param(a, 1);
    assert_int_equal(norm->role, MODEL_ATTENTION_NORM);
    assert_true(((const float *)norm->data)[3] == 1.0f);
    model_destroy(&a);
    model_destroy(&b);
    model_destroy(&c);
}

static void test_model__params_come_in_model_order_under_their_names(void **state)
{
    (void)state;
    struct hf_config config = small_config();
    config.num_hidden_layers = 12;
    config.tie_word_embeddings = true;
    struct model *model = NULL;
    assert_int_equal(model_create_random(&config, 1, &model, NULL), ERR_OK);
    assert_int_equal(model_param_count(model), 12 * 9 + 2);
    assert_int_equal(model_param_index(model, MODEL_HEAD, 0), 0);
    const struct model_param *p =
        model_param(model, (size_t)model_param_index(model, MODEL_DOWN, 11));
    assert_string_equal(p->name, "model.layers.11.mlp.down_proj.weight");
    assert_true(p->rows == 4 && p->columns == 6 && p->layer == 11);
    model_destroy(&model);
}

static void test_model__unsupported_configs_are_named(void **state)
{
    (void)state;
    struct hf_config cases[9];
    static const char *const says[] = {"model_type \"gpt9\"",
                                       "hidden_act \"tanh\"",
                                       "alibi",
                                       "rope_scaling type \"none\"",
                                       "head_dim 3",
                                       "divide",
                                       "original_max_position_embeddings",
                                       "factors in long_factor",
                                       "quantization_config"};
    static const enum err errs[] = {ERR_UNSUPPORTED, ERR_UNSUPPORTED, ERR_UNSUPPORTED,
                                    ERR_UNSUPPORTED, ERR_UNSUPPORTED, ERR_FORMAT,
                                    ERR_FORMAT,      ERR_FORMAT,      ERR_UNSUPPORTED};
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        cases[i] = small_config();
    (void)snprintf(cases[0].model_type, sizeof cases[0].model_type, "gpt9");
    (void)snprintf(cases[1].hidden_act, sizeof cases[1].hidden_act, "tanh");
    cases[2].alibi = true;
    (void)snprintf(cases[3].rope.type, sizeof cases[3].rope.type, "none");
    cases[4].head_dim = 3;
    cases[5].num_attention_heads = 3;
    cases[5].num_key_value_heads = 2;
    (void)snprintf(cases[6].rope.type, sizeof cases[6].rope.type, "yarn");
    cases[6].rope.factor = 4;
    (void)snprintf(cases[7].rope.type, sizeof cases[7].rope.type, "longrope");
    cases[7].rope.original_max_position_embeddings = 16;
    cases[8].quantized = true;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct model *model = NULL;
        struct err_text et = {0};
        assert_int_equal(model_create_random(&cases[i], 1, &model, &et), errs[i]);
        assert_null(model);
        if (strstr(et.text, says[i]) == NULL)
            fail_msg("%s: %s", says[i], et.text);
    }
}

static void test_model__survives_every_failed_allocation(void **state)
{
    (void)state;
    struct hf_config config = small_config();
    struct model *model = NULL;
    size_t n = 1;
    enum err err = ERR_OUT_OF_MEMORY;
    for (; err != ERR_OK && n < 1000; n++) {
        (void)mem_fault_after(n);
        err = model_create_random(&config, 1, &model, NULL);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || (err == ERR_OUT_OF_MEMORY && model == NULL));
    }
    assert_int_equal(err, ERR_OK);
    assert_true(n > 2);
    model_destroy(&model);
}

/* Writes one safetensors file of the small model, with one tensor's shape or name changed. */
static void write_weights(const char *path, const char *from, const char *to)
{
    static const char *const tensors[][2] = {
        {"lm_head.weight", "8,4"},
        {"model.embed_tokens.weight", "8,4"},
        {"model.layers.0.input_layernorm.weight", "4"},
        {"model.layers.0.mlp.down_proj.weight", "4,6"},
        {"model.layers.0.mlp.gate_proj.weight", "6,4"},
        {"model.layers.0.mlp.up_proj.weight", "6,4"},
        {"model.layers.0.post_attention_layernorm.weight", "4"},
        {"model.layers.0.self_attn.k_proj.weight", "2,4"},
        {"model.layers.0.self_attn.o_proj.weight", "4,4"},
        {"model.layers.0.self_attn.q_proj.weight", "4,4"},
        {"model.layers.0.self_attn.rotary_emb.inv_freq", "1"}, /* of old files, never read */
        {"model.layers.0.self_attn.v_proj.weight", "2,4"},
        {"model.norm.weight", "4"},
    };
    char header[4096] = "{", line[256];
    size_t at = 0;
    for (size_t i = 0; i < COUNT_OF(tensors); i++) {
        int a = 1, b = 1;
        (void)sscanf(tensors[i][1], "%d,%d", &a, &b);
        size_t bytes = (size_t)(a * b) * 2;
        (void)snprintf(line, sizeof line,
                       "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                       i == 0 ? "" : ",", tensors[i][0], tensors[i][1], at, at + bytes);
        (void)snprintf(header + strlen(header), sizeof header - strlen(header), "%s", line);
        at += bytes;
    }
    (void)snprintf(header + strlen(header), sizeof header - strlen(header), "}");
    char *hit = from != NULL ? strstr(header, from) : NULL;
    if (hit != NULL)
        memcpy(hit, to, strlen(to)); /* of equal length */
    assert_true(from == NULL || hit != NULL);
    struct bytes file;
    bytes_init(&file, 1 << 16);
    uint64_t size = strlen(header);
    bytes_append(&file, &size, sizeof size);
    bytes_append(&file, header, size);
    memset(bytes_extend(&file, at), 0x3f, at);
    assert_int_equal(file_write_atomic(path, bytes_span(&file), NULL), ERR_OK);
    bytes_fini(&file);
}

static void test_model__missing_misshapen_or_surplus_tensors_are_named(void **state)
{
    (void)state;
    char folder[] = "/tmp/qfleet-test-model-XXXXXX", config[64], weights[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(config, sizeof config, "%s/config.json", folder);
    (void)snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    struct hf_config small = small_config();
    struct bytes text;
    bytes_init(&text, 1 << 16);
    assert_int_equal(hf_config_print(&small, &text), ERR_OK);
    assert_int_equal(file_write_atomic(config, bytes_span(&text), NULL), ERR_OK);
    static const struct {
        const char *from, *to, *says;
        enum err err;
    } cases[] = {
        {NULL, NULL, NULL, ERR_OK},
        {"up_proj", "xx_proj", "tensor model.layers.0.mlp.up_proj.weight is missing",
         ERR_NOT_FOUND},
        {"\"shape\":[4,6]", "\"shape\":[6,4]", "expected 4 x 6 by config.json, found 6 x 4",
         ERR_SHAPE},
        {"lm_head", "lm_tail", "lm_head.weight is missing", ERR_NOT_FOUND},
        {"model.layers.0.self_attn.rotary", "model.layers.1.self_attn.rotary",
         "config.json says 1 layers, the weights have more "
         "(model.layers.1.self_attn.rotary_emb.inv_freq)",
         ERR_SHAPE},
        {"model.layers.0.self_attn.rotary_emb", "language_model.model.layers.1234567",
         "the weights have more (language_model.model.layers.1234567.inv_freq)", ERR_SHAPE},
        {"model.layers.0.self_attn.rotary", "vision.layers.1.self_attn.roota", NULL, ERR_OK},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct model *model = NULL;
        struct err_text et = {0};
        write_weights(weights, cases[i].from, cases[i].to);
        assert_int_equal(model_open(folder, &model, &et), cases[i].err);
        if (cases[i].says != NULL && strstr(et.text, cases[i].says) == NULL)
            fail_msg("%s: %s", cases[i].says, et.text);
        assert_true((model != NULL) == (cases[i].err == ERR_OK));
        model_destroy(&model);
    }
    bytes_fini(&text);
    (void)unlink(config);
    (void)unlink(weights);
    (void)rmdir(folder);
}

static void test_frequency__llama3_scales_long_waves_alone(void **state)
{
    (void)state;
    struct hf_config config = small_config();
    struct frequency_set plain_sets[MODEL_ROPE_COUNT] = {{0}}, sets[MODEL_ROPE_COUNT] = {{0}};
    struct arena arena;
    arena_init(&arena, 1 << 16);
    config.rope_theta = 500000;
    assert_int_equal(frequency_read(&config, 128, &arena, plain_sets, NULL), ERR_OK);
    (void)snprintf(config.rope.type, sizeof config.rope.type, "llama3");
    config.rope.factor = 8;
    config.rope.low_freq_factor = 1;
    config.rope.high_freq_factor = 4;
    config.rope.original_max_position_embeddings = 8192;
    assert_int_equal(frequency_read(&config, 128, &arena, sets, NULL), ERR_OK);
    const double *plain = plain_sets[MODEL_ROPE_MAIN].frequency;
    const double *scaled = sets[MODEL_ROPE_MAIN].frequency;
    assert_true(plain[0] == 1 && scaled[0] == 1);
    assert_true(scaled[63] == plain[63] / 8);
    for (size_t i = 0; i < 64; i++)
        assert_true(scaled[i] <= plain[i] && scaled[i] >= plain[i] / 8);
    arena_fini(&arena);
}

/* The values of transformers 5.23, modeling_rope_utils, in f32. */
static void test_frequency__yarn_and_dynamic_are_those_of_transformers(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        double theta, factor, fast, slow, attention, scale;
        uint32_t original;
        double wanted[8];
    } cases[] = {
        {"yarn",
         1e4,
         4,
         0,
         0,
         0,
         1.138629436111989,
         64,
         {1, 0.237170815, 0.049999997, 0.00790569466, 0.00249999994, 0.000790569466, 0.000250000012,
          7.90569466e-05}},
        {"yarn",
         1e6,
         8,
         16,
         2,
         1.25,
         1.25,
         4096,
         {1, 0.177827939, 0.0316227786, 0.00316317007, 0.000125000006, 2.22284925e-05,
          3.95284678e-06, 7.02926684e-07}},
        {"dynamic",
         1e4,
         4,
         0,
         0,
         0,
         1,
         0,
         {1, 0.316227764, 0.100000001, 0.0316227786, 0.00999999978, 0.00316227786, 0.00100000005,
          0.000316227786}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct hf_config config = small_config();
        struct frequency_set sets[MODEL_ROPE_COUNT] = {{0}};
        struct arena arena;
        arena_init(&arena, 1 << 16);
        (void)snprintf(config.rope.type, sizeof config.rope.type, "%s", cases[i].type);
        config.rope_theta = cases[i].theta;
        config.rope.factor = cases[i].factor;
        config.rope.beta_fast = cases[i].fast;
        config.rope.beta_slow = cases[i].slow;
        config.rope.attention_factor = cases[i].attention;
        config.rope.original_max_position_embeddings = cases[i].original;
        assert_int_equal(frequency_read(&config, 16, &arena, sets, NULL), ERR_OK);
        assert_true(fabs(sets[MODEL_ROPE_MAIN].scale - cases[i].scale) < 1e-12);
        for (size_t j = 0; j < 8; j++)
            assert_true(fabs(sets[MODEL_ROPE_MAIN].frequency[j] / cases[i].wanted[j] - 1) < 1e-6);
        arena_fini(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model__random_start_depends_on_seed_and_name_alone),
        cmocka_unit_test(test_model__params_come_in_model_order_under_their_names),
        cmocka_unit_test(test_model__unsupported_configs_are_named),
        cmocka_unit_test(test_model__survives_every_failed_allocation),
        cmocka_unit_test(test_model__missing_misshapen_or_surplus_tensors_are_named),
        cmocka_unit_test(test_frequency__llama3_scales_long_waves_alone),
        cmocka_unit_test(test_frequency__yarn_and_dynamic_are_those_of_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
