/* test_engine_bits.c - the same bits, whatever ran them.
 *
 * One digest over losses and gradients of all rows, for LoRA with dropout and for full training,
 * must not depend on threads, instruction set, rows at once or checkpointing; generation with a
 * cache must yield the logits of the full forward pass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/digest/digest.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "tests/numeric/engine/engine_data.h"
#include "worker/engine/generate/generate.h"
#include "worker/engine/train/train_known_answer.h"

enum { ROWS = 5, TOKENS = 150, VOCABULARY = 50 };

static struct err_text et;

struct setup {
    enum kernel_isa isa;
    unsigned threads;
    size_t rows_at_once;
    bool checkpointing;
};

static const char *const all_linear[] = {"all-linear"};
static const struct train_config lora = {.method = TRAIN_METHOD_LORA,
                                         .rank = 3,
                                         .alpha = 6,
                                         .dropout = 0.1,
                                         .targets = all_linear,
                                         .target_count = 1};
static const char *const everywhere[] = {"all-linear", "lm_head"};
static const char *const also_words[] = {"all-linear", "lm_head", "embed_tokens"};
static const char *const norms[] = {"norm", "input_layernorm"};
static const struct train_config dora = {.method = TRAIN_METHOD_LORA,
                                         .rank = 3,
                                         .alpha = 6,
                                         .dropout = 0.1,
                                         .dora = true,
                                         .targets = everywhere,
                                         .target_count = COUNT_OF(everywhere)};
static const struct train_config mixed = {.method = TRAIN_METHOD_LORA,
                                          .rank = 3,
                                          .alpha = 6,
                                          .dropout = 0.1,
                                          .saved = norms,
                                          .saved_count = COUNT_OF(norms),
                                          .targets = also_words,
                                          .target_count = COUNT_OF(also_words)};
static const struct train_config full = {.method = TRAIN_METHOD_FULL};

struct chain {
    struct digest digest;
    size_t count, next;
};

static enum err link_leaf(void *context, size_t row, const struct train_result *result,
                          const float *gradient)
{
    struct chain *chain = context;
    assert_int_equal(row, chain->next++);
    struct span sums = {(const uint8_t *)result, sizeof *result};
    struct span values = {(const uint8_t *)gradient, chain->count * sizeof *gradient};
    chain->digest = digest_link(digest_link(chain->digest, sums), values);
    return ERR_OK;
}

/* Digest of everything train_rows yields; false when this machine lacks the instruction set. */
static bool run(const struct train_config *config, struct setup setup, struct digest *out)
{
    struct kernel *kernel = engine_data_kernel(setup.isa, setup.threads);
    if (kernel == NULL)
        return false;
    struct hf_config shape = engine_data_config(false);
    struct model *model = engine_data_model(&shape, 3);
    struct train_row *rows = engine_data_rows(ROWS, TOKENS, VOCABULARY, 23);
    struct train_options options = {.rows_at_once = setup.rows_at_once,
                                    .checkpointing = setup.checkpointing};
    struct train_layout *layout = NULL;
    struct train *train = NULL;
    struct train_result results[ROWS];
    assert_int_equal(train_layout_create(model, config, &layout, &et), ERR_OK);
    struct chain chain = {.count = train_layout_count(layout)};
    float *values = mem_alloc(chain.count, sizeof *values);
    train_layout_values(layout, 17, values);
    for (size_t i = 0; i < chain.count; i++)
        values[i] += 0.2f * (random_uniform_f32(99, i) - 0.5f);
    assert_int_equal(train_create(model, kernel, layout, &options, &train), ERR_OK);
    if (train_rows(train, values, 1, 2, rows, ROWS, results, link_leaf, &chain, &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(chain.next, ROWS);
    struct train_result forward[ROWS];
    assert_int_equal(train_evaluate(train, values, rows, ROWS, forward, &et), ERR_OK);
    struct span sums = {(const uint8_t *)forward, sizeof forward};
    *out = digest_link(chain.digest, sums);
    train_destroy(&train);
    train_layout_destroy(&layout);
    mem_free(values);
    engine_data_free_rows(rows);
    model_destroy(&model);
    kernel_destroy(&kernel);
    return true;
}

static void expect_one_digest(const struct train_config *config)
{
    static const struct setup setups[] = {
        {KERNEL_ISA_PORTABLE, 2, 2, false}, {KERNEL_ISA_AVX2, 2, 1, true},
        {KERNEL_ISA_AVX512, 1, 1, false},   {KERNEL_ISA_BEST, 2, 4, false},
        {KERNEL_ISA_BEST, 3, 5, true},      {KERNEL_ISA_BEST, 1, 3, true},
    };
    struct digest wanted, got;
    assert_true(run(config, (struct setup){KERNEL_ISA_BEST, 1, 1, false}, &wanted));
    for (size_t i = 0; i < COUNT_OF(setups); i++) {
        if (!run(config, setups[i], &got)) {
            print_message("skipped: setup %zu: this processor lacks the instruction set\n", i);
            continue;
        }
        if (!digest_equal(wanted, got))
            fail_msg("setup %zu: other bits", i);
    }
}

static void test_bits__lora_with_dropout_is_one_result(void **state)
{
    (void)state;
    expect_one_digest(&lora);
}

static void test_bits__magnitudes_are_one_result(void **state)
{
    (void)state;
    expect_one_digest(&dora);
}

static void test_bits__embedding_head_and_whole_modules_are_one_result(void **state)
{
    (void)state;
    expect_one_digest(&mixed);
}

static void test_bits__full_training_is_one_result(void **state)
{
    (void)state;
    expect_one_digest(&full);
}

static void test_bits__bottlenecks_are_one_result(void **state)
{
    (void)state;
    static const struct train_config configs[] = {
        {.method = TRAIN_METHOD_HOULSBY, .reduction = 3, .act = KERNEL_ACT_SILU, .scaling = 1},
        {.method = TRAIN_METHOD_PFEIFFER, .reduction = 4, .act = KERNEL_ACT_RELU, .scaling = 1},
        {.method = TRAIN_METHOD_PARALLEL, .reduction = 2, .act = KERNEL_ACT_RELU, .scaling = 4},
    };
    for (size_t i = 0; i < COUNT_OF(configs); i++)
        expect_one_digest(&configs[i]);
}

static void test_bits__prompts_are_one_result(void **state)
{
    (void)state;
    static const struct train_config config = {.method = TRAIN_METHOD_PROMPT, .prompt_count = 11};
    expect_one_digest(&config);
}

static void test_bits__known_answer_is_one_on_every_instruction_set(void **state)
{
    (void)state;
    static const enum kernel_isa isas[] = {KERNEL_ISA_PORTABLE, KERNEL_ISA_AVX2, KERNEL_ISA_AVX512};
    static uint8_t wanted[TRAIN_KNOWN_ANSWER_BYTES], got[TRAIN_KNOWN_ANSWER_BYTES];
    static const uint8_t nothing[TRAIN_KNOWN_ANSWER_BYTES];
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 1);
    assert_int_equal(train_known_answer(kernel, wanted), ERR_OK);
    assert_memory_not_equal(wanted, nothing, sizeof wanted);
    kernel_destroy(&kernel);
    for (size_t i = 0; i < COUNT_OF(isas); i++) {
        kernel = engine_data_kernel(isas[i], (unsigned)i + 1);
        if (kernel == NULL)
            continue;
        assert_int_equal(train_known_answer(kernel, got), ERR_OK);
        assert_memory_equal(got, wanted, sizeof got);
        kernel_destroy(&kernel);
    }
}

/* Cached logits after each token, and after pieces of any size, equal the rows of the full pass; a
 * `config` trains. */
static void check_cache(uint32_t window, const struct train_config *config)
{
    struct hf_config shape = engine_data_config(true);
    shape.sliding_window = window;
    struct model *model = engine_data_model(&shape, 5);
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct train_options options = {.rows_at_once = 1};
    struct train *train = NULL;
    struct generate *generate = NULL;
    struct train_layout *layout = NULL;
    const struct binding *binding = NULL;
    float *values = NULL;
    uint32_t ids[200], start = 0;
    static float logits[200 * VOCABULARY];
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        ids[i] = (uint32_t)random_below(77, i, VOCABULARY);
    struct train_row row = {
        .tokens = ids, .token_count = COUNT_OF(ids), .segment_starts = &start, .segment_count = 1};
    if (config != NULL) {
        assert_int_equal(train_layout_create(model, config, &layout, &et), ERR_OK);
        values = mem_alloc(train_layout_count(layout), sizeof *values);
        train_layout_values(layout, 17, values);
        binding = train_layout_binding(layout);
        for (size_t i = 0; i < binding->count; i++)
            values[i] += 0.2f * (random_uniform_f32(99, i) - 0.5f);
    }
    assert_int_equal(train_create(model, kernel, layout, &options, &train), ERR_OK);
    assert_int_equal(train_logits(train, values, &row, logits, &et), ERR_OK);
    assert_int_equal(generate_create(model, kernel, binding, values, COUNT_OF(ids), &generate),
                     ERR_OK);
    static const size_t pieces[] = {1, 3, 64, 130};
    for (size_t p = 0; p < COUNT_OF(pieces); p++) {
        generate_reset(generate);
        for (size_t done = 0; done < COUNT_OF(ids);) {
            size_t count = MIN(pieces[p], COUNT_OF(ids) - done);
            const float *got;
            assert_int_equal(generate_feed(generate, ids + done, count, &got, &et), ERR_OK);
            done += count;
            assert_int_equal(generate_position(generate), done);
            assert_memory_equal(got, logits + (done - 1) * VOCABULARY, VOCABULARY * sizeof *got);
        }
    }
    generate_destroy(&generate);
    train_destroy(&train);
    train_layout_destroy(&layout);
    mem_free(values);
    kernel_destroy(&kernel);
    model_destroy(&model);
}

static void test_bits__cached_logits_are_those_of_the_full_pass(void **state)
{
    (void)state;
    check_cache(0, NULL);
}

static void test_bits__cached_logits_under_a_window_too(void **state)
{
    (void)state;
    check_cache(37, NULL);
}

static void test_bits__cached_logits_with_adapters_too(void **state)
{
    (void)state;
    static const struct train_config configs[] = {
        {.method = TRAIN_METHOD_PROMPT, .prompt_count = 20},
        {.method = TRAIN_METHOD_HOULSBY, .reduction = 3, .act = KERNEL_ACT_SILU, .scaling = 1},
        {.method = TRAIN_METHOD_PFEIFFER, .reduction = 4, .act = KERNEL_ACT_RELU, .scaling = 1},
        {.method = TRAIN_METHOD_PARALLEL, .reduction = 2, .act = KERNEL_ACT_RELU, .scaling = 4},
    };
    check_cache(0, &dora);
    check_cache(37, &mixed);
    for (size_t i = 0; i < COUNT_OF(configs); i++)
        check_cache(i % 2 != 0 ? 37 : 0, &configs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits__lora_with_dropout_is_one_result),
        cmocka_unit_test(test_bits__magnitudes_are_one_result),
        cmocka_unit_test(test_bits__embedding_head_and_whole_modules_are_one_result),
        cmocka_unit_test(test_bits__full_training_is_one_result),
        cmocka_unit_test(test_bits__bottlenecks_are_one_result),
        cmocka_unit_test(test_bits__prompts_are_one_result),
        cmocka_unit_test(test_bits__known_answer_is_one_on_every_instruction_set),
        cmocka_unit_test(test_bits__cached_logits_are_those_of_the_full_pass),
        cmocka_unit_test(test_bits__cached_logits_under_a_window_too),
        cmocka_unit_test(test_bits__cached_logits_with_adapters_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
