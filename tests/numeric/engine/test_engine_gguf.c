/* test_engine_gguf.c - GGUF files as base models: their losses are those of the reference, their
 * bits those of a Hugging Face folder with the same values, and LoRA on them follows the f32 base.
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
#include "common/formats/json/json_read.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/formats/source/file.h"
#include "common/mem/arena.h"
#include "common/mem/mem.h"
#include "common/numeric/optimizer.h"
#include "tests/numeric/engine/engine_data.h"
#include "worker/engine/quant/blocks.h"

enum { WINDOW = 256, WINDOWS = 24, TRAINED = 8, HELD_OUT = 4, BOS = 1, STEPS = 12 };

#define MODEL_LM     "models/lm-6m"
#define GGUF_Q2_K    "models/lm-6m/lm-6m-Q2_K.gguf"
#define GGUF_Q4_K_M  "models/lm-6m/lm-6m-Q4_K_M-im.gguf"
#define MODEL_STORY  "models/TinyStories-656K"
#define GGUF_STORY   "models/TinyStories-656K/TinyStories-656K-Q8_0.gguf"
#define IDS_LM       "reference/lm-6m.ids.json"
#define QUALITY      "reference/lm-6m.quant-quality.json"
#define LOSSES_STORY "reference/TinyStories-656K.loss.json"

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

/* Windows of `ids`, each after a BOS, every prediction counted. */
struct windows {
    uint32_t ids[WINDOWS][WINDOW];
    uint8_t loss[WINDOW];
    uint32_t start;
    struct train_row rows[WINDOWS];
    size_t count;
};

static struct windows *windows_open(const char *path, const char *key, size_t count)
{
    struct json_doc *doc = NULL;
    struct json_value list;
    struct windows *w = mem_alloc(1, sizeof *w);
    assert_non_null(w);
    OK(json_read_open(path, 1 << 20, &doc, &et));
    OK(json_read_array(json_read_root(doc), key, &list, &et));
    w->count = count;
    memset(w->loss, 1, sizeof w->loss);
    for (size_t i = 0; i < count; i++) {
        w->ids[i][0] = BOS;
        for (size_t j = 1; j < WINDOW; j++) {
            int64_t id;
            OK(json_read_as_i64(json_read_item(list, i * (WINDOW - 1) + j - 1), 0, 1 << 20, &id,
                                &et));
            w->ids[i][j] = (uint32_t)id;
        }
        w->rows[i] = (struct train_row){.index = i,
                                        .tokens = w->ids[i],
                                        .loss = w->loss,
                                        .token_count = WINDOW,
                                        .segment_starts = &w->start,
                                        .segment_count = 1};
    }
    json_read_close(&doc);
    return w;
}

/* A model with a LoRA on every linear module. */
struct bench {
    struct model *model;
    struct kernel *kernel;
    struct train_layout *layout;
    struct train *train;
    size_t count;
    float *values, *gradient, *m, *v;
};

static void bench_open(struct bench *b, const char *path)
{
    static const char *const targets[] = {"all-linear"};
    static const struct train_config config = {
        .method = TRAIN_METHOD_LORA, .rank = 8, .alpha = 16, .targets = targets, .target_count = 1};
    static const struct train_options options = {.rows_at_once = 4};
    *b = (struct bench){.kernel = engine_data_kernel(KERNEL_ISA_BEST, 2)};
    OK(model_open(path, &b->model, &et));
    OK(train_layout_create(b->model, &config, &b->layout, &et));
    OK(train_create(b->model, b->kernel, b->layout, &options, &b->train));
    b->count = train_layout_count(b->layout);
    float **vectors[] = {&b->values, &b->gradient, &b->m, &b->v};
    for (size_t i = 0; i < COUNT_OF(vectors); i++) {
        *vectors[i] = mem_alloc(b->count, sizeof(float));
        assert_non_null(*vectors[i]);
    }
    train_layout_values(b->layout, 7, b->values);
}

