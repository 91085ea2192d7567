/* bench_fake_quant.c - what a quantizer costs a round: encoding all weights, beside one row.
 *
 * usage: bench_fake_quant [threads [layers]]
 *
 * The slice has TinyLlama-1.1B's shapes, 2 layers unless said otherwise, random f32 weights. Codes
 * are made of the trainables of full training, and of W + s B A with r = 16 on all linear modules;
 * the row has 512 tokens, forward and backward on codes. A round has many rows and one encoding.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/train/fake_quant.h"
#include "worker/engine/train/train.h"

enum { TOKENS = 512, VOCABULARY = 4096, REPEATS = 3 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static enum err drop_leaf(void *context, size_t row, const struct train_result *result,
                          const float *gradient)
{
    (void)row;
    (void)gradient;
    *(double *)context += result->loss_sum;
    return ERR_OK;
}

struct bench {
    const struct model *model;
    struct kernel *kernel;
    const struct train_layout *layout;
    float *values;
    struct err_text et;
};

/* The least of a few. */
static enum err time_update(struct bench *b, struct fake_quant *fq, double *out)
{
    *out = 1e9;
    for (uint64_t i = 0; i < REPEATS; i++) {
        double before = now_s();
        TRY(fake_quant_update(fq, b->values, i, &b->et));
        *out = MIN(*out, now_s() - before);
    }
    return ERR_OK;
}

static enum err time_row(struct bench *b, const struct fake_quant *fq, double *out)
{
    static uint32_t ids[TOKENS], start;
    static uint8_t loss[TOKENS];
    struct train_options options = {.rows_at_once = 1, .checkpointing = true, .quant = fq};
    struct train *train = NULL;
    struct train_result result;
    double sum = 0;
    for (size_t i = 0; i < TOKENS; i++) {
        ids[i] = (uint32_t)random_below(1, i, VOCABULARY);
        loss[i] = 1;
    }
    struct train_row row = {.tokens = ids,
                            .loss = loss,
                            .token_count = TOKENS,
                            .segment_starts = &start,
                            .segment_count = 1};
    enum err err = train_create(b->model, b->kernel, b->layout, &options, &train);
    *out = 1e9;
    for (size_t i = 0; err == ERR_OK && i < REPEATS; i++) {
        double before = now_s();
        err = train_rows(train, b->values, 1, i, &row, 1, &result, drop_leaf, &sum, &b->et);
        *out = MIN(*out, now_s() - before);
    }
    train_destroy(&train);
    return err;
}

static enum err measure(struct bench *b, const char *name, const struct fake_quant_config *config)
{
    struct fake_quant *fq = NULL;
    double update = 0, row = 0;
    enum err err = ERR_OK;
    if (config != NULL)
        TRY(fake_quant_create(b->model, b->kernel, b->layout, config, &fq, &b->et));
    if (config != NULL)
        err = time_update(b, fq, &update);
    if (err == ERR_OK)
        err = time_row(b, fq, &row);
    if (err == ERR_OK)
        (void)printf("  %-10s encoding %7.0f ms   a row %7.0f ms   codes %6.0f MiB\n", name,
                     update * 1e3, row * 1e3,
                     config != NULL ? (double)fake_quant_size_bytes(fq) / 1048576 : 0.0);
    fake_quant_destroy(&fq);
    return err;
}

static enum err measure_all(struct bench *b)
{
    static const enum dtype types[] = {DTYPE_Q4_0, DTYPE_Q8_0, DTYPE_Q2_K,
                                       DTYPE_Q4_K, DTYPE_Q6_K, DTYPE_TQ2_0};
    static const struct fake_quant_config ternary = {.form = FAKE_QUANT_TERNARY,
                                                     .rounding = PASS_ROUNDING_INT8};
    static const struct fake_quant_config int4 = {.form = FAKE_QUANT_GRID,
                                                  .grid = {.bits = 4,
                                                           .symmetric = true,
                                                           .strategy = GRID_GROUP,
                                                           .group_size = 32,
                                                           .scale_dtype = DTYPE_BF16},
                                                  .rounding = PASS_ROUNDING_GRID8};
    TRY(measure(b, "none", NULL));
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct fake_quant_config config = {.form = FAKE_QUANT_BLOCKS, .dtype = types[i]};
        TRY(measure(b, dtype_name(types[i]), &config));
    }
    TRY(measure(b, "int4/int8", &int4));
    return measure(b, "ternary", &ternary);
}

static enum err run(struct bench *b, const char *title, const struct train_config *config)
{
    struct train_layout *layout = NULL;
    TRY(train_layout_create(b->model, config, &layout, &b->et));
    size_t count = train_layout_count(layout);
    b->layout = layout;
    b->values = mem_alloc(count, sizeof *b->values);
    enum err err = b->values == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
    if (err == ERR_OK) {
        train_layout_values(layout, 1, b->values);
        for (size_t i = 0; i < count; i++)
            b->values[i] += 1e-3f * random_uniform_f32(2, i);
        (void)printf("%s, %.0f M trainables, %u threads\n", title, (double)count * 1e-6,
                     kernel_threads(b->kernel));
        err = measure_all(b);
    }
    mem_free(b->values);
    train_layout_destroy(&layout);
    return err;
}

int main(int argc, char **argv)
{
    unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 2;
    struct hf_config config = {.model_type = "llama",
                               .vocab_size = VOCABULARY,
                               .hidden_size = 2048,
                               .intermediate_size = 5632,
                               .num_hidden_layers = 2,
                               .num_attention_heads = 32,
                               .num_key_value_heads = 4,
                               .head_dim = 64,
                               .max_position_embeddings = 2048,
                               .norm_eps = 1e-5,
                               .rope_theta = 10000,
                               .partial_rotary_factor = 1,
                               .initializer_range = 0.02,
                               .tie_word_embeddings = true};
    if (argc > 2)
        config.num_hidden_layers = (uint32_t)strtoul(argv[2], NULL, 10);
    static const char *const targets[] = {"all-linear"};
    static const struct train_config full = {.method = TRAIN_METHOD_FULL};
    static const struct train_config lora = {.method = TRAIN_METHOD_LORA,
                                             .rank = 16,
                                             .alpha = 32,
                                             .targets = targets,
                                             .target_count = 1};
    struct bench b = {.kernel = NULL};
    struct model *model = NULL;
    enum err err = kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, threads, &b.kernel);
    if (err == ERR_OK)
        err = model_create_random(&config, 1, &model, &b.et);
    b.model = model;
    if (err == ERR_OK)
        err = run(&b, "full", &full);
    if (err == ERR_OK)
        err = run(&b, "LoRA", &lora);
    if (err != ERR_OK)
        (void)fprintf(stderr, "%s: %s\n", error_text(err), b.et.text);
    model_destroy(&model);
    kernel_destroy(&b.kernel);
    return err != ERR_OK;
}
