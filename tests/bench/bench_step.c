/* bench_step.c - products against OpenBLAS, and a LoRA training step against the product rate.
 *
 * usage: bench_step [threads [pairs [layers]]]
 *
 * The slice has TinyLlama-1.1B's shapes (width 2048, 32 heads, 4 kv heads, mlp 5632, vocabulary
 * 32000), 4 layers unless said otherwise, random f32 weights; one row of 512 tokens, r = 8 on q and
 * v, no recomputation. A step is forward and backward; effective operations are 4 x (parameters of
 * the linear layers and the head) x tokens. The product rate is that of the forward products of one
 * layer on the same threads, by our kernels and by OpenBLAS in turns, before and after each step.
 * Shown are medians; a ratio is the median of the paired ratios.
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
#include "worker/engine/train/train.h"

enum { TOKENS = 512, VOCABULARY = 32000, PAIRS_MAX = 101, FORWARDS = 4 };

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

static void run_forward(struct kernel *kernel, const struct model *model, float *buffers)
{
    for (unsigned role = MODEL_QUERY; role <= MODEL_DOWN; role++) {
        ptrdiff_t index = model_param_index(model, (enum model_role)role, 0);
        if (index == MODEL_NO_PARAM || family_role_kind((enum model_role)role) != MODEL_KIND_LINEAR)
            continue;
        const struct model_param *p = model_param(model, (size_t)index);
        struct kernel_gemm gemm = {.m = TOKENS,
                                   .n = p->rows,
                                   .k = p->columns,
                                   .a = buffers,
                                   .a_row_stride = p->columns,
                                   .a_col_stride = 1,
                                   .b = p->data,
                                   .b_dtype = p->dtype,
                                   .b_row_stride = 1,
                                   .b_col_stride = p->columns,
                                   .c = buffers + TOKENS * 5632,
                                   .c_row_stride = p->rows};
        kernel_gemm(kernel, &gemm);
    }
}

/* Of FORWARDS runs: before and after a step, so that both see the same machine. */
static double seconds_forward(struct kernel *kernel, const struct model *model, float *buffers)
{
    double start = now_s();
    for (int i = 0; i < FORWARDS; i++)
        run_forward(kernel, model, buffers);
    return now_s() - start;
}

/* Elements of the linear modules of one layer. */
static double layer_elements(const struct model *model)
{
    double count = 0;
    for (unsigned role = MODEL_QUERY; role <= MODEL_DOWN; role++) {
        ptrdiff_t index = model_param_index(model, (enum model_role)role, 0);
        if (index == MODEL_NO_PARAM || family_role_kind((enum model_role)role) != MODEL_KIND_LINEAR)
            continue;
        const struct model_param *p = model_param(model, (size_t)index);
        count += (double)p->rows * (double)p->columns;
    }
    return count;
}

static enum err drop_leaf(void *context, size_t row, const struct train_result *result,
                          const float *gradient)
{
    (void)row;
    (void)gradient;
    *(double *)context += result->loss_sum;
    return ERR_OK;
}

struct rates { /* of each pair, in GFLOP/s */
    double step[PAIRS_MAX], products[PAIRS_MAX], openblas[PAIRS_MAX];
    double step_to_products[PAIRS_MAX], products_to_openblas[PAIRS_MAX];
};

static void print_rates(const struct kernel *kernel, struct rates *rates, size_t pairs)
{
    (void)printf("%s, %u threads, median of %zu pairs\n", kernel_name(kernel),
                 kernel_threads(kernel), pairs);
    (void)printf("products      %7.1f GFLOP/s   OpenBLAS %7.1f   ratio %.3f\n",
                 median(rates->products, pairs), median(rates->openblas, pairs),
                 median(rates->products_to_openblas, pairs));
    (void)printf("LoRA step     %7.1f GFLOP/s   products %7.1f   ratio %.3f\n",
                 median(rates->step, pairs), median(rates->products, pairs),
                 median(rates->step_to_products, pairs));
}