static void bench_close(struct bench *b)
{
    train_destroy(&b->train);
    train_layout_destroy(&b->layout);
    model_destroy(&b->model);
    kernel_destroy(&b->kernel);
    mem_free(b->values);
    mem_free(b->gradient);
    mem_free(b->m);
    mem_free(b->v);
}

static double mean_loss(struct bench *b, const float *values, const struct windows *w, size_t first,
                        size_t count)
{
    struct train_result results[WINDOWS];
    double loss = 0, weight = 0;
    OK(train_evaluate(b->train, values, w->rows + first, count, results, &et));
    for (size_t i = 0; i < count; i++) {
        loss += results[i].loss_sum;
        weight += results[i].weight;
    }
    assert_true(weight == (double)(count * (WINDOW - 1)));
    return loss / weight;
}

static enum err add_gradient(void *context, size_t row, const struct train_result *result,
                             const float *gradient)
{
    struct bench *b = context;
    (void)row;
    (void)result;
    for (size_t i = 0; i < b->count; i++)
        b->gradient[i] += gradient[i];
    return ERR_OK;
}

/* Gradient of the summed loss of `count` rows in b->gradient; returns the mean loss. */
static double gradient_of(struct bench *b, const struct train_row *rows, size_t count,
                          uint64_t round)
{
    struct train_result results[WINDOWS];
    double loss = 0;
    memset(b->gradient, 0, b->count * sizeof *b->gradient);
    OK(train_rows(b->train, b->values, 1, round, rows, count, results, add_gradient, b, &et));
    for (size_t i = 0; i < count; i++)
        loss += results[i].loss_sum;
    return loss / (double)(count * (WINDOW - 1));
}

/* ---- losses ---- */

static void check_lm_loss(const char *file, const char *type)
{
    const char *path = engine_data_path(0, file), *quality = engine_data_path(1, QUALITY);
    if (path == NULL)
        skip();
    struct bench b;
    struct json_doc *doc = NULL;
    struct json_value types, row;
    double wanted;
    struct windows *w = windows_open(engine_data_path(2, IDS_LM), "ids", WINDOWS);
    OK(json_read_open(quality, 1 << 20, &doc, &et));
    OK(json_read_object(json_read_root(doc), "types", &types, &et));
    OK(json_read_object(types, type, &row, &et));
    OK(json_read_f64(row, "loss", &wanted, &et));
    bench_open(&b, path);
    double loss = mean_loss(&b, NULL, w, 0, WINDOWS);
    print_message("%s: loss %.9f, off by %.2e\n", type, loss, loss - wanted);
    assert_true(fabs(loss - wanted) < 1e-4);
    bench_close(&b);
    json_read_close(&doc);
    mem_free(w);
}

static void test_gguf__losses_of_k_quants_equal_the_reference(void **state)
{
    (void)state;
    check_lm_loss(GGUF_Q2_K, "Q2_K");
    check_lm_loss(GGUF_Q4_K_M, "Q4_K_M-im");
}

/* ---- the same values in a Hugging Face folder ---- */

/* Writes the model's parameters as f32, rows in the common order, beside `config`. */
static void write_folder(const struct model *model, const char *config, const char *folder)
{
    struct arena arena;
    struct bytes text;
    char path[512];
    size_t count = model_param_count(model);
    arena_init(&arena, SIZE_MAX);
    bytes_init(&text, 1 << 16);
    struct safetensor *tensors = arena_alloc(&arena, count, sizeof *tensors);
    for (size_t i = 0; i < count; i++) {
        const struct model_param *p = model_param(model, i);
        float *values = arena_alloc(&arena, p->rows * p->columns, sizeof *values);
        assert_non_null(values);
        size_t D = p->row_order == MODEL_ROWS_ROTARY_PAIRS ? model_shape(model)->head_width : 0;
        for (size_t r = 0; r < p->rows; r++) {
            /* Llama's converter views a head's rows as (2, D/2) and turns that. */
            size_t from = D == 0 ? r : r / D * D + r % D % (D / 2) * 2 + r % D / (D / 2);
            block_decode(p->dtype, p->columns,
                         (const char *)p->data + dtype_span_bytes(p->dtype, from * p->columns),
                         values + r * p->columns);
        }
        tensors[i] = (struct safetensor){
            .name = text_of(p->name),
            .dtype = SAFETENSORS_F32,
            .rank = p->kind == MODEL_KIND_GAIN ? 1 : 2,
            .shape = {p->rows, p->columns},
            .data = {(const uint8_t *)values, p->rows * p->columns * sizeof *values}};
    }
    struct safetensors_content content = {
        .tensors = tensors, .count = count, .notes = &safetensors_write_note_pt, .note_count = 1};
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    OK(safetensors_write_file(&content, path, &et));
    OK(file_read(config, 1 << 16, &text, &et));
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    OK(file_write_atomic(path, (struct span){text.data, text.size}, &et));
    bytes_fini(&text);
    arena_fini(&arena);
}

