/* test_engine_family_gguf.c - every family through a GGUF file of ours: logits, losses and
 * gradients of an adapter have the bits that they have from the folder. What GGUF cannot say is an
 * error. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/digest/digest.h"
#include "common/formats/convert/convert_model.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/engine_data.h"
#include "tests/numeric/engine/golden_family.h"

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

struct chain {
    struct digest digest;
    size_t count;
};

static enum err link_leaf(void *context, size_t row, const struct train_result *result,
                          const float *gradient)
{
    struct chain *chain = context;
    (void)row;
    struct span sums = {(const uint8_t *)result, sizeof *result};
    struct span values = {(const uint8_t *)gradient, chain->count * sizeof *gradient};
    chain->digest = digest_link(digest_link(chain->digest, sums), values);
    return ERR_OK;
}

/* Digest of logits, losses and gradients under adapters on all linear modules. */
static struct digest run(const struct model *model, struct train_row *rows, size_t count)
{
    static const char *const targets[] = {"all-linear"};
    static const struct train_config config = {
        .method = TRAIN_METHOD_LORA, .rank = 3, .alpha = 5, .targets = targets, .target_count = 1};
    struct train_options options = {.rows_at_once = 1};
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct train_layout *layout = NULL;
    struct train *train = NULL;
    struct train_result results[GOLDEN_SEQUENCES];
    OK(train_layout_create(model, &config, &layout, &et));
    OK(train_create(model, kernel, layout, &options, &train));
    struct chain chain = {.count = train_layout_count(layout)};
    float *values = mem_alloc(chain.count, sizeof *values);
    assert_non_null(values);
    train_layout_values(layout, 3, values);
    for (size_t i = 0; i < chain.count; i++)
        values[i] += 0.01f * (float)(i % 7);
    OK(train_rows(train, values, 1, 2, rows, count, results, link_leaf, &chain, &et));
    float *logits = golden_family_logits(model, layout, values, &rows[0]);
    struct span span = {(const uint8_t *)logits,
                        rows[0].token_count * model_shape(model)->vocabulary * sizeof *logits};
    struct digest digest = digest_link(chain.digest, span);
    mem_free(logits);
    mem_free(values);
    train_destroy(&train);
    train_layout_destroy(&layout);
    kernel_destroy(&kernel);
    return digest;
}

/* A GGUF file of `family` at `path`, a mkstemp template. */
static void convert(const char *family, enum block_format format, char *path)
{
    struct convert_model_options options = {.format = format};
    struct convert_model_report report;
    char folder[256];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    (void)snprintf(folder, sizeof folder, "tests/golden/families/%s", family);
    OK(convert_model_to_gguf(folder, path, &options, &report, &et));
}

static void test_family_gguf__has_the_bits_of_the_folder(void **state)
{
    static const char *const families[] = {"falcon-11b",
                                           "falcon-new",
                                           "falcon7b",
                                           "gemma",
                                           "gemma2",
                                           "gemma3_text",
                                           "gpt2",
                                           "llama2",
                                           "llama3",
                                           "llama31",
                                           "llama-linear-rope",
                                           "llama-yarn",
                                           "mistral",
                                           "phi2",
                                           "phi3",
                                           "phi35",
                                           "qwen2",
                                           "qwen25",
                                           "qwen3"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        char path[] = "/tmp/qfleet-family-XXXXXX";
        struct train_row rows[GOLDEN_SEQUENCES];
        struct model *model = NULL;
        struct golden_family *golden = golden_family_open(families[i]);
        convert(families[i], CONVERT_PLAN_KEEP, path);
        golden_family_rows(golden, rows);
        OK(model_open(path, &model, &et));
        if (!digest_equal(run(golden->model, rows, GOLDEN_SEQUENCES),
                          run(model, rows, GOLDEN_SEQUENCES)))
            fail_msg("%s: the GGUF file has other bits", families[i]);
        model_destroy(&model);
        golden_family_close(golden);
        assert_int_equal(unlink(path), 0);
    }
}

/* GGUF holds ternary numbers times their scale, a folder's engine form holds both apart: the same
 * values, rounded in another place. */
