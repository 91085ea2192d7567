/* test_engine_calibrate.c - leaves of calibration: the importance sums of a real model are those of
 * the float64 reference, bits depend on nothing but the rows, and what is not finite is named.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/calibration/statistics_fold.h"
#include "common/digest/digest.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/engine_data.h"
#include "tests/numeric/engine/lm_windows.h"
#include "worker/engine/calibrate/calibrate_gram.h"
#include "worker/engine/calibrate/calibrate_statistics.h"
#include "worker/engine/nn/model_overlay.h"
#include "worker/engine/nn/model_site.h"
#include "worker/engine/nn/model_values.h"

enum { ROWS = 5, TOKENS = 40, SITES_MAX = 64, ALL_SUMS = 7 };

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

static struct batch_input input_of(const struct train_row *row, size_t index)
{
    return (struct batch_input){.index = index,
                                .tokens = row->tokens,
                                .token_count = row->token_count,
                                .segment_starts = row->segment_starts,
                                .segment_count = row->segment_count};
}

static enum err drop_leaf(void *context, const struct calibrate_leaf *leaf)
{
    (void)context;
    (void)leaf;
    return ERR_OK;
}

/* ---- a real model ---- */

/* The node of all windows. */
static struct statistics_fold *fold_windows(const struct model *model, const struct lm_windows *w,
                                            unsigned kinds)
{
    struct statistics_ask asks[SITES_MAX];
    assert_true(model_site_count(model) <= SITES_MAX);
    calibrate_statistics_ask(model, kinds, asks);
    const struct statistics_plan plan = {asks, model_site_count(model), LM_WINDOWS, TEXT("f32/1")};
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct calibrate *calibrate = NULL;
    struct statistics *leaf = NULL;
    struct statistics_fold *fold = NULL;
    OK(calibrate_create(model, kernel, calibrate_statistics_sums(kinds), LM_WINDOW, &calibrate));
    OK(statistics_create(&plan, 1, &leaf));
    OK(statistics_fold_create(&plan, (struct fold_node){0, LM_WINDOWS}, &fold));
    for (size_t i = 0; i < LM_WINDOWS; i++) {
        OK(calibrate_statistics_row(calibrate, &w->rows[i], leaf, &et));
        OK(statistics_fold_push(fold, leaf, &et));
    }
    statistics_destroy(&leaf);
    calibrate_destroy(&calibrate);
    kernel_destroy(&kernel);
    return fold;
}

static void test_calibrate__importance_sums_are_those_of_the_float64_reference(void **state)
{
    (void)state;
    struct lm_windows *w = lm_windows_open();
    if (w == NULL)
        return;
    struct model *model = NULL;
    struct safetensors wanted = {0};
    const struct statistics *sums = NULL;
    double worst = 0;
    size_t compared = 0;
    OK(model_open(engine_data_path(0, "models/lm-6m"), &model, &et));
    OK(safetensors_open(&wanted, engine_data_path(1, "reference/lm-6m.sum-x2.safetensors"), &et));
    struct statistics_fold *fold = fold_windows(model, w, STATISTICS_SUM_X2);
    OK(statistics_fold_finish(fold, &sums));
    assert_int_equal(sums->tokens, LM_WINDOWS * LM_WINDOW);
    for (size_t i = 0; i < model_site_count(model); i++) {
        struct model_site site = model_site(model, i);
        const struct statistics_site *got = statistics_find(sums, site.name);
        for (size_t j = 0; j < site.param_count && site.in_layer; j++) {
            struct text name = text_of(model_param(model, site.params[j])->name);
            name.size -= strlen(".weight");
            const struct safetensor *t = safetensors_find(&wanted, name);
            assert_true(t != NULL && t->dtype == SAFETENSORS_F64 && t->shape[0] == site.columns);
            const double *values = (const double *)(const void *)t->data.data;
            for (size_t c = 0; c < site.columns; c++)
                worst = fmax(worst, fabs(got->sum_x2[c] - values[c]) / values[c]);
            compared++;
        }
    }
    print_message("lm-6m: largest relative difference of a sum of squares %.1e\n", worst);
    assert_int_equal(compared, wanted.count);
    assert_true(worst < 1e-5);
    statistics_fold_destroy(&fold);
    safetensors_close(&wanted);
    model_destroy(&model);
    mem_free(w);
}

