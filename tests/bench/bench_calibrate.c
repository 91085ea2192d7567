/* bench_calibrate.c - the calibration pass beside plain forward evaluation, in tokens/s.
 *
 * usage: bench_calibrate [threads [pairs]]
 *
 * Two shapes with random f32 weights: a small Llama (6 layers, width 256, mlp 768, vocabulary 4096,
 * windows of 256) and a slice of TinyLlama-1.1B (2 layers, width 2048, 32 heads, 4 kv heads, mlp
 * 5632, here with vocabulary 8000, windows of 512). In turns run, over the same row:
 *
 *   evaluation   forward and loss of every token, as evaluate tasks run it
 *   forward      the same layers without head and loss
 *   importance   calibration with sums of squares of every site's columns
 *   all sums     the same with sums of |x| and ranges
 *   histograms   the same with a histogram of each site
 *   gram         calibration with the Gram matrices of every site but the head's
 *
 * Calibration has no use for the head's product. Times are medians; ratios are medians of paired
 * ratios to evaluation, and to forward.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "worker/engine/calibrate/calibrate_gram.h"
#include "worker/engine/calibrate/calibrate_statistics.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/nn/model_site.h"
#include "worker/engine/nn/transformer.h"

enum { TOKENS_MAX = 512, PAIRS_MAX = 101, SITES_MAX = 64 };

enum pass_kind { EVALUATION, FORWARD, IMPORTANCE, ALL_SUMS, HISTOGRAMS, GRAM, KINDS };

static const char *const names[KINDS] = {"evaluation", "forward",    "importance",
                                         "all sums",   "histograms", "gram"};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(values[0]), ascending);
    return values[count / 2];
}

struct bench {
    struct kernel *kernel;
    struct model *model;
    struct transformer *transformer;
    struct batch batch;
    struct calibrate *calibrate[KINDS];
    struct statistics *leaf[KINDS];
    struct calibrate_gram grams[SITES_MAX];
    uint32_t ids[TOKENS_MAX], start;
    uint8_t loss[TOKENS_MAX];
    struct batch_input row;
};

static const unsigned statistics_of[KINDS] = {
    [IMPORTANCE] = STATISTICS_SUM_X2,
    [ALL_SUMS] = STATISTICS_SUM_X2 | STATISTICS_SUM_ABS | STATISTICS_MIN_MAX,
    [HISTOGRAMS] = STATISTICS_MIN_MAX | STATISTICS_HISTOGRAM,
};

static enum err bench_open(struct bench *b, const struct hf_config *config, size_t tokens,
                           struct err_text *et)
{
    struct transformer_plan plan = {
        .mode = TRANSFORMER_INFER, .tokens = tokens, .rows = 1, .positions = tokens};
    struct batch_limits limits = {.vocabulary = config->vocab_size,
                                  .positions = config->max_position_embeddings};
    struct statistics_ask asks[SITES_MAX];
    TRY(model_create_random(config, 1, &b->model, et));
    ASSERT(model_site_count(b->model) <= SITES_MAX && tokens <= TOKENS_MAX);
    for (size_t i = 0; i < tokens; i++) {
        b->ids[i] = (uint32_t)random_below(1, i, config->vocab_size);
        b->loss[i] = 1;
    }
    b->row = (struct batch_input){.tokens = b->ids,
                                  .loss = b->loss,
                                  .token_count = tokens,
                                  .segment_starts = &b->start,
                                  .segment_count = 1};
    TRY(batch_init(&b->batch, tokens, 1));
    TRY(batch_add(&b->batch, &b->row, &limits, et));
    TRY(transformer_create(b->model, b->kernel, NULL, &plan, &b->transformer));
    transformer_pass(b->transformer)->batch = &b->batch;
    for (unsigned kind = IMPORTANCE; kind < KINDS; kind++) {
        unsigned kinds = statistics_of[kind];
        struct statistics_plan statistics = {asks, model_site_count(b->model), 1, TEXT("f32/1")};
        TRY(calibrate_create(b->model, b->kernel, calibrate_statistics_sums(kinds), tokens,
                             &b->calibrate[kind]));
        calibrate_statistics_ask(b->model, kinds, asks);
        if (kinds != 0)
            TRY(statistics_create(&statistics, 1, &b->leaf[kind]));
    }
    for (size_t i = 0; i + 1 < model_site_count(b->model); i++)
        TRY(calibrate_gram_init(&b->grams[i], b->kernel, model_site(b->model, i).columns));
    return ERR_OK;
}

static void bench_close(struct bench *b)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        calibrate_destroy(&b->calibrate[kind]);
        statistics_destroy(&b->leaf[kind]);
    }
    for (size_t i = 0; i < SITES_MAX; i++)
        calibrate_gram_fini(&b->grams[i]);
    transformer_destroy(&b->transformer);
    batch_fini(&b->batch);
    model_destroy(&b->model);
}

static enum err add_gram(void *context, const struct calibrate_leaf *leaf)
{
    struct bench *b = context;
    if (leaf->site + 1 < model_site_count(b->model))
        calibrate_gram_add(&b->grams[leaf->site], leaf->tokens, leaf->x);
    return ERR_OK;
}

static enum err run(struct bench *b, enum pass_kind kind, struct err_text *et)
{
    if (kind == EVALUATION)
        return transformer_loss(b->transformer, false, et);
    if (kind == FORWARD)
        return transformer_forward(b->transformer, et);
    if (kind == GRAM)
        return calibrate_row(b->calibrate[kind], &b->row, add_gram, b, et);
    return calibrate_statistics_row(b->calibrate[kind], &b->row, b->leaf[kind], et);
}

static enum err measure(const char *name, struct kernel *kernel, const struct hf_config *config,
                        size_t tokens, size_t pairs, struct err_text *et)
{
    static double seconds[KINDS][PAIRS_MAX], ratios[PAIRS_MAX];
    struct bench *b = mem_alloc(1, sizeof *b);
    if (b == NULL)
        return ERR_OUT_OF_MEMORY;
    b->kernel = kernel;
    enum err err;
    TRY_OUT(bench_open(b, config, tokens, et));
    for (size_t i = 0; i <= pairs; i++) { /* the first warms up */
        for (unsigned kind = 0; kind < KINDS; kind++) {
            double before = now_s();
            TRY_OUT(run(b, (enum pass_kind)kind, et));
            seconds[kind][i > 0 ? i - 1 : 0] = now_s() - before;
        }
    }
    (void)printf("%s\n", name);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        double of[2];
        for (unsigned base = EVALUATION; base <= FORWARD; base++) {
            for (size_t i = 0; i < pairs; i++)
                ratios[i] = seconds[kind][i] / seconds[base][i];
            of[base] = median(ratios, pairs);
        }
        for (size_t i = 0; i < pairs; i++)
            ratios[i] = seconds[kind][i];
        (void)printf("  %-12s %9.0f tokens/s   %.3f of evaluation   %.3f of forward\n", names[kind],
                     (double)tokens / median(ratios, pairs), of[EVALUATION], of[FORWARD]);
    }
