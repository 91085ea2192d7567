/* test_scales_real.c - what AWQ and SmoothQuant are for, on a trained model and real text.
 *
 * AWQ on lm-6m: no site gets worse by its own measure, and the model's divergence from the base on
 * text that was not calibrated on falls. SmoothQuant on lm-6m with outlier channels planted as they
 * grow in large models: eight bits for weights and inputs give nearly what they give without them.
 *
 * The figures are printed: ctest -R test_scales_real -V.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/mem/arena.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/engine_data.h"
#include "worker/engine/calibrate/calibrate.h"
#include "worker/engine/calibrate/calibrate_gram.h"
#include "worker/engine/compare/compare.h"
#include "worker/engine/nn/fold_scale.h"
#include "worker/engine/nn/model_state.h" /* to switch rounded inputs on */
#include "worker/engine/nn/model_values.h"
#include "worker/engine/quant/smoothquant.h"
#include "worker/engine/solve/awq_clip.h"

enum { WINDOW = 256, WINDOWS = 24, CALIBRATED = 16, BOS = 1, SITES_MAX = 32 };

#define MODEL_LM "models/lm-6m"
#define IDS_LM   "reference/lm-6m.ids.json"

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

/* ---- text ---- */

struct windows {
    uint32_t ids[WINDOWS][WINDOW];
    uint8_t loss[WINDOW];
    uint32_t start;
    struct train_row rows[WINDOWS];
};

static struct windows *windows_open(void)
{
    struct json_doc *doc = NULL;
    struct json_value list;
    struct windows *w = mem_alloc(1, sizeof *w);
    assert_non_null(w);
    OK(json_read_open(engine_data_path(0, IDS_LM), 1 << 20, &doc, &et));
    OK(json_read_array(json_read_root(doc), "ids", &list, &et));
    memset(w->loss, 1, sizeof w->loss);
    for (size_t i = 0; i < WINDOWS * WINDOW; i++) {
        size_t row = i / WINDOW, at = i % WINDOW;
        int64_t id = BOS;
        if (at > 0)
            OK(json_read_as_i64(json_read_item(list, row * (WINDOW - 1) + at - 1), 0, 1 << 20, &id,
                                &et));
        w->ids[row][at] = (uint32_t)id;
    }
    for (size_t i = 0; i < WINDOWS; i++)
        w->rows[i] = (struct train_row){.index = i,
                                        .tokens = w->ids[i],
                                        .loss = w->loss,
                                        .token_count = WINDOW,
                                        .segment_starts = &w->start,
                                        .segment_count = 1};
    json_read_close(&doc);
    return w;
}

/* ---- calibration ---- */

struct site_sums {
    size_t columns;
    uint64_t tokens;
    double *sum_abs, *gram;
    float *max_abs;
    struct calibrate_gram triangle;
};

struct sums {
    size_t count;
    struct site_sums sites[SITES_MAX];
};

static enum err take_leaf(void *context, const struct calibrate_leaf *leaf)
{
    struct site_sums *s = &((struct sums *)context)->sites[leaf->site];
    for (size_t c = 0; c < leaf->columns; c++) {
        s->sum_abs[c] += leaf->sum_abs[c];
        s->max_abs[c] = fmaxf(s->max_abs[c], fmaxf(-leaf->min[c], leaf->max[c]));
    }
    s->tokens += leaf->tokens;
    calibrate_gram_add(&s->triangle, leaf->tokens, leaf->x);
    return ERR_OK;
}

static struct batch_input input_of(const struct windows *w, size_t row)
{
    return (struct batch_input){.index = row,
                                .tokens = w->ids[row],
                                .loss = w->loss,
                                .token_count = WINDOW,
                                .segment_starts = &w->start,
                                .segment_count = 1};
}