/* ---- bits ---- */

struct chain {
    struct digest digest;
    size_t count;
};

static void link(struct chain *chain, const void *data, size_t bytes)
{
    chain->digest = digest_link(chain->digest, (struct span){data, bytes});
}

static enum err link_leaf(void *context, const struct calibrate_leaf *leaf)
{
    struct chain *chain = context;
    assert_int_equal(leaf->site, chain->count);
    chain->count++;
    link(chain, leaf->sum_x2, leaf->columns * sizeof(double));
    link(chain, leaf->sum_abs, leaf->columns * sizeof(double));
    link(chain, leaf->min, leaf->columns * sizeof(float));
    link(chain, leaf->max, leaf->columns * sizeof(float));
    link(chain, leaf->x, leaf->tokens * leaf->columns * sizeof(float));
    return ERR_OK;
}

/* Digest of all leaves of a row; false when this machine lacks the instruction set. */
static bool run(const struct model *model, enum kernel_isa isa, unsigned threads,
                const struct train_row *row, struct digest *out)
{
    struct kernel *kernel = engine_data_kernel(isa, threads);
    if (kernel == NULL)
        return false;
    struct calibrate *calibrate = NULL;
    struct chain chain = {0};
    struct batch_input input = input_of(row, 0);
    OK(calibrate_create(model, kernel, ALL_SUMS, TOKENS, &calibrate));
    OK(calibrate_row(calibrate, &input, link_leaf, &chain, &et));
    assert_int_equal(chain.count, model_site_count(model));
    calibrate_destroy(&calibrate);
    kernel_destroy(&kernel);
    *out = chain.digest;
    return true;
}

static void test_calibrate__bits_depend_on_the_row_alone(void **state)
{
    (void)state;
    static const enum kernel_isa isas[] = {KERNEL_ISA_PORTABLE, KERNEL_ISA_AVX2, KERNEL_ISA_AVX512};
    struct hf_config config = engine_data_config(false);
    struct model *model = engine_data_model(&config, 1);
    struct train_row *rows = engine_data_rows(2, TOKENS, config.vocab_size, 2);
    struct digest wanted, got;
    assert_true(run(model, KERNEL_ISA_BEST, 1, &rows[0], &wanted));
    for (size_t i = 0; i < COUNT_OF(isas); i++)
        for (unsigned threads = 1; threads <= 3; threads++)
            if (run(model, isas[i], threads, &rows[0], &got))
                assert_true(digest_equal(wanted, got));
    assert_true(run(model, KERNEL_ISA_BEST, 1, &rows[1], &got));
    assert_false(digest_equal(wanted, got));
    engine_data_free_rows(rows);
    model_destroy(&model);
}

static void test_calibrate__layer_by_layer_gives_the_leaves_of_the_row(void **state)
{
    (void)state;
    struct hf_config config = engine_data_config(true);
    struct model *model = engine_data_model(&config, 1);
    struct train_row *rows = engine_data_rows(1, TOKENS, config.vocab_size, 2);
    struct batch_input input = input_of(&rows[0], 0);
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct calibrate *calibrate = NULL;
    struct chain chain = {0};
    struct digest wanted;
    float *hidden = mem_alloc(TOKENS * config.hidden_size, sizeof *hidden);
    float *next = mem_alloc(TOKENS * config.hidden_size, sizeof *next);
    assert_true(hidden != NULL && next != NULL);
    assert_true(run(model, KERNEL_ISA_BEST, 2, &rows[0], &wanted));
    OK(calibrate_create(model, kernel, ALL_SUMS, TOKENS, &calibrate));
    OK(calibrate_embed(calibrate, &input, hidden, &et));
    for (size_t l = 0; l < config.num_hidden_layers; l++) {
        float *in = l % 2 == 0 ? hidden : next, *out = l % 2 == 0 ? next : hidden;
        OK(calibrate_layer(calibrate, &input, l, in, out, NULL, NULL, &et)); /* leaves no trace */
        OK(calibrate_layer(calibrate, &input, l, in, out, link_leaf, &chain, &et));
    }
    OK(calibrate_head(calibrate, &input, config.num_hidden_layers % 2 == 0 ? hidden : next,
                      link_leaf, &chain, &et));
    assert_true(digest_equal(wanted, chain.digest));
    mem_free(hidden);
    mem_free(next);
    calibrate_destroy(&calibrate);
    kernel_destroy(&kernel);
    engine_data_free_rows(rows);
    model_destroy(&model);
}

