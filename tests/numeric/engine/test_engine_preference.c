/* test_engine_preference.c - the loss of pairs against its formula in libm, its gradient against
 * central differences of the model in double, a real model against torch, and that nothing but the
 * rows decides its bits.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "tests/numeric/engine/engine_data.h"
#include "tests/numeric/engine/reference64.h"

enum { PAIRS = 3, TOKENS = 16, VOCABULARY = 50, SEED = 11, ROUND = 5 };

static struct err_text et;

static const struct preference plain = {.beta = 0.3},
                               smooth = {.beta = 0.7, .label_smoothing = 0.2};

/* ---- one pair ---- */

static double loss_of(const struct preference *p, double margin)
{
    double x = p->beta * margin, e = p->label_smoothing;
    return (1 - e) * (fmax(-x, 0) + log1p(exp(-fabs(x)))) + e * (fmax(x, 0) + log1p(exp(-fabs(x))));
}

static void test_preference__loss_and_slope_follow_the_formula(void **state)
{
    (void)state;
    const struct preference *settings[] = {&plain, &smooth};
    for (size_t s = 0; s < COUNT_OF(settings); s++)
        for (int i = -60; i <= 60; i++) {
            const double reference[] = {-7.5, -9.25}, h = 1e-5;
            double log_p[] = {-7.0 + 0.5 * i, -8.75}, margin = 0.5 * i;
            struct preference_cost cost = preference_cost(settings[s], log_p, reference);
            double slope =
                (loss_of(settings[s], margin - h) - loss_of(settings[s], margin + h)) / (2 * h);
            assert_true(fabs(cost.loss - loss_of(settings[s], margin)) < 1e-13 * (1 + cost.loss));
            assert_true(fabs(cost.slope - slope) < 1e-8);
            assert_true(cost.is_correct == (margin > 0));
            assert_true(fabs(cost.rewards[0] - cost.rewards[1] - settings[s]->beta * margin) <
                        1e-12);
        }
}

static void test_preference__margins_of_any_size_stay_finite(void **state)
{
    (void)state;
    const double reference[] = {0, 0}, far[] = {-1e6, 0}, near[] = {0, -1e6};
    struct preference_cost lost = preference_cost(&plain, far, reference);
    assert_true(lost.loss == 0.3 * 1e6 && lost.slope == 0.3);
    struct preference_cost won = preference_cost(&plain, near, reference);
    assert_true(won.loss == 0 && won.slope == 0 && won.is_correct);
    won = preference_cost(&smooth, near, reference);
    assert_true(isfinite(won.loss) && won.slope == -0.7 * 0.2);
}

/* ---- rows of a model ---- */

/* Pairs of random tokens; in each answer the last tokens count. */
struct pairs {
    uint32_t tokens[PAIRS][TOKENS], starts[PAIRS][2];
    uint8_t both[PAIRS][TOKENS], one[PREFERENCE_SIDES][PAIRS][TOKENS];
    struct train_row rows[PAIRS];
};

static void make_pairs(struct pairs *p)
{
    memset(p, 0, sizeof *p);
    for (size_t r = 0; r < PAIRS; r++) {
        size_t split = 6 + r;
        for (size_t i = 0; i < TOKENS; i++) {
            size_t side = i >= split, at = i - side * split;
            p->tokens[r][i] = (uint32_t)(random_u64(7, r * TOKENS + i) % VOCABULARY);
            p->both[r][i] = p->one[side][r][i] = at >= 3;
        }
        p->starts[r][1] = (uint32_t)split;
        p->rows[r] = (struct train_row){.index = r,
                                        .tokens = p->tokens[r],
                                        .loss = p->both[r],
                                        .token_count = TOKENS - r,
                                        .segment_starts = p->starts[r],
                                        .segment_count = PREFERENCE_SIDES,
                                        .reference = {-20.0 - (double)r, -24.0}};
    }
}

static void assert_equal(const struct train_result *a, const struct train_result *b)
{
    for (size_t r = 0; r < PAIRS; r++) {
        assert_true(a[r].loss_sum == b[r].loss_sum && a[r].weight == b[r].weight);
        assert_memory_equal(a[r].rewards, b[r].rewards, sizeof a[r].rewards);
        assert_true(a[r].is_correct == b[r].is_correct);
    }
}

struct keeper {
    size_t count;
    float *gradients; /* (PAIRS, count) */
};

static enum err keep(void *context, size_t row, const struct train_result *result,
                     const float *gradient)
{
    struct keeper *keeper = context;
    (void)result;
    memcpy(keeper->gradients + row * keeper->count, gradient, keeper->count * sizeof *gradient);
    return ERR_OK;
}