static void remove_folder(const char *folder)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

/* Logits, losses and gradients of a few rows under adapters that are not zero. */
static void assert_same_bits(struct bench *a, struct bench *b, const struct windows *w)
{
    size_t logits = WINDOW * model_shape(a->model)->vocabulary;
    float *one = mem_alloc(logits, sizeof *one), *two = mem_alloc(logits, sizeof *two);
    assert_true(one != NULL && two != NULL && a->count == b->count);
    assert_memory_equal(a->values, b->values, a->count * sizeof *a->values);
    for (size_t i = 0; i < a->count; i++)
        a->values[i] = b->values[i] = a->values[(i * 17) % a->count] + 0.01f;
    OK(train_logits(a->train, a->values, &w->rows[0], one, &et));
    OK(train_logits(b->train, b->values, &w->rows[0], two, &et));
    assert_memory_equal(one, two, logits * sizeof *one);
    assert_true(gradient_of(a, w->rows, 2, 3) == gradient_of(b, w->rows, 2, 3));
    assert_memory_equal(a->gradient, b->gradient, a->count * sizeof *a->gradient);
    mem_free(one);
    mem_free(two);
}

static void check_bits(const char *file, const char *folder, const char *ids, const char *key)
{
    const char *path = engine_data_path(0, file), *origin = engine_data_path(1, folder);
    if (path == NULL)
        skip();
    char made[] = "/tmp/qfleet-gguf-XXXXXX", config[512];
    struct bench a, b;
    struct windows *w = windows_open(engine_data_path(2, ids), key, 2);
    assert_non_null(mkdtemp(made));
    bench_open(&a, path);
    (void)snprintf(config, sizeof config, "%s/config.json", origin);
    write_folder(a.model, config, made);
    bench_open(&b, made);
    assert_same_bits(&a, &b, w);
    bench_close(&a);
    bench_close(&b);
    remove_folder(made);
    mem_free(w);
}

static void test_gguf__has_the_bits_of_a_folder_with_its_values(void **state)
{
    (void)state;
    check_bits(GGUF_Q2_K, MODEL_LM, IDS_LM, "ids");
    check_bits(GGUF_Q4_K_M, MODEL_LM, IDS_LM, "ids");
    check_bits(GGUF_STORY, MODEL_STORY, LOSSES_STORY, "input_ids_512");
}

/* Full training starts from the decoded weights, in the order of the folder. */
static void test_gguf__full_training_starts_from_its_values(void **state)
{
    (void)state;
    const char *path = engine_data_path(0, GGUF_STORY);
    if (path == NULL)
        skip();
    static const struct train_config full = {.method = TRAIN_METHOD_FULL};
    struct train_options options = {.rows_at_once = 1};
    struct train_result wanted, got;
    struct train_layout *layout = NULL;
    struct train *train = NULL;
    struct windows *w = windows_open(engine_data_path(2, LOSSES_STORY), "input_ids_512", 1);
    struct bench b;
    bench_open(&b, path);
    OK(train_layout_create(b.model, &full, &layout, &et));
    OK(train_create(b.model, b.kernel, layout, &options, &train));
    float *values = mem_alloc(train_layout_count(layout), sizeof *values);
    assert_non_null(values);
    train_layout_values(layout, 1, values);
    OK(train_evaluate(train, NULL, w->rows, 1, &wanted, &et));
    OK(train_evaluate(train, values, w->rows, 1, &got, &et));
    assert_true(wanted.loss_sum == got.loss_sum && wanted.loss_sum > 0);
    train_destroy(&train);
    train_layout_destroy(&layout);
    bench_close(&b);
    mem_free(values);
    mem_free(w);
}

