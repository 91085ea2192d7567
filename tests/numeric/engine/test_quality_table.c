/* test_quality_table.c - every type of GGUF, with an importance matrix and without: made by our own
 * encoders from lm-6m, its loss, divergence and agreement on held-out text are those of the float64
 * reference over llama-quantize's files.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_model.h"
#include "common/formats/json/json_read.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/engine_data.h"
#include "tests/numeric/engine/lm_windows.h"
#include "worker/engine/compare/compare.h"
#include "worker/engine/quant/blocks.h"

#define MODEL_LM "models/lm-6m"
#define IMATRIX  "models/lm-6m/lm-6m.imatrix.dat"
#define QUALITY  "reference/lm-6m.quant-quality.json"

enum { POSITIONS = LM_WINDOWS * (LM_WINDOW - 1), TYPES = 31, NAME_BYTES = 32 };

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

static void decode(enum block_format format, size_t count, const void *from, float *out)
{
    block_decode((enum dtype)format, count, from, out);
}

static void encode(void *context, enum block_format format, size_t rows, size_t columns,
                   const float *x, const float *importance, void *out)
{
    kernel_encode(context, (enum dtype)format, rows, columns, x, importance, out);
}

/* "Q4_K_M-im": the file of that mix, weighed. */
static struct model *quantize(const char *type, const struct imatrix *importance,
                              struct kernel *kernel)
{
    char name[NAME_BYTES], path[] = "/tmp/test_quality_table.XXXXXX";
    (void)snprintf(name, sizeof name, "%s", type);
    char *ending = strstr(name, "-im");
    int fd = mkstemp(path);
    assert_true(fd >= 0 && close(fd) == 0 && unlink(path) == 0);
    if (ending != NULL)
        *ending = '\0';
    struct convert_quantize quantize = {
        .mix = convert_mix_named(name),
        .switches = {.head = CONVERT_MIX_ANY, .embedding = CONVERT_MIX_ANY},
        .importance = ending != NULL ? importance : NULL,
        .importance_file = "lm-6m.imatrix.dat",
        .encoder = {encode, decode, kernel},
    };
    const struct convert_model_options options = {
        .format = CONVERT_PLAN_KEEP, .decode = decode, .quantize = &quantize};
    struct convert_model_report report;
    struct model *model = NULL;
    assert_non_null(quantize.mix);
    OK(convert_model_to_gguf(engine_data_path(0, MODEL_LM), path, &options, &report, &et));
    OK(model_open(path, &model, &et));
    unlink(path);
    return model;
}

static struct compare_sums compare_windows(const struct model *base, const struct model *result,
                                           struct kernel *kernel, const struct lm_windows *text)
{
    struct compare *compare = NULL;
    struct compare_sums sums = {0}, one;
    OK(compare_create(base, result, kernel, &compare, &et));
    for (size_t i = 0; i < LM_WINDOWS; i++) {
        const struct batch_input *row = &text->rows[i];
        const struct train_row input = {.index = i,
                                        .tokens = row->tokens,
                                        .loss = text->loss,
                                        .token_count = row->token_count,
                                        .segment_starts = row->segment_starts,
                                        .segment_count = row->segment_count};
        OK(compare_row(compare, &input, &one, &et));
        compare_add(&sums, &one);
    }
    compare_destroy(&compare);
    return sums;
}

static double number(struct json_value row, const char *key)
{
    double value;
    OK(json_read_f64(row, key, &value, &et));
    return value;
}

static void check(const char *type, struct json_value row, const struct compare_sums *sums)
{
    double loss = sums->result_loss / POSITIONS, kl = sums->kl / POSITIONS;
    double top1 = (double)sums->agreements / POSITIONS;
    print_message("%-9s loss %.6f (%+.1e)  KL %.6f (%+.1e of it)  top-1 %.4f (%+.1e)\n", type, loss,
                  loss - number(row, "loss"), kl, kl / number(row, "kld") - 1, top1,
                  top1 - number(row, "top1"));
    assert_int_equal(sums->positions, POSITIONS);
    assert_true(fabs(loss - number(row, "loss")) < 1e-4);
    assert_true(fabs(kl - number(row, "kld")) < 0.01 * number(row, "kld"));
    assert_true(fabs(top1 - number(row, "top1")) < 1e-3); /* ties of rounding */
}

static void test_quality__every_type_is_as_far_off_as_the_reference_says(void **state)
{
    (void)state;
    struct lm_windows *text = lm_windows_open();
    if (text == NULL)
        skip();
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct json_doc *quality = NULL;
    struct json_value types;
    struct imatrix importance;
    struct model *base = NULL;
    struct json_cursor c = {.count = 0};
    OK(imatrix_open(&importance, engine_data_path(0, IMATRIX), &et));
    OK(model_open(engine_data_path(0, MODEL_LM), &base, &et));
    OK(json_read_open(engine_data_path(0, QUALITY), 1 << 20, &quality, &et));
    OK(json_read_object(json_read_root(quality), "types", &types, &et));
    assert_int_equal(json_read_count(types), TYPES);
    while (json_read_next(types, &c)) {
        assert_true(c.value.key.size < NAME_BYTES);
        struct model *result = quantize(c.value.key.data, &importance, kernel);
        struct compare_sums sums = compare_windows(base, result, kernel, text);
        check(c.value.key.data, c.value, &sums);
        model_destroy(&result);
    }
    json_read_close(&quality);
    model_destroy(&base);
    imatrix_close(&importance);
    kernel_destroy(&kernel);
    mem_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quality__every_type_is_as_far_off_as_the_reference_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