/* The loss of pair r in double, at a point of the trainables. */
static double loss64(struct reference64 *reference, const struct pairs *p, size_t r,
                     const struct preference *settings, const double *point)
{
    double rewards[PREFERENCE_SIDES];
    for (int side = 0; side < PREFERENCE_SIDES; side++) {
        struct train_row row = p->rows[r];
        row.loss = p->one[side][r];
        rewards[side] =
            -reference64_loss(reference, point, SEED, ROUND, &row) - row.reference[side];
    }
    return loss_of(settings, rewards[PREFERENCE_CHOSEN] - rewards[PREFERENCE_REJECTED]);
}

static void compare(const struct model *model, const struct train_layout *layout,
                    const struct pairs *p, const struct preference *settings, const float *values,
                    const struct keeper *keeper, const struct train_result *results)
{
    struct reference64 *reference = reference64_create(model, layout, TOKENS);
    double *point = mem_alloc(keeper->count, sizeof *point), worst = 0;
    const double h = 3e-7;
    for (size_t i = 0; i < keeper->count; i++)
        point[i] = (double)values[i];
    for (size_t r = 0; r < PAIRS; r++) {
        double loss = loss64(reference, p, r, settings, point);
        assert_true(fabs(loss - results[r].loss_sum) < 1e-5 * fabs(loss));
        assert_true(results[r].weight == 1);
        for (size_t e = 0; e < train_layout_entry_count(layout); e++) {
            const struct train_entry *entry = train_layout_entry(layout, e);
            double largest = 0, error = 0;
            for (size_t i = entry->offset; i < entry->offset + entry->count; i++) {
                double kept = point[i], got = (double)keeper->gradients[r * keeper->count + i];
                point[i] = kept + h;
                double above = loss64(reference, p, r, settings, point);
                point[i] = kept - h;
                double wanted = (above - loss64(reference, p, r, settings, point)) / (2 * h);
                point[i] = kept;
                largest = fmax(largest, fabs(wanted));
                error = fmax(error, fabs(wanted - got));
            }
            if (!(error < 2e-4 * largest + 1e-7))
                fail_msg("%s, pair %zu: off by %g of %g", entry->name, r, error, largest);
            worst = fmax(worst, error / fmax(largest, 1e-3));
        }
    }
    print_message("%zu trainables, worst relative error %.1e\n", keeper->count, worst);
    reference64_destroy(&reference);
    mem_free(point);
}

struct setup {
    const struct train_config *config;
    const struct preference *preference;
    enum kernel_isa isa;
    unsigned threads;
    size_t rows_at_once;
    bool checkpointing, compares;
};

/* Runs the pairs; *keeper and results are filled, and compared where that is asked for. */
static void run(const struct setup *setup, struct keeper *keeper, struct train_result *results)
{
    struct hf_config shape = engine_data_config(true);
    struct model *model = engine_data_model(&shape, 3);
    struct train_layout *layout = NULL;
    struct train *train = NULL;
    struct pairs pairs;
    make_pairs(&pairs);
    assert_int_equal(train_layout_create(model, setup->config, &layout, &et), ERR_OK);
    keeper->count = train_layout_count(layout);
    keeper->gradients = mem_alloc(PAIRS * keeper->count, sizeof(float));
    float *values = mem_alloc(keeper->count, sizeof *values);
    train_layout_values(layout, 17, values);
    for (size_t i = 0; i < keeper->count; i++)
        values[i] += 0.2f * (random_uniform_f32(99, i) - 0.5f);
    struct kernel *kernel = engine_data_kernel(setup->isa, setup->threads);
    struct train_options options = {.rows_at_once = setup->rows_at_once,
                                    .checkpointing = setup->checkpointing,
                                    .objective = TRAIN_OBJECTIVE_PREFERENCE,
                                    .preference = *setup->preference};
    assert_int_equal(train_create(model, kernel, layout, &options, &train), ERR_OK);
    if (train_rows(train, values, SEED, ROUND, pairs.rows, PAIRS, results, keep, keeper, &et) !=
        ERR_OK)
        fail_msg("%s", et.text);
    if (setup->compares)
        compare(model, layout, &pairs, setup->preference, values, keeper, results);
    struct train_result again[PAIRS];
    assert_int_equal(train_evaluate(train, values, pairs.rows, PAIRS, again, &et), ERR_OK);
    assert_equal(again, results); /* without dropout training says the same */
    pairs.rows[1].segment_count = 1;
    assert_int_equal(train_evaluate(train, values, pairs.rows, PAIRS, again, &et), ERR_DATA);
    assert_string_equal(et.text, "row 1: expected a pair of answers, two segments; found 1");
    train_destroy(&train);
    kernel_destroy(&kernel);
    mem_free(values);
    train_layout_destroy(&layout);
    model_destroy(&model);
}