/* What calibrate sums is what the statistics sum of the values alone. */
static enum err take_values(void *context, const struct calibrate_leaf *leaf)
{
    struct calibrate_leaf bare = {
        .site = leaf->site, .tokens = leaf->tokens, .columns = leaf->columns, .x = leaf->x};
    return calibrate_statistics_take(context, &bare);
}

static void test_calibrate__statistics_are_those_of_the_values(void **state)
{
    (void)state;
    struct hf_config config = engine_data_config(false);
    struct model *model = engine_data_model(&config, 1);
    struct train_row *rows = engine_data_rows(1, TOKENS, config.vocab_size, 2);
    struct batch_input input = input_of(&rows[0], 0);
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct statistics_ask asks[SITES_MAX];
    calibrate_statistics_ask(model, STATISTICS_KINDS, asks);
    asks[1].kinds = STATISTICS_SUM_X2;
    const struct statistics_plan plan = {asks, model_site_count(model) - 1, 1, TEXT("f32/1")};
    struct calibrate *calibrate = NULL;
    struct statistics *leaf = NULL, *wanted = NULL;
    OK(calibrate_create(model, kernel, calibrate_statistics_sums(STATISTICS_KINDS), TOKENS,
                        &calibrate));
    OK(statistics_create(&plan, 1, &leaf));
    OK(statistics_create(&plan, 1, &wanted));
    OK(calibrate_statistics_row(calibrate, &input, leaf, &et));
    struct calibrate_statistics context = {model, wanted};
    statistics_start(wanted, 0);
    OK(calibrate_row(calibrate, &input, take_values, &context, &et));
    OK(statistics_end(wanted));
    assert_int_equal(leaf->tokens, rows[0].token_count);
    assert_memory_equal(leaf->sums, wanted->sums, leaf->sum_count * sizeof *leaf->sums);
    for (size_t i = 0; i < leaf->count; i++) {
        const struct statistics_site *a = &leaf->sites[i], *b = &wanted->sites[i];
        if ((a->kinds & STATISTICS_MIN_MAX) == 0)
            continue;
        assert_memory_equal(a->min, b->min, a->columns * sizeof *a->min);
        assert_memory_equal(a->max, b->max, a->columns * sizeof *a->max);
        assert_int_equal(histogram_total(&a->histogram, 0), leaf->tokens * a->columns);
    }
    statistics_destroy(&leaf);
    statistics_destroy(&wanted);
    calibrate_destroy(&calibrate);
    kernel_destroy(&kernel);
    engine_data_free_rows(rows);
    model_destroy(&model);
}

/* ---- Gram matrices ---- */

struct grams {
    struct calibrate_gram *of_site;
    double *wanted; /* of site `site`, (columns, columns) */
    size_t site;
};

static enum err add_gram(void *context, const struct calibrate_leaf *leaf)
{
    struct grams *g = context;
    calibrate_gram_add(&g->of_site[leaf->site], leaf->tokens, leaf->x);
    if (leaf->site != g->site)
        return ERR_OK;
    for (size_t i = 0; i < leaf->columns; i++)
        for (size_t j = 0; j < leaf->columns; j++) {
            float sum = 0;
            for (size_t t = 0; t < leaf->tokens; t++)
                sum = fmaf(leaf->x[t * leaf->columns + i], leaf->x[t * leaf->columns + j], sum);
            g->wanted[i * leaf->columns + j] += (double)sum;
        }
    return ERR_OK;
}