static struct sums *sums_of(const struct model *model, struct kernel *kernel,
                            const struct windows *w)
{
    struct sums *sums = mem_alloc(1, sizeof *sums);
    struct calibrate *calibrate = NULL;
    assert_non_null(sums);
    sums->count = model_site_count(model);
    assert_true(sums->count <= SITES_MAX);
    for (size_t i = 0; i < sums->count; i++) {
        struct site_sums *s = &sums->sites[i];
        s->columns = model_site(model, i).columns;
        s->sum_abs = mem_alloc(s->columns, sizeof *s->sum_abs);
        s->max_abs = mem_alloc(s->columns, sizeof *s->max_abs);
        s->gram = mem_alloc(s->columns * s->columns, sizeof *s->gram);
        assert_true(s->sum_abs != NULL && s->max_abs != NULL && s->gram != NULL);
        OK(calibrate_gram_init(&s->triangle, kernel, s->columns));
    }
    OK(calibrate_create(model, kernel, CALIBRATE_SUM_ABS | CALIBRATE_RANGE, WINDOW, &calibrate));
    for (size_t row = 0; row < CALIBRATED; row++) {
        struct batch_input input = input_of(w, row);
        OK(calibrate_row(calibrate, &input, take_leaf, sums, &et));
    }
    for (size_t i = 0; i < sums->count; i++)
        calibrate_gram_expand(sums->sites[i].columns, sums->sites[i].triangle.sums,
                              sums->sites[i].gram);
    calibrate_destroy(&calibrate);
    return sums;
}

static void sums_destroy(struct sums *sums)
{
    for (size_t i = 0; i < sums->count; i++) {
        mem_free(sums->sites[i].sum_abs);
        mem_free(sums->sites[i].max_abs);
        mem_free(sums->sites[i].gram);
        calibrate_gram_fini(&sums->sites[i].triangle);
    }
    mem_free(sums);
}

static struct awq_input awq_input_of(const struct model *model, const struct sums *sums, size_t i)
{
    const struct site_sums *s = &sums->sites[i];
    struct model_site site = model_site(model, i);
    return (struct awq_input){.columns = s->columns,
                              .tokens = s->tokens,
                              .sum_abs = s->sum_abs,
                              .gram = s->gram,
                              .ties = fold_scale_ties(model, &site)};
}

/* ---- AWQ ---- */

/* One trained model with all that the methods need. */
struct bench {
    struct kernel *kernel;
    struct windows *windows;
    struct model *model;
    struct sums *sums;
    struct arena arena;
    struct fold_scale_factors factors[SITES_MAX]; /* of the sites that take them */
    const float *scales[SITES_MAX];               /* of each site, or NULL */
    size_t factor_count;
};

static bool bench_open(struct bench *b)
{
    const char *path = engine_data_path(1, MODEL_LM);
    *b = (struct bench){0};
    if (path == NULL)
        return false;
    b->kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    b->windows = windows_open();
    OK(model_open(path, &b->model, &et));
    b->sums = sums_of(b->model, b->kernel, b->windows);
    arena_init(&b->arena, SIZE_MAX);
    return true;
}

static void bench_close(struct bench *b)
{
    sums_destroy(b->sums);
    model_destroy(&b->model);
    mem_free(b->windows);
    kernel_destroy(&b->kernel);
    arena_fini(&b->arena);
}

static float *floats(struct bench *b, size_t count)
{
    float *out = arena_alloc(&b->arena, count, sizeof *out);
    assert_non_null(out);
    return out;
}

/* Chooses the factors of a site; returns by how much its error falls. */
static double search_site(struct bench *b, const struct grid_scheme *scheme, size_t index)
{
    struct model_site site = model_site(b->model, index);
    struct awq_options options = awq_defaults();
    struct awq_input input = awq_input_of(b->model, b->sums, index);
    struct awq_linear linears[MODEL_SITE_PARAMS_MAX];
    struct awq_choice choice;
    float *scales = floats(b, site.columns);
    for (size_t i = 0; i < site.param_count; i++) {
        size_t rows = model_param(b->model, site.params[i])->rows;
        float *weights = floats(b, rows * site.columns);
        model_values_read(b->model, site.params[i], 0, rows, weights);
        linears[i] = (struct awq_linear){rows, weights};
    }
    OK(awq_search(b->kernel, scheme, &options, &input, linears, site.param_count, scales, &choice));
    assert_true(choice.error <= choice.error_plain && choice.error_plain > 0);
    b->factors[b->factor_count++] = (struct fold_scale_factors){index, scales};
    b->scales[index] = scales;
    return 1 - choice.error / choice.error_plain;
}

