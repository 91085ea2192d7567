/* test_generate.c - where generation ends, and what it refuses. */
#include "worker/engine/generate/generate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/kernel.h"

struct world {
    struct kernel *kernel;
    struct model *model;
    struct generate *generate;
    uint32_t out[32];
    size_t count, stop_after;
};

static void world_open_at(struct world *w, uint32_t positions, size_t positions_max)
{
    const struct hf_config config = {.model_type = "llama",
                                     .vocab_size = 8,
                                     .hidden_size = 4,
                                     .intermediate_size = 6,
                                     .num_hidden_layers = 2,
                                     .num_attention_heads = 2,
                                     .num_key_value_heads = 1,
                                     .head_dim = 2,
                                     .max_position_embeddings = positions,
                                     .norm_eps = 1e-5,
                                     .rope_theta = 10000,
                                     .partial_rotary_factor = 1,
                                     .initializer_range = 0.5};
    *w = (struct world){.stop_after = SIZE_MAX};
    assert_int_equal(kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, 1, &w->kernel), ERR_OK);
    assert_int_equal(model_create_random(&config, 1, &w->model, NULL), ERR_OK);
    assert_int_equal(generate_create(w->model, w->kernel, NULL, NULL, positions_max, &w->generate),
                     ERR_OK);
}

static void world_open(struct world *w)
{
    world_open_at(w, 16, 12);
}

static void world_close(struct world *w)
{
    generate_destroy(&w->generate);
    model_destroy(&w->model);
    kernel_destroy(&w->kernel);
}

static bool take(void *context, uint32_t token)
{
    struct world *w = context;
    assert_true(w->count < COUNT_OF(w->out));
    w->out[w->count++] = token;
    return w->count < w->stop_after;
}

static const uint32_t prompt[] = {1, 2, 3};
static const struct generate_options plain = {
    .seed = 4, .temperature = 2, .top_p = 1, .repetition_penalty = 1, .token_count_max = 100};

static void test_generate__ends_where_the_positions_end(void **state)
{
    (void)state;
    struct world w;
    size_t count;
    world_open(&w);
    assert_int_equal(generate_run(w.generate, prompt, 3, &plain, take, &w, &count, NULL), ERR_OK);
    assert_int_equal(count, 10); /* nine are fed back, the tenth has no place left */
    assert_int_equal(w.count, count);
    assert_int_equal(generate_position(w.generate), 12);
    world_close(&w);
}

static void test_generate__room_grows_and_changes_no_bit(void **state)
{
    (void)state;
    enum { COUNT = 1300 };
    static const size_t pieces[] = {COUNT, 100, 511};
    uint32_t tokens[COUNT];
    float wanted[8];
    struct world w;
    for (size_t i = 0; i < COUNT; i++)
        tokens[i] = (uint32_t)(i * i % 7);
    world_open_at(&w, 1 << 17, 1 << 17);
    for (size_t p = 0; p < COUNT_OF(pieces); p++) {
        const float *logits = NULL;
        generate_reset(w.generate);
        for (size_t done = 0; done < COUNT; done += pieces[p])
            assert_int_equal(generate_feed(w.generate, tokens + done, MIN(pieces[p], COUNT - done),
                                           &logits, NULL),
                             ERR_OK);
        if (p == 0)
            memcpy(wanted, logits, sizeof wanted);
        assert_memory_equal(wanted, logits, sizeof wanted);
        generate_destroy(&w.generate);
        assert_int_equal(generate_create(w.model, w.kernel, NULL, NULL, 1 << 17, &w.generate),
                         ERR_OK);
    }
    world_close(&w);
}

static void test_generate__same_seed_same_text_after_reset(void **state)
{
    (void)state;
    struct world w;
    uint32_t first[32];
    world_open(&w);
    assert_int_equal(generate_run(w.generate, prompt, 3, &plain, take, &w, NULL, NULL), ERR_OK);
    memcpy(first, w.out, sizeof first);
    w.count = 0;
    generate_reset(w.generate);
    assert_int_equal(generate_run(w.generate, prompt, 3, &plain, take, &w, NULL, NULL), ERR_OK);
    assert_memory_equal(first, w.out, w.count * sizeof first[0]);
    world_close(&w);
}

static void test_generate__stop_token_and_callback_end_it(void **state)
{
    (void)state;
    struct world w;
    struct generate_options options = plain;
    size_t count;
    world_open(&w);
    assert_int_equal(generate_run(w.generate, prompt, 3, &plain, take, &w, NULL, NULL), ERR_OK);
    uint32_t third = w.out[2];
    size_t first_at = w.out[0] == third ? 0 : w.out[1] == third ? 1 : 2;
    options.stop_tokens = &third;
    options.stop_token_count = 1;
    generate_reset(w.generate);
    assert_int_equal(generate_run(w.generate, prompt, 3, &options, take, &w, &count, NULL), ERR_OK);
    assert_int_equal(count, first_at);
    w.count = 0;
    w.stop_after = 2;
    generate_reset(w.generate);
    assert_int_equal(generate_run(w.generate, prompt, 3, &plain, take, &w, &count, NULL), ERR_OK);
    assert_int_equal(count, 2);
    world_close(&w);
}

static void test_generate__bad_input_changes_nothing(void **state)
{
    (void)state;
    struct world w;
    struct err_text et = {0};
    const float *logits;
    uint32_t many[13] = {0}, outside[] = {1, 8};
    struct generate *other = NULL;
    world_open(&w);
    assert_int_equal(generate_feed(w.generate, many, 13, &logits, &et), ERR_LIMIT);
    assert_int_equal(generate_feed(w.generate, outside, 2, &logits, &et), ERR_DATA);
    assert_non_null(strstr(et.text, "token 1: id 8"));
    assert_int_equal(generate_feed(w.generate, many, 0, &logits, &et), ERR_DATA);
    assert_int_equal(generate_position(w.generate), 0);
    assert_int_equal(generate_create(w.model, w.kernel, NULL, NULL, 17, &other), ERR_LIMIT);
    assert_null(other);
    world_close(&w);
}

static void test_generate__survives_every_failed_allocation(void **state)
{
    (void)state;
    struct world w;
    struct generate *other = NULL;
    enum err err = ERR_OUT_OF_MEMORY;
    size_t n = 1;
    world_open(&w);
    for (; err != ERR_OK && n < 200; n++) {
        (void)mem_fault_after(n);
        err = generate_create(w.model, w.kernel, NULL, NULL, 12, &other);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || (err == ERR_OUT_OF_MEMORY && other == NULL));
    }
    assert_int_equal(err, ERR_OK);
    generate_destroy(&other);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate__ends_where_the_positions_end),
        cmocka_unit_test(test_generate__room_grows_and_changes_no_bit),
        cmocka_unit_test(test_generate__same_seed_same_text_after_reset),
        cmocka_unit_test(test_generate__stop_token_and_callback_end_it),
        cmocka_unit_test(test_generate__bad_input_changes_nothing),
        cmocka_unit_test(test_generate__survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