static void test_gram__of_a_shard_adds_its_rows_in_order(void **state)
{
    (void)state;
    struct hf_config config = engine_data_config(false);
    struct model *model = engine_data_model(&config, 1);
    struct train_row *rows = engine_data_rows(ROWS, TOKENS, config.vocab_size, 2);
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct calibrate *calibrate = NULL;
    struct calibrate_gram of_site[SITES_MAX];
    struct grams grams = {.of_site = of_site, .site = 3};
    size_t columns = model_site(model, grams.site).columns, tokens = 0;
    double *matrix = mem_alloc(columns * columns, sizeof *matrix);
    grams.wanted = mem_alloc(columns * columns, sizeof *grams.wanted);
    assert_true(matrix != NULL && grams.wanted != NULL);
    OK(calibrate_create(model, kernel, 0, TOKENS, &calibrate));
    for (size_t i = 0; i < model_site_count(model); i++)
        OK(calibrate_gram_init(&of_site[i], kernel, model_site(model, i).columns));
    for (size_t r = 0; r < ROWS; r++) {
        struct batch_input input = input_of(&rows[r], r);
        OK(calibrate_row(calibrate, &input, add_gram, &grams, &et));
        tokens += rows[r].token_count;
    }
    const struct calibrate_gram *gram = &of_site[grams.site];
    calibrate_gram_expand(columns, gram->sums, matrix);
    assert_memory_equal(matrix, grams.wanted, columns * columns * sizeof *matrix);
    assert_true(gram->sums[calibrate_gram_at(columns, 3, 7)] == matrix[3 * columns + 7]);
    assert_int_equal(calibrate_gram_at(columns, columns - 1, columns - 1) + 1, gram->count);
    assert_int_equal(gram->rows, ROWS);
    assert_int_equal(gram->tokens, tokens);
    for (size_t i = 0; i < model_site_count(model); i++)
        calibrate_gram_fini(&of_site[i]);
    mem_free(matrix);
    mem_free(grams.wanted);
    calibrate_destroy(&calibrate);
    kernel_destroy(&kernel);
    engine_data_free_rows(rows);
    model_destroy(&model);
}

/* ---- bad input ---- */

static enum err count_leaf(void *context, const struct calibrate_leaf *leaf)
{
    (void)leaf;
    ++*(size_t *)context;
    return ERR_OK;
}

/* `name` with an infinite last element, run with `sums`: the message says `says`, and `leaves`
 * leaves came before. */
static void check_fault(const char *name, unsigned sums, size_t leaves, const char *says)
{
    struct hf_config config = engine_data_config(false);
    struct model *base = engine_data_model(&config, 1), *model = NULL;
    struct train_row *rows = engine_data_rows(1, TOKENS, config.vocab_size, 2);
    struct batch_input input = input_of(&rows[0], 17);
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct calibrate *calibrate = NULL;
    size_t param = 0, given = 0;
    while (strcmp(model_param(base, param)->name, name) != 0)
        param++;
    const struct model_param *p = model_param(base, param);
    float *data = mem_alloc(p->rows * p->columns, sizeof *data);
    assert_non_null(data);
    model_values_read(base, param, 0, p->rows, data);
    data[p->rows * p->columns - 1] = INFINITY;
    const struct model_override override = {name, p->rows, p->columns, data};
    OK(model_overlay_create(base, &override, 1, &model, &et));
    OK(calibrate_create(model, kernel, sums, TOKENS, &calibrate));
    assert_int_equal(calibrate_row(calibrate, &input, count_leaf, &given, &et), ERR_NOT_FINITE);
    assert_int_equal(given, leaves);
    if (strstr(et.text, says) == NULL || strstr(et.text, "row 17, token ") != et.text)
        fail_msg("expected \"%s\", found \"%s\"", says, et.text);
    calibrate_destroy(&calibrate);
    kernel_destroy(&kernel);
    mem_free(data);
    engine_data_free_rows(rows);
    model_destroy(&model);
    model_destroy(&base);
}

