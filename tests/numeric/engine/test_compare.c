/* test_compare.c - real text, cut into windows, through a model and its quantized files: losses,
 * divergence and agreement are those of the float64 reference; and no thread count, instruction set
 * or block of positions changes a bit of them.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/dataset/dataset_stream.h"
#include "common/formats/dataset/rows.h"
#include "common/formats/dataset/windows.h"
#include "common/formats/json/json_read.h"
#include "common/formats/source/source.h"
#include "common/mem/mem.h"
#include "common/numeric/scalar.h"
#include "tests/numeric/engine/engine_data.h"
#include "worker/engine/compare/compare.h"
#include "worker/engine/kernel/divergence.h"

enum { WINDOW = 256, WINDOWS = 24, CHARACTERS = 40000, SOME = 2 };

#define MODEL_LM "models/lm-6m"
#define TEXT_LM  "text/tinystories-train-head.txt"
#define IDS_LM   "reference/lm-6m.ids.json"
#define QUALITY  "reference/lm-6m.quant-quality.json"

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

static const struct {
    const char *type, *path;
} FILES[] = {
    {"Q2_K", "models/lm-6m/lm-6m-Q2_K.gguf"},
    {"Q4_K_M-im", "models/lm-6m/lm-6m-Q4_K_M-im.gguf"},
};

/* The last characters of a text. */
static struct span tail(struct span text, size_t characters)
{
    size_t at = text.size;
    while (at > 0 && characters > 0)
        characters -= (text.data[--at] & 0xC0) != 0x80;
    return (struct span){text.data + at, text.size - at};
}

/* The rows of the protocol of the reference, made from the text by our own tokenizer. */
static struct bytes cut_rows(void)
{
    const struct dataset_options options = {.file_name = "tail.txt",
                                            .format = DATASET_FORMAT_TEXT,
                                            .type = DATASET_TYPE_COMPLETION,
                                            .sequence_len = WINDOW};
    const struct windows_options cut = {.protocol = PERPLEXITY_WINDOWS,
                                        .length = WINDOW,
                                        .row_count_min = WINDOWS,
                                        .row_count_max = WINDOWS,
                                        .what = "text",
                                        .advice = "give more"};
    struct source text;
    struct tokenizer *tokenizer = NULL;
    struct dataset_counts counts;
    struct windows_stats stats;
    struct bytes stream, rows;
    bytes_init(&stream, 1 << 24);
    bytes_init(&rows, 1 << 24);
    OK(source_open(&text, engine_data_path(0, TEXT_LM), &et));
    OK(tokenizer_open(engine_data_path(0, MODEL_LM), &tokenizer, &et));
    OK(dataset_stream_prepare(tail(text.bytes, CHARACTERS), &options, PERPLEXITY_WINDOWS, tokenizer,
                              &stream, &counts, &et));
    const struct span blob = bytes_span(&stream);
    OK(windows_cut(&blob, 1, &cut, &rows, &stats, &et));
    assert_int_equal(stats.rows, WINDOWS);
    assert_int_equal(stats.scored, WINDOWS * (WINDOW - 1));
    tokenizer_close(&tokenizer);
    source_close(&text);
    bytes_fini(&stream);
    return rows;
}

static void check_ids(const struct rows *rows)
{
    struct json_doc *doc = NULL;
    struct json_value list;
    OK(json_read_open(engine_data_path(0, IDS_LM), 1 << 20, &doc, &et));
    OK(json_read_array(json_read_root(doc), "ids", &list, &et));
    for (size_t i = 0; i < (size_t)WINDOWS * (WINDOW - 1); i++) {
        int64_t id;
        OK(json_read_as_i64(json_read_item(list, i), 0, 1 << 20, &id, &et));
        assert_int_equal(rows_at(rows, i / (WINDOW - 1)).tokens[1 + i % (WINDOW - 1)], id);
    }
    json_read_close(&doc);
}

