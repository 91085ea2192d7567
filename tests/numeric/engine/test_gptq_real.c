/* test_gptq_real.c - what GPTQ is for, on a trained model and real text.
 *
 * All matrices of lm-6m's layers go to grids: to nearest, and by GPTQ layer by layer, each layer
 * calibrated on the inputs that the quantized layers before it give.
 * Calibrated on the beginning of a text, compared with the base on its end.
 *
 * The figures are printed: ctest -R test_gptq_real -V.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/formats/source/file.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/engine_data.h"
#include "tests/numeric/engine/lm_windows.h"
#include "worker/engine/calibrate/calibrate.h"
#include "worker/engine/calibrate/calibrate_gram.h"
#include "worker/engine/compare/compare.h"
#include "worker/engine/nn/model_overlay.h"
#include "worker/engine/nn/model_site.h"
#include "worker/engine/nn/model_values.h"
#include "worker/engine/solve/gptq.h"
#include "worker/engine/solve/gram_error.h"

enum { BOS = 1, CALIBRATED = 24, CHARACTERS = 32000, LAYER_SITES_MAX = 8, PARAMS_MAX = 128 };

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

/* ---- the text ---- */

struct calibration {
    uint32_t ids[CALIBRATED][LM_WINDOW];
    uint32_t start;
    struct batch_input rows[CALIBRATED];
};

static void calibration_open(struct calibration *c)
{
    struct bytes text;
    struct tokenizer *tokenizer = NULL;
    struct token_list ids;
    token_list_init(&ids);
    bytes_init(&text, 1 << 26);
    OK(file_read(engine_data_path(0, "text/tinystories-train-head.txt"), 1 << 26, &text, &et));
    OK(tokenizer_open(engine_data_path(1, "models/lm-6m/tokenizer.model"), &tokenizer, &et));
    struct text head = {(const char *)bytes_span(&text).data, CHARACTERS};
    OK(tokenizer_encode(tokenizer, NULL, head, TOKENIZER_SPECIAL_AS_TEXT, &ids));
    assert_true(ids.count >= CALIBRATED * (LM_WINDOW - 1));
    for (size_t i = 0; i < CALIBRATED; i++) {
        c->ids[i][0] = BOS;
        memcpy(c->ids[i] + 1, ids.ids + i * (LM_WINDOW - 1), (LM_WINDOW - 1) * sizeof *ids.ids);
        c->rows[i] = (struct batch_input){.index = i,
                                          .tokens = c->ids[i],
                                          .token_count = LM_WINDOW,
                                          .segment_starts = &c->start,
                                          .segment_count = 1};
    }
    tokenizer_close(&tokenizer);
    token_list_fini(&ids);
    bytes_fini(&text);
}

/* ---- the model on its way to the grids ---- */

enum method { NEAREST, GPTQ_BY_COLUMNS, GPTQ_BY_DIAGONAL };

struct bench {
    struct kernel *kernel;
    struct lm_windows *held_out;
    struct calibration *calibration;
    struct model *base;
    float *hidden; /* (CALIBRATED, LM_WINDOW, C): inputs of the layer at hand */
    struct calibrate_gram grams[LAYER_SITES_MAX]; /* of its sites */
    size_t first_site;
    struct model_override overrides[PARAMS_MAX];
    size_t override_count;
    double error; /* of all matrices, each as a part of its error to nearest */
};

static float *hidden_at(struct bench *b, size_t row)
{
    return b->hidden + row * LM_WINDOW * model_shape(b->base)->width;
}

static enum err add_gram(void *context, const struct calibrate_leaf *leaf)
{
    struct bench *b = context;
    calibrate_gram_add(&b->grams[leaf->site - b->first_site], leaf->tokens, leaf->x);
    return ERR_OK;
}

