/* test_train.c - calls that go wrong, memory that was promised, a reference pass without adapter.
 */
#include "worker/engine/train/train.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/kernel.h"

enum { TOKENS = 12 };

struct world {
    struct kernel *kernel;
    struct model *model;
    struct train_layout *layout;
    struct train *train;
    float *values;
    uint32_t ids[TOKENS], start;
    uint8_t loss[TOKENS];
    struct train_row rows[3];
    size_t leaves;
};

static void world_open(struct world *w, size_t rows_at_once)
{
    static const struct hf_config config = {.model_type = "llama",
                                            .vocab_size = 8,
                                            .hidden_size = 4,
                                            .intermediate_size = 6,
                                            .num_hidden_layers = 2,
                                            .num_attention_heads = 2,
                                            .num_key_value_heads = 1,
                                            .head_dim = 2,
                                            .max_position_embeddings = 16,
                                            .norm_eps = 1e-5,
                                            .rope_theta = 10000,
                                            .partial_rotary_factor = 1,
                                            .initializer_range = 0.5};
    static const char *const targets[] = {"q_proj", "up_proj"};
    static const struct train_config lora = {
        .rank = 2, .alpha = 4, .targets = targets, .target_count = 2};
    struct train_options options = {.rows_at_once = rows_at_once};
    *w = (struct world){0};
    assert_int_equal(kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, 1, &w->kernel), ERR_OK);
    assert_int_equal(model_create_random(&config, 1, &w->model, NULL), ERR_OK);
    assert_int_equal(train_layout_create(w->model, &lora, &w->layout, NULL), ERR_OK);
    assert_int_equal(train_create(w->model, w->kernel, w->layout, &options, &w->train), ERR_OK);
    w->values = mem_alloc(train_layout_count(w->layout), sizeof *w->values);
    train_layout_values(w->layout, 1, w->values);
    for (size_t i = 0; i < TOKENS; i++) {
        w->ids[i] = (uint32_t)(i * 5 % 8);
        w->loss[i] = 1;
    }
    for (size_t r = 0; r < COUNT_OF(w->rows); r++)
        w->rows[r] = (struct train_row){.index = r,
                                        .tokens = w->ids,
                                        .loss = w->loss,
                                        .token_count = TOKENS - r,
                                        .segment_starts = &w->start,
                                        .segment_count = 1};
}

static void world_close(struct world *w)
{
    train_destroy(&w->train);
    train_layout_destroy(&w->layout);
    model_destroy(&w->model);
    kernel_destroy(&w->kernel);
    mem_free(w->values);
}

static enum err count_leaf(void *context, size_t row, const struct train_result *result,
                           const float *gradient)
{
    (void)gradient;
    struct world *w = context;
    assert_true(row == w->leaves++ && result->weight > 0);
    return ERR_OK;
}

static enum err second_leaf_fails(void *context, size_t row, const struct train_result *result,
                                  const float *gradient)
{
    (void)count_leaf(context, row, result, gradient);
    return row == 1 ? ERR_CANCELLED : ERR_OK;
}

struct kept_leaf {
    size_t count;
    double sum; /* of squares of the last gradient */
};

static enum err sum_leaf(void *context, size_t row, const struct train_result *result,
                         const float *gradient)
{
    struct kept_leaf *kept = context;
    (void)row;
    (void)result;
    kept->sum = 0;
    for (size_t i = 0; i < kept->count; i++)
        kept->sum += (double)gradient[i] * (double)gradient[i];
    return ERR_OK;
}

static void test_train__not_finite_weights_are_named_with_their_place(void **state)
{
    (void)state;
    struct world w;
    struct train_result results[3];
    struct err_text et = {0};
    world_open(&w, 2);
    for (size_t i = 0; i < train_layout_entry_count(w.layout); i++) {
        const struct train_entry *entry = train_layout_entry(w.layout, i);
        if (strcmp(entry->name, "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight") == 0)
            w.values[entry->offset + 1] = INFINITY;
    }
    assert_int_equal(train_rows(w.train, w.values, 1, 0, w.rows, 3, results, count_leaf, &w, &et),
                     ERR_NOT_FINITE);
    assert_non_null(strstr(et.text, "row 0, token 0, layer 1: the output of "
                                    "model.layers.1.mlp.up_proj.weight"));
    assert_int_equal(w.leaves, 0);
    world_close(&w);
}

static void test_train__an_error_of_the_leaf_stops_the_call(void **state)
{
    (void)state;
    struct world w;
    struct train_result results[3];
    world_open(&w, 1);
    assert_int_equal(
        train_rows(w.train, w.values, 1, 0, w.rows, 3, results, second_leaf_fails, &w, NULL),
        ERR_CANCELLED);
    assert_int_equal(w.leaves, 2);
    world_close(&w);
}