static const char *const all_linear[] = {"all-linear"};
static const struct train_config full = {.method = TRAIN_METHOD_FULL},
                                 lora = {.method = TRAIN_METHOD_LORA,
                                         .rank = 3,
                                         .alpha = 6,
                                         .targets = all_linear,
                                         .target_count = 1},
                                 prompt = {.method = TRAIN_METHOD_PROMPT, .prompt_count = 3};

static void test_preference__gradients_of_all_weights_and_of_adapters(void **state)
{
    (void)state;
    const struct setup setups[] = {
        {&full, &plain, KERNEL_ISA_BEST, 1, PAIRS, false, true},
        {&lora, &smooth, KERNEL_ISA_BEST, 2, 1, true, true},
        {&prompt, &plain, KERNEL_ISA_BEST, 2, 2, false, true},
    };
    for (size_t i = 0; i < COUNT_OF(setups); i++) {
        struct keeper keeper;
        struct train_result results[PAIRS];
        run(&setups[i], &keeper, results);
        mem_free(keeper.gradients);
    }
}

static void test_preference__how_it_is_computed_changes_no_bit(void **state)
{
    (void)state;
    const struct setup setups[] = {
        {&lora, &smooth, KERNEL_ISA_BEST, 1, 1, false, false},
        {&lora, &smooth, KERNEL_ISA_PORTABLE, 2, PAIRS, false, false},
        {&lora, &smooth, KERNEL_ISA_BEST, 2, 2, true, false},
    };
    struct keeper first, other;
    struct train_result wanted[PAIRS], got[PAIRS];
    run(&setups[0], &first, wanted);
    for (size_t i = 1; i < COUNT_OF(setups); i++) {
        run(&setups[i], &other, got);
        assert_equal(wanted, got);
        assert_memory_equal(first.gradients, other.gradients, PAIRS * first.count * sizeof(float));
        mem_free(other.gradients);
    }
    mem_free(first.gradients);
}

/* ---- a real model against torch in double (tests/golden/preference/make.py) ---- */

enum { GOLDEN_PAIRS = 3, GOLDEN_TOKENS = 192, GOLDEN_BYTES = 1 << 20 };

struct golden {
    struct json_doc *doc;
    struct preference preference;
    struct json_value pairs;
    uint32_t tokens[GOLDEN_PAIRS][GOLDEN_TOKENS], starts[GOLDEN_PAIRS][PREFERENCE_SIDES];
    uint8_t loss[GOLDEN_PAIRS][GOLDEN_TOKENS];
    struct train_row rows[GOLDEN_PAIRS];
};

static double number_of(struct json_value list, size_t index)
{
    double value;
    assert_int_equal(json_read_as_f64(json_read_item(list, index), &value, &et), ERR_OK);
    return value;
}

static void add_tokens(struct golden *g, size_t r, struct json_value pair, const char *key,
                       bool counts)
{
    struct json_value list = json_read_find(pair, key);
    struct train_row *row = &g->rows[r];
    for (size_t i = 0; i < json_read_count(list); i++) {
        assert_true(row->token_count < GOLDEN_TOKENS);
        g->loss[r][row->token_count] = counts;
        g->tokens[r][row->token_count++] = (uint32_t)number_of(list, i);
    }
}

static void read_golden(struct golden *g)
{
    memset(g, 0, sizeof *g);
    if (json_read_open("tests/golden/preference/pairs.json", GOLDEN_BYTES, &g->doc, &et) != ERR_OK)
        fail_msg("%s", et.text);
    struct json_value root = json_read_root(g->doc);
    struct preference *p = &g->preference;
    assert_int_equal(json_read_f64(root, "beta", &p->beta, &et), ERR_OK);
    assert_int_equal(json_read_f64(root, "label_smoothing", &p->label_smoothing, &et), ERR_OK);
    g->pairs = json_read_find(root, "pairs");
    assert_int_equal(json_read_count(g->pairs), GOLDEN_PAIRS);
    for (size_t r = 0; r < GOLDEN_PAIRS; r++) {
        struct json_value pair = json_read_item(g->pairs, r);
        struct json_value reference = json_read_find(pair, "reference");
        add_tokens(g, r, pair, "prompt", false);
        add_tokens(g, r, pair, "chosen", true);
        g->starts[r][1] = (uint32_t)g->rows[r].token_count;
        add_tokens(g, r, pair, "prompt", false);
        add_tokens(g, r, pair, "rejected", true);
        g->rows[r].index = r;
        g->rows[r].tokens = g->tokens[r];
        g->rows[r].loss = g->loss[r];
        g->rows[r].segment_starts = g->starts[r];
        g->rows[r].segment_count = PREFERENCE_SIDES;
        for (size_t side = 0; side < PREFERENCE_SIDES; side++)
            g->rows[r].reference[side] = number_of(reference, side);
    }
}

