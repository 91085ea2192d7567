/* test_engine_preference.c - the loss of pairs against its formula in libm, its gradient against
 * central differences of the model in double, and that nothing but the rows decides its bits.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_preference__loss_and_slope_follow_the_formula),
        cmocka_unit_test(test_preference__margins_of_any_size_stay_finite),
        cmocka_unit_test(test_preference__gradients_of_all_weights_and_of_adapters),
        cmocka_unit_test(test_preference__how_it_is_computed_changes_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