static void test_train__bad_rows_are_refused_and_good_ones_run_after(void **state)
{
    (void)state;
    struct world w;
    struct train_result results[3];
    struct err_text et = {0};
    uint32_t ids[20] = {0};
    uint8_t loss[20] = {0};
    world_open(&w, 1);
    struct train_row bad = w.rows[0];
    bad.tokens = ids;
    bad.loss = loss;
    bad.token_count = 20;
    assert_int_equal(train_evaluate(w.train, NULL, &bad, 1, results, &et), ERR_LIMIT);
    assert_non_null(strstr(et.text, "20 tokens, but the model has 16 positions"));
    bad.token_count = 5;
    ids[3] = 8;
    assert_int_equal(train_evaluate(w.train, NULL, &bad, 1, results, &et), ERR_DATA);
    bad.token_count = 0;
    assert_int_equal(train_evaluate(w.train, NULL, &bad, 1, results, &et), ERR_DATA);
    assert_int_equal(train_evaluate(w.train, NULL, w.rows, 3, results, &et), ERR_OK);
    assert_true(results[2].weight == TOKENS - 3);
    world_close(&w);
}

static void test_train__without_values_the_adapter_is_not_there(void **state)
{
    (void)state;
    struct world w;
    struct train_result base, fresh, moved;
    world_open(&w, 1);
    assert_int_equal(train_evaluate(w.train, NULL, w.rows, 1, &base, NULL), ERR_OK);
    assert_int_equal(train_evaluate(w.train, w.values, w.rows, 1, &fresh, NULL), ERR_OK);
    for (size_t i = 0; i < train_layout_count(w.layout); i++)
        w.values[i] += 0.25f;
    assert_int_equal(train_evaluate(w.train, w.values, w.rows, 1, &moved, NULL), ERR_OK);
    assert_true(fabs(base.loss_sum - fresh.loss_sum) < 1e-6);
    assert_true(fabs(base.loss_sum - moved.loss_sum) > 1e-3);
    assert_int_equal(train_evaluate(w.train, NULL, w.rows, 1, &moved, NULL), ERR_OK);
    assert_true(base.loss_sum == moved.loss_sum);
    world_close(&w);
}

static void test_train__a_row_without_supervised_tokens_weighs_nothing(void **state)
{
    (void)state;
    struct world w;
    struct train_result results[2];
    world_open(&w, 2);
    w.rows[0].loss = NULL;
    assert_int_equal(train_evaluate(w.train, NULL, w.rows, 2, results, NULL), ERR_OK);
    assert_true(results[0].weight == 0 && results[0].loss_sum == 0 && results[1].weight > 0);
    struct kept_leaf kept = {.count = train_layout_count(w.layout)};
    assert_int_equal(train_rows(w.train, w.values, 1, 0, w.rows, 1, results, sum_leaf, &kept, NULL),
                     ERR_OK);
    assert_true(results[0].weight == 0 && kept.sum == 0);
    assert_int_equal(train_rows(w.train, w.values, 1, 0, w.rows, 2, results, sum_leaf, &kept, NULL),
                     ERR_OK);
    assert_true(results[1].weight > 0 && kept.sum > 0);
    world_close(&w);
}

static void test_train__recomputing_holds_less(void **state)
{
    (void)state;
    struct world w;
    struct train_options keep = {.rows_at_once = 1},
                         recompute = {.rows_at_once = 1, .checkpointing = true};
    world_open(&w, 1);
    assert_true(train_memory_estimate(w.model, w.layout, &recompute, TOKENS) <
                train_memory_estimate(w.model, w.layout, &keep, TOKENS));
    assert_true(train_memory_estimate(w.model, NULL, &keep, TOKENS) <
                train_memory_estimate(w.model, w.layout, &recompute, TOKENS));
    world_close(&w);
}

static void test_train__holds_what_the_estimate_said(void **state)
{
    (void)state;
    struct world w;
    struct train_result results[3];
    for (size_t at_once = 1; at_once <= 3; at_once++) {
        struct train_options options = {.rows_at_once = at_once};
        world_open(&w, at_once);
        w.rows[1].token_count = w.rows[2].token_count = TOKENS;
        assert_int_equal(
            train_rows(w.train, w.values, 1, 0, w.rows, 3, results, count_leaf, &w, NULL), ERR_OK);
        assert_int_equal(train_memory_estimate(w.model, w.layout, &options, TOKENS),
                         train_peak_bytes(w.train));
        world_close(&w);
    }
}

static void test_train__survives_every_failed_allocation(void **state)
{
    (void)state;
    struct world w;
    struct train_result results[3];
    enum err err = ERR_OUT_OF_MEMORY;
    size_t n = 1;
    world_open(&w, 2);
    for (; err != ERR_OK && n < 200; n++) {
        w.leaves = 0;
        (void)mem_fault_after(n);
        err = train_rows(w.train, w.values, 1, 0, w.rows, 3, results, count_leaf, &w, NULL);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
    }
    assert_int_equal(err, ERR_OK);
    assert_int_equal(w.leaves, 3);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train__not_finite_weights_are_named_with_their_place),
        cmocka_unit_test(test_train__an_error_of_the_leaf_stops_the_call),
        cmocka_unit_test(test_train__bad_rows_are_refused_and_good_ones_run_after),
        cmocka_unit_test(test_train__without_values_the_adapter_is_not_there),
        cmocka_unit_test(test_train__a_row_without_supervised_tokens_weighs_nothing),
        cmocka_unit_test(test_train__recomputing_holds_less),
        cmocka_unit_test(test_train__holds_what_the_estimate_said),
        cmocka_unit_test(test_train__survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
