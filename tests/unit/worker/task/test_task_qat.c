/* test_task_qat.c - what `qat:` becomes for the engine and for files, and what it is told to be
 * impossible. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"
#include "worker/task/task_qat.h"

static const struct hf_config llama = {.model_type = "llama",
                                       .hidden_act = "silu",
                                       .vocab_size = 8,
                                       .hidden_size = 64,
                                       .intermediate_size = 64,
                                       .num_hidden_layers = 1,
                                       .num_attention_heads = 2,
                                       .num_key_value_heads = 2,
                                       .head_dim = 32,
                                       .max_position_embeddings = 16,
                                       .norm_eps = 1e-5,
                                       .rope_theta = 10000,
                                       .partial_rotary_factor = 1,
                                       .initializer_range = 0.02,
                                       .tie_word_embeddings = true};

static struct model *make_model(const char *type)
{
    struct hf_config config = llama;
    struct model *model = NULL;
    struct err_text et = {""};
    (void)snprintf(config.model_type, sizeof config.model_type, "%s", type);
    if (strcmp(type, "bitnet") == 0) {
        config.quantized = true;
        (void)snprintf(config.quant_method, sizeof config.quant_method, "bitnet");
        (void)snprintf(config.hidden_act, sizeof config.hidden_act, "relu2");
    }
    if (strcmp(type, "gpt2") == 0)
        (void)snprintf(config.hidden_act, sizeof config.hidden_act, "gelu_new");
    if (model_create_random(&config, 1, &model, &et) != ERR_OK)
        fail_msg("%s: %s", type, et.text);
    return model;
}

/* Reads `qat` (lines of its keys, NULL: none) of a full training run. */
static enum err read_qat(const char *type, const char *qat, struct task_qat *out,
                         struct err_text *et)
{
    struct model *model = make_model(type);
    struct recipe recipe;
    char text[512];
    int size = snprintf(text, sizeof text,
                        "base_model: m\ndatasets:\n  - path: d.jsonl\nmax_steps: 1\n"
                        "learning_rate: 1e-4\n%s%s",
                        qat != NULL ? "qat:\n" : "", qat != NULL ? qat : "");
    enum err err = recipe_parse((struct span){(const uint8_t *)text, (size_t)size}, &recipe, et);
    if (err != ERR_OK)
        fail_msg("%s: %s", text, et->text);
    err = task_qat_read(&recipe, model, out, et);
    recipe_fini(&recipe);
    model_destroy(&model);
    return err;
}

static struct task_qat good(const char *type, const char *qat)
{
    struct task_qat out;
    struct err_text et = {""};
    if (read_qat(type, qat, &out, &et) != ERR_OK)
        fail_msg("%s: %s", qat, et.text);
    return out;
}

static void test_task_qat__without_the_key_nothing_is_quantized(void **state)
{
    (void)state;
    assert_false(good("llama", NULL).is_on);
}

static void test_task_qat__masters_of_bitnet_are_ternary_without_the_key(void **state)
{
    (void)state;
    struct task_qat qat = good("bitnet", NULL);
    assert_true(qat.is_on);
    assert_int_equal(qat.config.form, FAKE_QUANT_TERNARY);
    assert_int_equal(qat.config.rounding, PASS_ROUNDING_INT8);
}

static void test_task_qat__integers_have_the_groups_of_their_width(void **state)
{
    (void)state;
    struct task_qat four = good("llama", "  weight_dtype: int4\n");
    struct task_qat eight = good("llama", "  weight_dtype: INT8\n  activation_dtype: int8\n");
    assert_int_equal(four.config.grid.group_size, 32);
    assert_int_equal(four.scheme.layout, QUANT_SCHEME_PACKED);
    assert_int_equal(four.config.rounding, PASS_ROUNDING_NONE);
    assert_int_equal(eight.config.grid.strategy, GRID_CHANNEL);
    assert_int_equal(eight.scheme.layout, QUANT_SCHEME_INT);
    assert_int_equal(eight.scheme.input, QUANT_SCHEME_INPUT_TOKEN);
    assert_int_equal(eight.config.rounding, PASS_ROUNDING_GRID8);
}

static void test_task_qat__a_type_of_gguf_is_its_lattice(void **state)
{
    (void)state;
    struct task_qat qat = good("gpt2", "  weight_dtype: q4_k\n  quantize_embedding: true\n");
    assert_int_equal(qat.config.form, FAKE_QUANT_BLOCKS);
    assert_int_equal(qat.config.dtype, DTYPE_Q4_K);
    assert_true(qat.config.embedding);
}

static void test_task_qat__what_cannot_be_is_named_with_both_keys(void **state)
{
    (void)state;
    static const struct {
        const char *type, *qat, *says;
    } cases[] = {
        {"llama", "  weight_dtype: q9\n", "expected int4, int8, ternary or a GGUF type"},
        {"llama", "  weight_dtype: f16\n", "found f16"},
        {"llama", "  weight_dtype: q4_0\n  activation_dtype: int8\n", "int8 goes with"},
        {"llama", "  weight_dtype: ternary\n  activation_dtype: none\n", "none excludes"},
        {"llama", "  weight_dtype: int4\n  quantize_embedding: true\n", "goes with a GGUF type"},
        {"gpt2", "  weight_dtype: int8\n", "lie transposed"},
        {"bitnet", "  weight_dtype: tq2_0\n", "say ternary"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct task_qat qat;
        struct err_text et = {""};
        assert_int_equal(read_qat(cases[i].type, cases[i].qat, &qat, &et), ERR_RECIPE);
        if (strstr(et.text, cases[i].says) == NULL || strstr(et.text, "qat.") == NULL)
            fail_msg("%s: expected %s, found %s", cases[i].qat, cases[i].says, et.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task_qat__without_the_key_nothing_is_quantized),
        cmocka_unit_test(test_task_qat__masters_of_bitnet_are_ternary_without_the_key),
        cmocka_unit_test(test_task_qat__integers_have_the_groups_of_their_width),
        cmocka_unit_test(test_task_qat__a_type_of_gguf_is_its_lattice),
        cmocka_unit_test(test_task_qat__what_cannot_be_is_named_with_both_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