/* Norms of every weight's gradient, and some of its elements. The tied head is the embedding. */
static void check_golden_gradient(struct json_value pair, const struct train_layout *layout,
                                  const float *gradient)
{
    struct json_value norms = json_read_find(pair, "gradient_norms");
    struct json_value elements = json_read_find(pair, "final_norm_gradient");
    for (size_t e = 0; e < train_layout_entry_count(layout); e++) {
        const struct train_entry *entry = train_layout_entry(layout, e);
        const char *name =
            strcmp(entry->name, "lm_head.weight") == 0 ? "model.embed_tokens.weight" : entry->name;
        double wanted, sum = 0;
        assert_int_equal(json_read_f64(norms, name, &wanted, &et), ERR_OK);
        for (size_t i = 0; i < entry->count; i++)
            sum += (double)gradient[entry->offset + i] * (double)gradient[entry->offset + i];
        if (!(fabs(sqrt(sum) - wanted) < 1e-4 * wanted))
            fail_msg("%s: a norm of %.9g, expected %.9g", name, sqrt(sum), wanted);
        for (size_t i = 0; strcmp(name, "model.norm.weight") == 0 && i < json_read_count(elements);
             i++)
            assert_true(fabs((double)gradient[entry->offset + i] - number_of(elements, i)) <
                        1e-5 * wanted);
    }
}

static void check_golden(const struct golden *g, struct train *train,
                         const struct train_layout *layout, const float *values)
{
    double log_p[GOLDEN_PAIRS][PREFERENCE_SIDES];
    struct train_result results[GOLDEN_PAIRS];
    struct keeper keeper = {.count = train_layout_count(layout)};
    keeper.gradients = mem_alloc(GOLDEN_PAIRS * keeper.count, sizeof(float));
    assert_int_equal(train_log_probabilities(train, NULL, g->rows, GOLDEN_PAIRS, log_p, &et),
                     ERR_OK);
    assert_int_equal(
        train_rows(train, values, SEED, ROUND, g->rows, GOLDEN_PAIRS, results, keep, &keeper, &et),
        ERR_OK);
    for (size_t r = 0; r < GOLDEN_PAIRS; r++) {
        struct json_value pair = json_read_item(g->pairs, r);
        double loss;
        assert_int_equal(json_read_f64(pair, "loss", &loss, &et), ERR_OK);
        print_message("pair %zu: loss %.9f, in double %.9f\n", r, results[r].loss_sum, loss);
        assert_true(fabs(results[r].loss_sum - loss) < 1e-5 * loss);
        for (size_t side = 0; side < PREFERENCE_SIDES; side++) {
            double wanted = number_of(json_read_find(pair, "log_p"), side);
            double reward = number_of(json_read_find(pair, "rewards"), side);
            assert_true(fabs(log_p[r][side] - wanted) < -1e-6 * wanted);
            assert_true(fabs(results[r].rewards[side] - reward) < 1e-4);
        }
        check_golden_gradient(pair, layout, keeper.gradients + r * keeper.count);
    }
    mem_free(keeper.gradients);
}

static void test_preference__real_pairs_as_torch_has_them_in_double(void **state)
{
    (void)state;
    const char *folder = engine_data_path(0, "models/TinyStories-656K");
    struct golden golden;
    struct model *model = NULL;
    struct train_layout *layout = NULL;
    struct train *train = NULL;
    if (folder == NULL)
        skip();
    read_golden(&golden);
    assert_int_equal(model_open(folder, &model, &et), ERR_OK);
    assert_int_equal(train_layout_create(model, &full, &layout, &et), ERR_OK);
    float *values = mem_alloc(train_layout_count(layout), sizeof *values);
    train_layout_values(layout, 1, values);
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct train_options options = {.rows_at_once = 2,
                                    .objective = TRAIN_OBJECTIVE_PREFERENCE,
                                    .preference = golden.preference};
    assert_int_equal(train_create(model, kernel, layout, &options, &train), ERR_OK);
    check_golden(&golden, train, layout, values);
    train_destroy(&train);
    kernel_destroy(&kernel);
    mem_free(values);
    train_layout_destroy(&layout);
    model_destroy(&model);
    json_read_close(&golden.doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_preference__loss_and_slope_follow_the_formula),
        cmocka_unit_test(test_preference__margins_of_any_size_stay_finite),
        cmocka_unit_test(test_preference__gradients_of_all_weights_and_of_adapters),
        cmocka_unit_test(test_preference__real_pairs_as_torch_has_them_in_double),
        cmocka_unit_test(test_preference__how_it_is_computed_changes_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