out:
    bench_close(b);
    mem_free(b);
    return err;
}

static struct hf_config llama(uint32_t layers, uint32_t width, uint32_t heads, uint32_t kv_heads,
                              uint32_t mlp, uint32_t vocabulary)
{
    return (struct hf_config){.model_type = "llama",
                              .hidden_act = "silu",
                              .vocab_size = vocabulary,
                              .hidden_size = width,
                              .intermediate_size = mlp,
                              .num_hidden_layers = layers,
                              .num_attention_heads = heads,
                              .num_key_value_heads = kv_heads,
                              .head_dim = width / heads,
                              .max_position_embeddings = 2048,
                              .norm_eps = 1e-5,
                              .rope_theta = 10000,
                              .partial_rotary_factor = 1,
                              .initializer_range = 0.02};
}

int main(int argc, char **argv)
{
    unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1;
    size_t pairs = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 7;
    struct hf_config small = llama(6, 256, 8, 8, 768, 4096),
                     large = llama(2, 2048, 32, 4, 5632, 8000);
    struct kernel *kernel = NULL;
    struct err_text et = {""};
    if (pairs == 0 || pairs > PAIRS_MAX ||
        kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, threads, &kernel) != ERR_OK) {
        (void)fprintf(stderr, "usage: bench_calibrate [threads [pairs, at most %d]]\n", PAIRS_MAX);
        return 2;
    }
    (void)printf("%s, %u threads, median of %zu pairs\n", kernel_name(kernel), threads, pairs);
    enum err err = measure("small", kernel, &small, 256, pairs, &et);
    if (err == ERR_OK)
        err = measure("large", kernel, &large, 512, pairs, &et);
    if (err != ERR_OK)
        (void)fprintf(stderr, "bench_calibrate: %s %s\n", error_name(err), et.text);
    kernel_destroy(&kernel);
    return err == ERR_OK ? 0 : 1;
}
