/* test_engine_logits.c - logits and losses of real and of other people's random models. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/engine_data.h"

enum { IDS_MAX = 1024 };

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

/* One row that is one sample with every token but the first supervised. */
struct sample {
    uint32_t ids[IDS_MAX];
    uint8_t loss[IDS_MAX];
    uint32_t start;
    struct train_row row;
};

static void sample_init(struct sample *s, const int32_t *ids, size_t count)
{
    assert_true(count <= IDS_MAX);
    s->start = 0;
    for (size_t i = 0; i < count; i++) {
        s->ids[i] = (uint32_t)ids[i];
        s->loss[i] = 1;
    }
    s->row = (struct train_row){.tokens = s->ids,
                                .loss = s->loss,
                                .token_count = count,
                                .segment_starts = &s->start,
                                .segment_count = 1};
}

/* Largest difference of the model's logits on `s` to `wanted`, (count, V) of a float type. */
static double logits_error(const struct model *model, struct kernel *kernel, const struct sample *s,
                           size_t compared, const float *wanted)
{
    size_t vocabulary = model_shape(model)->vocabulary;
    struct train_options options = {.rows_at_once = 1};
    struct train *train = NULL;
    float *logits = mem_alloc(s->row.token_count * vocabulary, sizeof *logits);
    assert_non_null(logits);
    OK(train_create(model, kernel, NULL, &options, &train));
    OK(train_logits(train, NULL, &s->row, logits, &et));
    double worst = 0;
    for (size_t i = 0; i < compared * vocabulary; i++) {
        double difference = fabs((double)logits[i] - (double)wanted[i]);
        worst = difference > worst || isnan(difference) ? difference : worst;
    }
    train_destroy(&train);
    mem_free(logits);
    return worst;
}

static double mean_loss(const struct model *model, struct kernel *kernel, const struct sample *s)
{
    struct train_options options = {.rows_at_once = 1};
    struct train *train = NULL;
    struct train_result result;
    OK(train_create(model, kernel, NULL, &options, &train));
    OK(train_evaluate(train, NULL, &s->row, 1, &result, &et));
    train_destroy(&train);
    assert_true(result.weight == (double)(s->row.token_count - 1));
    return result.loss_sum / result.weight;
}

static void compare_safetensors(enum kernel_profile profile, const char *model_folder,
                                const char *reference, size_t compared)
{
    const char *folder = engine_data_path(0, model_folder);
    const char *file = engine_data_path(1, reference);
    if (folder == NULL)
        skip();
    struct model *model = NULL;
    struct safetensors st = {0};
    struct sample *s = mem_alloc(1, sizeof *s);
    struct kernel *kernel = NULL;
    assert_int_equal(kernel_create(profile, KERNEL_ISA_BEST, 2, &kernel), ERR_OK);
    OK(model_open(folder, &model, &et));
    OK(safetensors_open(&st, file, &et));
    const struct safetensor *ids = safetensors_find(&st, TEXT("input_ids"));
    const struct safetensor *logits = safetensors_find(&st, TEXT("logits"));
    assert_true(ids != NULL && logits != NULL);
    sample_init(s, (const int32_t *)(const void *)ids->data.data, (size_t)ids->shape[0]);
    double worst =
        logits_error(model, kernel, s, compared, (const float *)(const void *)logits->data.data);
    print_message("%s, %s: largest difference of a logit %.2e\n", model_folder, kernel_name(kernel),
                  worst);
    assert_true(worst < 1e-4);
    kernel_destroy(&kernel);
    safetensors_close(&st);
    model_destroy(&model);
    mem_free(s);
}

static void test_logits__tinystories_equal_the_reference(void **state)
{
    (void)state;
    compare_safetensors(KERNEL_PROFILE_F32, "models/TinyStories-656K",
                        "reference/TinyStories-656K.logits.safetensors", 128);
}

static void test_logits__profile_blas_equals_the_reference_too(void **state)
{
    (void)state;
    compare_safetensors(KERNEL_PROFILE_BLAS, "models/TinyStories-656K",
                        "reference/TinyStories-656K.logits.safetensors", 128);
}

static void test_logits__lm_6m_equal_the_reference(void **state)
{
    (void)state;
    compare_safetensors(KERNEL_PROFILE_F32, "models/lm-6m", "reference/lm-6m.logits.safetensors",
                        64);
}