static void test_calibrate__names_row_layer_and_site_of_what_is_not_finite(void **state)
{
    (void)state;
    for (unsigned sums = 0; sums < 8; sums++) {
        check_fault("model.layers.1.input_layernorm.weight", sums, 4,
                    "layer 1: the input of model.layers.1.self_attn.q_proj is not finite");
        check_fault("model.layers.0.mlp.up_proj.weight", sums, 3,
                    "layer 0: the input of model.layers.0.mlp.down_proj is not finite");
        check_fault("model.norm.weight", sums, 8, "the input of lm_head is not finite");
        check_fault("model.layers.1.mlp.down_proj.weight", sums, 8,
                    "layer 1: the output of model.layers.1.mlp.down_proj.weight is not finite");
    }
}

static enum err refuse_leaf(void *context, const struct calibrate_leaf *leaf)
{
    ++*(size_t *)context;
    return leaf->site == 2 ? ERR_DISK_FULL : ERR_OK;
}

static void test_calibrate__refuses_what_it_cannot_run(void **state)
{
    (void)state;
    struct hf_config config = engine_data_config(false);
    struct model *model = engine_data_model(&config, 1);
    struct train_row *rows = engine_data_rows(1, TOKENS, config.vocab_size, 2);
    struct batch_input input = input_of(&rows[0], 17), other = input;
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct calibrate *calibrate = NULL;
    size_t calls = 0, size_bytes;
    const uint32_t outside[] = {1, config.vocab_size};
    OK(calibrate_create(model, kernel, ALL_SUMS, rows[0].token_count, &calibrate));
    assert_int_equal(calibrate_row(calibrate, &input, refuse_leaf, &calls, &et), ERR_DISK_FULL);
    assert_int_equal(calls, 3);
    other.tokens = outside;
    other.token_count = 2;
    other.segment_count = 1;
    assert_int_equal(calibrate_row(calibrate, &other, drop_leaf, NULL, &et), ERR_DATA);
    calibrate_destroy(&calibrate);
    OK(calibrate_create(model, kernel, ALL_SUMS, rows[0].token_count - 1, &calibrate));
    assert_int_equal(calibrate_row(calibrate, &input, drop_leaf, NULL, &et), ERR_LIMIT);
    assert_int_equal(calibrate_size_bytes(model, SIZE_MAX / 4, &size_bytes), ERR_OVERFLOW);
    struct calibrate_gram gram;
    assert_int_equal(calibrate_gram_init(&gram, kernel, SIZE_MAX), ERR_OVERFLOW);
    assert_int_equal(calibrate_gram_init(&gram, kernel, (size_t)1 << 32), ERR_OVERFLOW);
    calibrate_destroy(&calibrate);
    kernel_destroy(&kernel);
    engine_data_free_rows(rows);
    model_destroy(&model);
}

static void test_calibrate__leaves_nothing_behind_when_memory_is_out(void **state)
{
    (void)state;
    struct hf_config config = engine_data_config(false);
    struct model *model = engine_data_model(&config, 1);
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 1);
    struct calibrate *calibrate = NULL;
    struct calibrate_gram gram = {0};
    bool done = false;
    for (size_t n = 1; !done; n++) { /* every allocation fails in its turn */
        mem_fault_after(n);
        enum err err = calibrate_create(model, kernel, ALL_SUMS, TOKENS, &calibrate);
        if (err == ERR_OK)
            err = calibrate_gram_init(&gram, kernel, 20);
        mem_fault_after(0);
        done = err == ERR_OK;
        assert_true(done || err == ERR_OUT_OF_MEMORY);
        calibrate_destroy(&calibrate);
        calibrate_gram_fini(&gram);
    }
    kernel_destroy(&kernel);
    model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calibrate__importance_sums_are_those_of_the_float64_reference),
        cmocka_unit_test(test_calibrate__bits_depend_on_the_row_alone),
        cmocka_unit_test(test_calibrate__layer_by_layer_gives_the_leaves_of_the_row),
        cmocka_unit_test(test_calibrate__statistics_are_those_of_the_values),
        cmocka_unit_test(test_gram__of_a_shard_adds_its_rows_in_order),
        cmocka_unit_test(test_calibrate__names_row_layer_and_site_of_what_is_not_finite),
        cmocka_unit_test(test_calibrate__refuses_what_it_cannot_run),
        cmocka_unit_test(test_calibrate__leaves_nothing_behind_when_memory_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