/* ---- LoRA ---- */

/* The gap of a format is how far its untouched model's loss is from the base's: on the rows that
 * train or on those held out, whichever is more (over few rows it may cancel).
 *
 * STEPS of AdamW over the first rows; curve[i] is the loss before step i. */
static void train_curve(struct bench *b, const struct windows *w, size_t rows, double *curve)
{
    static const struct optimizer_adamw adamw = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    for (size_t step = 0; step < STEPS; step++) {
        curve[step] = gradient_of(b, w->rows, rows, step);
        struct optimizer_step plan =
            optimizer_plan(&adamw, step + 1, 5e-4, 1.0 / (double)(rows * (WINDOW - 1)));
        optimizer_apply(&plan, b->count, b->values, b->m, b->v, b->gradient);
    }
}

static void check_curve(const char *file, const char *folder, const char *ids, const char *key,
                        size_t rows, size_t held_out)
{
    const char *path = engine_data_path(0, file), *plain = engine_data_path(1, folder);
    if (path == NULL)
        skip();
    struct windows *w = windows_open(engine_data_path(2, ids), key, rows + held_out);
    struct bench a, b;
    double base[STEPS], quantized[STEPS], apart = 0;
    bench_open(&a, plain);
    bench_open(&b, path);
    assert_memory_equal(a.values, b.values, a.count * sizeof *a.values);
    double before_a = mean_loss(&a, a.values, w, rows, held_out);
    double before_b = mean_loss(&b, b.values, w, rows, held_out);
    train_curve(&a, w, rows, base);
    train_curve(&b, w, rows, quantized);
    double after_a = mean_loss(&a, a.values, w, rows, held_out);
    double after_b = mean_loss(&b, b.values, w, rows, held_out);
    for (size_t i = 0; i < STEPS; i++)
        apart = fmax(apart, fabs(quantized[i] - base[i]));
    double gap = fmax(fabs(quantized[0] - base[0]), fabs(before_b - before_a));
    print_message("%s: training %.4f to %.4f, base %.4f to %.4f, %.3e apart at most, %.3e at the "
                  "start; held out %.4f to %.4f, base %.4f to %.4f; gap %.3e, at the end %.3e\n",
                  file, quantized[0], quantized[STEPS - 1], base[0], base[STEPS - 1], apart,
                  fabs(quantized[0] - base[0]), before_b, after_b, before_a, after_a, gap,
                  fabs(after_b - after_a));
    assert_true(base[STEPS - 1] < base[0] - 0.1 && gap < 5e-3);
    assert_true(apart <= gap);
    /* The gap is a property of the weights, and these have moved: it may grow a little. */
    assert_true(fabs(after_b - after_a) < 1.25 * gap);
    bench_close(&a);
    bench_close(&b);
    mem_free(w);
}

static void test_gguf__lora_follows_the_f32_base_within_the_gap_of_the_format(void **state)
{
    (void)state;
    check_curve(GGUF_Q4_K_M, MODEL_LM, IDS_LM, "ids", TRAINED, HELD_OUT);
    check_curve(GGUF_STORY, MODEL_STORY, LOSSES_STORY, "input_ids_512", 1, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf__losses_of_k_quants_equal_the_reference),
        cmocka_unit_test(test_gguf__has_the_bits_of_a_folder_with_its_values),
        cmocka_unit_test(test_gguf__full_training_starts_from_its_values),
        cmocka_unit_test(test_gguf__lora_follows_the_f32_base_within_the_gap_of_the_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
