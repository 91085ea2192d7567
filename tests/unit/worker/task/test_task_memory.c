/* test_task_memory.c - what a task takes, before there is one: never less for more, never wrapped
 * around, whatever a recipe asks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "worker/task/task_memory.h"

#define GIB (UINT64_C(1) << 30)

/* Shapes of Llama-2-7B; layers and heads as asked. */
static struct model *outline(uint32_t layers, uint32_t heads, uint32_t head_dim)
{
    struct hf_config config = {.model_type = "llama",
                               .hidden_act = "silu",
                               .vocab_size = 32000,
                               .hidden_size = heads * head_dim,
                               .intermediate_size = 11008,
                               .num_hidden_layers = layers,
                               .num_attention_heads = heads,
                               .num_key_value_heads = heads,
                               .head_dim = head_dim,
                               .max_position_embeddings = 1 << 21,
                               .norm_eps = 1e-5,
                               .rope_theta = 10000,
                               .partial_rotary_factor = 1,
                               .initializer_range = 0.02};
    struct model *model = NULL;
    struct err_text et = {""};
    if (model_create_outline(&config, &model, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return model;
}

static uint64_t need(const struct model *model, enum stage_kind kind, const char *keys)
{
    struct recipe recipe;
    struct recipe_options options = {.file_name = "r.yml"};
    struct err_text et = {""};
    char text[1024];
    uint64_t bytes = 0;
    int size = snprintf(text, sizeof text,
                        "base_model: m\ndatasets:\n  - path: d.jsonl\nmax_steps: 1\n"
                        "learning_rate: 1e-4\n%s",
                        keys);
    if (recipe_read((struct span){(const uint8_t *)text, (size_t)size}, &options, &recipe, &et) !=
            ERR_OK ||
        task_memory_of(&recipe, model, kind, &bytes, &et) != ERR_OK)
        fail_msg("%s: %s", keys, et.text);
    recipe_fini(&recipe);
    return bytes;
}

#define LORA "adapter: lora\nlora_r: 16\nlora_alpha: 16\nlora_target_linear: true\n"

static void test_task_memory__a_model_of_7_b_needs_what_is_known_of_it(void **state)
{
    struct model *model = outline(32, 32, 128);
    uint64_t weights = (uint64_t)model_element_count(model) * sizeof(float);
    (void)state;
    uint64_t lora = need(model, STAGE_KIND_TRAIN, LORA);
    uint64_t recompute = need(model, STAGE_KIND_TRAIN, LORA "gradient_checkpointing: true\n");
    uint64_t four =
        need(model, STAGE_KIND_TRAIN, LORA "load_in_4bit: true\ngradient_checkpointing: true\n");
    assert_true(lora > 2 * GIB && lora < 6 * GIB);
    assert_true(recompute > GIB / 2 && recompute < 2 * GIB);
    assert_true(four - recompute > 3 * GIB && four - recompute < 4 * GIB);
    /* Values, a row's gradient, and for two rows or more the sums of a round. */
    assert_true(need(model, STAGE_KIND_TRAIN, "") > 3 * weights);
    assert_true(need(model, STAGE_KIND_TRAIN, "micro_batch_size: 16\n") -
                    need(model, STAGE_KIND_TRAIN, "micro_batch_size: 2\n") ==
                3 * weights);
    assert_true(need(model, STAGE_KIND_EXPORT, "") >= 2 * weights);
    model_destroy(&model);
}

static void test_task_memory__quantizing_knows_codes_and_gram_matrices(void **state)
{
    struct model *model = outline(32, 32, 128);
    uint64_t gram = UINT64_C(11008) * 11008 * sizeof(double);
    static const char gptq[] = "quantize: {scheme: W4A16, method: gptq}\n"
                               "calibration_datasets:\n  - path: c.txt\n";
    static const char rtn[] = "quantize: {scheme: W4A16, method: rtn}\n";
    static const char nf4[] = "quantize: {scheme: NF4}\n";
    (void)state;
    assert_true(need(model, STAGE_KIND_REPLAY, gptq) > gram * 5 / 2);
    assert_true(need(model, STAGE_KIND_QUANTIZE, rtn) < gram);
    uint64_t plain = need(model, STAGE_KIND_TRAIN, LORA);
    uint64_t coded = need(model, STAGE_KIND_TRAIN, LORA "qat: {weight_dtype: int8}\n");
    assert_true(coded - plain > 6 * GIB && coded - plain < 9 * GIB);
    assert_int_equal(need(model, STAGE_KIND_REPORT, rtn), 0);
    /* What was quantized to a folder is held in its bits when it is opened. */
    assert_true(need(model, STAGE_KIND_VERIFY, rtn) > 3 * GIB);
    assert_true(need(model, STAGE_KIND_VERIFY, rtn) < 5 * GIB);
    assert_true(need(model, STAGE_KIND_VERIFY, nf4) > 3 * GIB);
    assert_true(need(model, STAGE_KIND_VERIFY, nf4) < 5 * GIB);
    model_destroy(&model);
}

static void test_task_memory__more_of_anything_never_needs_less(void **state)
{
    static const char *const keys[] = {"sequence_len", "micro_batch_size", "lora_r",
                                       "gradient_accumulation_steps"};
    static const uint64_t most[] = {1 << 20, 1 << 20, 1 << 13, 1 << 20};
    static const enum stage_kind kinds[] = {STAGE_KIND_TRAIN, STAGE_KIND_EVALUATE,
                                            STAGE_KIND_EXPORT, STAGE_KIND_REFERENCE};
    struct model *model = outline(256, 4096, 256);
    (void)state;
    for (size_t k = 0; k < COUNT_OF(keys); k++) {
        for (size_t i = 0; i < COUNT_OF(kinds); i++) {
            uint64_t before = 0;
            for (uint64_t value = 2; value <= most[k]; value *= 2) {
                char text[256];
                (void)snprintf(text, sizeof text,
                               "adapter: lora\nlora_alpha: 16\nlora_target_linear: true\n%s%s: "
                               "%llu\n",
                               strcmp(keys[k], "lora_r") == 0 ? "" : "lora_r: 8\n", keys[k],
                               (unsigned long long)value);
                uint64_t now = need(model, kinds[i], text);
                if (now < before)
                    fail_msg("%s of %llu needs less", keys[k], (unsigned long long)value);
                before = now;
            }
        }
    }
    const struct recipe recipe = {.sequence_len = 1 << 20, .micro_batch_size = 1 << 20};
    assert_true(task_memory_session(&recipe, model, NULL, 0, 1) > 1024 * GIB);
    assert_true(task_memory_session(&recipe, model, NULL, 0, 1 << 20) == UINT64_MAX);
    model_destroy(&model);
}

int main(void)
{
#define TEST(name) cmocka_unit_test(test_task_memory__##name)
    const struct CMUnitTest tests[] = {
        TEST(a_model_of_7_b_needs_what_is_known_of_it),
        TEST(quantizing_knows_codes_and_gram_matrices),
        TEST(more_of_anything_never_needs_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