static void search_sites(struct bench *b, const struct grid_scheme *scheme)
{
    double sum = 0, least = 1;
    for (size_t i = 0; i < model_site_count(b->model); i++) {
        struct model_site site = model_site(b->model, i);
        if (!site.in_layer || !fold_scale_place_takes(fold_scale_place_of(b->model, &site)))
            continue;
        double gain = search_site(b, scheme, i);
        sum += gain;
        least = fmin(least, gain);
    }
    assert_int_equal(b->factor_count, 24);
    print_message("AWQ takes %.0f%% of a site's error off on average, %.1f%% at least\n",
                  100 * sum / 24, 100 * least);
    assert_true(sum / 24 > 0.05);
}

static bool is_matrix(const struct model_param *p)
{
    return p->kind == MODEL_KIND_LINEAR && p->role != MODEL_HEAD;
}

/* w becomes what its codes say. */
static void round_weights(const struct grid_scheme *scheme, size_t rows, size_t columns, float *w)
{
    struct grid grid = {0};
    int8_t codes[1024];
    assert_true(columns <= sizeof codes);
    OK(grid_init(&grid, scheme, rows, columns, "test", &et));
    grid_find(&grid, w, NULL);
    for (size_t r = 0; r < rows; r++) {
        grid_encode_row(&grid, r, w + r * columns, codes);
        grid_decode_row(&grid, r, codes, w + r * columns);
    }
    grid_fini(&grid);
}

/* From lm-6m, on rows that were not calibrated on: nats a token. */
static double divergence_of(const struct bench *b, const struct model *result)
{
    struct compare *compare = NULL;
    struct compare_sums sums = {0}, row;
    OK(compare_create(b->model, result, b->kernel, &compare, &et));
    for (size_t i = CALIBRATED; i < WINDOWS; i++) {
        OK(compare_row(compare, &b->windows->rows[i], &row, &et));
        compare_add(&sums, &row);
    }
    compare_destroy(&compare);
    return sums.kl / (double)sums.positions;
}

/* The model with all matrices of its layers on their grids, with or without AWQ, and clips;
 * compared with the base on rows that were not calibrated on. */
static double divergence(struct bench *b, const struct grid_scheme *scheme, bool scale, bool clip)
{
    struct model_override list[256];
    struct fold_scale *fold = NULL;
    struct model *result = NULL;
    struct awq_options options = awq_defaults();
    size_t count = 0;
    OK(fold_scale_create(b->model, b->factors, scale ? b->factor_count : 0, &fold, &et));
    for (size_t i = 0; i < model_param_count(b->model); i++) {
        const struct model_param *p = model_param(b->model, i);
        if (!is_matrix(p) && !fold_scale_changes(fold, i))
            continue;
        float *w = floats(b, p->rows * p->columns);
        fold_scale_read(fold, i, 0, p->rows, w);
        if (is_matrix(p)) {
            size_t site = model_site_of_param(b->model, i);
            struct awq_input input = awq_input_of(b->model, b->sums, site);
            struct awq_clip clipped;
            if (clip && p->role != MODEL_QUERY && p->role != MODEL_KEY)
                OK(awq_clip(b->kernel, scheme, &options, &input, scale ? b->scales[site] : NULL,
                            p->rows, w, &clipped));
            round_weights(scheme, p->rows, p->columns, w);
        }
        assert_true(count < COUNT_OF(list));
        list[count++] = (struct model_override){p->name, p->rows, p->columns, w};
    }
    OK(model_overlay_create(b->model, list, count, &result, &et));
    double kl = divergence_of(b, result);
    model_destroy(&result);
    fold_scale_destroy(&fold);
    return kl;
}