static enum err measure(struct kernel *kernel, struct kernel *blas, const struct model *model,
                        const struct train_layout *layout, size_t pairs, struct err_text *et)
{
    static uint32_t ids[TOKENS], start;
    static uint8_t loss[TOKENS];
    static struct rates rates;
    struct train_options options = {.rows_at_once = 1};
    struct train *train = NULL;
    struct train_result result;
    double sum = 0, layer = layer_elements(model);
    double linear = layer * (double)model_shape(model)->layers + (double)VOCABULARY * 2048;
    float *values = mem_alloc(train_layout_count(layout), sizeof *values);
    float *buffers = mem_alloc_aligned((size_t)2 * TOKENS * 5632, sizeof *buffers);
    if (values == NULL || buffers == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < TOKENS; i++) {
        ids[i] = (uint32_t)random_below(1, i, VOCABULARY);
        loss[i] = 1;
    }
    train_layout_values(layout, 1, values);
    for (size_t i = 0; i < train_layout_count(layout); i++) /* B is not zero after the first step */
        values[i] += 1e-3f * random_uniform_f32(2, i);
    struct train_row row = {.tokens = ids,
                            .loss = loss,
                            .token_count = TOKENS,
                            .segment_starts = &start,
                            .segment_count = 1};
    TRY(train_create(model, kernel, layout, &options, &train));
    for (size_t i = 0; i <= pairs; i++) { /* the first warms up */
        double theirs = seconds_forward(blas, model, buffers);
        double ours = seconds_forward(kernel, model, buffers), before = now_s();
        TRY(train_rows(train, values, 1, i, &row, 1, &result, drop_leaf, &sum, et));
        double step = now_s() - before;
        ours += seconds_forward(kernel, model, buffers);
        theirs += seconds_forward(blas, model, buffers);
        size_t at = i == 0 ? 0 : i - 1;
        double operations = 2 * FORWARDS * 2 * layer * TOKENS * 1e-9;
        rates.step[at] = 4 * linear * TOKENS / step * 1e-9;
        rates.products[at] = operations / ours;
        rates.openblas[at] = operations / theirs;
        rates.step_to_products[at] = rates.step[at] / rates.products[at];
        rates.products_to_openblas[at] = theirs / ours;
    }
    print_rates(kernel, &rates, pairs);
    (void)printf("peak memory   %7.0f MiB of a step beyond the weights\n",
                 (double)train_peak_bytes(train) / 1048576);
    train_destroy(&train);
    mem_free(values);
    mem_free(buffers);
    return ERR_OK;
}

int main(int argc, char **argv)
{
    unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 2;
    size_t pairs = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 5;
    struct hf_config config = {.model_type = "llama",
                               .vocab_size = VOCABULARY,
                               .hidden_size = 2048,
                               .intermediate_size = 5632,
                               .num_hidden_layers = 4,
                               .num_attention_heads = 32,
                               .num_key_value_heads = 4,
                               .head_dim = 64,
                               .max_position_embeddings = 2048,
                               .norm_eps = 1e-5,
                               .rope_theta = 10000,
                               .partial_rotary_factor = 1,
                               .initializer_range = 0.02,
                               .tie_word_embeddings = true};
    if (argc > 3)
        config.num_hidden_layers = (uint32_t)strtoul(argv[3], NULL, 10);
    static const char *const targets[] = {"q_proj", "v_proj"};
    static const struct train_config lora = {
        .method = TRAIN_METHOD_LORA, .rank = 8, .alpha = 16, .targets = targets, .target_count = 2};
    struct kernel *kernel = NULL, *blas = NULL;
    struct model *model = NULL;
    struct train_layout *layout = NULL;
    struct err_text et = {0};
    enum err err = pairs == 0 || pairs > PAIRS_MAX ? ERR_USAGE : ERR_OK;
    if (err == ERR_OK)
        err = kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, threads, &kernel);
    if (err == ERR_OK)
        err = kernel_create(KERNEL_PROFILE_BLAS, KERNEL_ISA_BEST, threads, &blas);
    if (err == ERR_OK)
        err = model_create_random(&config, 1, &model, &et);
    if (err == ERR_OK)
        err = train_layout_create(model, &lora, &layout, &et);
    if (err == ERR_OK)
        err = measure(kernel, blas, model, layout, pairs, &et);
    if (err != ERR_OK)
        (void)fprintf(stderr, "%s: %s\n", error_text(err), et.text);
    train_layout_destroy(&layout);
    model_destroy(&model);
    kernel_destroy(&blas);
    kernel_destroy(&kernel);
    return err != ERR_OK;
}
