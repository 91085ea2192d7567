/* test_engine_gradient.c - every gradient against central differences of a loss in double. */
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

enum { ROWS = 2, SEED = 11, ROUND = 5 };

static struct err_text et;

struct setup {
    bool tied, checkpointing;
    size_t tokens; /* a row */
    uint32_t window;
    bool anchored;
};

/* Keeps each row's gradient: (ROWS, count). */
struct keeper {
    size_t count;
    float *gradients;
};

static enum err keep(void *context, size_t row, const struct train_result *result,
                     const float *gradient)
{
    struct keeper *keeper = context;
    (void)result;
    memcpy(keeper->gradients + row * keeper->count, gradient, keeper->count * sizeof *gradient);
    return ERR_OK;
}

/* Every element of every gradient of every row against (loss(v + h) - loss(v - h)) / 2h. The scale
 * of an entry's errors is its largest gradient. Returns the worst relative error. */
static double compare(const struct model *model, const struct train_layout *layout, size_t tokens,
                      const struct train_row *rows, const float *values, const float *anchor,
                      const struct keeper *keeper, const struct train_result *results)
{
    struct reference64 *reference = reference64_create(model, layout, tokens);
    size_t count = train_layout_count(layout);
    double *point = mem_alloc(count, sizeof *point), worst = 0;
    const double h = 3e-7; /* no corner of a relu lies that near */
    for (size_t i = 0; i < count; i++)
        point[i] = (double)values[i];
    reference64_hold(reference, point, anchor);
    for (size_t r = 0; r < ROWS; r++) {
        double loss = reference64_loss(reference, point, SEED, ROUND, &rows[r]);
        assert_true(fabs(loss - results[r].loss_sum) < 1e-5 * fabs(loss));
        for (size_t e = 0; e < train_layout_entry_count(layout); e++) {
            const struct train_entry *entry = train_layout_entry(layout, e);
            double largest = 0, error = 0;
            for (size_t i = entry->offset; i < entry->offset + entry->count; i++) {
                double kept = point[i], got = (double)keeper->gradients[r * count + i];
                point[i] = kept + h;
                double above = reference64_loss(reference, point, SEED, ROUND, &rows[r]);
                point[i] = kept - h;
                double below = reference64_loss(reference, point, SEED, ROUND, &rows[r]);
                point[i] = kept;
                double wanted = (above - below) / (2 * h);
                largest = fmax(largest, fabs(wanted));
                error = fmax(error, fabs(wanted - got));
            }
            if (!(error < 1e-4 * largest + 1e-7))
                fail_msg("%s, row %zu: off by %g of %g", entry->name, r, error, largest);
            assert_true(largest > 0);
            worst = fmax(worst, error / largest);
        }
    }
    reference64_destroy(&reference);
    mem_free(point);
    return worst;
}

static void check_gradients(const struct train_config *config, struct setup setup)
{
    struct hf_config shape = engine_data_config(setup.tied);
    shape.sliding_window = setup.window;
    struct model *model = engine_data_model(&shape, 3);
    struct train_layout *layout = NULL;
    if (train_layout_create(model, config, &layout, &et) != ERR_OK)
        fail_msg("%s", et.text);
    size_t count = train_layout_count(layout);
    struct keeper keeper = {.count = count, .gradients = mem_alloc(ROWS * count, sizeof(float))};
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    float *values = mem_alloc(count, sizeof *values), *anchor = NULL;
    train_layout_values(layout, 17, values);
    assert_int_equal(train_layout_magnitudes(layout, kernel, NULL, values), ERR_OK);
    for (size_t i = 0; i < count; i++) /* so that B is not zero and gains are not one */
        values[i] += 0.2f * (random_uniform_f32(99, i) - 0.5f);
    if (setup.anchored) {
        anchor = mem_alloc(count, sizeof *anchor);
        for (size_t i = 0; i < count; i++)
            anchor[i] = values[i] + 0.3f * (random_uniform_f32(98, i) - 0.5f);
    }
    struct train_row *rows = engine_data_rows(ROWS, setup.tokens, shape.vocab_size, 23);
    struct train_options options = {.rows_at_once = ROWS, .checkpointing = setup.checkpointing};
    struct train *train = NULL;
    struct train_result results[ROWS];
    assert_int_equal(train_create(model, kernel, layout, &options, &train), ERR_OK);
    train_anchor(train, anchor);
    if (train_rows(train, values, SEED, ROUND, rows, ROWS, results, keep, &keeper, &et) != ERR_OK)
        fail_msg("%s", et.text);
    double worst = compare(model, layout, setup.tokens, rows, values, anchor, &keeper, results);
    print_message("%zu trainables, worst relative error %.1e\n", count, worst);
    train_destroy(&train);
    kernel_destroy(&kernel);
    engine_data_free_rows(rows);
    mem_free(anchor);
    mem_free(values);
    mem_free(keeper.gradients);
    train_layout_destroy(&layout);
    model_destroy(&model);
}

static const char *const all_linear[] = {"all-linear"};

static void test_gradient__every_parameter_of_an_untied_model(void **state)
{
    (void)state;
    struct train_config config = {.method = TRAIN_METHOD_FULL};
    check_gradients(&config, (struct setup){.tokens = 8});
}

static void test_gradient__every_parameter_of_a_tied_model(void **state)
{
    (void)state;
    struct train_config config = {.method = TRAIN_METHOD_FULL};
    check_gradients(&config, (struct setup){.tied = true, .checkpointing = true, .tokens = 8});
}