static void test_awq__is_better_than_rounding_to_nearest(void **state)
{
    (void)state;
    static const struct grid_scheme schemes[] = {
        {.bits = 4,
         .symmetric = true,
         .strategy = GRID_GROUP,
         .group_size = 128,
         .scale_dtype = DTYPE_BF16},
        {.bits = 3, .strategy = GRID_GROUP, .group_size = 128, .scale_dtype = DTYPE_BF16}};
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        struct bench b;
        if (!bench_open(&b))
            skip();
        double nearest = divergence(&b, &schemes[i], false, false);
        double clipped = divergence(&b, &schemes[i], false, true);
        search_sites(&b, &schemes[i]);
        double scaled = divergence(&b, &schemes[i], true, false);
        double both = divergence(&b, &schemes[i], true, true);
        print_message("int%u g128: divergence %.5f to nearest, %.5f clipped, %.5f scaled, "
                      "%.5f scaled and clipped\n",
                      schemes[i].bits, nearest, clipped, scaled, both);
        assert_true(scaled < nearest && both < scaled);
        bench_close(&b);
    }
}

/* ---- SmoothQuant ---- */

/* Squares of the errors that eight bits make at the outputs of the sites that a norm feeds. */
struct rounding {
    const struct model *model;
    struct kernel *kernel;
    double error, power;
};

static void multiply(struct kernel *kernel, size_t T, size_t rows, size_t columns, const float *x,
                     const float *w, float *y)
{
    struct kernel_gemm gemm = {.m = T,
                               .n = rows,
                               .k = columns,
                               .a = x,
                               .a_row_stride = columns,
                               .a_col_stride = 1,
                               .b = w,
                               .b_dtype = DTYPE_F32,
                               .b_row_stride = 1,
                               .b_col_stride = columns,
                               .c = y,
                               .c_row_stride = rows};
    kernel_gemm(kernel, &gemm);
}

static const struct grid_scheme int8_rows = {
    .bits = 8, .symmetric = true, .strategy = GRID_CHANNEL, .scale_dtype = DTYPE_BF16};

/* One module: x in eight bits a token, weights in eight bits a row. */
static void round_module(struct rounding *r, const struct calibrate_leaf *leaf, size_t param)
{
    size_t T = leaf->tokens, columns = leaf->columns, rows = model_param(r->model, param)->rows;
    float *w = mem_alloc(rows * columns, sizeof *w), *x = mem_alloc(T * columns, sizeof *x);
    float *wanted = mem_alloc(T * rows, sizeof *wanted), *y = mem_alloc(T * rows, sizeof *y);
    assert_true(w != NULL && x != NULL && wanted != NULL && y != NULL);
    model_values_read(r->model, param, 0, rows, w);
    multiply(r->kernel, T, rows, columns, leaf->x, w, wanted);
    round_weights(&int8_rows, rows, columns, w);
    kernel_round_int8(r->kernel, T, columns, leaf->x, x);
    multiply(r->kernel, T, rows, columns, x, w, y);
    for (size_t i = 0; i < T * rows; i++) {
        r->error += pow((double)y[i] - (double)wanted[i], 2);
        r->power += pow((double)wanted[i], 2);
    }
    mem_free(w);
    mem_free(x);
    mem_free(wanted);
    mem_free(y);
}

static enum err round_leaf(void *context, const struct calibrate_leaf *leaf)
{
    struct rounding *r = context;
    struct model_site site = model_site(r->model, leaf->site);
    for (size_t i = 0; site.in_layer && site.norm != MODEL_NO_PARAM && i < site.param_count; i++)
        round_module(r, leaf, site.params[i]);
    return ERR_OK;
}

static double eight_bit_error(const struct bench *b, const struct model *model)
{
    struct rounding r = {.model = model, .kernel = b->kernel};
    struct calibrate *calibrate = NULL;
    struct batch_input input = input_of(b->windows, CALIBRATED);
    OK(calibrate_create(model, b->kernel, 0, WINDOW, &calibrate));
    OK(calibrate_row(calibrate, &input, round_leaf, &r, &et));
    calibrate_destroy(&calibrate);
    return r.error / r.power;
}