/* Runs one layer on all rows; `next` says whether its outputs become the hidden states. */
static void run_layer(struct bench *b, const struct model *model, size_t layer,
                      calibrate_leaf_f leaf, bool next)
{
    struct calibrate *calibrate = NULL;
    size_t floats = LM_WINDOW * model_shape(model)->width;
    float *scratch = mem_alloc(floats, sizeof *scratch);
    assert_non_null(scratch);
    OK(calibrate_create(model, b->kernel, 0, LM_WINDOW, &calibrate));
    for (size_t row = 0; row < CALIBRATED; row++)
        OK(calibrate_layer(calibrate, &b->calibration->rows[row], layer, hidden_at(b, row),
                           next ? hidden_at(b, row) : scratch, leaf, b, &et));
    calibrate_destroy(&calibrate);
    mem_free(scratch);
}

static void embed(struct bench *b)
{
    struct calibrate *calibrate = NULL;
    OK(calibrate_create(b->base, b->kernel, 0, LM_WINDOW, &calibrate));
    for (size_t row = 0; row < CALIBRATED; row++)
        OK(calibrate_embed(calibrate, &b->calibration->rows[row], hidden_at(b, row), &et));
    calibrate_destroy(&calibrate);
}

static void round_to_nearest(const struct grid_scheme *scheme, size_t rows, size_t columns,
                             const float *w, float *values)
{
    struct grid grid;
    int8_t codes[1024];
    assert_true(columns <= sizeof codes);
    OK(grid_init(&grid, scheme, rows, columns, "test", &et));
    grid_find(&grid, w, NULL);
    for (size_t r = 0; r < rows; r++) {
        grid_encode_row(&grid, r, w + r * columns, codes);
        grid_decode_row(&grid, r, codes, values + r * columns);
    }
    grid_fini(&grid);
}

/* Puts one matrix on its grid; `gptq` NULL: to nearest. */
static void quantize_param(struct bench *b, const struct grid_scheme *scheme, size_t index,
                           const struct gptq *gptq, const double *gram)
{
    const struct model_param *p = model_param(b->base, index);
    size_t count = p->rows * p->columns;
    float *w = mem_alloc(count, sizeof *w), *values = mem_alloc(count, sizeof *values);
    assert_true(w != NULL && values != NULL && b->override_count < PARAMS_MAX);
    model_values_read(b->base, index, 0, p->rows, w);
    round_to_nearest(scheme, p->rows, p->columns, w, values);
    if (gptq != NULL) {
        struct gptq_result result;
        double before;
        OK(gram_error(b->kernel, p->rows, p->columns, w, values, gram, NULL, &before));
        OK(gptq_quantize(b->kernel, gptq, scheme, p->rows, w, NULL, p->name, &et, &result));
        assert_true(result.error < before);
        b->error += result.error / before;
        memcpy(values, result.values, count * sizeof *values);
        gptq_result_fini(&result);
    }
    b->overrides[b->override_count++] =
        (struct model_override){p->name, p->rows, p->columns, values};
    mem_free(w);
}

static void quantize_site(struct bench *b, const struct grid_scheme *scheme, enum method method,
                          size_t index)
{
    struct model_site site = model_site(b->base, index);
    struct gptq_options options = {.damp = 0.01,
                                   .order = method == GPTQ_BY_DIAGONAL ? GPTQ_ORDER_DIAGONAL
                                                                       : GPTQ_ORDER_COLUMNS};
    struct gptq *gptq = NULL;
    double *gram = mem_alloc(site.columns * site.columns, sizeof *gram);
    assert_non_null(gram);
    if (method != NEAREST) {
        calibrate_gram_expand(site.columns, b->grams[index - b->first_site].sums, gram);
        OK(gptq_create(b->kernel, &options, site.columns, gram, &gptq));
        assert_true(gptq_damp(gptq) == 0.01 && gptq_dead_count(gptq) == 0);
    }
    for (size_t i = 0; i < site.param_count; i++)
        quantize_param(b, scheme, site.params[i], gptq, gram);
    gptq_destroy(&gptq);
    mem_free(gram);
}