static void test_loss__tinystories_equals_the_reference(void **state)
{
    (void)state;
    const char *folder = engine_data_path(0, "models/TinyStories-656K");
    const char *file = engine_data_path(1, "reference/TinyStories-656K.loss.json");
    if (folder == NULL)
        skip();
    struct model *model = NULL;
    struct json_doc *doc = NULL;
    struct json_value list;
    struct sample *s = mem_alloc(1, sizeof *s);
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    int32_t ids[512];
    double wanted_128, wanted_512;
    OK(model_open(folder, &model, &et));
    OK(json_read_open(file, 1 << 20, &doc, &et));
    OK(json_read_array(json_read_root(doc), "input_ids_512", &list, &et));
    OK(json_read_f64(json_read_root(doc), "loss_first_128", &wanted_128, &et));
    OK(json_read_f64(json_read_root(doc), "loss_first_512", &wanted_512, &et));
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        int64_t id;
        OK(json_read_as_i64(json_read_item(list, i), 0, 2047, &id, &et));
        ids[i] = (int32_t)id;
    }
    sample_init(s, ids, 128);
    double loss_128 = mean_loss(model, kernel, s);
    sample_init(s, ids, 512);
    double loss_512 = mean_loss(model, kernel, s);
    print_message("losses off by %.2e and %.2e\n", loss_128 - wanted_128, loss_512 - wanted_512);
    assert_true(fabs(loss_128 - wanted_128) < 1e-4);
    assert_true(fabs(loss_512 - wanted_512) < 1e-4);
    kernel_destroy(&kernel);
    json_read_close(&doc);
    model_destroy(&model);
    mem_free(s);
}

/* One of the random models with logits in JSON, written by another implementation in float64. */
static void compare_json(const char *config, const char *weights_file, const char *json_file)
{
    const char *json = engine_data_path(2, json_file);
    const char *weights = engine_data_path(1, weights_file);
    if (config == NULL || json == NULL)
        skip();
    struct model *model = NULL;
    struct json_doc *doc = NULL;
    struct json_value sequences, logits;
    struct sample *s = mem_alloc(1, sizeof *s);
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 1);
    OK(model_open_files(config, weights, &model, &et));
    OK(json_read_open(json, 16 << 20, &doc, &et));
    OK(json_read_array(json_read_root(doc), "sequences", &sequences, &et));
    OK(json_read_array(json_read_root(doc), "logits", &logits, &et));
    size_t vocabulary = model_shape(model)->vocabulary;
    for (size_t q = 0; q < json_read_count(sequences); q++) {
        int32_t ids[64];
        float wanted[64 * 16];
        size_t count = json_read_count(json_read_item(sequences, q));
        assert_true(count <= 64 && vocabulary <= 16);
        for (size_t i = 0; i < count; i++) {
            int64_t id;
            OK(json_read_as_i64(json_read_item(json_read_item(sequences, q), i), 0, 1000, &id,
                                &et));
            ids[i] = (int32_t)id;
            for (size_t v = 0; v < vocabulary; v++) {
                struct json_value row = json_read_item(json_read_item(logits, q), i);
                double value;
                OK(json_read_as_f64(json_read_item(row, v), &value, &et));
                wanted[i * vocabulary + v] = (float)value;
            }
        }
        sample_init(s, ids, count);
        double worst = logits_error(model, kernel, s, count, wanted);
        print_message("%s, sequence %zu: largest difference of a logit %.2e\n", weights_file, q,
                      worst);
        assert_true(worst < 1e-4);
    }
    kernel_destroy(&kernel);
    json_read_close(&doc);
    model_destroy(&model);
    mem_free(s);
}

static void test_logits__random_model_equals_transformers(void **state)
{
    char config[64], weights[64], logits[64];
    const char *name = *state;
    (void)snprintf(config, sizeof config, "models/tiny-random/tiny_%s_config.json", name);
    (void)snprintf(weights, sizeof weights, "models/tiny-random/tiny_%s.safetensors", name);
    (void)snprintf(logits, sizeof logits, "models/tiny-random/tiny_%s_logits.json", name);
    /* GPT-2's has no config beside it. */
    bool alone = strcmp(name, "gpt2") == 0;
    compare_json(alone ? "tests/golden/tiny_gpt2_config.json" : engine_data_path(0, config),
                 weights, logits);
}

#define RANDOM_MODEL(name)                                                                         \
    {                                                                                              \
        "random " name " equals transformers", test_logits__random_model_equals_transformers,      \
            NULL, NULL, (char[])                                                                   \
        {                                                                                          \
            name                                                                                   \
        }                                                                                          \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits__tinystories_equal_the_reference),
        cmocka_unit_test(test_logits__profile_blas_equals_the_reference_too),
        cmocka_unit_test(test_logits__lm_6m_equal_the_reference),
        cmocka_unit_test(test_loss__tinystories_equals_the_reference),
        RANDOM_MODEL("llama"),
        RANDOM_MODEL("smollm2"), /* tied, bf16 */
        RANDOM_MODEL("mistral"), /* with a window */
        RANDOM_MODEL("gemma"),
        RANDOM_MODEL("phi"),
        RANDOM_MODEL("phi3"),
        RANDOM_MODEL("falcon_mq"),
        RANDOM_MODEL("qwen2"),
        RANDOM_MODEL("gpt2"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