/* `model` with factors at all of its layers' sites that a norm feeds; `scale` makes them. */
static struct model *fold_norms(struct bench *b, const struct model *model,
                                void (*scale)(struct bench *b, const struct model *model,
                                              size_t site, float *scales))
{
    struct fold_scale_factors factors[SITES_MAX];
    struct model_override *list = NULL;
    struct fold_scale *fold = NULL;
    struct model *folded = NULL;
    size_t count = 0, changes = 0;
    for (size_t i = 0; i < model_site_count(model); i++) {
        struct model_site site = model_site(model, i);
        if (!site.in_layer || fold_scale_place_of(model, &site) != FOLD_SCALE_NORM)
            continue;
        float *scales = floats(b, site.columns);
        scale(b, model, i, scales);
        factors[count++] = (struct fold_scale_factors){i, scales};
    }
    OK(fold_scale_create(model, factors, count, &fold, &et));
    OK(fold_scale_overrides(fold, &b->arena, &list, &changes));
    OK(model_overlay_create(model, list, changes, &folded, &et));
    fold_scale_destroy(&fold);
    return folded;
}

/* Three channels of 256 become 64 times as large. */
static void plant(struct bench *b, const struct model *model, size_t index, float *scales)
{
    (void)b;
    for (size_t c = 0; c < model_site(model, index).columns; c++)
        scales[c] = c % 100 == 37 ? 1.0f / 64 : 1;
}

/* b->sums are those of the model. */
static void smooth(struct bench *b, const struct model *model, size_t index, float *scales)
{
    struct model_site site = model_site(model, index);
    struct channel_ties ties = fold_scale_ties(model, &site);
    float *max_w = floats(b, site.columns);
    for (size_t i = 0; i < site.param_count; i++) {
        size_t rows = model_param(model, site.params[i])->rows;
        float *weights = floats(b, rows * site.columns);
        model_values_read(model, site.params[i], 0, rows, weights);
        channel_scale_add_max(rows, site.columns, weights, max_w);
    }
    smoothquant_scales(&ties, site.columns, SMOOTHQUANT_ALPHA, b->sums->sites[index].max_abs, max_w,
                       scales);
}

/* The divergence of `model` from lm-6m when all matrices of its layers have eight bits a row and
 * see eight bits a token. */
static double eight_bit_divergence(struct bench *b, const struct model *model)
{
    struct model_override list[256];
    struct model *rounded = NULL;
    size_t count = 0;
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        if (!is_matrix(p))
            continue;
        float *w = floats(b, p->rows * p->columns);
        model_values_read(model, i, 0, p->rows, w);
        round_weights(&int8_rows, p->rows, p->columns, w);
        assert_true(count < COUNT_OF(list));
        list[count++] = (struct model_override){p->name, p->rows, p->columns, w};
    }
    OK(model_overlay_create(model, list, count, &rounded, &et));
    rounded->config.quantized = true;
    for (size_t i = 0; i < rounded->param_count; i++) {
        rounded->params[i].rounds_input = is_matrix(&rounded->params[i]);
        rounded->params[i].on_grid = rounded->params[i].rounds_input;
    }
    double kl = divergence_of(b, rounded);
    model_destroy(&rounded);
    return kl;
}

static void test_smoothquant__eight_bits_are_enough_for_outlier_channels(void **state)
{
    (void)state;
    struct bench b;
    if (!bench_open(&b))
        skip();
    struct model *planted = fold_norms(&b, b.model, plant);
    sums_destroy(b.sums);
    b.sums = sums_of(planted, b.kernel, b.windows);
    struct model *smoothed = fold_norms(&b, planted, smooth);
    double base = eight_bit_error(&b, b.model), outliers = eight_bit_error(&b, planted);
    double smooth_error = eight_bit_error(&b, smoothed);
    print_message("W8A8 of outputs' power: %.2e of lm-6m, %.2e with outlier channels, %.2e "
                  "smoothed\n",
                  base, outliers, smooth_error);
    assert_true(outliers > 20 * base);
    assert_true(smooth_error < outliers / 20 && smooth_error < 3 * base);
    double kl_base = eight_bit_divergence(&b, b.model), kl = eight_bit_divergence(&b, smoothed);
    double kl_outliers = eight_bit_divergence(&b, planted);
    print_message("W8A8 divergence: %.5f of lm-6m, %.5f with outlier channels, %.5f smoothed\n",
                  kl_base, kl_outliers, kl);
    assert_true(kl_outliers > 20 * kl && kl < 3 * kl_base);
    model_destroy(&smoothed);
    model_destroy(&planted);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_awq__is_better_than_rounding_to_nearest),
        cmocka_unit_test(test_smoothquant__eight_bits_are_enough_for_outlier_channels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