static void quantize_layer(struct bench *b, const struct grid_scheme *scheme, enum method method,
                           size_t layer)
{
    struct model *so_far = NULL;
    size_t count = model_site_layer_count(b->base);
    b->first_site = layer * count;
    assert_true(count <= LAYER_SITES_MAX);
    for (size_t s = 0; s < count; s++)
        OK(calibrate_gram_init(&b->grams[s], b->kernel,
                               model_site(b->base, b->first_site + s).columns));
    if (method != NEAREST)
        run_layer(b, b->base, layer, add_gram, false);
    for (size_t s = 0; s < count; s++) {
        quantize_site(b, scheme, method, b->first_site + s);
        calibrate_gram_fini(&b->grams[s]);
    }
    if (method == NEAREST)
        return;
    OK(model_overlay_create(b->base, b->overrides, b->override_count, &so_far, &et));
    run_layer(b, so_far, layer, NULL, true);
    model_destroy(&so_far);
}

/* Mean divergence a token of the quantized model from the base on the held-out windows. */
static double divergence(struct bench *b, const struct model *model)
{
    struct compare *compare = NULL;
    struct compare_sums sums = {0}, row;
    OK(compare_create(b->base, model, b->kernel, &compare, &et));
    for (size_t i = 0; i < LM_WINDOWS; i++) {
        const struct batch_input *in = &b->held_out->rows[i];
        struct train_row scored = {.index = in->index,
                                   .tokens = in->tokens,
                                   .loss = in->loss,
                                   .token_count = in->token_count,
                                   .segment_starts = in->segment_starts,
                                   .segment_count = in->segment_count};
        OK(compare_row(compare, &scored, &row, &et));
        compare_add(&sums, &row);
    }
    compare_destroy(&compare);
    return sums.kl / (double)sums.positions;
}

static double quantize_model(struct bench *b, const struct grid_scheme *scheme, enum method method)
{
    struct model *result = NULL;
    b->override_count = 0;
    b->error = 0;
    embed(b);
    for (size_t layer = 0; layer < model_shape(b->base)->layers; layer++)
        quantize_layer(b, scheme, method, layer);
    OK(model_overlay_create(b->base, b->overrides, b->override_count, &result, &et));
    double kl = divergence(b, result);
    model_destroy(&result);
    if (method != NEAREST)
        print_message("    outputs' error of a matrix: %.3f of that to nearest on average\n",
                      b->error / (double)b->override_count);
    for (size_t i = 0; i < b->override_count; i++)
        mem_free((void *)(uintptr_t)b->overrides[i].data);
    return kl;
}

static void test_gptq__diverges_less_than_rounding_to_nearest(void **state)
{
    struct grid_scheme scheme = {
        .symmetric = true, .strategy = GRID_GROUP, .group_size = 128, .scale_dtype = DTYPE_BF16};
    struct bench b = {0};
    (void)state;
    b.held_out = lm_windows_open();
    if (b.held_out == NULL)
        skip();
    b.kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    b.calibration = mem_alloc(1, sizeof *b.calibration);
    assert_non_null(b.calibration);
    calibration_open(b.calibration);
    OK(model_open(engine_data_path(0, "models/lm-6m"), &b.base, &et));
    b.hidden = mem_alloc(CALIBRATED * LM_WINDOW * model_shape(b.base)->width, sizeof *b.hidden);
    assert_non_null(b.hidden);
    for (scheme.bits = 4; scheme.bits >= 3; scheme.bits--) {
        double nearest = quantize_model(&b, &scheme, NEAREST);
        double columns = quantize_model(&b, &scheme, GPTQ_BY_COLUMNS);
        double diagonal = quantize_model(&b, &scheme, GPTQ_BY_DIAGONAL);
        print_message("int%u g128: divergence %.5f to nearest, GPTQ %.5f, %.5f largest first\n",
                      scheme.bits, nearest, columns, diagonal);
        assert_true(columns < 0.6 * nearest && diagonal < 0.6 * nearest);
    }
    mem_free(b.hidden);
    mem_free(b.calibration);
    mem_free(b.held_out);
    model_destroy(&b.base);
    kernel_destroy(&b.kernel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gptq__diverges_less_than_rounding_to_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