static void test_family_gguf__ternary_values_carry_their_scale(void **state)
{
    static const char *const families[] = {"bitnet", "bitnet-packed", "bitnet-packed-auto"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        char path[] = "/tmp/qfleet-family-XXXXXX";
        struct train_row rows[GOLDEN_SEQUENCES];
        struct model *model = NULL;
        double worst = 0;
        struct golden_family *golden = golden_family_open(families[i]);
        convert(families[i], BLOCK_FORMAT_F32, path);
        golden_family_rows(golden, rows);
        OK(model_open(path, &model, &et));
        size_t count = rows[0].token_count * model_shape(model)->vocabulary;
        float *wanted = golden_family_logits(golden->model, NULL, NULL, &rows[0]);
        float *got = golden_family_logits(model, NULL, NULL, &rows[0]);
        for (size_t j = 0; j < count; j++)
            worst = fmax(worst, fabs((double)got[j] - (double)wanted[j]));
        print_message("%s: largest difference of a logit %.1e\n", families[i], worst);
        assert_true(worst < 1e-5);
        mem_free(wanted);
        mem_free(got);
        model_destroy(&model);
        golden_family_close(golden);
        assert_int_equal(unlink(path), 0);
    }
}

/* What full training would write of a GGUF base is the folder's model, or it is refused. */
static void check_full(const char *family, const struct model *file, const struct model *folder)
{
    static const struct train_config config = {.method = TRAIN_METHOD_FULL};
    struct train_layout *got = NULL, *wanted = NULL;
    enum err err = train_layout_create(file, &config, &got, &et);
    if (err == ERR_RECIPE) {
        print_message("%s: %s\n", family, et.text);
        return;
    }
    assert_int_equal(err, ERR_OK);
    OK(train_layout_create(folder, &config, &wanted, &et));
    size_t count = train_layout_count(got);
    assert_int_equal(count, train_layout_count(wanted));
    float *ours = mem_alloc(count, sizeof *ours), *theirs = mem_alloc(count, sizeof *theirs);
    assert_true(ours != NULL && theirs != NULL);
    train_layout_values(got, 1, ours);
    train_layout_values(wanted, 1, theirs);
    if (memcmp(ours, theirs, count * sizeof *ours) != 0)
        fail_msg("%s: full training would write another model", family);
    mem_free(ours);
    mem_free(theirs);
    train_layout_destroy(&got);
    train_layout_destroy(&wanted);
}

#define FAMILY_NAME(name) name,

static void test_family_gguf__full_training_writes_the_folder_or_is_refused(void **state)
{
    static const char *const families[] = {GOLDEN_FAMILIES(FAMILY_NAME)};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        char path[] = "/tmp/qfleet-family-XXXXXX";
        struct model *model = NULL;
        struct golden_family *golden = golden_family_open(families[i]);
        convert(families[i], BLOCK_FORMAT_F32, path);
        OK(model_open(path, &model, &et));
        check_full(families[i], model, golden->model);
        model_destroy(&model);
        golden_family_close(golden);
        assert_int_equal(unlink(path), 0);
    }
}

static void test_family_gguf__a_layer_beyond_the_count_is_an_error(void **state)
{
    (void)state;
    static const char key[] = "llama.block_count";
    char path[] = "/tmp/qfleet-family-XXXXXX", head[4096], says[128];
    struct model *model = NULL;
    convert("llama3", CONVERT_PLAN_KEEP, path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    size_t at = 0, size = fread(head, 1, sizeof head, file);
    while (at + sizeof key + 8 < size && memcmp(head + at, key, sizeof key - 1) != 0)
        at++;
    at += sizeof key - 1 + sizeof(uint32_t); /* behind the key and its type */
    assert_true(at + 4 <= size && head[at] > 1);
    head[at]--;
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    assert_int_equal(fwrite(head + at, 1, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(model_open(path, &model, &et), ERR_SHAPE);
    (void)snprintf(says, sizeof says, "keys say %d layers, the weights have more (blk.%d.",
                   head[at], head[at]);
    if (strstr(et.text, says) == NULL || strstr(et.text, path) == NULL)
        fail_msg("%s: %s", says, et.text);
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_family_gguf__has_the_bits_of_the_folder),
        cmocka_unit_test(test_family_gguf__ternary_values_carry_their_scale),
        cmocka_unit_test(test_family_gguf__full_training_writes_the_folder_or_is_refused),
        cmocka_unit_test(test_family_gguf__a_layer_beyond_the_count_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