static struct compare_sums compare_rows(const struct model *base, const struct model *result,
                                        struct kernel *kernel, const struct rows *rows,
                                        size_t count)
{
    struct compare *compare = NULL;
    struct compare_sums sums = {0}, one;
    OK(compare_create(base, result, kernel, &compare, &et));
    for (size_t i = 0; i < count; i++) {
        struct row row = rows_at(rows, i);
        const struct train_row input = {.index = i,
                                        .tokens = row.tokens,
                                        .loss = row.loss,
                                        .token_count = row.count,
                                        .segment_starts = row.segment_starts,
                                        .segment_count = row.segment_count};
        OK(compare_row(compare, &input, &one, &et));
        compare_add(&sums, &one);
    }
    compare_destroy(&compare);
    return sums;
}

static double reference(struct json_value object, const char *key)
{
    double value;
    OK(json_read_as_f64(json_read_find(object, key), &value, &et));
    return value;
}

static void check_quality(struct json_value quality, const char *type, double f32_loss,
                          const struct compare_sums *sums)
{
    struct json_value row = json_read_find(json_read_find(quality, "types"), type);
    double n = (double)sums->positions, kl = reference(row, "kld");
    double top1 = (double)sums->agreements / n;
    print_message("%s: loss %.9f (%.9f), KL %.9f (%.9f), top-1 %.6f (%.6f), max KL %.4f\n", type,
                  sums->result_loss / n, reference(row, "loss"), sums->kl / n, kl, top1,
                  reference(row, "top1"), sums->kl_max);
    assert_int_equal(sums->positions, WINDOWS * (WINDOW - 1));
    assert_true(fabs(sums->base_loss / n - f32_loss) < 1e-4);
    assert_true(fabs(sums->result_loss / n - reference(row, "loss")) < 1e-4);
    assert_true(fabs(sums->kl / n - kl) < 0.01 * kl);
    assert_true(fabs(top1 - reference(row, "top1")) < 1e-3); /* ties of rounding */
    assert_true(sums->kl_max > sums->kl / n);
}

static void test_compare__quantized_files_are_as_far_off_as_the_reference_says(void **state)
{
    (void)state;
    if (engine_data_path(0, MODEL_LM) == NULL)
        skip();
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct bytes blob = cut_rows();
    struct json_doc *quality = NULL;
    struct model *base = NULL;
    struct rows rows;
    OK(rows_open(bytes_span(&blob), &rows, &et));
    check_ids(&rows);
    OK(json_read_open(engine_data_path(0, QUALITY), 1 << 20, &quality, &et));
    OK(model_open(engine_data_path(0, MODEL_LM), &base, &et));
    double f32_loss = reference(json_read_root(quality), "f32_loss");
    for (size_t i = 0; i < COUNT_OF(FILES); i++) {
        struct model *result = NULL;
        OK(model_open(engine_data_path(0, FILES[i].path), &result, &et));
        struct compare_sums sums = compare_rows(base, result, kernel, &rows, WINDOWS);
        check_quality(json_read_root(quality), FILES[i].type, f32_loss, &sums);
        model_destroy(&result);
    }
    struct compare_sums same = compare_rows(base, base, kernel, &rows, SOME);
    assert_true(same.kl == 0 && same.kl_max == 0 && same.agreements == same.positions);
    model_destroy(&base);
    json_read_close(&quality);
    bytes_fini(&blob);
    kernel_destroy(&kernel);
}

static bool sums_equal(const struct compare_sums *a, const struct compare_sums *b)
{
    return a->positions == b->positions && a->agreements == b->agreements &&
           memcmp(&a->base_loss, &b->base_loss, 4 * sizeof(double)) == 0;
}

/* A vocabulary wide enough for several blocks of positions would be slow here: segments and holes
 * in the loss cut rows into runs as blocks do. */