static void test_gradient__lora_on_all_modules_with_a_window(void **state)
{
    (void)state;
    struct train_config config = {.method = TRAIN_METHOD_LORA,
                                  .rank = 3,
                                  .alpha = 6,
                                  .targets = all_linear,
                                  .target_count = 1};
    check_gradients(&config, (struct setup){.tied = true, .tokens = 16, .window = 4});
}

static void test_gradient__lora_with_dropout_on_all_modules(void **state)
{
    (void)state;
    struct train_config config = {.method = TRAIN_METHOD_LORA,
                                  .rank = 2,
                                  .alpha = 4,
                                  .dropout = 0.25,
                                  .rank_stabilized = true,
                                  .targets = all_linear,
                                  .target_count = 1};
    check_gradients(&config, (struct setup){.tied = true, .checkpointing = true, .tokens = 16});
}

static void test_gradient__magnitudes_of_all_modules_and_the_head(void **state)
{
    (void)state;
    static const char *const targets[] = {"all-linear", "lm_head"};
    struct train_config config = {.method = TRAIN_METHOD_LORA,
                                  .rank = 2,
                                  .alpha = 4,
                                  .dora = true,
                                  .targets = targets,
                                  .target_count = 2};
    check_gradients(&config, (struct setup){.tokens = 16});
    config.dropout = 0.25;
    check_gradients(&config, (struct setup){.tied = true, .checkpointing = true, .tokens = 16});
}

static void test_gradient__anchored_adapters(void **state)
{
    (void)state;
    struct train_config config = {.method = TRAIN_METHOD_LORA,
                                  .rank = 2,
                                  .alpha = 4,
                                  .targets = all_linear,
                                  .target_count = 1};
    check_gradients(&config, (struct setup){.anchored = true, .tokens = 16});
    config.dropout = 0.25;
    config.dora = true;
    check_gradients(&config, (struct setup){.anchored = true, .checkpointing = true, .tokens = 16});
}

static void test_gradient__lookups_the_head_and_whole_modules_beside_adapters(void **state)
{
    (void)state;
    static const char *const targets[] = {"embed_tokens", "lm_head", "k_proj", "up_proj"};
    static const char *const saved[] = {"norm", "layers.0.input_layernorm",
                                        "layers.1.self_attn.o_proj"};
    static const char *const ranks[] = {"lm_head=3", "layers.1.mlp.up_proj=1"};
    struct train_config config = {.method = TRAIN_METHOD_LORA,
                                  .rank = 2,
                                  .alpha = 4,
                                  .dropout = 0.25,
                                  .targets = targets,
                                  .target_count = COUNT_OF(targets),
                                  .rank_patterns = ranks,
                                  .rank_pattern_count = COUNT_OF(ranks),
                                  .saved = saved,
                                  .saved_count = COUNT_OF(saved)};
    check_gradients(&config, (struct setup){.tokens = 16});
    check_gradients(&config, (struct setup){.tied = true, .checkpointing = true, .tokens = 16});
    static const char *const all[] = {"embed_tokens", "lm_head"};
    config.targets = all_linear;
    config.target_count = 1;
    config.rank_pattern_count = 0;
    config.saved = all;
    config.saved_count = 2;
    check_gradients(&config, (struct setup){.tied = true, .tokens = 16});
}

static void test_gradient__lora_on_two_modules_over_several_key_blocks(void **state)
{
    (void)state;
    static const char *const targets[] = {"layers.1.self_attn.q_proj", "0.self_attn.k_proj"};
    struct train_config config = {
        .method = TRAIN_METHOD_LORA, .rank = 1, .alpha = 8, .targets = targets, .target_count = 2};
    check_gradients(&config, (struct setup){.tokens = 230});
    check_gradients(&config, (struct setup){.tokens = 230, .window = 70});
}

static void test_gradient__bottlenecks_of_every_kind(void **state)
{
    (void)state;
    static const struct train_config configs[] = {
        {.method = TRAIN_METHOD_HOULSBY, .reduction = 4, .act = KERNEL_ACT_SILU, .scaling = 1},
        {.method = TRAIN_METHOD_PFEIFFER, .reduction = 8, .act = KERNEL_ACT_GELU_ERF, .scaling = 1},
        {.method = TRAIN_METHOD_PFEIFFER, .reduction = 5, .act = KERNEL_ACT_RELU, .scaling = 0.5},
        {.method = TRAIN_METHOD_PARALLEL, .reduction = 2, .act = KERNEL_ACT_RELU, .scaling = 4},
    };
    for (size_t i = 0; i < COUNT_OF(configs); i++)
        check_gradients(&configs[i], (struct setup){.checkpointing = i % 2 != 0, .tokens = 16});
}

static void test_gradient__prompts_before_every_sample(void **state)
{
    (void)state;
    struct train_config config = {.method = TRAIN_METHOD_PROMPT, .prompt_count = 5};
    check_gradients(&config, (struct setup){.tokens = 40});
    check_gradients(&config, (struct setup){.checkpointing = true, .tokens = 40, .window = 7});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient__every_parameter_of_an_untied_model),
        cmocka_unit_test(test_gradient__every_parameter_of_a_tied_model),
        cmocka_unit_test(test_gradient__lora_on_all_modules_with_a_window),
        cmocka_unit_test(test_gradient__lora_with_dropout_on_all_modules),
        cmocka_unit_test(test_gradient__magnitudes_of_all_modules_and_the_head),
        cmocka_unit_test(test_gradient__anchored_adapters),
        cmocka_unit_test(test_gradient__lookups_the_head_and_whole_modules_beside_adapters),
        cmocka_unit_test(test_gradient__lora_on_two_modules_over_several_key_blocks),
        cmocka_unit_test(test_gradient__bottlenecks_of_every_kind),
        cmocka_unit_test(test_gradient__prompts_before_every_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