static void test_compare__sums_are_the_same_bits_everywhere(void **state)
{
    (void)state;
    struct hf_config config = engine_data_config(true);
    struct model *base = engine_data_model(&config, 1), *result = engine_data_model(&config, 2);
    struct train_row *rows = engine_data_rows(4, 61, 50, 3);
    struct compare_sums first[4];
    static const enum kernel_isa isas[] = {KERNEL_ISA_BEST, KERNEL_ISA_BEST, KERNEL_ISA_PORTABLE};
    static const unsigned threads[] = {1, 3, 2};
    for (size_t k = 0; k < COUNT_OF(isas); k++) {
        struct kernel *kernel = engine_data_kernel(isas[k], threads[k]);
        struct compare *compare = NULL;
        struct train *train = NULL;
        const struct train_options options = {.rows_at_once = 1};
        OK(compare_create(base, result, kernel, &compare, &et));
        OK(train_create(result, kernel, NULL, &options, &train));
        for (size_t r = 0; r < 4; r++) {
            struct compare_sums sums;
            struct train_result loss;
            OK(compare_row(compare, &rows[r], &sums, &et));
            OK(train_evaluate(train, NULL, &rows[r], 1, &loss, &et));
            assert_true(sums.result_loss == loss.loss_sum);
            assert_true((double)sums.positions == loss.weight);
            assert_true(sums.positions > 10 && sums.kl > 0 && sums.kl_max > 0);
            if (k == 0)
                first[r] = sums;
            assert_true(sums_equal(&sums, &first[r]));
        }
        train_destroy(&train);
        compare_destroy(&compare);
        kernel_destroy(&kernel);
    }
    engine_data_free_rows(rows);
    model_destroy(&base);
    model_destroy(&result);
}

static void test_compare__models_of_different_vocabularies_are_refused(void **state)
{
    (void)state;
    struct hf_config config = engine_data_config(true);
    struct model *base = engine_data_model(&config, 1);
    config.vocab_size++;
    struct model *result = engine_data_model(&config, 2);
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 1);
    struct compare *compare = NULL;
    assert_int_equal(compare_create(base, result, kernel, &compare, &et), ERR_SHAPE);
    model_destroy(&base);
    model_destroy(&result);
    kernel_destroy(&kernel);
}

/* KL of two distributions written down as logarithms, in f64 and far from zero. */
static void test_divergence__is_that_of_the_definition(void **state)
{
    (void)state;
    enum { V = 37, T = 3 };
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    float p[T * V], q[T * V];
    struct divergence found[T];
    for (int i = 0; i < T * V; i++) {
        p[i] = (float)((i * 37) % 101) / 10.0f - 300.0f;
        q[i] = p[i] + (i < V ? 2.0f : (float)((i * 11) % 13) / 100.0f);
    }
    divergence(kernel, T, V, p, q, found);
    assert_true(found[0].kl == 0 && found[0].agree); /* the same but for a shift */
    for (size_t t = 1; t < T; t++) {
        double zp = 0, zq = 0, kl = 0;
        for (size_t i = 0; i < V; i++) {
            zp += exp((double)p[t * V + i] + 300);
            zq += exp((double)q[t * V + i] + 300);
        }
        for (size_t i = 0; i < V; i++) {
            double log_p = (double)p[t * V + i] + 300 - log(zp);
            double log_q = (double)q[t * V + i] + 300 - log(zq);
            kl += exp(log_p) * (log_p - log_q);
        }
        assert_true(kl > 1e-6 && fabs(found[t].kl - kl) < 1e-12);
    }
    kernel_destroy(&kernel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_divergence__is_that_of_the_definition),
        cmocka_unit_test(test_compare__sums_are_the_same_bits_everywhere),
        cmocka_unit_test(test_compare__models_of_different_vocabularies_are_refused),
        cmocka_unit_test(test_compare__quantized_files_are_as_far_off_as_the_reference_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
